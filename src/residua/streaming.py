"""Run a model over batches and hand every layer to consumers, one batch at a time."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from residua.errors import InputError
from residua.inputs import (
    Inputs,
    as_any_inputs,
    check_labels,
    inputs_of,
    samples_in,
    some_samples,
    split_batch,
)
from residua.layers import ResidualStack, outputs_of, weight_of
from residua.losses import Loss, cross_entropy, sample_losses
from residua.padding import counted_rows
from residua.stack import is_own, stack_of

NO_BATCH = "the data loader gave no batch; pass one with at least one sample"


@runtime_checkable
class Consumer(Protocol):
    """What takes the layers of one batch after the other; see :func:`stream`."""

    def begin(self, labels: Tensor | None) -> None:
        """Start a batch with these labels, or targets of another kind."""

    def visit(self, t: int, before: Tensor, after: Tensor) -> None:
        """Take the states x_{t−1} and x_t, t = 1…T."""

    def end(self, logits: Tensor) -> None:
        """Finish the batch with the model's output."""


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Put models in evaluation mode, and every part of them back afterwards."""
    training = [module for model in models for module in model.modules() if module.training]
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error says that memory ran out, on a GPU or in torch's CPU allocator."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def find_layers(
    model: nn.Module | ResidualStack, batches: Iterable[Any]
) -> tuple[ResidualStack, Iterable[Any]]:
    """Return the layers of any model, found on the first batch, and the batches, that one included.

    Raises:
        StackError: no layers were found.
        InputError: there is no batch, or no inputs in it.
    """
    if isinstance(model, ResidualStack) or is_own(model):
        return stack_of(model, None), batches
    weight = weight_of(model)
    rest = iter(batches)
    for batch in rest:
        return stack_of(model, as_any_inputs(inputs_of(batch), weight)), chain([batch], rest)
    raise InputError(NO_BATCH)


@torch.no_grad()
def stream(stack: ResidualStack, batches: Iterable[Any], *consumers: Consumer) -> None:
    """Run the model over batches, x or (x, labels), and hand every layer to the consumers.

    The model is put in evaluation mode for the pass and back afterwards. Each batch is moved to the
    model's device and, where it is floating point, its precision. What consumers get is at least
    float32, since sums in half precision would lose too much. Where an attention mask says that tokens
    are padding, they get the others alone, as rows (row, unit), and a sample's label for each.

    Raises:
        InputError: there is no batch, one is not as :func:`unpack` wants it, or one does not fit into
            memory.
    """
    wide = torch.promote_types(stack.weight.dtype, torch.float32)
    seen, labelled = 0, False
    copy = True  # of the state before a layer; the first batch shows whether one overwrites it

    def visit(t: int, before: Tensor, after: Tensor) -> None:
        before, after = before.to(wide), after.to(wide)
        counted = counted_rows(stack, t, x, after)
        if counted is not None:
            before, after = before[counted], after[counted]
        for consumer in consumers:
            if t == 1:
                consumer.begin(_of_rows(labels, counted))
            consumer.visit(t, before, after)

    with evaluating(stack.model):
        for batch in batches:
            x, labels = split_batch(batch, stack.classes)
            if not samples_in(x):
                continue
            if seen and labelled != (labels is not None):
                raise InputError("some batches have labels and others have none; pass one kind")
            x = as_any_inputs(x, stack.weight)
            labelled = labels is not None
            with refusing_too_large(stack, x), stack.watch(visit, copy=copy) as run:
                logits = stack.outputs(x).to(wide)
            if run.overwritten and not copy:
                raise InputError(
                    "a layer overwrote the state it was given in one batch and not in the first; pass "
                    "batches in which it always does, or a model that does not"
                )
            copy = copy and (bool(seen) or run.overwritten)
            for consumer in consumers:
                consumer.end(logits)
            seen += samples_in(x)
    if seen == 0:
        raise InputError(NO_BATCH)


def _of_rows(labels: Tensor | None, counted: Tensor | None) -> Tensor | None:
    """Return a sample's label for each of its tokens that count."""
    if labels is None or counted is None or labels.ndim != 1:
        return labels
    return labels.to(counted.device).repeat_interleave(counted.sum(1))


@contextmanager
def refusing_too_large(stack: ResidualStack, x: Inputs) -> Iterator[None]:
    """Turn running out of memory on a batch into an error that says how large a batch may be.

    Raises:
        InputError: memory ran out.
    """
    try:
        yield
        return
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
    samples = samples_in(x)
    fits = samples // 2
    while fits > 1 and not _fits(stack, some_samples(x, fits)):
        fits //= 2
    raise InputError(
        f"a batch of {samples} samples does not fit into memory; pass batches of {max(fits, 1)} or fewer"
    )


def _fits(stack: ResidualStack, x: Inputs) -> bool:
    try:
        stack.outputs(x)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        return False
    return True


def first(batches: Iterable[Any], samples: int) -> list[Any]:
    """Return the first so many samples, as batches."""
    kept: list[Any] = []
    for batch in batches:
        several = isinstance(batch, tuple | list)
        parts = [some_samples(part, samples) for part in (batch if several else [batch])]
        kept.append(tuple(parts) if several else parts[0])
        samples -= samples_in(parts[0])
        if samples <= 0:
            break
    return kept


def refuse_iterators(*several: Iterable[Any]) -> None:
    """Raise InputError where batches can be read only once."""
    if any(iter(batches) is batches for batches in several):
        raise InputError(
            "the batches are read several times, and an iterator gives them once; pass a list or a "
            "DataLoader"
        )


def labelled(model: nn.Module, batches: Iterable[Any], what: str) -> Iterator[tuple[Any, Tensor]]:
    """Yield inputs and labels of batches, the inputs as the model needs them.

    Raises:
        InputError: a batch has no labels, or is not as :func:`split_batch` wants it.
    """
    weight = weight_of(model)
    for batch in batches:
        x, labels = split_batch(batch, None)
        if not samples_in(x):
            continue
        if labels is None:
            raise InputError(f"{what} must be (x, labels), or mappings with `labels`")
        yield as_any_inputs(x, weight), labels


@dataclass(frozen=True)
class HeldOut:
    """Sums over held-out samples; those of several processes add up.

    Attributes:
        losses: sum of the samples' losses, or of the tokens'.
        right: number of samples classified right; NaN where targets are no classes of samples.
        samples: number of samples, or of tokens that count.
    """

    losses: float
    right: float
    samples: int

    def __add__(self, other: "HeldOut") -> "HeldOut":
        return HeldOut(
            self.losses + other.losses,
            self.right + other.right,
            self.samples + other.samples,
        )

    @property
    def loss(self) -> float:
        """Mean loss of a sample."""
        return self.losses / self.samples

    @property
    def accuracy(self) -> float:
        """Share of samples classified right."""
        return self.right / self.samples


@torch.no_grad()
def held_out_figures(
    model: nn.Module, batches: Iterable[Any], loss: Loss = cross_entropy
) -> HeldOut:
    """Return what a model loses on batches (x, labels), and how often it is right.

    The model is put in evaluation mode for it and back afterwards.

    Raises:
        InputError: there is no batch, one has no labels, or it does not fit.
    """
    found = HeldOut(0.0, 0.0, 0)
    with evaluating(model):
        for x, labels in labelled(model, batches, "held-out batches"):
            outputs = outputs_of(model, x).float()
            labels = check_labels(labels, outputs.shape[-1]).to(outputs.device)
            each = sample_losses(loss, outputs, labels).double()
            classes = labels.ndim == 1 and not labels.is_floating_point()
            right = float((outputs.argmax(1) == labels).sum()) if classes else float("nan")
            found += HeldOut(float(each.sum()), right, len(each))
    if not found.samples:
        raise InputError(NO_BATCH)
    return found
