"""What the cells of the depth benchmark come to: means over seeds, who is first, where ours is not."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from residua.bench.depth_cell import COLUMNS, OURS
from residua.studies import tables

SEEDS = 5  # at least, of a cell that counts
POINTS, SHARE = 0.1, 0.01  # gaps below these are ties: points of error, share of a loss
HEADS = {"raw": "raw", "compensated": "with compensation", "healed": "after healing"}
ORACLE = "exhaustive"
PATCHED = "replaceme, own patch"
SAME_PLAN = "residua, plan as compensated"
CHOSEN = "best of the others in validation"
APART = (ORACLE, SAME_PLAN, CHOSEN)  # shown, and no rivals
RANDOM = "random (mean of 5)"
Results = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Standing:
    """One cell of the leaderboard: a task cut to a depth, in one column, over seeds.

    Attributes:
        task, keep, column: which.
        of_loss: whether the loss is compared, of tokens; else the error in percent.
        values: of every method one figure a seed, the lower the better.
        seeds: how many.
    """

    task: str
    keep: int
    column: str
    of_loss: bool
    values: Mapping[str, Sequence[float]]

    @property
    def seeds(self) -> int:
        """How many seeds there are."""
        return len(self.values[OURS])

    @property
    def best(self) -> tuple[str, float]:
        """The best of the other methods in the mean, the oracle apart, and its figure."""
        return self.best_beside(OURS)

    def best_beside(self, name: str) -> tuple[str, float]:
        """Return the best of all methods but one in the mean, those apart left out, and its figure."""
        means = {n: float(np.mean(v)) for n, v in self.values.items() if n not in (name, *APART)}
        best = min(means, key=lambda n: means[n])
        return best, means[best]

    def leads(self, name: str) -> bool:
        """Return whether a method is first or tied, judged as ours is; not where it was refused."""
        if name not in self.values:
            return False
        best = self.best_beside(name)[1]
        return self.tied(float(np.mean(self.values[name])) - best, best)

    @property
    def gap(self) -> float:
        """By how much ours is above the best of the others, in the mean over the same seeds."""
        return float(np.mean(self.values[OURS])) - self.best[1]

    def behind(self, name: str) -> float:
        """Return by how much ours is above a method, in the mean."""
        return float(np.mean(self.values[OURS]) - np.mean(self.values[name]))

    def tied(self, gap: float, other: float) -> bool:
        """Return whether ours is first, or behind by less than what counts."""
        return gap < (SHARE * other if self.of_loss else POINTS)

    @property
    def paired(self) -> tuple[float, float]:
        """The gap to the best of the others, and half of its 95 % interval over paired seeds."""
        pairs = zip(self.values[OURS], self.values[self.best[0]], strict=True)
        return interval([ours - theirs for ours, theirs in pairs])

    @property
    def first(self) -> bool:
        """Whether ours is first or tied."""
        return self.tied(self.gap, self.best[1])


def standings(results: Results) -> list[Standing]:
    """Return every task, depth and column over all seeds that are there."""
    found: dict[tuple[str, int, str], list[Mapping[str, Any]]] = defaultdict(list)
    for cell in results:
        if "scratch" in cell:
            for column in COLUMNS:
                found[cell["task"], cell["keep"], column].append(cell)
    return [_standing(*key, cells) for key, cells in found.items()]


def _standing(task: str, keep: int, column: str, cells: list[Mapping[str, Any]]) -> Standing:
    of_loss = cells[0]["uncut"]["error"] is None
    key = "loss" if of_loss else "error"
    values: dict[str, list[float]] = {}
    for name in cells[0]["methods"]:
        each = [c["methods"][name] for c in cells]
        if not any("refused" in one for one in each):
            values[name] = [one[column][key] for one in each]
    drawn = [values.pop(n) for n in list(values) if n.startswith("random-")]
    if len(values) > 2:
        values[CHOSEN] = [_chosen(c, column)[column][key] for c in cells]
    if column == "raw" and all("plain" in c["methods"][OURS] for c in cells):
        values[SAME_PLAN] = [c["methods"][OURS]["plain"][key] for c in cells]
    if drawn:
        values[RANDOM] = np.mean(drawn, 0).tolist()
    if column == "compensated" and "patched" in cells[0]["methods"].get("replaceme", {}):
        values[PATCHED] = [c["methods"]["replaceme"]["patched"][key] for c in cells]
    return Standing(task, keep, column, of_loss, values)


def _chosen(cell: Mapping[str, Any], column: str) -> Mapping[str, Any]:
    """Return the method that validation prefers, of those that are neither ours nor apart nor drawn."""
    others: list[Mapping[str, Any]] = [
        m
        for n, m in cell["methods"].items()
        if n not in (OURS, ORACLE) and not n.startswith("random-") and "refused" not in m
    ]
    return min(others, key=lambda m: float(m[column]["val_loss"]))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean over seeds and the half width of its 95 % interval (NaN of one seed)."""
    mean, _, high = tables.interval(np.array(values))
    return mean, high - mean


class Recovered(NamedTuple):
    """Shares of the loss between raw and uncut that are given back, means over seeds.

    Attributes:
        ours: by compensation, of our plan.
        same_plan: by compensation, of ReplaceMe's plan.
        patch: by ReplaceMe's patch, of the same.
    """

    ours: float
    same_plan: float
    patch: float


def recovered(results: Results) -> dict[tuple[str, int], Recovered]:
    """Return what compensation gives back in every cut; NaN where no cut loses anything."""
    found: dict[tuple[str, int], list[Recovered]] = defaultdict(list)
    for cell in results:
        if "scratch" in cell:
            found[cell["task"], cell["keep"]].append(_recovered(cell))
    return {
        key: Recovered(*(_known_mean([v[i] for v in values]) for i in range(3)))
        for key, values in found.items()
    }


def _recovered(cell: Mapping[str, Any]) -> Recovered:
    uncut, methods = cell["uncut"]["loss"], cell["methods"]
    ours = _share(methods[OURS], "compensated", uncut)
    theirs = methods.get("replaceme", {})
    if "patched" not in theirs:
        return Recovered(ours, math.nan, math.nan)
    return Recovered(ours, *(_share(theirs, c, uncut) for c in ("compensated", "patched")))


def _known_mean(values: Sequence[float]) -> float:
    known = [v for v in values if v == v]
    return fmean(known) if known else math.nan


def _share(method: Mapping[str, Any], column: str, uncut: float) -> float:
    raw = method["plain"]["loss"] if "plain" in method else method["raw"]["loss"]
    return (raw - method[column]["loss"]) / (raw - uncut) if raw > uncut else float("nan")


def led(found: Iterable[Standing]) -> tuple[int, int]:
    """Return in how many cells ours is first or tied, and of how many."""
    each = [s.first for s in found]
    return sum(each), len(each)
