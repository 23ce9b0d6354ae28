"""Least squares of affine maps, streamed over a data set and solved in float64."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

RIDGES = (1e-5, 1e-4, 1e-3, 1e-2)


@dataclass(frozen=True)
class AffineHead:
    """A map K x + c in float64: weight (classes, unit), bias (classes,)."""

    weight: Float[Tensor, "classes unit"]
    bias: Float[Tensor, "classes"]


class LeastSquares:
    """Streams Σ x xᵀ and Σ x zᵀ about the first batch's means, for the affine map x → z.

    Products add up in the model's precision, at least float32, over at most 8,192 samples and in float64
    beyond.
    """

    FLUSH = 8192

    def __init__(self, x: Float[Tensor, "batch unit"], z: Float[Tensor, "batch output"]):
        units, outputs = x.shape[1], z.shape[1]
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        self.origin = x.mean(0)
        self.gram_part = x.new_zeros(units, units)
        self.cross_part = x.new_zeros(units, outputs + 1)
        self.gram = torch.zeros_like(self.gram_part, dtype=torch.float64)
        self.cross = torch.zeros_like(self.cross_part, dtype=torch.float64)
        self.target_sum = self.cross.new_zeros(outputs)
        self.samples = 0.0  # their weights, where they have some
        self.pending = 0

    def add(
        self,
        x: Float[Tensor, "batch unit"],
        z: Float[Tensor, "batch output"],
        weight: Float[Tensor, "batch"] | None = None,
    ) -> None:
        """Add a batch; a sample's squared error counts by its weight, 1 by default."""
        x = x.to(self.origin) - self.origin
        z = torch.cat([z.to(x), x.new_ones(len(z), 1)], 1)  # the last column gives Σ x
        if weight is not None:
            root = weight.to(x).sqrt()[:, None]
            x, z = x * root, z * root
        _add_gram(self.gram_part, x)
        self.cross_part.addmm_(x.T, z)
        self.target_sum += (z[:, :-1] * (z[:, -1:])).sum(0).double()
        self.samples += float(z[:, -1].square().sum())
        self.pending += len(z)
        if self.pending >= self.FLUSH:
            self._flush()

    def _flush(self) -> None:
        for total, part in ((self.gram, self.gram_part), (self.cross, self.cross_part)):
            total += part
            part.zero_()
        self.pending = 0

    def result(self) -> "Normal":
        """Return the normal equations of all batches so far."""
        self._flush()
        n = self.samples
        x_mean, z_mean = self.cross[:, -1] / n, self.target_sum / n
        upper = torch.triu(self.gram)
        gram = upper + torch.triu(upper, 1).T - n * torch.outer(x_mean, x_mean)
        cross = self.cross[:, :-1] - n * torch.outer(x_mean, z_mean)
        return Normal(n, x_mean + self.origin.double(), z_mean, gram, cross)


@dataclass(frozen=True)
class Normal:
    """Normal equations about the means, in float64; those of two parts of a data set add up."""

    samples: float
    x_mean: Float[Tensor, "unit"]
    z_mean: Float[Tensor, "output"]
    gram: Float[Tensor, "unit unit"]
    cross: Float[Tensor, "unit output"]

    def __add__(self, other: "Normal") -> "Normal":
        n = self.samples + other.samples
        dx, dz = other.x_mean - self.x_mean, other.z_mean - self.z_mean
        share = other.samples / n
        between = self.samples * share
        return Normal(
            n,
            self.x_mean + share * dx,
            self.z_mean + share * dz,
            self.gram + other.gram + between * torch.outer(dx, dx),
            self.cross + other.cross + between * torch.outer(dx, dz),
        )

    def through_origin(self) -> "Normal":
        """Return the normal equations of a map without bias."""
        n, zero = self.samples, torch.zeros_like
        gram = self.gram + n * torch.outer(self.x_mean, self.x_mean)
        cross = self.cross + n * torch.outer(self.x_mean, self.z_mean)
        return Normal(n, zero(self.x_mean), zero(self.z_mean), gram, cross)

    def solve(self, ridges: Sequence[float]) -> list[AffineHead]:
        """Return for each ridge the solution of min Σ w‖K x + c − z‖² + λ‖K‖².

        λ = ridge × Σ w × mean over units of the variance of x; the bias is not penalised.
        """
        scale = self.gram.diagonal().mean().clamp(min=torch.finfo(torch.float32).tiny)
        found = []
        for ridge in ridges:
            gram = self.gram.clone()
            gram.diagonal().add_(ridge * scale)
            factor, info = torch.linalg.cholesky_ex(gram)
            if int(info) > 0:  # rounding exceeds the ridge; a head of NaN is never the best
                factor = torch.full_like(factor, torch.nan)
            K = torch.cholesky_solve(self.cross, factor).T.contiguous()  # (outputs, units)
            found.append(AffineHead(K, self.z_mean - K @ self.x_mean))
        return found


def _add_gram(gram: Tensor, x: Tensor) -> None:
    """Add the upper triangle of xᵀx by blocks; what lies below the diagonal blocks stays zero."""
    step = max(256, -(-x.shape[1] // 4))
    for i in range(0, x.shape[1], step):
        gram[i : i + step, i:].addmm_(x[:, i : i + step].T, x[:, i:])
