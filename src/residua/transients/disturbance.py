"""Noise of six kinds, on the input or after every layer."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from residua.errors import InputError
from residua.layers import ResidualStack

Range = tuple[float, float]
Kind = Literal["gaussian", "uniform", "salt-and-pepper", "occlusion", "layers", "gradient-sign"]
_SHARES = ("salt-and-pepper", "occlusion")


@dataclass(frozen=True)
class NoiseConfig:
    """What disturbs a network.

    Attributes:
        kind: "gaussian": independent, of standard deviation `strength`, on every input dimension;
            "uniform": the same, uniform on ±√3·strength;
            "salt-and-pepper": a share `strength` of the input dimensions is set to the ends of
            `value_range`, half of them each;
            "occlusion": a square (of images; of other inputs a run of dimensions) that covers a share
            `strength` is set to 0, the mean of standardised inputs, at a random place;
            "layers": Gaussian of standard deviation `strength`, added to x_t after every layer;
            "gradient-sign": strength·sign(∂loss/∂x), the worst input change in that range to first
            order (Goodfellow, Shlens, Szegedy 2015); it needs labels and is not random.
        strengths: one or several, 0 or more; shares at most 1.
        draws: of the noise, for every sample; at least 2, so that its covariance can be told.
        seed: of the draws; all strengths use the same ones.
        value_range: lowest and highest input; default those of the first batch.
    """

    kind: Kind = "gaussian"
    strengths: tuple[float, ...] = (0.1, 0.2, 0.5, 1.0)
    draws: int = 4
    seed: int = 0
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(
                f"the kind of noise must be one of {', '.join(get_args(Kind))}, not {self.kind!r}"
            )
        top = 1.0 if self.kind in _SHARES else math.inf
        if not isinstance(self.strengths, tuple | list):
            raise InputError(f"strengths must be several, such as (0.5,), not {self.strengths!r}")
        wrong = [s for s in self.strengths if not _number(s) or not 0 <= s <= top or math.isinf(s)]
        if wrong or not self.strengths:
            span = "0…1, a share of the input" if top == 1 else "0 or more"
            raise InputError(
                f"strengths of {self.kind} noise must be {span}, at least one, not {wrong or '()'}"
            )
        if not isinstance(self.seed, int) or self.seed < 0:
            raise InputError(f"seed must be a whole number, 0 or more, not {self.seed!r}")
        ends = self.value_range
        if ends is not None and not (len(ends) == 2 and -math.inf < ends[0] < ends[1] < math.inf):
            raise InputError(f"value_range must be (lowest, highest), finite, not {ends!r}")
        if not isinstance(self.draws, int) or self.draws < 2:
            raise InputError(
                f"draws must be at least 2, so that the noise's covariance can be told, not {self.draws}"
            )


def _number(value: object) -> bool:
    return isinstance(value, int | float)


class Disturbance:
    """Draws one kind of noise: the same for the same seed, batch and draw, whatever the strength."""

    def __init__(self, stack: ResidualStack, config: NoiseConfig):
        self.stack, self.config = stack, config
        self.range = config.value_range

    @contextmanager
    def __call__(
        self, x: Tensor, labels: Tensor | None, strength: float, key: tuple[int, ...]
    ) -> Iterator[Tensor]:
        """Give the input on which to run the model; inside, its layers are disturbed where asked."""
        kind = self.config.kind
        words = np.random.SeedSequence((self.config.seed, *key)).generate_state(1, np.uint64)
        generator = torch.Generator(x.device).manual_seed(int(words[0] >> 1))
        if self.range is None:
            self.range = (float(x.min()), float(x.max()))
        if kind == "layers":

            def new(t: int, before: Tensor, after: Tensor) -> Tensor:
                return after + strength * torch.empty_like(after).normal_(generator=generator)

            with self.stack.change(new):
                yield x
        elif kind == "gradient-sign":
            assert labels is not None
            yield x + strength * loss_gradient(self.stack.model, x, labels).sign()
        else:
            yield _INPUTS[kind](x, strength, generator, self.range)


def loss_gradient(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of the summed cross-entropy with respect to the inputs."""
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        where = labels.to(x.device).clone()
        loss = nn.functional.cross_entropy(model(x), where, reduction="sum")
        return torch.autograd.grad(loss, x)[0]


def _gaussian(x: Tensor, strength: float, generator: torch.Generator, span: Range) -> Tensor:
    return x + strength * torch.empty_like(x).normal_(generator=generator)


def _uniform(x: Tensor, strength: float, generator: torch.Generator, span: Range) -> Tensor:
    return x + strength * math.sqrt(3) * torch.empty_like(x).uniform_(-1, 1, generator=generator)


def _salt_and_pepper(x: Tensor, strength: float, generator: torch.Generator, span: Range) -> Tensor:
    u = torch.empty_like(x).uniform_(generator=generator)
    low, high = (torch.full_like(x, v) for v in span)
    return torch.where(u < strength / 2, low, torch.where(u >= 1 - strength / 2, high, x))


def _occlusion(x: Tensor, strength: float, generator: torch.Generator, span: Range) -> Tensor:
    """Set a square of the last two dimensions, or a run of the last one, to 0."""
    sides = x.shape[-2:] if x.ndim > 2 else x.shape[-1:]
    hidden = torch.ones(len(x), *sides, dtype=torch.bool, device=x.device)
    for axis, size in enumerate(sides, 1):
        length = round(size * strength ** (1 / len(sides)))
        u = torch.rand(len(x), generator=generator, device=x.device)
        start = (u * (size - length + 1)).long()[:, None]
        where = torch.arange(size, device=x.device)
        inside = (where >= start) & (where < start + length)  # (sample, size)
        hidden &= inside.view(len(x), *(size if a == axis else 1 for a in range(1, hidden.ndim)))
    return x.masked_fill(hidden.view(len(x), *(1,) * (x.ndim - hidden.ndim), *sides), 0.0)


_INPUTS: dict[str, Callable[[Tensor, float, torch.Generator, Range], Tensor]] = {
    "gaussian": _gaussian,
    "uniform": _uniform,
    "salt-and-pepper": _salt_and_pepper,
    "occlusion": _occlusion,
}
