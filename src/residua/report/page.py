"""One self-contained HTML page of one or several runs."""

import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from residua.errors import MissingExtraError
from residua.report import figures, transient_figures
from residua.report.tables import Table

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }}
table {{ border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }}
td, th {{ padding: .25rem .8rem; border-bottom: 1px solid #ddd; text-align: right; }}
td:first-child, th:first-child {{ text-align: left; }}
figure {{ margin: 2rem 0; }} figcaption {{ color: #555; }}
</style></head><body>
<h1>{title}</h1>
<p>{lead}</p>
{table}
{body}
<p>{foot}</p>
</body></html>
"""
_SPLITS = {"train": "training", "val": "validation", "test": "test"}
_COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "depth rule": lambda s: s["adaptive"],
    "layers": lambda s: f"{s['depth_initial']} → {s['depth_final']}",
    "test error": lambda s: f"{s['test_error']:.2f} %",
    "validation error": lambda s: f"{s['val_error']:.2f} %",
    "training": lambda s: f"{s['seconds']:.0f} s",
}


def write_page(
    path: Path,
    title: str,
    runs: Mapping[str, tuple[dict[str, Any], xr.Dataset]],
    *,
    tables: Sequence[Table] = (),
) -> None:
    """Write a page that shows the summary of every run, and the figures of each.

    Args:
        path: of the HTML file; an existing page is replaced.
        title: heading.
        runs: by name, the summary and the analysis of each.
        tables: shown before the figures.

    Raises:
        MissingExtraError: plotly is not installed.
    """
    script = _plotly()
    parts = [f"<script>{script}</script>"]
    for name, (summary, analysis) in runs.items():
        parts.append(f"<h2>{html.escape(name)}</h2>")
        for decision in summary["decisions"]:
            parts.append(
                f"<p>After epoch {decision['epoch']}: {decision['depth_before']} → "
                f"{decision['depth_after']} layers: {html.escape(decision['reason'])}.</p>"
            )
        drawn = figures.all_figures(analysis)
        drawn += transient_figures.streamed_figures(analysis)
        drawn += transient_figures.perturbed_figures(analysis)
        parts += [_figure(f, caption) for f, caption in drawn]
    first = next(iter(runs.values()))[0]
    analyses = [analysis for _, analysis in runs.values()]
    path.write_text(
        _PAGE.format(
            title=html.escape(title),
            lead=(
                f"Data: {html.escape(first['data'])}. Figures by layer are taken on the "
                f"{_SPLITS[analyses[0].attrs['split']]} split; nothing that decides the depth looks at "
                "the test split."
            ),
            table="\n".join(
                [_table({name: s for name, (s, _) in runs.items()}), *map(_shown, tables)]
            ),
            body="\n".join(parts),
            foot=html.escape(
                f"{first['command']} · seed {first['seed']} · {first['machine']} · "
                + ", ".join(f"{k} {v}" for k, v in first["versions"].items())
            ),
        ),
        encoding="utf-8",
    )


def write_sections(
    path: Path,
    title: str,
    lead: str,
    sections: Mapping[str, Sequence[tuple[Any, str]]],
    *,
    tables: Sequence[Table] = (),
) -> None:
    """Write a page of tables, and of figures with captions under headings.

    Args:
        path: of the HTML file; an existing page is replaced.
        title: heading.
        lead: the paragraph after it.
        sections: by heading, figures and their captions.
        tables: shown first.

    Raises:
        MissingExtraError: plotly is not installed.
    """
    parts = [f"<script>{_plotly()}</script>"]
    for name, drawn in sections.items():
        parts.append(f"<h2>{html.escape(name)}</h2>")
        parts += [_figure(figure, caption) for figure, caption in drawn]
    page = _PAGE.format(
        title=html.escape(title),
        lead=html.escape(lead),
        table="\n".join(map(_shown, tables)),
        body="\n".join(parts),
        foot="",
    )
    path.write_text(page, encoding="utf-8")


def _shown(table: Table) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.header)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in table.rows
    )
    return (
        f"<h2>{html.escape(table.title)}</h2><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table><p>{html.escape(table.note)}</p>"
    )


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingExtraError("plotly", "report", "the report page") from error
    script: str = get_plotlyjs()
    return script


def _figure(figure: Any, caption: str) -> str:
    drawn = figure.to_html(full_html=False, include_plotlyjs=False)
    return f"<figure>{drawn}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _table(summaries: Mapping[str, dict[str, Any]]) -> str:
    columns = dict(_COLUMNS)
    if all(name == s["adaptive"] for name, s in summaries.items()):
        del columns["depth rule"]  # the runs are named after it
    head = "".join(f"<th>{c}</th>" for c in ("run", *columns))
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td>"
        + "".join(f"<td>{html.escape(cell(s))}</td>" for cell in columns.values())
        + "</tr>"
        for name, s in summaries.items()
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
