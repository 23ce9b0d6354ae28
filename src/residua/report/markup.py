"""The HTML of a page: figures, tables, the key of classes. Every text is escaped here."""

import html
from collections.abc import Mapping, Sequence
from importlib.resources import files

from residua.report.palette import chip
from residua.report.shown import Choice, Group, Missing, Shown
from residua.report.tables import Table

_SCRIPTS = ("arrays", "theme", "keys", "figures", "edges", "controls", "downloads", "start")
_LONG = 32  # characters; a column with longer cells is text, whose lines break
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style}
</style></head><body>
<a class="skip" href="#figures">To the figures</a>
<header>
<div class="top"><h1>{title}</h1><button type="button" id="theme">Dark</button></div>
<p class="headline">{headline}</p>
<p class="lead">{lead}</p>
{tables}
{words}
</header>
{bar}
<main id="figures">
{body}
</main>
<footer>{foot}</footer>
<script type="application/json" id="residua-data">{data}</script>
<script>{plotly}</script>
<script>
(() => {{
"use strict";
{scripts}
}})();
</script>
</body></html>
"""


def asset(name: str) -> str:
    """Return the text of a style sheet or script of the page."""
    return files("residua.report").joinpath("assets", name).read_text("utf-8")


def scripts() -> str:
    """Return the page's own scripts, in the order in which they need each other."""
    return "\n".join(asset(f"{name}.js") for name in _SCRIPTS)


def table_html(table: Table) -> str:
    """Return a table under its title."""
    kinds = [
        ' class="text"' if any(len(row[k]) > _LONG for row in table.rows) else ""
        for k in range(len(table.header))
    ]
    head = "".join(
        f'<th scope="col"{kind}>{html.escape(name)}</th>'
        for name, kind in zip(table.header, kinds, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td{kind}>{html.escape(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    title = f"<h2>{html.escape(table.title)}</h2>" if table.title else ""
    note = f'<p class="note">{html.escape(table.note)}</p>' if table.note else ""
    return (
        f'{title}<div class="scroll" tabindex="0" role="region" '
        f'aria-label="{html.escape(table.title or "summary")}"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{note}"
    )


def group_html(heading: str, group: Group, prefix: str) -> str:
    """Return the figures under a heading, their ids beginning with a prefix."""
    parts = [f'<h3 id="{prefix}-at-{slug(heading)}">{html.escape(heading)}</h3>']
    for shown in group:
        if isinstance(shown, Missing):
            why = f"{html.escape(shown.title)}: not drawn, because {html.escape(shown.why)}."
            parts.append(f'<p class="missing">{why}</p>')
        else:
            parts.append(figure_html(shown, f"{prefix}-{shown.name}"))
    return "\n".join(parts)


def slug(text: str) -> str:
    """Return a text as part of an address or file name: letters, digits and dashes."""
    kept = "".join(c if c.isalnum() and c.isascii() else "-" for c in text.lower())
    return "-".join(filter(None, kept.split("-"))) or "x"


def figure_html(shown: Shown, name: str) -> str:
    """Return the frame of one figure: words, controls, the place of the plot, downloads."""
    title, caption = html.escape(shown.title), html.escape(shown.caption)
    buttons = "".join(
        f'<button type="button" data-download="{kind}" aria-label="Download {kind.upper()} of {title}">'
        f"{kind.upper()}</button>"
        for kind in ("csv", "svg", "png")
    )
    choices = "".join(_choice(c, f"{name}-{c.name}") for c in shown.choices)
    controls = f'<div class="choices">{choices}</div>' if choices else ""
    height = int(shown.layout["height"])
    return (
        f'<figure id="{name}"><h4>{title}</h4><p class="caption">{caption}</p>{controls}'
        f'<div class="plot" role="img" aria-label="{title}. {caption}" style="min-height:{height}px">'
        f'</div><figcaption><p class="definition">{html.escape(shown.definition)}</p>'
        f'<div class="downloads">{buttons}</div></figcaption></figure>'
    )


def _choice(choice: Choice, name: str) -> str:
    label = html.escape(choice.label)
    if choice.kind == "slider":
        return (
            f'<label class="slides" for="{name}">{label}<input type="range" id="{name}" min="0" '
            f'max="{len(choice.options) - 1}" step="1" value="{choice.start}" '
            f'data-choice="{choice.name}" autocomplete="off"><output></output></label>'
        )
    options = "".join(
        f'<option value="{k}"{" selected" if k == choice.start else ""}>{html.escape(str(o))}</option>'
        for k, o in enumerate(choice.options)
    )
    return (
        f'<label for="{name}">{label}<select id="{name}" data-choice="{choice.name}" '
        f'autocomplete="off">{options}</select></label>'
    )


def bar_html(
    runs: Mapping[str, Sequence[str]], classes: Sequence[str], called: str = "Classes"
) -> str:
    """Return what stays at the top: which run is shown, its headings, the key of classes.

    Args:
        runs: by name of a run or section, its headings.
        classes: their labels.
        called: what they are.
    """
    rows = []
    if len(runs) > 1:
        buttons = "".join(
            f'<button type="button" data-shows="r{k}" aria-pressed="{"true" if k == 0 else "false"}">'
            f"{html.escape(name)}</button>"
            for k, name in enumerate(runs)
        )
        label = '<span class="name">Shown</span>'
        rows.append(f'<div class="row" role="group" aria-label="Which run">{label}{buttons}</div>')
    for k, headings in enumerate(runs.values()):
        if len(headings) > 1:
            links = "".join(f'<a href="#r{k}-at-{slug(h)}">{html.escape(h)}</a>' for h in headings)
            rows.append(f'<nav class="row" data-run="r{k}" aria-label="Figures">{links}</nav>')
    if classes:
        chips = "".join(chip(i, label) for i, label in enumerate(classes))
        both = '<button type="button" id="all-classes">all</button>'
        both += '<button type="button" id="no-classes">none</button>'
        label = f'<span class="name">{called}</span>'
        rows.append(
            f'<div class="row classes" role="group" aria-label="{called}">{label}{both}{chips}</div>'
        )
    return f'<div class="bar"><div>{"".join(rows)}</div></div>' if rows else ""
