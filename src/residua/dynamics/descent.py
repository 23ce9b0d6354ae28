"""Levenberg–Marquardt steps from many starts at once, down ½‖F(y) − y‖²."""

from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[Tensor], Tensor]
_LEAST = 1e-16  # damping
_SLOW = 1e-3  # a gradient this far below a speed of at least this leads to no root


def descend(
    step: Step, jacobian: Step, y: Tensor, tolerance: float, distance: float, iterations: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the ends of all starts, their gap, gradient norm, and whether the last step was short."""
    y = y.clone()
    gap = torch.full((len(y),), torch.inf, dtype=y.dtype, device=y.device)
    gradient, close = gap.clone(), torch.zeros_like(gap, dtype=torch.bool)
    damping = torch.full_like(gap, 1e-3)
    active = torch.arange(len(y), device=y.device)
    identity = torch.eye(y.shape[1], dtype=y.dtype, device=y.device)
    r = step(y) - y
    for _ in range(iterations):
        here = y[active]
        J = jacobian(here) - identity
        slope = torch.einsum("bij,bi->bj", J, r)
        size = r.abs().amax(1)
        gap[active], gradient[active] = size, slope.abs().amax(1)
        # Where the speed is short enough, the undamped step tells how far off y is.
        damped = torch.where(size <= tolerance, _LEAST, damping[active])
        move = _levenberg_marquardt(J, slope, damped)
        trial = here + move
        after = step(trial) - trial
        better = after.square().sum(1) < r.square().sum(1)
        short = (size <= tolerance) & (move.abs().amax(1) <= distance)
        close[active] = short
        y[active] = torch.where(better[:, None], trial, here)
        r = torch.where(better[:, None], after, r)
        damping[active] = torch.where(better, damping[active] / 10, damping[active] * 10).clamp(
            _LEAST, 1e16
        )
        stuck = ~better & (damping[active] >= 1e15)
        # A minimum that is no root: Newton's steps on the speed itself finish it (slow_points).
        slow = (size >= _SLOW) & (gradient[active] <= _SLOW * size)
        finite = y[active].isfinite().all(1) & slope.isfinite().all(1)
        going = ~(short | stuck | slow) & finite
        active, r = active[going], r[going]
        if not len(active):
            break
    return y, gap, gradient, close


def _levenberg_marquardt(J: Tensor, slope: Tensor, damping: Tensor) -> Tensor:
    """Return −(JᵀJ + λ s 1)⁻¹ Jᵀr with λ the damping and s the mean of the diagonal of JᵀJ."""
    A = J.mT @ J
    scale = A.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-300)
    A.diagonal(dim1=1, dim2=2).add_((damping * scale)[:, None])
    # Not a batched LU, which with two threads and N = 1064 ends in an error of the library below.
    root, info = torch.linalg.cholesky_ex(A)
    move = torch.cholesky_solve(-slope[..., None], root)[..., 0]
    good = (info == 0) & move.isfinite().all(1)
    return torch.where(good[:, None], move, -slope / scale[:, None])
