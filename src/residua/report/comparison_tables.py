"""Tables of several runs side by side, at most 80 columns wide where names are short."""

from collections.abc import Mapping
from typing import Any

from residua.comparison import Comparison
from residua.report.tables import Table

_BESIDE = 3  # so many runs fit beside each other; of more, so many settings do
_SUMMARIES = "layers: before and after any were taken away; error: share of wrong decisions."


def comparison_tables(found: Comparison) -> list[Table]:
    """Return the runs side by side, and the settings in which they differ."""
    header = ["run", "layers", "test error", "val. error", "training"]
    rows = [[name, *_reached(run.summary)] for name, run in found.runs.items()]
    return [Table("side by side", header, rows, _note(found, _SUMMARIES)), *_differing(found)]


def page_tables(found: Comparison) -> list[Table]:
    """Return what a page shows of a comparison beside the summaries: differences and notes."""
    tables = _differing(found)
    if not tables:
        return [Table("compared", ["run"], [[name] for name in found.runs], _note(found))]
    return [tables[0]._replace(note=_note(found)), *tables[1:]]


def _note(found: Comparison, *first: str) -> str:
    same = () if found.differs else ("All settings are the same.",)
    return "\n".join([*first, *same, *found.notes])


def _differing(found: Comparison) -> list[Table]:
    """Return the settings that are not the same in all runs, as many tables as their number takes."""
    if not found.differs:
        return []
    names, title = list(found.runs), "settings that differ"
    if len(names) <= _BESIDE:
        rows = [[key, *(_shown(v[n]) for n in names)] for key, v in found.differs.items()]
        return [Table(title, ["setting", *names], rows)]
    keys = list(found.differs)
    parts = [keys[i : i + _BESIDE] for i in range(0, len(keys), _BESIDE)]
    return [
        Table(
            title if i == 0 else f"{title}, {i + 1} of {len(parts)}",
            ["run", *part],
            [[name, *(_shown(found.differs[key][name]) for key in part)] for name in names],
        )
        for i, part in enumerate(parts)
    ]


def _reached(summary: Mapping[str, Any]) -> list[str]:
    return [
        f"{summary['depth_initial']} → {summary['depth_final']}",
        f"{summary['test_error']:.2f} %",
        f"{summary['val_error']:.2f} %",
        f"{summary['seconds']:.0f} s" + (", uncut" if "pruned" in summary else ""),
    ]


def _shown(value: Any) -> str:
    return "" if value is None else str(value)
