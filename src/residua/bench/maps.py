"""Maps whose fixed points are known, and starts from which they are searched."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from residua.dynamics.enumeration import enumerate_fixed_points
from residua.dynamics.residual_map import ResidualMap

Map = Callable[[Tensor], Tensor]
UNITS = 16


@dataclass(frozen=True)
class Planted:
    """A map, and fixed points it is known to have.

    Attributes:
        name: in tables.
        said: in words.
        step: F, batched.
        points: known fixed points, (point, unit); there may be more unless `all_known`.
        all_known: whether these are all.
        low, high: between which starts are drawn.
    """

    name: str
    said: str
    step: Map
    points: Tensor
    all_known: bool
    low: float = -1.0
    high: float = 1.0

    def starts(self, count: int, seed: int) -> Tensor:
        """Return starts, uniform between low and high."""
        drawn = torch.rand(
            count, self.points.shape[1], dtype=torch.float64, generator=_generator(seed)
        )
        return self.low + (self.high - self.low) * drawn


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int) -> Tensor:
    """Return normal numbers in float64."""
    return torch.randn(*shape, dtype=torch.float64, generator=_generator(seed))


def hopfield(seed: int = 0) -> Planted:
    """Return F(x) = tanh(A x), A of least norm with F(p) = p for 6 points p, and so for −p and 0."""
    p = 0.9 * torch.tanh(random(UNITS, 6, seed=seed))
    A = torch.atanh(p) @ torch.linalg.pinv(p)
    points = torch.cat([p.T, -p.T, torch.zeros(1, UNITS).double()])
    said = f"tanh(A x), {UNITS} units, 13 points planted"
    return Planted("tanh(A x)", said, lambda x: torch.tanh(x @ A.T), points, all_known=False)


def pitchforks(seed: int = 0) -> Planted:
    """Return three pitchforks u + 0.3 (u − u³) and 13 decays u / 2, in rotated coordinates."""
    Q = torch.linalg.qr(random(UNITS, UNITS, seed=seed)).Q
    roots = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    u = torch.zeros(27, UNITS, dtype=torch.float64)
    u[:, :3] = torch.cartesian_prod(roots, roots, roots)

    def step(x: Tensor) -> Tensor:
        v = x @ Q
        forked = v[:, :3] + 0.3 * (v[:, :3] - v[:, :3].pow(3))
        moved = torch.cat([forked, v[:, 3:] / 2], 1)
        return torch.matmul(moved, Q.T)

    said = f"three pitchforks and 13 decays, {UNITS} units rotated, 27 points"
    return Planted("three pitchforks", said, step, u @ Q.T, all_known=True)


def residuals(seed: int = 0, units: int = 6) -> Planted:
    """Return the residual map of random weights; its fixed points are enumerated."""
    W = random(units, units, seed=seed)
    points = enumerate_fixed_points(W).points
    said = (
        f"residual map of random weights, {units} logistic units, {len(points)} points enumerated"
    )
    return Planted("residual map", said, ResidualMap(W), points, all_known=True, low=0.0)
