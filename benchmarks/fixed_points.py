"""Search for planted fixed points of two 16-unit maps from 1024 starts, against Adam descent.

One thread. The search ends at max abs(F(x) − x) ≤ 1e-12. Adam minimises ½‖F(x) − x‖² from the same
starts, 20,000 steps at each learning rate of a grid; of every start the smallest abs(F(x) − x) so far
counts, and only starts that come within 0.01 of a fixed point, since others end in slow points. The
tolerance that Adam reaches at a rate, 1e-12 at best, is that of the last of these starts (and, apart, of
the median). The best rate is the one with the lowest tolerance, at equal tolerance the fastest; its time
is that of the step at which all (half) are there. The search is timed to the same tolerance, and all of
it: slow points, uniqueness, verdicts. Stable points are checked by iterating the map from 100,000
starts. Writes docs/evidence/fixed_points.json.
"""

import json
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from residua.bench.clock import seconds
from residua.bench.maps import UNITS, Map, Planted, hopfield, pitchforks, random
from residua.dynamics.search import SearchConfig, find_fixed_points
from residua.provenance import machine, versions
from residua.studies.jobs import RESULTS

STARTS, CHECKS = 1024, 100_000
RATES = (0.3, 0.1, 0.03, 0.01, 0.003)
STEPS = 20_000
NEAR, TOLERANCE = 0.01, 1e-12


@dataclass(frozen=True)
class Descent:
    """What Adam reached at one rate: tolerance of a quantile of its starts, and seconds to it."""

    rate: float
    starts: int
    tolerance: dict[str, float]
    seconds: dict[str, float]


def adam(step: Map, starts: Tensor, rate: float, points: Tensor) -> Descent:
    """Descend from all starts; see when all, and half, of those near a point are at their lowest."""
    x = starts.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=rate)
    best = torch.full((len(starts),), torch.inf, dtype=torch.float64)
    where = starts.clone()
    reached = torch.zeros(len(starts), dtype=torch.int64)
    spent = 0.0  # of Adam alone, without what is kept here of its best steps
    for k in range(STEPS):
        begin = time.perf_counter()
        r = step(x) - x
        optimizer.zero_grad()
        (0.5 * r.square().sum()).backward()
        spent += time.perf_counter() - begin
        now = r.detach().abs().amax(1)
        better = (now < best) & (best > TOLERANCE)
        best = torch.where(better, now, best)
        where = torch.where(better[:, None], x.detach(), where)
        reached[better] = k + 1
        begin = time.perf_counter()
        optimizer.step()
        spent += time.perf_counter() - begin
    each = spent / STEPS
    near = torch.cdist(where, points, p=torch.inf).amin(1) < NEAR
    gaps, at = best[near].sort()
    steps = reached[near][at]
    ends = {"all": int(near.sum()) - 1, "median": int(near.sum()) // 2}
    return Descent(
        rate,
        int(near.sum()),
        {name: max(float(gaps[k]), TOLERANCE) for name, k in ends.items()},
        {name: float(steps[: k + 1].max()) * each for name, k in ends.items()},
    )


def attractors(step: Map) -> Tensor:
    """Return where the map leads from many starts, distinct to 1e-6."""
    x = random(CHECKS, UNITS, seed=99).clamp(-1, 1)
    for _ in range(3000):
        x = step(x)
    x = x[(step(x) - x).abs().amax(1) < 1e-9]
    cells = (x * 1e6).round()
    _, first = np.unique(cells.numpy(), axis=0, return_index=True)
    return x[first]


def farthest(points: Tensor, found: Tensor) -> float:
    """Return the largest distance from a point to the nearest that was found."""
    return float(torch.cdist(points, found, p=torch.inf).amin(1).max())


def search_seconds(step: Map, starts: Tensor, tolerance: float) -> float:
    """Return the median time of five searches."""
    config = SearchConfig(tolerance=tolerance, distance=max(tolerance, 1e-8))
    times = []
    for _ in range(5):
        times.append(seconds(lambda: find_fixed_points(step, starts, config)))
    return sorted(times)[2]


def measure(problem: Planted) -> dict[str, object]:
    step, planted = problem.step, problem.points
    starts = random(STARTS, UNITS, seed=1).clamp(-1, 1)
    done = find_fixed_points(step, starts)
    found = done.fixed.points
    runs = [adam(step, starts, rate, found) for rate in RATES]
    led_to = attractors(step)
    against = {}
    for name in ("all", "median"):
        best = min(runs, key=lambda run: (run.tolerance[name], run.seconds[name]))
        ours = search_seconds(step, starts, best.tolerance[name])
        against[name] = {
            "adam_rate": best.rate,
            "adam_starts": best.starts,
            "adam_reaches": best.tolerance[name],
            "adam_seconds": best.seconds[name],
            "seconds": ours,
            "times_faster": best.seconds[name] / ours,
        }
    return {
        "seconds": search_seconds(step, starts, TOLERANCE),
        "points": len(done.fixed),
        "largest_speed": float(done.fixed.speed.max()),
        "planted": len(planted),
        "farthest_planted": farthest(planted, found),
        "stable": done.fixed.verdicts.count("stable"),
        "attractors": len(led_to),
        "farthest_stable": farthest(led_to, found),
        "adam": against,
    }


def main() -> None:
    torch.set_num_threads(1)
    found = {problem.name: measure(problem) for problem in (hopfield(), pitchforks())}
    made = {
        "bound": 50,
        "versions": versions(),
        "machine": machine(),
        "command": "make bench",
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "fixed_points.json").write_text(json.dumps({"maps": found, **made}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
