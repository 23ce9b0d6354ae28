"""What C2, C3 and C4 ask of one trained network: eq. 3, the signs of W, the verdicts on fixed points."""

from itertools import islice
from typing import Any

import torch
from torch import Tensor

from residua.dynamics.enumeration import enumerate_fixed_points
from residua.dynamics.fixed_points import FixedPoints
from residua.dynamics.residual_map import ResidualMap, first_pre_activation, residual_map
from residua.dynamics.search import find_fixed_points
from residua.moments import class_means, one_hot
from residua.nets import ResNet
from residua.tracing import trace

PUSH = 1e-3
PUSHED = 32  # units that are pushed one by one, drawn by the seed where there are more
STARTS = 2000
BESIDE, STEPS, TRIES = 1e-3, 2000, 20


def against_eq3(net: ResNet, x: Tensor, labels: Tensor) -> dict[str, float]:
    """Return how far eq. 3, the exact map and y_1 kept are from the network.

    Mean over layers, classes and units of abs differences of class means of y_t, t = 1…T; `map` is the
    largest difference of a single sample's residual.

    Args:
        net: in float64, shared weights, logistic.
        x: samples, in float64.
        labels: their classes.
    """
    residuals, z = residual_map(net), first_pre_activation(net, x)
    seen = trace(net, x).residuals
    times = torch.arange(net.depth, dtype=z.dtype) * residuals.step_size
    scale = 1 / residuals.step_size
    exact = residuals.trajectory(z, net.depth)
    members = one_hot(labels, x, int(labels.max()) + 1)

    def apart(other: Tensor) -> float:
        gaps = [class_means(a - b, members) for a, b in zip(seen * scale, other, strict=True)]
        return float(torch.stack(gaps).abs().mean())

    return {
        "ode": apart(residuals.flow(z, times)),
        "map": float((seen * scale - exact).abs().max()),
        "map_mean": apart(exact),
        "constant": apart(seen[:1].expand_as(seen) * scale),
    }


@torch.no_grad()
def signs(net: ResNet, x: Tensor, *, seed: int) -> dict[str, float | None]:
    """Return by kind of pair in how many a push of either does to the other as the signs of W say.

    A push of 10⁻³ on y_j(1) is made in the network itself; what counts is the change of all that unit i
    adds from layer 2 to the last, and the same of i on j, both with the sign of its weight. Cooperation:
    both weights above 0, competition: both below, predation: of opposite signs. Over samples and pairs
    of up to 32 units; None where there is no pair of a kind.
    """
    W = residual_map(net).W
    first = net.advance(0, net.lift(x))
    units = torch.randperm(len(W), generator=torch.Generator().manual_seed(seed))[:PUSHED]
    still = _added(net, first)
    moved = []  # by unit pushed: change of what each of these units adds (sample, unit)
    for j in units.tolist():
        pushed = first.clone()
        pushed[:, j] += PUSH
        moved.append((_added(net, pushed) - still)[:, units])
    effect = torch.stack(moved, 2)  # (sample, i, j)
    weights = W[units][:, units]
    right = effect.sign() == weights.sign()
    both = right & right.transpose(1, 2)
    upper = torch.ones_like(weights, dtype=torch.bool).triu(1)
    kinds = {
        "cooperation": (weights > 0) & (weights.T > 0),
        "competition": (weights < 0) & (weights.T < 0),
        "predation": weights * weights.T < 0,
    }
    return {
        kind: float(both[:, where & upper].double().mean()) if bool((where & upper).any()) else None
        for kind, where in kinds.items()
    }


def _added(net: ResNet, first: Tensor) -> Tensor:
    """Return what all layers after the first add to the state."""
    state = first
    for t in range(1, net.depth):
        state = net.advance(t, state)
    return state - first


def points(W: Tensor, *, seed: int) -> dict[str, Any]:
    """Return whether the map itself confirms its enumerated fixed points, and a search finds them.

    Beside each isolated point that is not marginal the map is run for 2,000 steps from 20 places 10⁻³
    away at most. A stable point is confirmed where all end at half the distance or less and none gets
    ten times as far on the way, another one where some get ten times as far.
    """
    residuals = ResidualMap(W)
    fixed = enumerate_fixed_points(W)
    draw = torch.Generator().manual_seed(seed)
    alone = [
        k
        for k, verdict in enumerate(fixed.verdicts)
        if fixed.family[k] == 0 and verdict != "marginal"
    ]
    confirmed = [
        _confirmed(residuals, fixed.points[k], fixed.verdicts[k] == "stable", draw) for k in alone
    ]
    starts = torch.rand(STARTS, len(W), dtype=torch.float64, generator=draw)
    found = find_fixed_points(residuals, starts).fixed
    return {
        "count": len(fixed),
        "stable": fixed.verdicts.count("stable"),
        "disagree": int(fixed.disagree.sum()),
        "residual": float(fixed.speed.max()),
        "confirmed": sum(confirmed) / max(1, len(confirmed)),
        "found": _found(fixed, found),
    }


def _confirmed(residuals: ResidualMap, point: Tensor, stable: bool, draw: torch.Generator) -> bool:
    edge = torch.minimum(point, 1 - point)
    free = edge > 0
    reach = torch.where(free, (edge / 2).clamp(max=BESIDE), BESIDE)
    away = reach * (2 * torch.rand(TRIES, len(point), dtype=torch.float64, generator=draw) - 1)
    beside = torch.where(free, point + away, (point - away.abs()).abs())
    gone = (residuals.trajectory(torch.logit(beside), STEPS) - point).abs().amax(2)
    far = gone.amax(0) >= 10 * gone[0]
    return bool((gone[-1] <= gone[0] / 2).all() and not far.any()) if stable else bool(far.any())


def _found(fixed: FixedPoints, found: FixedPoints) -> float:
    """Return the share of isolated points that are among those found."""
    alone = fixed.points[fixed.family == 0]
    if not len(found):
        return 0.0
    return float((torch.cdist(alone, found.points, p=torch.inf).amin(1) < 1e-6).double().mean())


def symmetric_share(W: Tensor) -> float:
    """Return ‖½(W + Wᵀ)‖² / ‖W‖²: 1 of a symmetric W, 0 of an antisymmetric one, ½ of a random one."""
    return float(((W + W.T) / 2).square().sum() / W.square().sum())


def speed_at(residuals: ResidualMap, z: Tensor, layer: int) -> Tensor:
    """Return of each sample the largest step of a unit's residual from a layer, from 1, to the next."""
    here = next(islice(residuals.iterate(z), layer - 1, None))
    y, after = residuals.residual(here), residuals.residual(residuals.step(here))
    return (after - y).abs().amax(1)
