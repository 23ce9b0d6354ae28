"""Run a model over batches and hand every layer to consumers, one batch at a time."""

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from residua.errors import InputError
from residua.stack import ResidualStack, like


@runtime_checkable
class Consumer(Protocol):
    """What takes the layers of one batch after the other; see :func:`stream`."""

    def begin(self, labels: Tensor | None) -> None:
        """Start a batch with these labels."""

    def visit(self, t: int, before: Tensor, after: Tensor) -> None:
        """Take the states x_{t−1} and x_t, t = 1…T."""

    def end(self, logits: Tensor) -> None:
        """Finish the batch with the model's output."""


def unpack(batch: Any, classes: int) -> tuple[Tensor, Tensor | None]:
    """Return x and labels of a batch, x or (x, labels).

    Raises:
        InputError: the batch is something else, or labels are not whole numbers 0…classes − 1, one
            a sample.
    """
    parts = batch if isinstance(batch, tuple | list) else (batch,)
    if not 1 <= len(parts) <= 2 or not all(isinstance(p, Tensor | np.ndarray) for p in parts):
        kind = ", ".join(type(p).__name__ for p in parts)
        raise InputError(f"a batch must be x or (x, labels), tensors or arrays, not ({kind})")
    x = torch.as_tensor(parts[0])
    if len(parts) == 1:
        return x, None
    labels = torch.as_tensor(parts[1])
    if labels.is_floating_point() or labels.is_complex() or labels.shape != (len(x),):
        raise InputError(
            f"labels must be whole numbers, one for each of the {len(x)} samples, not {labels.dtype} "
            f"of shape {tuple(labels.shape)}"
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InputError(
            f"labels must be 0…{classes - 1}, as the head has {classes} classes, and these span "
            f"{int(labels.min())}…{int(labels.max())}"
        )
    return x, labels.long()


@torch.no_grad()
def stream(stack: ResidualStack, batches: Iterable[Any], *consumers: Consumer) -> None:
    """Run the model over batches, x or (x, labels), and hand every layer to the consumers.

    The model is put in evaluation mode for the pass and back afterwards. Each batch is moved to the
    model's device and, where it is floating point, its precision. What consumers get is at least
    float32, since sums in half precision would lose too much.

    Raises:
        InputError: there is no batch, or one is not as :func:`unpack` wants it.
    """
    model = stack.model
    wide = torch.promote_types(stack.head.weight.dtype, torch.float32)
    was_training = model.training
    model.eval()
    seen, labelled = 0, False

    def visit(t: int, before: Tensor, after: Tensor) -> None:
        before, after = before.to(wide), after.to(wide)
        for consumer in consumers:
            consumer.visit(t, before, after)

    try:
        for batch in batches:
            x, labels = unpack(batch, stack.head.out_features)
            if not len(x):
                continue
            if seen and labelled != (labels is not None):
                raise InputError("some batches have labels and others have none; pass one kind")
            labelled = labels is not None
            for consumer in consumers:
                consumer.begin(labels)
            with stack.watch(visit):
                logits = model(like(x, stack.head.weight)).to(wide)
            for consumer in consumers:
                consumer.end(logits)
            seen += len(x)
    finally:
        model.train(was_training)
    if seen == 0:
        raise InputError("the data loader gave no batch; pass one with at least one sample")
