"""Batches: what a model is given, and labels beside it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from residua.errors import InputError
from residua.layers import like

# A tensor, or named inputs such as a tokenizer's.
Inputs = Tensor | Mapping[str, Any]


def inputs_of(batch: Any) -> Any:
    """Return the inputs of a batch as they are: x, or the named ones but `labels`."""
    if isinstance(batch, Mapping):
        return {name: value for name, value in batch.items() if name != "labels"}
    return batch[0] if isinstance(batch, tuple | list) and batch else batch


def split_batch(batch: Any, classes: int | None) -> tuple[Any, Tensor | None]:
    """Return inputs and labels of a batch: x, (x, labels), or named inputs with or without `labels`.

    Args:
        batch: one a sample or, of sequences, one a token, of which those below 0 do not count.
        classes: how many there are; None where that is not known yet, and labels are not held to it.

    Raises:
        InputError: the batch is something else, or the labels or targets do not fit.
    """
    if isinstance(batch, tuple | list) and len(batch) == 2 and isinstance(batch[0], Mapping):
        batch = {**batch[0], "labels": batch[1]}
    if not isinstance(batch, Mapping):
        return unpack(batch, classes)
    x, labels = inputs_of(batch), batch.get("labels")
    return x, None if labels is None else unpack((_first(x), labels), classes)[1]


def check_labels(labels: Tensor, classes: int) -> Tensor:
    """Return labels, or raise InputError where they are others than a model has classes."""
    if not labels.is_floating_point():
        _refuse_out_of_range(labels, classes)
    return labels


def as_any_inputs(x: Any, weight: Tensor) -> Any:
    """Return inputs, a tensor or named ones, on a parameter's device and in its precision.

    Raises:
        InputError: as :func:`as_inputs`, or no tensor is among the named ones.
    """
    if not isinstance(x, Mapping):
        return as_inputs(x, weight)
    as_inputs(_first(x), weight)
    return {name: like(v, weight) if isinstance(v, Tensor) else v for name, v in x.items()}


def samples_in(x: Inputs) -> int:
    """Return the number of samples."""
    return len(_first(x) if isinstance(x, Mapping) else x)


def some_samples(x: Inputs, samples: int) -> Any:
    """Return the first so many samples."""
    if not isinstance(x, Mapping):
        return x[:samples]
    return {n: v[:samples] if isinstance(v, Tensor) and v.ndim else v for n, v in x.items()}


def _first(x: Mapping[str, Any]) -> Tensor:
    for value in x.values():
        if isinstance(value, Tensor) and value.ndim:
            return value
    raise InputError(f"named inputs hold no tensor, but {', '.join(x) or 'nothing'}; pass some")


def unpack(batch: Any, classes: int | None) -> tuple[Tensor, Tensor | None]:
    """Return x and labels of a batch, x or (x, labels).

    Labels are whole numbers 0…classes − 1, one a sample, or one a token (sample, token), where those
    below 0 do not count; floating-point targets, of a regression say, pass as they are.

    Raises:
        InputError: the batch is something else, or the labels or targets do not fit.
    """
    parts = batch if isinstance(batch, tuple | list) else (batch,)
    if not 1 <= len(parts) <= 2 or not all(isinstance(p, Tensor | np.ndarray) for p in parts):
        kind = ", ".join(type(p).__name__ for p in parts)
        raise InputError(f"a batch must be x or (x, labels), tensors or arrays, not ({kind})")
    x = torch.as_tensor(parts[0])
    if x.ndim < 2:
        raise InputError(
            f"the x of a batch must have the shape (sample, …), not {tuple(x.shape)}; pass batches, "
            "such as [x] or [(x, labels)], not the samples themselves"
        )
    if len(parts) == 1:
        return x, None
    labels = torch.as_tensor(parts[1])
    if labels.is_floating_point() and labels.shape[:1] == x.shape[:1] and labels.ndim > 1:
        return x, labels
    shaped = labels.shape == (len(x),) or (labels.ndim == 2 and len(labels) == len(x))
    if labels.is_floating_point() or labels.is_complex() or not shaped:
        raise InputError(
            f"labels must be whole numbers, one for each of the {len(x)} samples, not {labels.dtype} "
            f"of shape {tuple(labels.shape)}; targets of a regression have the shape (sample, output)"
        )
    if classes is not None:
        _refuse_out_of_range(labels, classes)
    return x, labels.long()


def _refuse_out_of_range(labels: Tensor, classes: int) -> None:
    counts = labels if labels.ndim == 1 else labels[labels >= 0]
    if counts.numel() and not 0 <= int(counts.min()) <= int(counts.max()) < classes:
        raise InputError(
            f"labels must be 0…{classes - 1}, as the head has {classes} classes, and these span "
            f"{int(counts.min())}…{int(counts.max())}"
        )


def as_inputs(x: Tensor | np.ndarray, weight: Tensor) -> Tensor:
    """Return a batch of inputs on a parameter's device and in its precision.

    Raises:
        InputError: it is no tensor or array (sample, …), is empty, or holds NaN or infinite values.
    """
    if not isinstance(x, Tensor | np.ndarray):
        raise InputError(f"x must be a tensor or array, not {type(x).__name__}")
    x = like(torch.as_tensor(x), weight)
    if x.ndim < 2 or not len(x):
        raise InputError(
            f"x must have the shape (sample, …) with at least one sample, not {tuple(x.shape)}"
        )
    # A sum takes no memory; it can overflow, so only where it is not finite are the values looked at.
    if not bool(x.sum().isfinite()) and not bool(x.isfinite().all()):
        raise InputError(f"x holds {int((~x.isfinite()).sum())} NaN or infinite values")
    return x
