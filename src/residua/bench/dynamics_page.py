"""The dynamics benchmark in tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from residua.report.tables import Table


def dynamics_tables(found: Mapping[str, Any]) -> list[Table]:
    """Return a table of each map, and of each system."""
    return [
        *(_map_table(of, found) for of in found["maps"]),
        *(_flow_table(of, found["errors"]) for of in found["flows"]),
    ]


def _map_table(of: Mapping[str, Any], found: Mapping[str, Any]) -> Table:
    counted = "of these" if of["all_known"] else "of the planted"
    rows = [
        [
            name,
            str(one["known"] if of["all_known"] else one["points"]),
            f"{one['known']} of {of['known']}",
            f"{one['ratio']:.2f}",
        ]
        for name, one in of["solvers"].items()
    ]
    note = (
        f"{found['starts']} starts; at most {found['steps']} iterations, of Adam {found['descent']} "
        "steps. Only points with |F(x) − x| ≤ 1e-9 count"
        + (", of this map those that are known to be all. " if of["all_known"] else ". ")
        + f"residua took {of['seconds']:.2f} s."
        + _left(of)
    )
    header = ["solver", "fixed points", counted, "times residua's time"]
    if of["all_known"]:
        rows = [[name, known, ratio] for name, _, known, ratio in rows]
        header = ["solver", "fixed points", "times residua's time"]
    return Table(of["said"], header, rows, note)


def _flow_table(of: Mapping[str, Any], errors: Sequence[float]) -> Table:
    header = ["method", *(f"error {e:g}" for e in errors)]
    rows = [
        [name, *(_cost(one["at"][f"{e:g}"]) for e in errors)] for name, one in of["methods"].items()
    ]
    note = (
        "Times residua's time (and evaluations of eq. 3) at the same largest error of y, between "
        "settings on logarithmic axes." + _left(of)
    )
    return Table(f"eq. 3: {of['said']}", header, rows, note)


def _cost(cost: Mapping[str, float] | None) -> str:
    if cost is None:
        return "not reached"
    ratio = f"{cost['ratio']:.2f}" if "ratio" in cost else "—"
    return f"{ratio} ({cost['evaluations']:.0f})"


def _left(of: Mapping[str, Any]) -> str:
    left = [f"{name}: {why}" for name, why in of["not_run"].items()]
    return f" Not run: {'; '.join(left)}." if left else ""
