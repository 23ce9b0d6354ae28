"""What a layer is worth: loss and accuracy with it taken out, scaled, or in another place."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from residua.errors import InputError
from residua.inputs import as_inputs, unpack
from residua.layers import Change, ResidualStack
from residua.losses import Loss, cross_entropy, sample_losses
from residua.readout import check_finite
from residua.stack import find_stack
from residua.streaming import evaluating, refusing_too_large


@dataclass(frozen=True, eq=False)
class Changed:
    """Loss and accuracy of a network with one layer changed, beside the network as it is.

    Attributes:
        names: what was changed.
        loss: mean over samples.
        accuracy: share of samples classified right; NaN where targets are no classes.
        more: mean loss less that of the network as it is.
        more_error: standard error of `more`, paired by sample.
        base_loss, base_accuracy: of the network as it is.
        samples: number of them.
    """

    names: tuple[str, ...]
    loss: Float[np.ndarray, "change"]
    accuracy: Float[np.ndarray, "change"]
    more: Float[np.ndarray, "change"]
    more_error: Float[np.ndarray, "change"]
    base_loss: float
    base_accuracy: float
    samples: int


def lesions(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    scale: float = 0.0,
    layers: Sequence[int] | None = None,
    loss: Loss = cross_entropy,
) -> Changed:
    """Multiply the residual of one layer at a time, x_{t−1} + scale·y_t, and return what it costs.

    Args:
        model: a model with a residual stack and any head.
        batches: yields (x, labels), or (x, targets) for a loss of your own.
        scale: 0 takes the layer out.
        layers: which, 1…T; default all.
        loss: (outputs, targets) → the loss of each sample; default cross-entropy, in nats.

    Raises:
        StackError: no residual stack was found, or there is no such layer.
        InputError: no batch came, or the targets do not fit the loss.

    Source: Veit, Wilber, Belongie, NeurIPS 2016.
    """
    if not -float("inf") < scale < float("inf"):
        raise InputError(f"scale must be a finite number, not {scale}")
    stack = find_stack(model)
    where = list(range(1, stack.depth + 1)) if layers is None else list(layers)

    def scaled(t: int) -> Change:
        stack.check_layer(t)
        return lambda s, before, after: before + scale * (after - before) if s == t else after

    return _changed(stack, batches, {f"layer {t}": scaled(t) for t in where}, loss)


def swaps(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    pairs: Sequence[tuple[int, int]] | None = None,
    loss: Loss = cross_entropy,
) -> Changed:
    """Let two layers change places, one pair at a time, and return what it costs.

    With shared weights nothing changes.

    Args:
        model: a model with a residual stack and any head.
        batches: yields (x, labels), or (x, targets) for a loss of your own.
        pairs: of layers, 1…T; default all neighbours.
        loss: (outputs, targets) → the loss of each sample; default cross-entropy, in nats.

    Raises:
        StackError: no residual stack was found, or there is no such layer.
        InputError: no batch came, or the targets do not fit the loss.
    """
    stack = find_stack(model)
    where = [(t, t + 1) for t in range(1, stack.depth)] if pairs is None else list(pairs)

    def swapped(t: int, u: int) -> Change:
        stack.check_layer(t)
        stack.check_layer(u)
        other = {t: u, u: t}
        # forward() alone, so that the hooks do not count it as a layer.
        return lambda s, before, after: stack.run(other[s], before.clone()) if s in other else after

    return _changed(stack, batches, {f"{t} and {u}": swapped(t, u) for t, u in where}, loss)


@torch.no_grad()
def _changed(
    stack: ResidualStack, batches: Iterable[Any], changes: Mapping[str, Change], loss: Loss
) -> Changed:
    sums = torch.zeros(4, len(changes) + 1, dtype=torch.float64)
    samples = 0
    with evaluating(stack.model):
        for batch in batches:
            x, targets = unpack(batch, stack.classes)
            if targets is None:
                raise InputError("a loss needs labels or targets; pass batches (x, labels)")
            if not len(x):
                continue
            x = as_inputs(x, stack.weight)
            targets = targets.to(x.device)
            with refusing_too_large(stack, x):
                outputs = stack.model(x)
                check_finite(outputs)
                base = _scores(outputs, targets, loss)
            sums[:2, 0] += torch.stack([v.sum() for v in base])
            for k, new in enumerate(changes.values(), 1):
                with refusing_too_large(stack, x), stack.change(new):
                    found = _scores(stack.model(x), targets, loss)
                more = found[0] - base[0]
                parts = (*found, more, more.square())
                sums[:, k] += torch.stack([v.sum() for v in parts])
            samples += len(x)
    if not samples:
        raise InputError("the data loader gave no batch; pass one with at least one sample")
    mean = (sums / samples).numpy()
    error = np.sqrt(np.maximum(mean[3] - mean[2] ** 2, 0) / max(samples - 1, 1))
    return Changed(
        tuple(changes),
        mean[0, 1:],
        mean[1, 1:],
        mean[2, 1:],
        error[1:],
        float(mean[0, 0]),
        float(mean[1, 0]),
        samples,
    )


def _scores(outputs: Tensor, targets: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """Return loss and rightness of each sample, float64 on the CPU."""
    each = sample_losses(loss, outputs, targets)
    if targets.is_floating_point():
        right = torch.full((len(outputs),), torch.nan)
    else:
        right = outputs.argmax(1) == targets
    return each.double().cpu(), right.double().cpu()
