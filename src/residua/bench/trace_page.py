"""The trace benchmark in tables."""

import statistics
from collections.abc import Mapping
from typing import Any

from residua.bench.tools import TOOLS
from residua.report.tables import Table


def trace_tables(found: Mapping[str, Any]) -> list[Table]:
    """Return a table of each model, and what every tool keeps."""
    kept = [[t.name, t.keeps, t.formula] for t in TOOLS]
    note = "B samples, tokens together; N units; T layers."
    return [
        *map(_table, found["models"]),
        Table("what is kept", ["", "what", "numbers"], kept, note),
    ]


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
    left = [f"{name}: {why}" for name, why in model["not_run"].items()]
    return Table(model["said"], header, rows, f"Not run: {'; '.join(left)}." if left else "")
