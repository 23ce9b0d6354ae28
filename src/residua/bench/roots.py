"""Searches for fixed points of known maps from the same starts, and what each finds."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from residua.bench.clock import seconds
from residua.bench.installed import missing
from residua.bench.maps import Map, Planted
from residua.dynamics.clusters import distinct
from residua.dynamics.residual_map import ResidualMap
from residua.dynamics.search import find_fixed_points

FOUND = 1e-9  # largest |F(x) − x| of what counts as a fixed point
LOOSE, NEAR = 1e-6, 1e-3  # the same, for whom a point so near to a known one is enough
SAME = 1e-6  # points closer than this are one
RATES = (0.1, 0.01, 0.001)  # of Adam
EDGE = 1e-12  # others than residua get logistic residuals this far from 0 and 1


@dataclass(frozen=True)
class Solver:
    """A way from starts to fixed points.

    Attributes:
        name: in tables.
        package: what has to be installed, if not residua or torch.
        solve: F, starts (start, unit) → where each ended, or the points that were found.
    """

    name: str
    package: str | None
    solve: Callable[[Map, Tensor], Tensor]


def _residua(F: Map, starts: Tensor) -> Tensor:
    return find_fixed_points(F, starts).fixed.points


def _torchdeq(key: str, steps: int, F: Map, starts: Tensor) -> Tensor:
    from torchdeq.solver import get_solver

    with torch.no_grad():
        ends: Tensor = get_solver(key)(F, starts, max_iter=steps, tol=1e-12, stop_mode="abs")[0]
    return ends


def _adam(rate: float, steps: int, F: Map, starts: Tensor) -> Tensor:
    """Return where Adam on ½‖F(x) − x‖² ends, its rate lowered a thousandfold along a cosine.

    fixed-point-finder descends so, with a rate that falls; it stops when all starts are there.
    """
    x = starts.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, rate / 1000)
    for _ in range(steps):
        optimizer.zero_grad()
        gap = F(x) - x
        if bool((gap.detach().abs() <= FOUND).all()):
            break
        (0.5 * gap.square().sum()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return x.detach()


def solvers(steps: int, descent: int) -> list[Solver]:
    """Return all, with so many iterations at most, and so many steps of Adam."""
    keys = ("anderson", "broyden", "fixed_point_iter")
    return [
        Solver("residua.find_fixed_points", None, _residua),
        *(Solver(f"torchdeq {k}", "torchdeq", partial(_torchdeq, k, steps)) for k in keys),
        *(Solver(f"Adam, rate {r:g}", None, partial(_adam, r, descent)) for r in RATES),
    ]


def _inside(F: Map) -> Map:
    """Return F for those who step outside of where a logistic residual map is defined."""
    if not isinstance(F, ResidualMap):
        return F
    return lambda y: F(y.clamp(EDGE, 1 - EDGE))


def search_all(
    problem: Planted, chosen: Sequence[Solver], starts: int, rounds: int
) -> dict[str, Any]:
    """Return what every solver finds from the same starts, and its time over residua's."""
    x = problem.starts(starts, seed=1)
    calls = {
        s.name: partial(s.solve, problem.step if k == 0 else _inside(problem.step), x)
        for k, s in enumerate(chosen)
        if not missing(s.package)
    }
    found = {name: _scored(problem, call()) for name, call in calls.items()}
    times = [{name: seconds(call) for name, call in calls.items()} for _ in range(rounds)]
    ours = chosen[0].name
    for name, of in found.items():
        of["ratio"] = statistics.median(t[name] / t[ours] for t in times)
    return {
        "name": problem.name,
        "said": problem.said,
        "known": len(problem.points),
        "all_known": problem.all_known,
        "starts": starts,
        "seconds": statistics.median(t[ours] for t in times),
        "solvers": found,
        "not_run": {s.name: why for s in chosen if (why := missing(s.package))},
    }


def _scored(problem: Planted, ends: Tensor) -> dict[str, Any]:
    """Return how many fixed points there are among ends, and how many of the known."""
    ends = ends[ends.isfinite().all(1)]
    if isinstance(problem.step, ResidualMap):
        ends = ends.clamp(0, 1)
    gap = (problem.step(ends) - ends).abs().amax(1)
    points, _ = distinct(ends[gap <= FOUND], gap[gap <= FOUND], SAME)
    return {
        "points": len(points),
        "known": _near(problem, points, 10 * SAME),
        "loose": _near(problem, ends[gap <= LOOSE], NEAR),
    }


def _near(problem: Planted, points: Tensor, distance: float) -> int:
    """Return how many known points have one of these beside them."""
    if not len(points):
        return 0
    return int((torch.cdist(problem.points, points, p=torch.inf).amin(1) < distance).sum())
