"""The depth curve: how good a head fitted in closed form on each state x_t is on held-out data."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from residua.depth.compensation import Compensation
from residua.depth.least_squares import RIDGES, AffineHead, LeastSquares, Normal
from residua.distributed import Merge, alone, total
from residua.errors import InputError
from residua.stack import OwnStack, find_stack
from residua.streaming import Loss, class_labels, cross_entropy, sample_losses, stream

Target = Literal["logits", "labels"]
Of = Literal["states", "residuals"]


@dataclass(frozen=True)
class DepthCurve:
    """Held-out loss and accuracy of the fitted head at each state t = 0…T, or residual t = 1…T.

    Attributes:
        target: "logits" (the old logits, a compensation; loss is the cross-entropy, in nats, or the one
            that was passed) or "labels" (one-hot labels, a probe; loss is the squared error).
        loss: mean over held-out samples.
        loss_error: standard error of that mean.
        accuracy: share of held-out samples classified right; NaN where targets are no classes.
        ridge: chosen for each state by held-out loss, relative to the mean variance of a unit.
        heads: the fitted heads.
        names: the module that made each layer, t = 1…T.
        foldable: whether a head can take the place of the model's own: it is fitted to the old logits,
            and these are K x_T + c.
    """

    target: Target
    loss: Float[np.ndarray, "state"]
    loss_error: Float[np.ndarray, "state"]
    accuracy: Float[np.ndarray, "state"]
    ridge: Float[np.ndarray, "state"]
    heads: tuple[AffineHead, ...]
    names: tuple[str, ...]
    foldable: bool = True

    def compensation(self, keep: int) -> Compensation:
        """Return the head fitted on the state after `keep` layers, for the network cut there.

        Raises:
            InputError: the curve is of no such state, or the model's head cannot be replaced so.
        """
        if not self.foldable:
            raise InputError(
                "the heads of this curve cannot take the place of the model's own: they are fitted to "
                "labels, or the model's logits are not K x + c of the last state alone; use "
                "residua.compensate, or in training the rule 'spans'"
            )
        if not 0 <= keep < len(self.heads):
            raise InputError(f"the curve has states 0…{len(self.heads) - 1}, not {keep}")
        head = self.heads[keep]
        weights = {"head.weight": head.weight, "head.bias": head.bias}
        return Compensation("affine", weights, ridge=float(self.ridge[keep]))


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
    model: nn.Module,
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
        model: a model with a residual stack.
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
    known = _known(target)
    scored = loss if known == "logits" else squared_error
    batches = (fit_batches, held_out_batches, score_batches)
    return fit_curve(find_stack(model), batches, CurveFit(known, "states", tuple(ridges), scored))


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


def squared_error(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the squared distance of each sample's outputs to its label one-hot.

    Raises:
        InputError: the targets are no classes.
    """
    where = class_labels(labels, "a probe")
    return (outputs - nn.functional.one_hot(where, outputs.shape[1])).square().sum(1)


class CurveFit(NamedTuple):
    """What is fitted on what, and how it is scored."""

    target: Target
    of: Of
    ridges: tuple[float, ...]
    loss: Loss
    merge: Merge[Any] = alone


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


def _known(target: str) -> Target:
    for word in get_args(Target):
        if target == word:
            return word  # type: ignore[no-any-return]
    raise InputError(f"target must be 'logits' or 'labels', not {target!r}")
