"""The depth curve of any model: heads on what its own head reads when later layers are left out."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from residua.depth.curve_records import CurveFit, DepthCurve
from residua.depth.least_squares import AffineHead, LeastSquares
from residua.depth.output_fit import HeadReads, folded
from residua.distributed import total
from residua.errors import InputError
from residua.inputs import as_any_inputs, check_labels, split_batch
from residua.layers import Change
from residua.losses import class_labels, sample_losses
from residua.padding import counted_weights
from residua.stack import FoundStack
from residua.streaming import evaluating, labelled, refuse_iterators


@torch.no_grad()
def found_curve(
    whole: FoundStack,
    batches: tuple[Iterable[Any], Iterable[Any], Iterable[Any] | None],
    fit: CurveFit,
) -> DepthCurve:
    """Fit and score heads at every state; batches to fit on, to choose the ridge by, to score on.

    Raises:
        InputError: the logits are not what one linear map puts out, batches can be read only once, or no
            head could be fitted.
        StackError: the model has several stages.
    """
    stack = whole.stage(None)
    if stack.head is None:
        raise InputError(
            f"the logits of the {type(stack.model).__name__} are not what one nn.Linear puts out, so "
            "there is no depth curve; pass another criterion, such as 'spans'"
        )
    fit_batches, held_out, score = batches
    refuse_iterators(*(b for b in batches if b is not None))
    with evaluating(stack.model):
        heads = _solve(stack, fit_batches, fit)
        losses = _Losses(stack, heads, held_out, fit)
        chosen = losses.best()
        kept = [[row[b]] for row, b in zip(heads, chosen, strict=True)]
        scored = losses if score is None else _Losses(stack, kept, score, fit)
    column = chosen if score is None else [0] * len(kept)
    mean, error, accuracy = scored.figures(column)
    return DepthCurve(
        fit.target,
        mean,
        error,
        accuracy,
        np.asarray(fit.ridges)[chosen],
        tuple(row[0] for row in kept),
        stack.names,
        fit.target == "logits",
        stack.head,
        HeadReads(stack).linear.bias is not None,
    )


def _until(t: int) -> Change:
    """Return what leaves out all layers behind t."""
    return lambda u, before, after: after if u <= t else before


def _read(stack: FoundStack, x: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what the head reads, and the outputs, with the layers up to t alone, t = 0…T."""
    reads = HeadReads(stack)
    for t in range(stack.depth + 1):
        with stack.change(_until(t)):
            yield reads.of(x)


def _solve(stack: FoundStack, batches: Iterable[Any], fit: CurveFit) -> list[list[AffineHead]]:
    """Return the heads [state][ridge]."""
    linear, fits = HeadReads(stack).linear, list[LeastSquares]()
    for batch in batches:
        x, labels = split_batch(batch, stack.classes)
        x = as_any_inputs(x, stack.weight)
        wanted, _ = HeadReads(stack).of(x)
        if fit.target == "labels":
            classes = class_labels(labels, "a probe")
            wanted = nn.functional.one_hot(classes.to(wanted.device), stack.classes).to(wanted)
        for t, (h, out) in enumerate(_read(stack, x)):
            z = wanted if fit.target == "labels" else wanted - h
            if t == len(fits):
                fits.append(LeastSquares(h, z))
            fits[t].add(h, z, counted_weights(stack, stack.depth, x, out))
    found = []
    for least in fits:
        normal = total(fit.merge(least.result()))
        biased = linear.bias is not None or fit.target == "labels"
        solved = (normal if biased else normal.through_origin()).solve(fit.ridges)
        found.append([h if fit.target == "labels" else folded(linear, h) for h in solved])
    return found


class _Losses:
    """Held-out losses of candidate heads [state][candidate]."""

    def __init__(
        self,
        stack: FoundStack,
        heads: list[list[AffineHead]],
        batches: Iterable[Any],
        fit: CurveFit,
    ):
        shape = (len(heads), len(heads[0]))
        self.loss, self.square, self.right = (
            torch.zeros(shape, dtype=torch.float64) for _ in range(3)
        )
        self.samples = 0
        for x, labels in labelled(stack.model, batches, "held-out batches"):
            for t, (h, out) in enumerate(_read(stack, x)):
                for i, head in enumerate(heads[t]):
                    z = (h @ head.weight.to(h).T + head.bias.to(h)).reshape(out.shape).float()
                    count = self._add(t, i, z, labels.to(z.device), fit)
            self.samples += count
        self.loss, self.square, self.right, self.samples = (
            total(list(parts))
            for parts in zip(
                *fit.merge((self.loss, self.square, self.right, self.samples)), strict=True
            )
        )

    def _add(self, t: int, i: int, z: Tensor, labels: Tensor, fit: CurveFit) -> int:
        each = sample_losses(fit.loss, z, check_labels(labels, z.shape[-1])).double()
        self.loss[t, i] += each.sum().cpu()
        self.square[t, i] += each.square().sum().cpu()
        classes = labels.ndim == 1 and not labels.is_floating_point()
        self.right[t, i] += (z.argmax(1) == labels).sum().cpu() if classes else torch.nan
        return len(each)

    def best(self) -> list[int]:
        """Return for every state the candidate with the lowest loss."""
        loss = self.loss.nan_to_num(torch.inf)
        if bool(loss.amin(1).isinf().any()):
            t = int(loss.amin(1).isinf().nonzero()[0])
            raise InputError(
                f"no head could be fitted on the state after layer {t}: what the head reads holds NaN "
                "or infinite values, or is too alike for the ridges; pass larger ridges"
            )
        return list(map(int, loss.argmin(1)))

    def figures(self, column: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return mean loss, its standard error and the accuracy of one candidate for each state."""
        where, n = (torch.arange(len(column)), torch.tensor(column)), self.samples
        mean, square, right = (v[where] / n for v in (self.loss, self.square, self.right))
        error = ((square - mean**2).clamp(min=0) / max(n - 1, 1)).sqrt()
        return mean.numpy(), error.numpy(), right.numpy()
