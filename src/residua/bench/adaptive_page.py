"""The benchmark of depth in training, in tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, sqrt
from statistics import fmean, stdev
from typing import Any

from residua.bench.adaptive import RULES
from residua.bench.depth_tables import interval
from residua.report.tables import Table

Results = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """A rule beside the grid, over seeds.

    Attributes:
        rule: which.
        depths: at the end.
        errors, grid: test errors in percent, the grid's at the depth of its lowest validation loss.
        layers, seconds: cost over that of the whole grid, in layers times epochs and in time.
    """

    rule: str
    depths: tuple[int, ...]
    errors: tuple[float, ...]
    grid: tuple[float, ...]
    layers: float
    seconds: float

    @property
    def gap(self) -> float:
        """By how many points it is above the grid's best."""
        return fmean(self.errors) - fmean(self.grid)

    @property
    def standard_error(self) -> float:
        """Of the grid's best, over seeds; NaN of one."""
        if len(self.grid) < 2:
            return float("nan")
        return stdev(self.grid) / sqrt(len(self.grid))


def outcomes(results: Results) -> dict[str, list[Outcome]]:
    """Return every rule of every task, over the seeds of which all is there."""
    found: dict[str, list[Outcome]] = {}
    for task in dict.fromkeys(r["task"] for r in results):
        of = _whole([r for r in results if r["task"] == task])
        if of:
            found[task] = [_outcome(of, rule) for rule in RULES]
    return found


def _whole(results: Results) -> list[Mapping[str, Any]]:
    """Return the results of the seeds of which every rule and every depth is there."""
    deepest = max(r["depth"] for r in results)
    every = {*((rule, deepest) for rule in RULES), *((None, d) for d in range(1, deepest + 1))}
    by_seed: dict[int, list[Mapping[str, Any]]] = {}
    for r in results:
        by_seed.setdefault(r["seed"], []).append(r)
    whole = [of for of in by_seed.values() if {(r["rule"], r["depth"]) for r in of} >= every]
    return [r for of in whole for r in of]


def _outcome(results: Results, rule: str) -> Outcome:
    runs = {r["seed"]: r for r in results if r["rule"] == rule}
    grids = {seed: [r for r in results if r["rule"] is None and r["seed"] == seed] for seed in runs}
    best = [min(grid, key=lambda r: r["val_loss"]) for grid in grids.values()]

    def share(key: str) -> float:
        shares = [runs[s][key] / sum(r[key] for r in g) for s, g in grids.items()]
        return fmean(shares)

    return Outcome(
        rule,
        tuple(r["depth_final"] for r in runs.values()),
        tuple(r["error"] for r in runs.values()),
        tuple(r["error"] for r in best),
        share("layer_epochs"),
        share("seconds"),
    )


def adaptive_tables(results: Results) -> list[Table]:
    """Return a table of each task."""
    return [_table(results, task, of) for task, of in outcomes(results).items()]


def _table(results: Results, task: str, of: Sequence[Outcome]) -> Table:
    said = next(r["said"] for r in results if r["task"] == task)
    seeds = len(of[0].errors)
    rows = [
        [
            o.rule,
            f"{fmean(o.depths):.1f}",
            _plus(o.errors),
            f"{o.gap:+.2f}",
            f"{o.layers:.1%}",
            f"{o.seconds:.1%}",
        ]
        for o in of
    ]
    grid = of[0]
    rows.append(["grid's best", "", _plus(grid.grid), "0", "100%", "100%"])
    error = "" if seeds < 2 else f" (one standard error: {grid.standard_error:.2f} points)"
    note = (
        f"{seeds} seed{'s' * (seeds != 1)}, mean ± half of the 95 % interval. The grid trains every "
        f"depth, and validation loss chooses{error}. Costs are shares of the grid's, in layers × "
        "epochs and in processor time."
    )
    header = ["rule", "layers", "test error, %", "above grid", "layer cost", "time"]
    return Table(f"depth in training: {said}", header, rows, note)


def _plus(values: Sequence[float]) -> str:
    mean, half = interval(values)
    return f"{mean:.2f}" + ("" if isnan(half) else f" ± {half:.2f}")
