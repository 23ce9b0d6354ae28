"""What a norm, or a scale of every unit, does to what it is given, seen in what it makes of a probe."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

# A norm of another kind, or none, leaves more than this share of what it puts out unexplained.
_UNEXPLAINED = 1e-4
_PROBE = 256  # rows


@dataclass(frozen=True)
class Slope:
    """n = γ (v − μ) / σ + β: so a change d of n is, to first order, a change σ d / γ of v.

    That holds but for what the norm takes away again.

    Attributes:
        gamma: γ of every unit.
        kind: what μ and σ are: of "scale" 0 and 1, of "rms" 0 and the root mean square of a row, of
            "norm" its mean and standard deviation.
    """

    gamma: Float[Tensor, "unit"]
    kind: str

    def sigma(self, v: Float[Tensor, "row unit"]) -> Float[Tensor, "row"]:
        """Return σ of every row."""
        return _size(self.kind, v)


def _size(kind: str, v: Tensor) -> Tensor:
    if kind == "scale":
        return torch.ones_like(v[:, 0])
    return v.square().mean(1).sqrt() if kind == "rms" else v.std(1, correction=0)


@torch.no_grad()
def slope(module: nn.Module, v: Float[Tensor, "... unit"]) -> Slope | None:
    """Return what a module does to states like v, if it norms or scales them; else None.

    γ and β are found by least squares on random rows, so that nothing depends on the data at hand.
    """
    generator = torch.Generator().manual_seed(0)
    probe = torch.randn(_PROBE, v.shape[-1], generator=generator, dtype=torch.float64).to(v)
    try:
        put_out = module(probe[None] if v.ndim == 3 else probe)
    except (RuntimeError, TypeError, ValueError):
        return None
    if not isinstance(put_out, Tensor) or put_out.numel() != probe.numel():
        return None
    x, n = probe.double(), put_out.reshape(probe.shape).double()
    for kind in ("scale", "rms", "norm"):
        centred = x - x.mean(1, keepdim=True) if kind == "norm" else x
        z = centred / _size(kind, x)[:, None]
        gamma = _together(z, n) / _together(z, z)
        rest = n - n.mean(0) - gamma * (z - z.mean(0))
        allowed = max(_UNEXPLAINED, 16 * torch.finfo(v.dtype).eps ** 2)
        if bool(rest.square().mean() < allowed * (n - n.mean(0)).square().mean()):
            return Slope(gamma, kind)
    return None


def _together(one: Tensor, two: Tensor) -> Tensor:
    return ((one - one.mean(0)) * (two - two.mean(0))).mean(0)
