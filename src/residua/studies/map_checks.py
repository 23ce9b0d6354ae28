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

PUSH = 1e-3
PUSHED = 32  # units that are pushed one by one, drawn by the seed where there are more
_TINY = 1e-12  # a change below this has no sign
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
    seen = _residuals(net, x)
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
def _residuals(net: ResNet, x: Tensor) -> Tensor:
    state, found = net.lift(x), []
    for t in range(net.depth):
        after = net.advance(t, state)
        found.append(after - state)
        state = after
    return torch.stack(found)


@torch.no_grad()
def signs(net: ResNet, x: Tensor, *, seed: int) -> dict[str, float]:
    """Return in how many pairs of units a push of y_j(1) moves unit i as the sign of w_ij says.

    The push of 10⁻³ is made in the network itself. `next`: of y_i(2); `lasting`: of all that i adds from
    layer 2 on. Pairs i ≠ j, over samples; changes below 10⁻¹² have no sign and are left out.
    """
    W = residual_map(net).W
    first = net.advance(0, net.lift(x))
    units = torch.randperm(len(W), generator=torch.Generator().manual_seed(seed))[:PUSHED]
    right = {"next": 0, "lasting": 0}
    asked = dict.fromkeys(right, 0)
    near, far = _added(net, first)
    for j in units.tolist():
        pushed = first.clone()
        pushed[:, j] += PUSH
        others = torch.arange(len(W)) != j
        for name, before, after in zip(right, (near, far), _added(net, pushed), strict=True):
            change = (after - before)[:, others]
            told = change.abs() > _TINY
            agree = (change > 0) == (W[others, j] > 0)
            right[name] += int((agree & told).sum())
            asked[name] += int(told.sum())
    return {name: right[name] / max(1, asked[name]) for name in right}


def _added(net: ResNet, first: Tensor) -> tuple[Tensor, Tensor]:
    """Return what layer 2 adds to the state after the first, and what all layers from it on do."""
    second = net.advance(1, first)
    state = second
    for t in range(2, net.depth):
        state = net.advance(t, state)
    return second - first, state - first


def points(W: Tensor, *, seed: int) -> dict[str, Any]:
    """Return whether the map itself confirms its enumerated fixed points, and a search finds them.

    Beside each isolated point that is not marginal the map is run for 2,000 steps from 20 places 10⁻³
    away at most: all end at half the distance of a stable point or less, some get ten times as far from
    another one.
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
        _returns(residuals, fixed.points[k], draw) == (fixed.verdicts[k] == "stable") for k in alone
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


def _returns(residuals: ResidualMap, point: Tensor, draw: torch.Generator) -> bool:
    away = BESIDE * (2 * torch.rand(TRIES, len(point), dtype=torch.float64, generator=draw) - 1)
    beside = torch.where((point == 0) | (point == 1), (point - away.abs()).abs(), point + away)
    z = torch.logit(beside.clamp(0, 1))
    path = residuals.trajectory(z, STEPS)
    gone = (path - point).abs().amax(2)
    return bool((gone[-1] <= gone[0] / 2).all()) and bool((gone.amax(0) < 10 * gone[0]).all())


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
