"""All fixed points of a logistic residual map with few units: every unit at 0, at 1, or free."""

from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linprog
from torch import Tensor

from residua.dynamics.fixed_points import FixedPoints
from residua.dynamics.residual_map import check_weights
from residua.dynamics.stability import eigenvalues, map_jacobian, ode_jacobian
from residua.errors import InputError

LARGEST = 12
# A free unit this close to 0 or 1 is that vertex again.
_EDGE = 1e-12


def enumerate_fixed_points(W: Float[Tensor, "unit unit"], *, step_size: float = 1.0) -> FixedPoints:
    """Return every fixed point of y → σ(logit y + h W y), and of eq. 3, which has the same.

    Each unit is at 0, at 1, or free with (W y)_i = 0 and 0 < y_i < 1: 3^N patterns, of which a generic
    W has at most 3^N − 2^N + 1 points. A singular W_SS (S the free units) that has solutions has a
    family of them; one point inside stands for it.

    Args:
        W: weights, at most 12 units.
        step_size: h, which changes multipliers and not points.

    Raises:
        InputError: W is not square or finite, or has too many units.
    """
    check_weights(W)
    n = len(W)
    if n > LARGEST:
        raise InputError(
            f"{n} units have 3^{n} = {3**n:.3g} patterns to enumerate, and {LARGEST} units is the most; "
            "search with residua.find_fixed_points instead"
        )
    weights = W.detach().cpu().double().numpy()
    points, families = [_vertices(n)], [np.zeros(2**n, dtype=np.int64)]
    for size in range(1, n + 1):
        for free in combinations(range(n), size):
            inside, dimension = _with_free_units(weights, np.array(free))
            points.append(inside)
            families.append(np.full(len(inside), dimension, dtype=np.int64))
    found = torch.from_numpy(np.concatenate(points))
    family = torch.from_numpy(np.concatenate(families))
    exact = torch.from_numpy(weights)
    change = torch.sigmoid(torch.logit(found) + step_size * (found @ exact.T)) - found
    return FixedPoints(
        found,
        change.abs().amax(1),
        eigenvalues(map_jacobian(exact, found, step_size=step_size)),
        eigenvalues(ode_jacobian(exact, found)),
        family,
        torch.zeros(len(found), dtype=torch.int64),
    )


def _vertices(n: int) -> np.ndarray:
    """Return all 0–1 vectors of length n, (2^n, n)."""
    return ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(np.float64)


def _with_free_units(W: np.ndarray, free: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the points whose free units are exactly these, and the dimension of their families."""
    n = len(W)
    fixed = np.setdiff1d(np.arange(n), free)
    saturated = _vertices(len(fixed))  # which of the others are at 1
    A, b = W[np.ix_(free, free)], -W[np.ix_(free, fixed)] @ saturated.T
    singular = np.linalg.svd(A, compute_uv=False)
    rank = int((singular > singular[0] * len(A) * 1e-13).sum()) if singular[0] > 0 else 0
    if rank == len(A):
        solution = np.linalg.solve(A, b)
        inside = ((solution > _EDGE) & (solution < 1 - _EDGE)).all(0)
        values, rows = solution.T[inside], saturated[inside]
    else:
        values, has = _inside_families(A, b)
        rows, values = saturated[has], values[has]
    points = np.zeros((len(rows), n))
    points[:, fixed], points[:, free] = rows, values
    return points, len(A) - rank


def _inside_families(A: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each column of b a solution of A y = b inside (0, 1), and whether there is one.

    Most columns need no linear programme: the solution nearest to ½ lies inside, or none can.
    """
    nearest = 0.5 + np.linalg.pinv(A) @ (b - A.sum(1, keepdims=True) / 2)
    scale = max(np.abs(A).sum(1).max(), np.abs(b).max(), 1e-300)
    solved = np.abs(A @ nearest - b).max(0) <= 1e-12 * scale
    has = solved & ((nearest > _EDGE) & (nearest < 1 - _EDGE)).all(0)
    low, high = (np.minimum(A, 0).sum(1), np.maximum(A, 0).sum(1))
    # 0 < y < 1 keeps A y strictly between these, but for a row of zeros.
    reach = (((low < b.T) & (high > b.T)) | (low == high)).all(1)
    for k in np.flatnonzero(solved & ~has & reach):
        found = _inside(A, b[:, k])
        if found is not None:
            nearest[:, k], has[k] = found, True
    return nearest.T, has


def _inside(A: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    """Return the solution of A y = b that lies deepest inside (0, 1), or None."""
    k = len(b)
    # Maximise the margin m with A y = b, y ≥ m, y ≤ 1 − m.
    bounds = np.concatenate([-np.eye(k), np.eye(k)])
    margin = np.ones((2 * k, 1))
    done = linprog(
        np.r_[np.zeros(k), -1.0],
        A_ub=np.hstack([bounds, margin]),
        b_ub=np.r_[np.zeros(k), np.ones(k)],
        A_eq=np.hstack([A, np.zeros((k, 1))]),
        b_eq=b,
        bounds=[(0, 1)] * k + [(0, 1)],
    )
    return done.x[:k] if done.success and done.x[-1] > 1e-9 else None
