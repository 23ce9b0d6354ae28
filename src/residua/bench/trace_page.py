"""The trace benchmark in tables."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from residua.bench.floor import PASSES
from residua.bench.installed import left_out
from residua.bench.tools import TOOLS
from residua.report.tables import Table


def trace_tables(found: Mapping[str, Any]) -> list[Table]:
    """Return a table of each model, and what every tool keeps."""
    kept = [[t.name, t.keeps, t.formula] for t in TOOLS]
    note = (
        "B samples, tokens together; N units; T layers. torchlens replaces torch's functions by its "
        "own, which slows down whatever runs afterwards; so it is measured after all others, beside a "
        "forward pass of its own."
    )
    return [
        *map(_table, found["models"]),
        Table("what is kept", ["", "what", "numbers"], kept, note),
        _floor(found["models"]),
    ]


def _floor(models: Sequence[Mapping[str, Any]]) -> Table:
    read, written = (sum(p[i] for p in PASSES.values()) for i in (0, 1))
    rows = [
        [
            m["name"],
            f"{m['floor']['layers']} × {m['floor']['numbers']:,}",
            f"{m['floor']['bytes'] / 2**20:.0f} MiB",
            f"{m['floor']['bytes_a_second'] / 1e9:.0f} GB/s",
            f"{1000 * m['floor']['floor_seconds']:.1f} ms",
            f"{1000 * m['floor']['extra_seconds']:.1f} ms",
            f"{1000 * m['floor']['forward_seconds']:.1f} ms",
        ]
        for m in models
    ]
    note = (
        f"A layer's numbers are read {read} times and written {written} times ({'; '.join(PASSES)}). "
        "The floor is what sums of two arrays of a part's size, the same again and again, take for as "
        "many bytes; beyond it are some 20 calls a layer, hooks, and states that lie in memory far "
        "away. Without labels, so that all samples are one class."
    )
    header = ["", "layers × numbers", "moved", "rate", "floor", "measured", "forward"]
    return Table("streamed statistics: their floor, for a batch", header, rows, note)


def _table(model: Mapping[str, Any]) -> Table:
    header = ["tool", "times forward", "of all rounds", "MiB held"]
    rows = [
        [
            name,
            f"{statistics.median(of['ratios']):.2f}",
            f"{of['ratios'][0]:.2f} to {of['ratios'][-1]:.2f}",
            f"{of['bytes'] / 2**20:.2f}",
        ]
        for name, of in model["tools"].items()
    ]
    return Table(model["said"], header, rows, left_out(model["not_run"]))
