"""Search for the fixed points of any map from many starts at once."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

from residua.dynamics.fixed_points import FixedPoints
from residua.dynamics.residual_map import ResidualMap
from residua.dynamics.stability import eigenvalues
from residua.dynamics.stability import ode_jacobian as eq_3_jacobian
from residua.errors import InputError

Step = Callable[[Tensor], Tensor]
Status = Literal["fixed point", "slow point", "outlier", "not converged"]
_ENTRIES = 20_000_000  # of Jacobians held at once: 160 MB
_SLOW = 1e-3  # a gradient this far below a speed of at least this leads to no root
_COARSE = 0.01  # ends closer than this are polished to a slow point once
_POLISH = 50  # Newton steps at most for a slow point


@dataclass(frozen=True)
class SearchConfig:
    """How a search proceeds.

    Attributes:
        tolerance: largest abs(F(y) − y) of a fixed point.
        distance: largest Newton step at a fixed point, an estimate of how far it is off: where a
            point is marginal a small speed alone says little.
        iterations: at most so many for each start.
        unique: points closer than this (maximum norm) are one.
        warm_up: each start is tried as it is and after so many steps of the map, which lead to what
            attracts; Newton's steps alone can miss an attractor.
        outlier: a point farther from the starts' mean than so many times the farthest start is one.
        bounds: a point with a unit outside is an outlier too; default none, [0, 1] for logistic
            residuals.
    """

    tolerance: float = 1e-12
    distance: float = 1e-8
    iterations: int = 200
    unique: float = 1e-6
    warm_up: int = 100
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
        status: how each start ended.
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
    y = starts.detach().double()
    if isinstance(step, ResidualMap) and step.activation == "logistic":
        step.pre_activation(y)  # refuses starts outside [0, 1]
        config = replace(config, bounds=config.bounds or (-1e-9, 1 + 1e-9))
        W, h = step.W.double(), step.step_size
        step, jacobian = partial(_odds, W, h), partial(_odds_jacobian, W, h)
        ode_jacobian = partial(eq_3_jacobian, W)
    _check(step, y)
    if jacobian is None:
        jacobian = _forward_jacobian(step)
    attempts = torch.cat([y, _warm_up(step, y, config.warm_up)])
    size = max(1, _ENTRIES // y.shape[1] ** 2)
    ends = [_descend(step, jacobian, part, config) for part in torch.split(attempts, size)]
    near = _near(torch.cat([e[0] for e in ends]), y, config)
    y, gap, gradient = (torch.cat([e[i] for e in ends]) for i in range(3))
    fixed = (gap <= config.tolerance) & torch.cat([e[3] for e in ends])
    points, counts = _distinct(y[fixed & near], gap[fixed & near], config.unique)
    slow = near & ~fixed & (gradient <= 1e-2 * gap)
    slow_points, lone = _slow_points(step, y, gap, slow, config.unique)
    status: list[Status] = [
        "outlier" if f and not n else "fixed point" if f else "slow point" if s else "not converged"
        for f, n, s in zip(fixed.tolist(), near.tolist(), lone.tolist(), strict=True)
    ]
    return Search(
        _judge(step, points, counts, jacobian, ode_jacobian),
        slow_points,
        (step(slow_points) - slow_points).abs().amax(1) if len(slow_points) else gap[:0],
        tuple(status[: len(starts)]),
    )


def _odds(W: Tensor, h: float, y: Tensor) -> Tensor:
    """Return y e^a / (1 − y + y e^a) with a = h W y: the residual map, smooth beyond [0, 1] too."""
    a = h * (y @ W.T)
    u = torch.exp(-a.abs())
    return torch.where(a > 0, y / (y + (1 - y) * u), y * u / (1 - y + y * u))


def _odds_jacobian(W: Tensor, h: float, y: Tensor) -> Tensor:
    a = h * (y @ W.T)
    u = torch.exp(-a.abs())
    norm = torch.where(a > 0, y + (1 - y) * u, 1 - y + y * u)
    own = u / norm**2
    J: Tensor = torch.diag_embed(own) + h * (own * y * (1 - y))[..., None] * W
    return J


def _warm_up(step: Step, y: Tensor, steps: int) -> Tensor:
    """Return where the map leads from the starts, without those that leave all bounds."""
    with torch.no_grad():
        for _ in range(steps):
            y = step(y)
    return y[y.isfinite().all(1)] if steps else y[:0]


def _check(step: Step, y: Tensor) -> None:
    if y.ndim != 2 or not len(y) or not y.shape[1]:
        raise InputError(f"starts must be of shape (start, unit), not {tuple(y.shape)}")
    if not bool(y.isfinite().all()):
        raise InputError(f"{int((~y.isfinite()).any(1).sum())} starts hold NaN or infinite values")
    after = step(y[:1])
    if after.shape != y[:1].shape:
        raise InputError(
            f"the map takes {tuple(y[:1].shape)} to {tuple(after.shape)}; pass one that keeps the shape "
            "(batch, unit)"
        )


def _forward_jacobian(step: Step) -> Step:
    # A batch of one, so that a step written for (batch, unit) needs no change.
    single = torch.func.jacfwd(lambda y: step(y[None])[0])
    return torch.func.vmap(single)


def _descend(
    step: Step, jacobian: Step, y: Tensor, config: SearchConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the ends of all starts, their gap, gradient norm, and whether the last step was short."""
    y = y.clone()
    gap = torch.full((len(y),), torch.inf, dtype=y.dtype, device=y.device)
    gradient, close = gap.clone(), torch.zeros_like(gap, dtype=torch.bool)
    damping = torch.full_like(gap, 1e-3)
    active = torch.arange(len(y), device=y.device)
    identity = torch.eye(y.shape[1], dtype=y.dtype, device=y.device)
    r = step(y) - y
    for _ in range(config.iterations):
        here = y[active]
        J = jacobian(here) - identity
        slope = torch.einsum("bij,bi->bj", J, r)
        size = r.abs().amax(1)
        gap[active], gradient[active] = size, slope.abs().amax(1)
        move = _levenberg_marquardt(J, slope, damping[active])
        trial = here + move
        after = step(trial) - trial
        better = after.square().sum(1) < r.square().sum(1)
        # At rounding level a step no longer improves; then the step itself says how far off y is.
        short = (size <= config.tolerance) & (move.abs().amax(1) <= config.distance)
        close[active] = short
        y[active] = torch.where(better[:, None], trial, here)
        r = torch.where(better[:, None], after, r)
        damping[active] = torch.where(better, damping[active] / 10, damping[active] * 10).clamp(
            1e-16, 1e16
        )
        stuck = ~better & (damping[active] >= 1e15)
        # A minimum that is no root: Newton's steps on the speed itself finish it (_slowest).
        slow = (size >= _SLOW) & (gradient[active] <= _SLOW * size)
        going = ~(short | stuck | slow) & y[active].isfinite().all(1)
        active, r = active[going], r[going]
        if not len(active):
            break
    return y, gap, gradient, close


def _levenberg_marquardt(J: Tensor, slope: Tensor, damping: Tensor) -> Tensor:
    """Return −(JᵀJ + λ s 1)⁻¹ Jᵀr with λ the damping and s the mean of the diagonal of JᵀJ."""
    A = J.mT @ J
    scale = A.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-300)
    A.diagonal(dim1=1, dim2=2).add_((damping * scale)[:, None])
    solution, info = torch.linalg.solve_ex(A, -slope[..., None])
    move = solution[..., 0]
    good = (info == 0) & move.isfinite().all(1)
    return torch.where(good[:, None], move, -slope / scale[:, None])


def _near(y: Tensor, starts: Tensor, config: SearchConfig) -> Tensor:
    centre = starts.mean(0)
    radius = (starts - centre).norm(dim=1).max().clamp(min=1.0)
    near: Tensor = (y - centre).norm(dim=1) <= config.outlier * radius
    if config.bounds is not None:
        near &= ((y >= config.bounds[0]) & (y <= config.bounds[1])).all(1)
    return near


def _distinct(points: Tensor, gap: Tensor, unique: float) -> tuple[Tensor, Tensor]:
    """Return of each cluster of points the one with the smallest gap, and the clusters' sizes."""
    if not len(points):
        return points, torch.zeros(0, dtype=torch.int64)
    where, sizes = _on_a_grid(points.numpy(force=True), gap.numpy(force=True), unique / 2)
    seen = points.numpy(force=True)[where]
    pairs = cKDTree(seen).query_pairs(unique, p=np.inf, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(seen),) * 2)
    count, label = connected_components(links, directed=False)
    order = gap.numpy(force=True)[where].argsort(kind="stable")
    first = [where[order[np.flatnonzero(label[order] == k)[0]]] for k in range(count)]
    return points[first], torch.from_numpy(np.bincount(label, sizes, count).astype(np.int64))


def _on_a_grid(
    points: np.ndarray, gap: np.ndarray, spacing: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return one point of each cell of a grid, that with the smallest gap, and the cells' sizes."""
    order = gap.argsort(kind="stable")
    cells = np.round(points[order] / spacing)
    _, first, sizes = np.unique(cells, axis=0, return_index=True, return_counts=True)
    return order[first], sizes


def _slow_points(
    step: Step, y: Tensor, gap: Tensor, candidates: Tensor, unique: float
) -> tuple[Tensor, Tensor]:
    """Return the distinct minima of the speed near the candidates, and which of these led to one."""
    ends, _ = _distinct(y[candidates], gap[candidates], _COARSE)
    led = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    found = _slowest(step, ends) if len(ends) else ends
    if not len(found):
        return y[:0], led
    found, _ = _distinct(found, (step(found) - found).abs().amax(1), unique)
    led[candidates] = torch.cdist(y[candidates], found, p=torch.inf).amin(1) <= 10 * _COARSE
    return found, led


def _slowest(step: Step, y: Tensor) -> Tensor:
    """Return the strict local minima of ½‖F(y) − y‖² that Newton's steps reach from points y."""

    def q(point: Tensor) -> Tensor:
        r = step(point[None])[0] - point
        half: Tensor = 0.5 * (r * r).sum()
        return half

    gradient = torch.func.vmap(torch.func.grad(q))
    hessian = torch.func.vmap(torch.func.hessian(q))
    reached = []
    for _ in range(_POLISH):
        H = hessian(y)
        curvature = torch.linalg.eigvalsh(H)
        convex = curvature[:, 0] > 1e-9 * curvature[:, -1].clamp(min=1.0)
        y, H = y[convex], H[convex]
        if not len(y):
            break
        move = torch.linalg.solve(H, gradient(y))
        y = y - move
        still = move.abs().amax(1) > 1e-12 * y.abs().amax(1).clamp(min=1.0)
        reached.append(y[~still])
        y = y[still & y.isfinite().all(1)]
        if not len(y):
            break
    return torch.cat(reached) if reached else y[:0]


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
