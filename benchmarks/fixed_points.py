"""Search for planted fixed points of two 16-unit maps from 1024 starts, against Adam descent.

One thread. The search ends at max abs(F(x) − x) ≤ 1e-12. Adam minimises ½‖F(x) − x‖² from the same
starts, 2,000 steps at each learning rate of a grid; the rate with the lowest median counts, and its
time is taken to where it first has that median. Stable points are checked by iterating the map from
100,000 starts. Writes docs/evidence/fixed_points.json.
"""

import json
import time
from collections.abc import Callable

import torch
from torch import Tensor

from residua.dynamics.search import find_fixed_points
from residua.provenance import machine, versions
from residua.studies.jobs import RESULTS

UNITS, STARTS, CHECKS = 16, 1024, 100_000
RATES = (0.3, 0.1, 0.03, 0.01, 0.003)
STEPS = 2000
Map = Callable[[Tensor], Tensor]


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def hopfield(seed: int) -> tuple[Map, Tensor]:
    """F(x) = tanh(A x), A of least norm with F(p) = p for 6 planted points p, and so for −p and 0."""
    p = 0.9 * torch.tanh(random(UNITS, 6, seed=seed))
    A = torch.atanh(p) @ torch.linalg.pinv(p)
    return (lambda x: torch.tanh(x @ A.T)), torch.cat([p.T, -p.T, torch.zeros(1, UNITS).double()])


def pitchforks(seed: int) -> tuple[Map, Tensor]:
    """Three pitchforks u + h(u − u³) and 13 decays u / 2 in rotated coordinates: 27 planted points."""
    Q = torch.linalg.qr(random(UNITS, UNITS, seed=seed)).Q
    roots = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    u = torch.zeros(27, UNITS, dtype=torch.float64)
    u[:, :3] = torch.cartesian_prod(roots, roots, roots)

    def step(x: Tensor) -> Tensor:
        v = x @ Q
        w = torch.cat([v[:, :3] + 0.3 * (v[:, :3] - v[:, :3] ** 3), v[:, 3:] / 2], 1)
        return w @ Q.T

    return step, u @ Q.T


def adam(step: Map, starts: Tensor, rate: float) -> tuple[list[float], float]:
    """Return the median of max abs(F(x) − x) after every step, and seconds a step."""
    x = starts.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=rate)
    medians = []
    begin = time.perf_counter()
    for _ in range(STEPS):
        r = step(x) - x
        optimizer.zero_grad()
        (0.5 * r.square().sum()).backward()
        optimizer.step()
        medians.append(r.detach().abs().amax(1).median())
    return [float(m) for m in medians], (time.perf_counter() - begin) / STEPS


def attractors(step: Map) -> Tensor:
    """Return where the map leads from many starts, distinct to 1e-6."""
    x = random(CHECKS, UNITS, seed=99).clamp(-1, 1)
    for _ in range(3000):
        x = step(x)
    x = x[(step(x) - x).abs().amax(1) < 1e-9]
    return torch.unique((x * 1e6).round(), dim=0) / 1e6


def farthest(points: Tensor, found: Tensor) -> float:
    """Return the largest distance from a point to the nearest that was found."""
    return float(torch.cdist(points, found, p=torch.inf).amin(1).max())


def measure(step: Map, planted: Tensor) -> dict[str, object]:
    starts = random(STARTS, UNITS, seed=1).clamp(-1, 1)
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        done = find_fixed_points(step, starts)
        times.append(time.perf_counter() - begin)
    seconds = sorted(times)[2]
    runs = [(rate, *adam(step, starts, rate)) for rate in RATES]
    rate, medians, each = min(runs, key=lambda run: min(run[1]))
    steps = medians.index(min(medians)) + 1
    found = done.fixed.points
    return {
        "seconds": seconds,
        "points": len(done.fixed),
        "largest_speed": float(done.fixed.speed.max()),
        "planted": len(planted),
        "farthest_planted": farthest(planted, found),
        "farthest_stable": farthest(attractors(step), found),
        "adam_rate": rate,
        "adam_reaches": min(medians),
        "adam_seconds": steps * each,
        "times_faster": steps * each / seconds,
    }


def main() -> None:
    torch.set_num_threads(1)
    maps = {"tanh(A x)": hopfield(0), "three pitchforks": pitchforks(0)}
    found = {name: measure(*problem) for name, problem in maps.items()}
    made = {
        "versions": versions(),
        "machine": machine(),
        "command": "python benchmarks/fixed_points.py",
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "fixed_points.json").write_text(json.dumps({"maps": found, **made}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
