"""Fixed points and eq. 3: residua beside other solvers, on the same maps from the same starts."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from residua.bench.flows import ERRORS, integrate_all
from residua.bench.installed import version_of
from residua.bench.maps import hopfield, pitchforks, random, residuals
from residua.bench.roots import search_all, solvers
from residua.bench.tasks import TASKS, trained
from residua.dynamics.residual_map import ResidualMap, first_pre_activation, residual_map
from residua.provenance import machine, versions

PARTS = 5  # three maps, two systems
PACKAGES = ("scipy", "torchdeq", "torchdiffeq")


def measure_dynamics(
    *, quick: bool, command: str, done: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Return what every solver finds and costs.

    Args:
        quick: fewer starts, steps and rounds.
        command: as typed, for the results.
        done: is told when one of `PARTS` is done.
    """
    starts, steps, descent, rounds = (64, 50, 100, 1) if quick else (1024, 300, 3_000, 3)
    errors = ERRORS[:1] if quick else ERRORS
    maps = []
    for problem in (hopfield(), pitchforks(), residuals()):
        maps.append(search_all(problem, solvers(steps, descent), starts, rounds))
        done()
    flows = []
    for said, F, z in _systems(quick=quick):
        times = torch.arange(12, dtype=z.dtype)
        flows.append({"said": said, **integrate_all(F, z, times, rounds, errors)})
        done()
    return {
        "maps": maps,
        "flows": flows,
        "starts": starts,
        "steps": steps,
        "descent": descent,
        "errors": errors,
        "quick": quick,
        "command": command,
        "versions": versions() | {p: version_of(p) or "not installed" for p in PACKAGES},
        "machine": machine(),
    }


def _systems(*, quick: bool) -> list[tuple[str, ResidualMap, torch.Tensor]]:
    """Return eq. 3 of a small random network, and of one trained on digits, in float64."""
    small = ResidualMap(0.3 * random(16, 16, seed=0))
    task = TASKS["digits-shared"]
    steps = 60 if quick else task.steps
    with TemporaryDirectory() as work:
        net: Any = trained(task, task.depth, steps, 0, Path(work)).double()
    x = task.data(0)[2].x[: 16 if quick else 360].double()
    with torch.no_grad():
        z = first_pre_activation(net, x)
    return [
        ("random weights, 16 logistic units, 16 samples", small, random(16, 16, seed=1)),
        (f"network trained on digits, 128 logistic units, {len(x)} samples", residual_map(net), z),
    ]
