"""What every fit of a compensation has in hand: the uncut network, the cut one, batches."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from residua.depth.plan import DepthPlan
from residua.distributed import Merge, alone, total
from residua.errors import InputError
from residua.inputs import as_any_inputs, samples_in, some_samples, split_batch
from residua.layers import ResidualStack
from residua.losses import Loss, cross_entropy
from residua.stack import FoundStack, OwnStack
from residua.streaming import NO_BATCH, refusing_too_large


@dataclass(frozen=True)
class FitOptions:
    """How a compensation is fitted.

    Attributes:
        ridges: candidates, relative to the mean variance of a unit.
        loss: (outputs, targets) → the loss of each sample, which chooses the ridge; default
            cross-entropy, in nats.
        merge: what brings sums of several processes together; default one process alone.
    """

    ridges: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
    loss: Loss = cross_entropy
    merge: Merge[Any] = alone

    def __post_init__(self) -> None:
        if not len(self.ridges) or not min(self.ridges) > 0:
            raise InputError(f"ridges must be positive numbers, at least one, not {self.ridges}")


@dataclass(frozen=True)
class AnyJob:
    """The uncut and the cut stack of any model, the plan, and what is fitted on."""

    whole: ResidualStack
    small: ResidualStack
    plan: DepthPlan
    batches: Iterable[Any]
    options: FitOptions

    def total(self, value: Any) -> Any:
        """Return the sum of a value over processes."""
        return total(self.options.merge(value))

    def inputs(self, samples: int | None = None) -> Iterator[Any]:
        """Yield the inputs of the batches, the first so many samples."""
        seen = 0
        for batch in self.batches:
            x, _ = split_batch(batch, self.whole.classes)
            x = x if samples is None else some_samples(x, samples - seen)
            if samples_in(x):
                yield as_any_inputs(x, self.whole.weight)
            seen += samples_in(x)
            if seen == samples:
                return
        if not seen:
            raise InputError(NO_BATCH)


@dataclass(frozen=True)
class Job(AnyJob):
    """Those of a network of residua."""

    whole: OwnStack
    small: OwnStack


@dataclass(frozen=True)
class FoundJob(AnyJob):
    """Those of another model."""

    whole: FoundStack
    small: FoundStack


def read(linear: nn.Linear | nn.Conv2d, model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a linear map reads and gives in a pass."""
    found: list[Tensor] = []
    handle = linear.register_forward_hook(lambda _, inputs, out: found.extend((inputs[0], out)))
    try:
        model(x)
    finally:
        handle.remove()
    return found[0], found[1]


def states_around(stack: OwnStack, t: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the states before and after a layer."""
    found: list[Tensor] = []

    def visit(u: int, before: Tensor, after: Tensor) -> None:
        if u == t:
            found.extend((before, after.clone()))

    with refusing_too_large(stack, x), stack.watch(visit):
        stack.model(x)
    return found[0], found[1]


def step_of(job: Job, states: Iterable[tuple[Tensor, Tensor, Tensor]]) -> float:
    """Return the factor h of y = after − before with which before + h·y comes nearest to a target.

    h = E⟨y, target − before⟩ / E⟨y, y⟩, over batches of (before, after, target); 1 where the layer
    points elsewhere, or nowhere.
    """
    along = own = 0.0
    for before, after, target in states:
        y = after - before
        along += float((y * (target - before)).sum(dtype=torch.float64))
        own += float(y.square().sum(dtype=torch.float64))
    along, own = job.total(along), job.total(own)
    return along / own if along > 0 and own > 0 else 1.0
