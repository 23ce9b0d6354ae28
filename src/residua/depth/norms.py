"""What a norm, or a scale of every unit, does to what it is given, seen in its inputs and outputs."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

# What a row is divided by; a norm of another kind, or none, leaves more than this share unexplained.
_SIZES: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda v: torch.ones_like(v[:, 0]),
    lambda v: v.square().mean(1).sqrt(),
    lambda v: v.std(1, correction=0),
)
_UNEXPLAINED = 1e-4


def slope(
    v: Float[Tensor, "row unit"], n: Float[Tensor, "row unit"]
) -> tuple[Float[Tensor, "unit"], Float[Tensor, "row"]] | None:
    """Return γ and σ of n = γ (v − μ) / σ + β, where that is what was done to v; else None.

    μ and σ are 0 and 1 (a scale of every unit), 0 and the root mean square of a row, or its mean and
    standard deviation. γ and β are found by least squares. So a change d of n is, to first order and but
    for what the norm takes away again, a change σ d / γ of v.
    """
    for size in _SIZES:
        sigma = size(v)
        centred = v - v.mean(1, keepdim=True) if size is _SIZES[-1] else v
        z = centred / sigma[:, None]
        gamma = _centred(z, n) / _centred(z, z)
        rest = n - n.mean(0) - gamma * (z - z.mean(0))
        if bool(rest.square().mean() < _UNEXPLAINED * (n - n.mean(0)).square().mean()):
            return gamma, sigma
    return None


def _centred(one: Tensor, two: Tensor) -> Tensor:
    return ((one - one.mean(0)) * (two - two.mean(0))).mean(0)
