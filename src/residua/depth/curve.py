"""The depth curve: how good a head fitted in closed form on each state x_t is on held-out data."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from residua.depth.curve_records import (
    CurveFit,
    DepthCurve,
    Of,
    Target,
    squared_error,
    target_named,
)
from residua.depth.found_curve import found_curve
from residua.depth.least_squares import RIDGES, AffineHead, LeastSquares, Normal
from residua.distributed import Merge, total
from residua.errors import InputError
from residua.layers import ResidualStack
from residua.losses import Loss, class_labels, cross_entropy, sample_losses
from residua.stack import FoundStack, OwnStack, find_stack
from residua.streaming import find_layers, stream


class NormalEquations:
    """Streams the least squares from every state (or residual) to the logits or labels."""

    def __init__(self, stack: OwnStack, target: Target, of: Of = "states"):
        self.target, self.of = target, of
        self.classes = stack.classes
        self.states: list[Tensor] = []
        self.fits: list[LeastSquares] = []
        self.readout, self.foldable = stack.readout, False

    def begin(self, labels: Tensor | None) -> None:
        """Start a batch."""
        self.labels = class_labels(labels, "a probe") if self.target == "labels" else labels
        self.states = []

    def visit(self, t: int, before: Tensor, after: Tensor) -> None:
        """Keep the state until the batch's logits are known."""
        self.states += _seen(self.of, t, before, after)

    def end(self, logits: Tensor) -> None:
        """Add the batch."""
        z = logits
        if self.target == "labels":
            assert self.labels is not None
            z = nn.functional.one_hot(self.labels.to(z.device), self.classes).to(z.dtype)
        if not self.fits:
            logits_wanted = self.target == "logits"
            self.foldable = logits_wanted and self.readout.gives(logits, self.states[-1])
            self.fits = [LeastSquares(x, z) for x in self.states]
        for fit, x in zip(self.fits, self.states, strict=True):
            fit.add(x, z)

    def solve(self, ridges: Sequence[float], merge: Merge[Normal]) -> list[list[AffineHead]]:
        """Return the ridge solutions [state][ridge]; see :meth:`Normal.solve`."""
        return [total(merge(fit.result())).solve(ridges) for fit in self.fits]


class HeadEvaluation:
    """Streams the loss and accuracy of candidate heads [state][candidate]."""

    def __init__(self, heads: Sequence[Sequence[AffineHead]], loss: Loss, of: Of = "states"):
        self.score, self.of = loss, of
        self.candidates = len(heads[0])
        self.weights = [torch.cat([h.weight for h in row]) for row in heads]
        self.biases = [torch.cat([h.bias for h in row]) for row in heads]
        shape = (len(heads), self.candidates)
        self.loss = torch.zeros(shape, dtype=torch.float64)
        self.square = torch.zeros(shape, dtype=torch.float64)
        self.right = torch.zeros(shape, dtype=torch.float64)
        self.samples = 0

    def begin(self, labels: Tensor | None) -> None:
        """Start a batch; its labels, or the targets of the loss, are needed."""
        if labels is None:
            raise InputError("held-out batches must be (x, labels)")
        self.labels = labels
        self.next = 0

    def visit(self, t: int, before: Tensor, after: Tensor) -> None:
        """Evaluate the heads of one state."""
        for x in _seen(self.of, t, before, after):
            self._evaluate(self.next, x)
            self.next += 1

    def _evaluate(self, t: int, x: Tensor) -> None:
        weight, bias = self.weights[t].to(x), self.biases[t].to(x)
        logits = torch.addmm(bias, x, weight.T).reshape(len(x), self.candidates, -1)
        labels = self.labels.to(x.device)
        each = [sample_losses(self.score, z, labels) for z in logits.unbind(1)]
        loss = torch.stack(each, 1).double()
        self.loss[t] += loss.sum(0).cpu()
        self.square[t] += loss.square().sum(0).cpu()
        if labels.is_floating_point():
            self.right[t] = torch.nan
        else:
            self.right[t] += (logits.argmax(2) == labels[:, None]).sum(0).cpu()

    def end(self, logits: Tensor) -> None:
        """Count the batch's samples."""
        self.samples += len(logits)

    def merge(self, merge: Merge[Any]) -> None:
        """Add what other processes have summed up."""
        parts = merge((self.loss, self.square, self.right, self.samples))
        self.loss, self.square, self.right, self.samples = (
            total(list(values)) for values in zip(*parts, strict=True)
        )

    def best(self) -> list[int]:
        """Return for every state the candidate with the lowest loss.

        Raises:
            InputError: a state has no candidate with a finite loss.
        """
        loss = self.loss.nan_to_num(torch.inf)
        if bool(loss.amin(1).isinf().any()):
            t = int(loss.amin(1).isinf().nonzero()[0])
            raise InputError(
                f"no head could be fitted on the state after layer {t}: it holds NaN or infinite "
                "values, or its units are too alike for the ridges; lower the learning rate, or pass "
                "larger ridges"
            )
        return loss.argmin(1).tolist()

    def figures(self, column: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return mean loss, its standard error and the accuracy of one candidate for each state."""
        where, n = (torch.arange(len(column)), torch.tensor(column)), self.samples
        mean, square, right = (v[where] / n for v in (self.loss, self.square, self.right))
        error = ((square - mean**2).clamp(min=0) / max(n - 1, 1)).sqrt()
        return mean.numpy(), error.numpy(), right.numpy()


def _seen(of: Of, t: int, before: Tensor, after: Tensor) -> list[Tensor]:
    """Return what layer t shows: the state after it (of the first layer, before it too), or y_t."""
    if of == "residuals":
        return [after - before]
    return [before, after] if t == 1 else [after]


def depth_curve(
    model: nn.Module | ResidualStack,
    fit_batches: Iterable[Any],
    held_out_batches: Iterable[Any],
    *,
    score_batches: Iterable[Any] | None = None,
    target: str = "logits",
    ridges: Sequence[float] = RIDGES,
    loss: Loss = cross_entropy,
) -> DepthCurve:
    """Fit a head on every state by ridge regression and evaluate it on held-out data.

    Args:
        model: any model with a residual stack of one stage, or what :func:`residua.find_blocks` returned
            of it. Of other models than residua's the heads are fitted on what the model's own head reads
            when the layers behind a state are left out, and each state takes a pass.
        fit_batches: training batches (x, labels); labels are used for target="labels" only.
        held_out_batches: validation batches (x, labels); they choose the ridge. Never test data.
        score_batches: where loss and accuracy are taken once the ridge is chosen, test data for
            instance; default the held-out batches.
        target: "logits" fits the model's own logits, "labels" the one-hot labels.
        ridges: candidates, relative to the mean variance of a unit.
        loss: (outputs, targets) → the loss of each sample, with target="logits"; default
            cross-entropy, in nats. With another, targets need not be classes.

    Raises:
        StackError: no residual stack was found.
        InputError: no batch came, labels are missing where they are needed, or the states are not
            finite.
    """
    known = target_named(target)
    scored = loss if known == "logits" else squared_error
    batches = (fit_batches, held_out_batches, score_batches)
    how = CurveFit(known, "states", tuple(ridges), scored)
    whole, _ = find_layers(model, fit_batches)
    return curve_of(whole, batches, how)


def residual_probe(
    model: nn.Module,
    fit_batches: Iterable[Any],
    held_out_batches: Iterable[Any],
    *,
    score_batches: Iterable[Any] | None = None,
    ridges: Sequence[float] = RIDGES,
) -> DepthCurve:
    """Fit a linear probe of the labels on every residual y_t, t = 1…T, as on states the depth curve.

    Arguments, data and errors are those of `depth_curve(…, target="labels")`.
    """
    batches = (fit_batches, held_out_batches, score_batches)
    fit = CurveFit("labels", "residuals", tuple(ridges), squared_error)
    return fit_curve(find_stack(model), batches, fit)


def curve_of(
    stack: ResidualStack,
    batches: tuple[Iterable[Any], Iterable[Any], Iterable[Any] | None],
    fit: CurveFit,
) -> DepthCurve:
    """Fit and score the heads of any model; see :func:`fit_curve`."""
    if isinstance(stack, FoundStack):
        return found_curve(stack, batches, fit)
    return fit_curve(find_stack(stack.model), batches, fit)


def fit_curve(
    stack: OwnStack,
    batches: tuple[Iterable[Any], Iterable[Any], Iterable[Any] | None],
    fit: CurveFit,
) -> DepthCurve:
    """Fit and score heads; batches to fit on, to choose the ridge by, and to score on (or None)."""
    ridges = fit.ridges
    if not len(ridges) or not min(ridges) > 0:
        raise InputError(f"ridges must be positive numbers, at least one, not {ridges}")
    fit_batches, held_out_batches, score_batches = batches
    equations = NormalEquations(stack, fit.target, fit.of)
    stream(stack, fit_batches, equations)
    heads = equations.solve(ridges, fit.merge)
    chosen = HeadEvaluation(heads, fit.loss, fit.of)
    stream(stack, held_out_batches, chosen)
    chosen.merge(fit.merge)
    best = chosen.best()
    kept = tuple(row[b] for row, b in zip(heads, best, strict=True))
    if score_batches is None:
        scored, column = chosen, best
    else:
        scored = HeadEvaluation([[head] for head in kept], fit.loss, fit.of)
        column = [0] * len(kept)
        stream(stack, score_batches, scored)
        scored.merge(fit.merge)
    mean, error, accuracy = scored.figures(column)
    ridge = np.asarray(ridges)[best]
    names, foldable = stack.names, equations.foldable
    return DepthCurve(fit.target, mean, error, accuracy, ridge, kept, names, foldable)
