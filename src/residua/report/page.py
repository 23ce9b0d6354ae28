"""One self-contained HTML page: of one or several runs, or of sections of figures."""

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import xarray as xr

from residua.errors import InputError, MissingExtraError
from residua.report.depth_figures import Cut
from residua.report.headline import headline, marked_cut
from residua.report.markup import PAGE, asset, bar_html, group_html, scripts, slug, table_html
from residua.report.packed import as_script, described, drawn_by, packed
from residua.report.palette import DARK, SIGNS
from residua.report.run_figures import run_data, run_figures, without_samples
from residua.report.shown import Section, Shown, split_of
from residua.report.side_by_side import side_by_side
from residua.report.tables import Table
from residua.report.thinned import Limits
from residua.stored import write_text

LARGEST = 8_000_000  # bytes of a page
_HALVINGS = 9
_COLUMNS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "depth rule": lambda s: str(s["adaptive"]),
    "layers": lambda s: f"{s['depth_initial']} → {s['depth_final']}",
    "test error": lambda s: f"{s['test_error']:.2f} %",
    "validation error": lambda s: f"{s['val_error']:.2f} %",
    # A cut run was not trained itself.
    "training": lambda s: f"{s['seconds']:.0f} s" + (", uncut" if "pruned" in s else ""),
}


@dataclass(frozen=True)
class Words:
    """The words of a page: heading, the sentence below it, the paragraph after that, the last line."""

    title: str
    headline: str
    lead: str = ""
    foot: str = ""


def write_page(
    path: Path,
    title: str,
    runs: Mapping[str, tuple[Mapping[str, Any], xr.Dataset]],
    *,
    tables: Sequence[Table] = (),
    cuts: Mapping[str, Cut] | None = None,
    command: str = "",
) -> None:
    """Write a page that shows the summary of every run, and the figures of each.

    Args:
        path: of the HTML file; an existing page is replaced.
        title: heading.
        runs: by name, the summary and the analysis of each.
        tables: shown before the figures.
        cuts: what is marked in the depth of a run; default what its summary says was cut in training.
        command: what makes this page, for its last line, where that is not what made the run.

    Raises:
        MissingExtraError: plotly is not installed.
    """
    summaries = {name: summary for name, (summary, _) in runs.items()}
    analyses = {name: analysis for name, (_, analysis) in runs.items()}
    words = _words(title, summaries, analyses, command)
    shown = [_summary_table(summaries), *tables]
    limits = Limits()
    for _ in range(_HALVINGS):
        sections = _sections(summaries, analyses, limits, cuts or {})
        content = _content(sections)
        page = _page(words, shown, sections, content)
        over = _overshoot(page, content[1])
        if over <= 1:
            write_text(path, page)
            return
        for _ in range(math.ceil(3 * math.log2(over))):  # not all that a page holds is halved
            limits = limits.halved()
    write_sections(path, words, sections, tables=shown)


def write_sections(
    path: Path, words: Words, sections: Mapping[str, Section], *, tables: Sequence[Table] = ()
) -> None:
    """Write a page of tables, and of sections of figures of which one is shown at a time.

    Args:
        path: of the HTML file; an existing page is replaced.
        words: its words.
        sections: by name.
        tables: shown first.

    Raises:
        InputError: the tables alone are larger than a page may be.
        MissingExtraError: plotly is not installed.
    """
    names = list(sections)
    for most in range(len(names), -1, -1):
        some = {name: sections[name] for name in names[:most]}
        left = f" So that the page stays small it shows {most} of {len(names)} parts."
        said = words if most == len(names) else replace(words, lead=words.lead + left)
        page = _page(said, tables, some, _content(some))
        if _fits(page):
            write_text(path, page)
            return
    raise InputError(
        f"a page of {len(tables)} tables is larger than {LARGEST / 1e6:g} MB; show fewer at a time"
    )


def _words(
    title: str,
    summaries: Mapping[str, Mapping[str, Any]],
    analyses: Mapping[str, xr.Dataset],
    command: str,
) -> Words:
    taken = [split_of(analysis) for analysis in analyses.values()]
    sets = ", ".join(dict.fromkeys(str(s.get("data", "unknown")) for s in summaries.values()))
    return Words(
        title,
        headline(summaries),
        f"Data: {sets}. Figures by layer are taken on the {' and '.join(dict.fromkeys(taken))} split; "
        "nothing that decides the depth looks at the test split.",
        " — ".join(dict.fromkeys([*_made_by(command, summaries), *map(_foot, summaries.values())])),
    )


def _sections(
    summaries: Mapping[str, Mapping[str, Any]],
    analyses: Mapping[str, xr.Dataset],
    limits: Limits,
    cuts: Mapping[str, Cut],
) -> dict[str, Section]:
    found = {}
    both, figures = side_by_side(analyses)
    if figures:
        title = "compared"
        while title in analyses:  # a run may be called so, too
            title += " with all"
        found[title] = Section({"All runs": figures}, both)
    for name, analysis in analyses.items():
        data, left_out = run_data(analysis, limits)
        if "pruned" in summaries[name]:
            data = data.assign_attrs(pruned=1)
        said = [
            f"After epoch {d['epoch']}: {d['depth_before']} → {d['depth_after']} layers: {d['reason']}."
            for d in summaries[name].get("decisions", ())
        ]
        said += without_samples(analysis)
        if analysis.sizes.get("layer") == 1:
            said.append("There is one layer, so that what is drawn over layers is a single point.")
        if left_out:
            said.append(
                f"So that the page stays small it holds {', '.join(left_out)}; all are in analysis.nc."
            )
        if "pruned" in summaries[name]:
            gone = ", ".join(map(str, summaries[name]["pruned"].get("removed", ())))
            said.append(f"The figures are of the network after the cut, without {gone}.")
        cut = cuts.get(name, marked_cut(summaries[name]))
        found[name] = Section(run_figures(data, analysis, cut), data, said)
    return found


def _content(sections: Mapping[str, Section]) -> tuple[str, str]:
    """Return the body of a page, and the JSON of its arrays and figures."""
    parts, arrays, figures = [], [], {}
    for k, (name, section) in enumerate(sections.items()):
        shown = [f for group in section.groups.values() for f in group if isinstance(f, Shown)]
        for figure in shown:
            file = f"{slug(name)}-{figure.name}"
            figures[f"r{k}-{figure.name}"] = described(figure, k, file)
        needed = [n for f in shown for n in (*drawn_by(f), *f.stored)]
        arrays.append(packed(section.data, needed))
        said = "".join(f'<p class="note">{html.escape(text)}</p>' for text in section.said)
        said += "\n".join(map(table_html, section.tables))
        body = "\n".join(group_html(h, group, f"r{k}") for h, group in section.groups.items())
        hidden = " hidden" if k else ""
        parts.append(
            f'<section data-run="r{k}"{hidden}><h2>{html.escape(name)}</h2>{said}{body}</section>'
        )
    return "\n".join(parts), as_script(
        {"sections": arrays, "figures": figures, "dark": DARK, "signs": SIGNS}
    )


def _overshoot(page: str, data: str) -> float:
    """Return how many times too large the arrays of a page are."""
    size, arrays = (len(text.encode("utf-8", "replace")) for text in (page, data))
    return arrays / max(1, LARGEST - (size - arrays))


def _fits(page: str) -> bool:
    return len(page.encode("utf-8", "replace")) <= LARGEST


def _page(
    words: Words,
    tables: Sequence[Table],
    sections: Mapping[str, Section],
    content: tuple[str, str],
) -> str:
    body, data = content
    headings = {name: list(section.groups) for name, section in sections.items()}
    return PAGE.format(
        title=html.escape(words.title),
        style=asset("page.css"),
        headline=html.escape(words.headline),
        lead=html.escape(words.lead),
        tables="\n".join(map(table_html, tables)),
        words=asset("words.html"),
        bar=bar_html(headings, _classes(sections), _called(sections)),
        body=body,
        foot=html.escape(words.foot),
        data=data,
        plotly=_plotly(),
        scripts=scripts(),
    )


def _classes(sections: Mapping[str, Section]) -> list[str]:
    """Return the labels of the classes; where sections have others of the same place, all of them."""
    by_class = any(
        isinstance(figure, Shown) and figure.by_class
        for section in sections.values()
        for group in section.groups.values()
        for figure in group
    )
    if not by_class:
        return []
    lists = [
        [str(v) for v in s.data["class"].values.tolist()]
        for s in sections.values()
        if "class" in s.data.coords
    ]
    longest = max(map(len, lists), default=0)
    return [
        " / ".join(dict.fromkeys(names[i] for names in lists if i < len(names)))
        for i in range(longest)
    ]


def _called(sections: Mapping[str, Section]) -> str:
    """Return what the classes of a page are: paths of a matrix alone go from starts."""
    alone = all("matrix_alone" in section.data.attrs for section in sections.values())
    return "Starts" if alone else "Classes"


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingExtraError("plotly", "report", "the report page") from error
    script: str = get_plotlyjs()
    return script


def _made_by(command: str, summaries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    known = [s.get("command") for s in summaries.values()]
    return [f"This page: {command}"] if command and command not in known else []


def _foot(summary: Mapping[str, Any]) -> str:
    parts = [str(summary[key]) for key in ("command",) if key in summary]
    parts += [f"seed {summary['seed']}"] if "seed" in summary else []
    parts += [str(summary["machine"])] if "machine" in summary else []
    versions = summary.get("versions", {})
    parts += [", ".join(f"{k} {v}" for k, v in versions.items())] if versions else []
    return " · ".join(parts)


def _summary_table(summaries: Mapping[str, Mapping[str, Any]]) -> Table:
    columns = dict(_COLUMNS)
    if all(name == s.get("adaptive") for name, s in summaries.items()):
        del columns["depth rule"]  # the runs are named after it

    def told(cell: Callable[[Mapping[str, Any]], str], summary: Mapping[str, Any]) -> str:
        try:
            return cell(summary)
        except KeyError:
            return "unknown"

    rows = [[name, *(told(cell, s) for cell in columns.values())] for name, s in summaries.items()]
    return Table("", ["run", *columns], rows)
