"""docs/benchmarks.md from the stored results of all benchmarks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from residua.bench.adaptive_page import adaptive_tables
from residua.bench.cells import checked, made_by
from residua.bench.depth_page import depth_markdown
from residua.bench.dynamics_page import dynamics_tables
from residua.bench.trace_page import trace_tables
from residua.bench.verdicts import verdicts
from residua.errors import InputError
from residua.report.tables import Table
from residua.stored import read_json

_LEAD = """# Benchmarks

residua beside other methods and tools: what is compared ran on one machine, side by side. Written by
`residua bench page`; every figure comes from a stored result, and none is chosen by hand. Lines that say
"missed" are as measured."""


def benchmarks_page(folder: Path, command: str) -> str:
    """Return the page of all results in a folder.

    Args:
        folder: what `residua bench` wrote, in any folders of it: cells of `depth` and `adaptive`,
            trace.json, dynamics.json.
        command: that writes the page, for its first lines.

    Raises:
        InputError: the folder holds no results.
    """
    paths = sorted(folder.rglob("cells/*.json"))
    _refuse_copies(paths)
    cells = [checked(path, read_json(path)) for path in paths]
    depth = _in_order([c for c in cells if "methods" in c])
    adaptive = _in_order([c for c in cells if "layer_epochs" in c])
    trace, dynamics = (_one(folder, name) for name in ("trace.json", "dynamics.json"))
    if not (depth or adaptive or trace or dynamics):
        raise InputError(
            f"{str(folder)!r} holds no results of residua bench; pass the folder given to it as --out"
        )
    parts = [_LEAD, f"Command of this page: `{command}`."]
    parts += [_section(verdicts(depth, adaptive, trace))]
    if depth:
        parts += ["## Depth after training", depth_markdown(depth)]
    if adaptive:
        parts += ["## Depth in training", f"{made_by(adaptive)}."]
        parts += [_section(t, "###") for t in adaptive_tables(adaptive)]
    for title, found, tables in (
        ("Looking into a model", trace, trace_tables),
        ("Dynamics", dynamics, dynamics_tables),
    ):
        if found:
            parts += [f"## {title}", _made(found), *(_section(t, "###") for t in tables(found))]
    return "\n\n".join(parts) + "\n"


def _refuse_copies(paths: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in paths:
        if path.name in seen:
            raise InputError(f"one cell is there twice: {seen[path.name]}, {path}; leave one")
        seen[path.name] = path


def _in_order(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(cells, key=lambda c: (c["task"], -c["depth"], -c.get("keep", 0), c["seed"]))


def _one(folder: Path, name: str) -> dict[str, Any] | None:
    paths = sorted(folder.rglob(name))
    if len(paths) > 1:
        raise InputError(f"{str(folder)!r} holds several {name}: {paths[0]}, {paths[1]}; leave one")
    return read_json(paths[0]) if paths else None


def _section(table: Table, level: str = "##") -> str:
    return f"{level} {table.title}\n\n{table.markdown()}"


def _made(result: Mapping[str, Any]) -> str:
    """Return how one result was made, with the versions of the tools in it."""
    more = [f", {name} {v or 'not installed'}" for name, v in result.get("tools", {}).items()]
    return f"{made_by([result])}{''.join(more)}."
