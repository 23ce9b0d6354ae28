"""The dynamics benchmark in tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from residua.bench.flows import PATIENCE
from residua.bench.installed import left_out
from residua.report.tables import Table


def dynamics_tables(found: Mapping[str, Any]) -> list[Table]:
    """Return a table of each map, and of each system."""
    return [
        *(_map_table(of, found) for of in found["maps"]),
        *(_flow_table(of, found["errors"]) for of in found["flows"]),
    ]


def _map_table(of: Mapping[str, Any], found: Mapping[str, Any]) -> Table:
    rows = [
        [
            name,
            *([] if of["all_known"] else [str(one["points"])]),
            f"{one['known']} of {of['known']}",
            f"{one['loose']} of {of['known']}",
            f"{one['ratio']:.2f}",
        ]
        for name, one in of["solvers"].items()
    ]
    note = (
        f"{found['starts']} starts. A point counts where |F(x) − x| ≤ 1e-9; in the column 1e-6 it may "
        f"be so large, and the point 1e-3 off. torchdeq: at most {found['steps']} iterations; Adam: "
        f"{found['descent']} steps. residua: from each start and from where up to 1000 steps of the map "
        "lead, at most 200 steps of Newton each; of a residual map it knows the Jacobian. It took "
        f"{of['seconds']:.2f} s. {left_out(of['not_run'])}"
    )
    more = [] if of["all_known"] else ["fixed points"]
    known = "of all points" if of["all_known"] else "of the planted"
    return Table(
        of["said"], ["solver", *more, known, "to 1e-6", "times residua's time"], rows, note.rstrip()
    )


def _flow_table(of: Mapping[str, Any], errors: Sequence[float]) -> Table:
    header = ["method", *(f"error {e:g}" for e in errors)]
    rows = [
        [name, *(_cost(one["at"][f"{e:g}"]) for e in errors)] for name, one in of["methods"].items()
    ]
    note = (
        "Times residua's time (and evaluations of eq. 3) at the same largest error of y, between "
        f"settings on logarithmic axes. Not reached: not by the finest setting, or that would take more "
        f"than {PATIENCE:g} s. {left_out(of['not_run'])}"
    )
    return Table(f"eq. 3: {of['said']}", header, rows, note.rstrip())


def _cost(cost: Mapping[str, float] | None) -> str:
    if cost is None:
        return "not reached"
    ratio = f"{cost['ratio']:.2f}" if "ratio" in cost else "—"
    return f"{ratio} ({cost['evaluations']:.0f})"
