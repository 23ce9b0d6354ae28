"""Search for the fixed points of any map from many starts at once."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from residua.dynamics.clusters import distinct, one_per_cell, slow_points
from residua.dynamics.descent import Step, descend
from residua.dynamics.fixed_points import FixedPoints
from residua.dynamics.residual_map import ResidualMap
from residua.dynamics.stability import eigenvalues, odds_jacobian, odds_map
from residua.dynamics.stability import ode_jacobian as eq_3_jacobian
from residua.errors import InputError

Status = Literal["fixed point", "slow point", "outlier", "not converged"]
_STATUSES: tuple[Status, ...] = ("fixed point", "slow point", "outlier", "not converged")
_EDGE = 1e-9  # a logistic unit within this of 0 or 1 is there
_RESTS, _LOOK = 1e-9, 50  # a step this short ends the warm-up, looked at every so many steps
_CELL = 1e-3  # ends of the warm-up in one cell of a grid of this width are tried once
_ENTRIES = 20_000_000  # of Jacobians held at once: 160 MB


@dataclass(frozen=True)
class SearchConfig:
    """How a search proceeds.

    Attributes:
        tolerance: largest abs(F(y) − y) of a fixed point.
        distance: largest Newton step at a fixed point, an estimate of how far it is off: where a
            point is marginal a small speed alone says little.
        iterations: at most so many for each start.
        unique: points closer than this (maximum norm) are one.
        warm_up: each start is tried as it is and from where the map leads after at most so many steps,
            fewer where it rests before; Newton's steps alone can miss an attractor.
        outlier: a point farther from the starts' mean than so many times the farthest start is one.
        bounds: a point with a unit outside is an outlier too; default none, [0, 1] for logistic
            residuals.
    """

    tolerance: float = 1e-12
    distance: float = 1e-8
    iterations: int = 200
    unique: float = 1e-6
    warm_up: int = 1000
    outlier: float = 10.0
    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("tolerance", "distance", "iterations", "unique", "outlier"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.warm_up < 0:
            raise InputError(f"warm_up must be 0 or more, not {self.warm_up}")


@dataclass(frozen=True, eq=False)
class Search:
    """What a search found.

    Attributes:
        fixed: the fixed points, without repetition.
        slow: slow points, local minima of the speed that is not 0: (point, unit).
        slow_speed: max over units of abs(F(y) − y) there.
        status: how each start ended; the better of the start itself and of where the map leads from it.
    """

    fixed: FixedPoints
    slow: Float[Tensor, "slow unit"]
    slow_speed: Float[Tensor, "slow"]
    status: tuple[Status, ...]

    def __str__(self) -> str:
        count = {s: self.status.count(s) for s in dict.fromkeys(self.status)}
        ends = ", ".join(f"{status}: {n}" for status, n in count.items())
        return f"{self.fixed}\n{len(self.slow)} slow points\nstarts that ended as {ends}"


def find_fixed_points(
    step: Step,
    starts: Float[Tensor, "start unit"],
    config: SearchConfig | None = None,
    *,
    jacobian: Step | None = None,
    ode_jacobian: Step | None = None,
) -> Search:
    """Find fixed and slow points of a map F by safeguarded Newton steps (Levenberg–Marquardt).

    Minimises ½‖F(y) − y‖² in float64 from all starts at once; near a regular point the steps are
    Newton's. What does not meet tolerance and distance is never called a fixed point.

    Args:
        step: F, batched: (batch, unit) → (batch, unit), differentiable by torch.func. It is called in
            float64. A logistic :class:`ResidualMap` brings its Jacobians and bounds.
        starts: where to begin.
        config: tolerances, see :class:`SearchConfig`.
        jacobian: ∂F/∂y, batched: (batch, unit) → (batch, unit, unit). Default: by forward-mode
            differentiation.
        ode_jacobian: Jacobian of the continuous-time reading; default ∂F/∂y − 1.

    Raises:
        InputError: starts are not finite, or F changes their shape.

    Source: Sussillo and Barak, Neural Computation 25, 2013 (slow points); Nocedal and Wright,
        Numerical Optimization, 2006, chapter 10.
    """
    config = config or SearchConfig()
    inside: Step = _as_it_is
    if not isinstance(starts, Tensor):
        raise InputError(f"starts must be a tensor, not {type(starts).__name__}")
    y = starts.detach().double()
    if isinstance(step, ResidualMap) and step.activation == "logistic":
        step.pre_activation(y)  # refuses starts outside [0, 1]
        config = replace(config, bounds=config.bounds or (-_EDGE, 1 + _EDGE))
        W, h = step.W.double(), step.step_size
        step, jacobian = partial(odds_map, W, h), partial(odds_jacobian, W, h)
        ode_jacobian, inside = partial(eq_3_jacobian, W), _snapped
    _check(step, y)
    if jacobian is None:
        jacobian = _forward_jacobian(step)
    led, leads_to = _warmed_up(step, y, config.warm_up)
    attempts = torch.cat([y, led])
    size = max(1, _ENTRIES // y.shape[1] ** 2)
    limits = (config.tolerance, config.distance, config.iterations)
    ends = [descend(step, jacobian, part, *limits) for part in torch.split(attempts, size)]
    near = _near(torch.cat([e[0] for e in ends]), y, config)
    y, gap, gradient = (torch.cat([e[i] for e in ends]) for i in range(3))
    fixed = (gap <= config.tolerance) & torch.cat([e[3] for e in ends])
    points, counts = distinct(inside(y[fixed & near]), gap[fixed & near], config.unique)
    slow = near & ~fixed & (gradient <= 1e-2 * gap)
    slowest, lone = slow_points(step, y, gap, slow, config.unique)
    status: list[Status] = [
        "outlier" if f and not n else "fixed point" if f else "slow point" if s else "not converged"
        for f, n, s in zip(fixed.tolist(), near.tolist(), lone.tolist(), strict=True)
    ]
    return Search(
        _judge(step, points, counts, jacobian, ode_jacobian),
        slowest,
        (step(slowest) - slowest).abs().amax(1) if len(slowest) else gap[:0],
        tuple(
            min(status[k], status[m] if m >= 0 else status[k], key=_STATUSES.index)
            for k, m in enumerate(leads_to)
        ),
    )


def _warmed_up(step: Step, y: Tensor, steps: int) -> tuple[Tensor, list[int]]:
    """Return where the map leads from the starts, once for each place, and the attempt of each start.

    Attempts are counted on from the starts; −1 for a start that the map leads beyond all bounds.
    """
    starts = len(y)
    leads_to = np.full(starts, -1)
    if not steps:
        return y[:0], leads_to.tolist()
    with torch.no_grad():
        y = _iterated(step, y, steps)
        finite = y.isfinite().all(1)
        y = y[finite]
        gap = (step(y) - y).abs().amax(1)
    kept, _, cell = one_per_cell(y.numpy(force=True), gap.numpy(force=True), _CELL)
    leads_to[finite.numpy(force=True)] = starts + cell
    return y[kept], leads_to.tolist()


def _iterated(step: Step, y: Tensor, steps: int) -> Tensor:
    """Return the map's iterates; what moves by less than _RESTS is left where it is."""
    y, moving = y.clone(), torch.arange(len(y), device=y.device)
    for _ in range(0, steps, _LOOK):
        here = y[moving]
        for _ in range(_LOOK):
            before, here = here, step(here)
        y[moving] = here
        going = ((here - before).abs().amax(1) > _RESTS) & here.isfinite().all(1)
        moving = moving[going]
        if not len(moving):
            break
    return y


def _check(step: Step, y: Tensor) -> None:
    if y.ndim != 2 or not len(y) or not y.shape[1]:
        raise InputError(f"starts must be of shape (start, unit), not {tuple(y.shape)}")
    if not bool(y.isfinite().all()):
        raise InputError(f"{int((~y.isfinite()).any(1).sum())} starts hold NaN or infinite values")
    try:
        after = step(y[:1])
    except RuntimeError as error:
        raise InputError(
            f"the map fails on float64 starts of shape {tuple(y[:1].shape)} ({error}); a module becomes "
            "float64 by .double()"
        ) from error
    if not isinstance(after, Tensor):
        raise InputError(
            f"the map gives {type(after).__name__}, not a tensor; put the states of an LSTM cell side "
            "by side, (batch, 2 · unit)"
        )
    if after.shape != y[:1].shape:
        raise InputError(
            f"the map takes {tuple(y[:1].shape)} to {tuple(after.shape)}; pass one that keeps the shape "
            "(batch, unit)"
        )


def _as_it_is(y: Tensor) -> Tensor:
    return y


def _snapped(y: Tensor) -> Tensor:
    """Return logistic residuals with units within 1e-9 of 0 or 1 exactly there."""
    y = torch.where(y < _EDGE, torch.zeros_like(y), y)
    return torch.where(y > 1 - _EDGE, torch.ones_like(y), y)


def _forward_jacobian(step: Step) -> Step:
    # A batch of one, so that a step written for (batch, unit) needs no change.
    single = torch.func.jacfwd(lambda y: step(y[None])[0])
    return torch.func.vmap(single)


def _near(y: Tensor, starts: Tensor, config: SearchConfig) -> Tensor:
    centre = starts.mean(0)
    radius = (starts - centre).norm(dim=1).max().clamp(min=1.0)
    near: Tensor = (y - centre).norm(dim=1) <= config.outlier * radius
    if config.bounds is not None:
        near &= ((y >= config.bounds[0]) & (y <= config.bounds[1])).all(1)
    return near


def _judge(
    step: Step, points: Tensor, counts: Tensor, jacobian: Step, ode_jacobian: Step | None
) -> FixedPoints:
    n, units = points.shape
    empty = torch.zeros(0, units, dtype=torch.complex128)
    order = counts.argsort(descending=True)
    points, counts = points[order], counts[order]
    J = jacobian(points) if n else None
    identity = torch.eye(units, dtype=points.dtype, device=points.device)
    return FixedPoints(
        points,
        (step(points) - points).abs().amax(1) if n else points.new_zeros(0),
        eigenvalues(J) if J is not None else empty,
        eigenvalues(ode_jacobian(points) if ode_jacobian else J - identity)
        if J is not None
        else empty,
        torch.zeros(n, dtype=torch.int64),
        counts,
    )
