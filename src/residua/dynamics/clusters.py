"""From the ends of many starts to distinct points, and to slow points."""

from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

Step = Callable[[Tensor], Tensor]
_COARSE = 0.01  # ends closer than this are polished to a slow point once
_POLISH = 50  # Newton steps at most for a slow point


def distinct(points: Tensor, gap: Tensor, unique: float) -> tuple[Tensor, Tensor]:
    """Return of each cluster of points the one with the smallest gap, and the clusters' sizes."""
    if not len(points):
        return points, torch.zeros(0, dtype=torch.int64)
    where, sizes, _ = one_per_cell(points.numpy(force=True), gap.numpy(force=True), unique / 2)
    seen = points.numpy(force=True)[where]
    pairs = cKDTree(seen).query_pairs(unique, p=np.inf, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(seen),) * 2)
    count, label = connected_components(links, directed=False)
    order = gap.numpy(force=True)[where].argsort(kind="stable")
    first = [where[order[np.flatnonzero(label[order] == k)[0]]] for k in range(count)]
    return points[first], torch.from_numpy(np.bincount(label, sizes, count).astype(np.int64))


def one_per_cell(
    points: np.ndarray, gap: np.ndarray, spacing: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return one point of each cell of a grid, that with the smallest gap, the cells' sizes, and the
    cell of every point.
    """
    order = gap.argsort(kind="stable")
    cells = np.round(points[order] / spacing)
    _, first, inverse, sizes = np.unique(
        cells, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    cell = np.empty(len(points), dtype=np.int64)
    cell[order] = inverse
    return order[first], sizes, cell


def slow_points(
    step: Step, y: Tensor, gap: Tensor, candidates: Tensor, unique: float
) -> tuple[Tensor, Tensor]:
    """Return the distinct minima of the speed near the candidates, and which of these led to one."""
    ends, _ = distinct(y[candidates], gap[candidates], _COARSE)
    led = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    found = _slowest(step, ends) if len(ends) else ends
    if not len(found):
        return y[:0], led
    found, _ = distinct(found, (step(found) - found).abs().amax(1), unique)
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
        root = torch.linalg.cholesky(H)  # convex points alone are left
        move = torch.cholesky_solve(gradient(y)[..., None], root)[..., 0]
        y = y - move
        still = move.abs().amax(1) > 1e-12 * y.abs().amax(1).clamp(min=1.0)
        reached.append(y[~still])
        y = y[still & y.isfinite().all(1)]
        if not len(y):
            break
    return torch.cat(reached) if reached else y[:0]
