"""Statistics of states and residuals over a data set, in memory that does not grow with it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

from residua.errors import InputError
from residua.layers import ResidualStack, rows
from residua.streaming import find_layers, stream


@dataclass(frozen=True)
class Moments:
    """Mean and sum of squared deviations, per class and unit, mergeable (Chan, Golub, LeVeque 1979).

    Shapes: mean and m2 (t, class, unit), count (class,); float64. `eps` is that of the precision in
    which the values were computed: what differs by less, relative to its size, is rounding.
    """

    count: Float[np.ndarray, "classes"]
    mean: Float[np.ndarray, "t classes unit"]
    m2: Float[np.ndarray, "t classes unit"]
    eps: float = float(np.finfo(np.float64).eps)

    def __add__(self, other: "Moments") -> "Moments":
        n = self.count + other.count
        share = np.divide(other.count, n, out=np.zeros_like(n), where=n > 0)[:, None]
        delta = other.mean - self.mean
        return Moments(
            n,
            self.mean + share * delta,
            self.m2 + other.m2 + self.count[:, None] * share * delta**2,
            max(self.eps, other.eps),
        )

    @property
    def std(self) -> Float[np.ndarray, "t classes unit"]:
        """Standard deviation within each class (population form); NaN for an absent class."""
        return np.asarray(np.sqrt(self.m2 / np.where(self.count > 0, self.count, np.nan)[:, None]))

    @property
    def known(self) -> Float[np.ndarray, "t classes unit"]:
        """The means; NaN for an absent class, whose `mean` is 0 so that it merges."""
        return np.where(self.count[:, None] > 0, self.mean, np.nan)

    def pooled(self) -> "Moments":
        """Return the moments over all samples as one class."""
        n = self.count.sum(keepdims=True)
        mean = np.tensordot(self.count, self.mean, (0, 1))[:, None] / n
        between = (self.count[:, None] * (self.mean - mean) ** 2).sum(1, keepdims=True)
        return Moments(n, mean, self.m2.sum(1, keepdims=True) + between, self.eps)


@dataclass(frozen=True)
class Statistics:
    """Per layer and class: mean and spread of states and residuals; settle distance; spread.

    Attributes:
        names: the module that made each layer, t = 1…T.
        states: moments of x_t, t = 0…T.
        residuals: moments of y_t, t = 1…T.
        settle_sum: Σ over samples of mean over units of abs(y_t − y_{t−1}), t = 2…T.
        magnitude_sum: Σ over samples of mean over units of abs(y_t), t = 1…T.
    """

    names: tuple[str, ...]
    states: Moments
    residuals: Moments
    settle_sum: Float[np.ndarray, "settles"]
    magnitude_sum: Float[np.ndarray, "layers"]

    def __add__(self, other: "Statistics") -> "Statistics":
        """Merge the statistics of two parts of a data set (two processes, say)."""
        mine, others = (s.states.mean.shape for s in (self, other))
        if self.names != other.names or mine != others:
            raise InputError(
                "statistics of different stacks, or with and without classes, cannot be merged: "
                f"(states, classes, units) are {mine} and {others}; accumulate both on one model "
                "from the same kind of batches"
            )
        parts = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)[1:]}
        return Statistics(self.names, **parts)

    @property
    def depth(self) -> int:
        """T, the number of layers."""
        return len(self.names)

    @property
    def samples(self) -> int:
        """Number of samples seen."""
        return int(self.states.count.sum())

    @property
    def settle_distance(self) -> Float[np.ndarray, "settles"]:
        """s_t, mean over units and samples of abs(y_t − y_{t−1}), t = 2…T; the paper's r1 − r2."""
        return np.asarray(self.settle_sum / self.samples)

    @property
    def relative_settle_distance(self) -> Float[np.ndarray, "settles"]:
        """s_t over the mean of abs(y_t), t = 2…T."""
        return np.asarray(self.settle_sum / self.magnitude_sum[1:])

    @property
    def spread(self) -> Float[np.ndarray, "layers"]:
        """v_t, mean over units of the standard deviation over samples of y_t, t = 1…T."""
        return np.asarray(self.residuals.pooled().std.mean((1, 2)))

    @property
    def relative_spread(self) -> Float[np.ndarray, "layers"]:
        """v_t over the same of x_{t−1}, t = 1…T."""
        return np.asarray(self.spread / self.states.pooled().std.mean((1, 2))[:-1])

    def to_dataset(self, classes: Sequence[str] | None = None) -> xr.Dataset:
        """Return arrays by state 0…T, layer 1…T, class and unit; NaN for a class without samples."""
        by_class = ("class", "unit")
        values: dict[str, Any] = {
            "state_mean": (("state", *by_class), self.states.known),
            "state_std": (("state", *by_class), self.states.std),
            "residual_mean": (("layer", *by_class), self.residuals.known),
            "residual_std": (("layer", *by_class), self.residuals.std),
            "magnitude": ("layer", self.magnitude_sum / self.samples),
            "settle_distance": ("layer", np.r_[np.nan, self.settle_distance]),
            "relative_settle_distance": ("layer", np.r_[np.nan, self.relative_settle_distance]),
            "spread": ("layer", self.spread),
            "relative_spread": ("layer", self.relative_spread),
            "samples": ("class", self.states.count),
        }
        return xr.Dataset(
            values,
            coords={
                "state": range(self.depth + 1),
                "layer": range(1, self.depth + 1),
                "class": list(classes or map(str, range(len(self.states.count)))),
                "block": ("layer", list(self.names)),
            },
        )


class ClassSums:
    """Sums of one state or residual, and of its squares, about an origin (classes, unit).

    Sums about a nearby point lose no digits where the spread is far below the mean. They cost a
    matrix product with the one-hot labels each, in the model's precision, and add up in float64.
    """

    def __init__(self, classes: int, like: Tensor):
        self.origin = like.new_zeros(classes, like.shape[1])
        self.sum = torch.zeros_like(self.origin, dtype=torch.float64)
        self.square_sum = torch.zeros_like(self.sum)

    def centre(self, fresh: Tensor, origin: Tensor) -> None:
        """Set the origins of classes (a mask) that no batch before had; their sums are still 0."""
        self.origin = torch.where(fresh[:, None], origin, self.origin)

    def add(self, value: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
        """Add a batch (batch, unit) with its labels one-hot; return its deviations and their sums."""
        deviation = torch.addmm(value, members, self.origin, alpha=-1)
        total = (members.T @ deviation).double()
        self.sum += total
        self.square_sum += members.T @ deviation.square()
        return deviation, total

    def result(self, count: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and m2 (classes, unit)."""
        n = count.clamp(min=1)[:, None]
        mean = self.origin.double() + self.sum / n
        mean[count == 0] = 0
        return mean, (self.square_sum - self.sum**2 / n).clamp(min=0)


def one_hot(labels: Tensor | None, like: Tensor, classes: int) -> Tensor:
    """Return labels one-hot (batch, classes), as `like` in kind; without labels all are one class."""
    if labels is None:
        return like.new_ones(len(like), 1)
    return like.new_zeros(len(like), classes).scatter_(1, labels.to(like.device)[:, None], 1)


def class_means(value: Tensor, members: Tensor) -> Tensor:
    """Return the mean of each class in a batch; 0 for a class that it lacks."""
    return members.T @ value / members.sum(0).clamp(min=1)[:, None]


class StatisticsConsumer:
    """Streams the batches of a stack into :class:`Statistics`."""

    def __init__(self, stack: ResidualStack):
        self.stack = stack
        self.states: list[ClassSums] = []
        self.residuals: list[ClassSums] = []
        self.settle = torch.zeros(stack.depth, dtype=torch.float64)
        self.magnitude = torch.zeros(stack.depth, dtype=torch.float64)
        self.count: Tensor | None = None
        self.previous: Tensor | None = None

    def begin(self, labels: Tensor | None) -> None:
        """Start a batch; without labels of samples all samples are one class."""
        classes = labels is not None and labels.ndim == 1 and not labels.is_floating_point()
        self.labels = labels if classes else None

    def visit(self, t: int, before: Tensor, after: Tensor) -> None:
        """Add one layer's state and residual."""
        tokens = before.shape[1] if before.ndim == 3 else 1
        before, after = rows(before), rows(after)
        if t == 1:
            self._first_state(before, tokens)
        y = after - before
        self._moments_of(t, y)
        # abs().sum() rather than torch's 1-norms, which take three to five times as long on a CPU.
        # The buffers of the layer before are used again: fresh memory costs more than the arithmetic.
        spare = self.previous if self.previous is not None else torch.empty_like(y)
        if self.previous is not None:
            moved = torch.sub(y, self.previous, out=spare).abs_()
            self.settle[t - 1] += moved.sum().item() / y.shape[1]
        self.magnitude[t - 1] += torch.abs(y, out=spare).sum().item() / y.shape[1]
        self.previous = y

    def _first_state(self, x: Tensor, tokens: int) -> None:
        labels = self.labels
        if labels is not None and tokens > 1:
            labels = labels.repeat_interleave(tokens)
        self.members = one_hot(labels, x, self.stack.classes)
        size = self.members.sum(0)
        if self.count is None:
            classes = self.members.shape[1]
            self.count = torch.zeros(classes, dtype=torch.float64, device=x.device)
            self.states = [ClassSums(classes, x) for _ in range(self.stack.depth + 1)]
            self.residuals = [ClassSums(classes, x) for _ in range(self.stack.depth)]
        self.fresh = (self.count == 0) & (size > 0)
        self.any_fresh = bool(self.fresh.any())
        self.count += size
        if self.any_fresh:
            self.states[0].centre(self.fresh, class_means(x, self.members))
        self.deviation, self.deviation_sum = self.states[0].add(x, self.members)

    def _moments_of(self, t: int, y: Tensor) -> None:
        """Add y_t, and x_t by x_t = x_{t−1} + y_t, which holds for origins and sums alike."""
        state, residual = self.states[t], self.residuals[t - 1]
        if self.any_fresh:
            residual.centre(self.fresh, class_means(y, self.members))
            state.centre(self.fresh, self.states[t - 1].origin + residual.origin)
        deviation, total = residual.add(y, self.members)
        self.deviation_sum += total
        state.sum += self.deviation_sum
        self.deviation += deviation
        state.square_sum += self.members.T @ torch.square(self.deviation, out=deviation)

    def end(self, logits: Tensor) -> None:
        """Finish the batch."""
        self.previous = None

    def result(self) -> Statistics:
        """Return the statistics of all batches so far."""
        return Statistics(
            self.stack.names,
            self._moments(self.states),
            self._moments(self.residuals),
            self.settle[1:].numpy().copy(),
            self.magnitude.numpy().copy(),
        )

    def _moments(self, running: list[ClassSums]) -> Moments:
        assert self.count is not None  # stream refuses to end without a batch
        pairs = [r.result(self.count) for r in running]
        mean, m2 = (np.stack([p[i].numpy(force=True) for p in pairs]) for i in (0, 1))
        eps = torch.finfo(self.stack.weight.dtype).eps
        return Moments(self.count.numpy(force=True).copy(), mean, m2, eps)


def accumulate(
    model: nn.Module | ResidualStack, batches: Iterable[Any], *, stage: str | None = None
) -> Statistics:
    """Stream a data set through a model and return the statistics of its states and residuals.

    Args:
        model: any model with residual layers, or what :func:`residua.find_blocks` returned of it.
        batches: yields x, (x, labels), or mappings of named inputs with or without `labels`; labels
            0…C−1 give statistics per class.
        stage: which one, of a model with several. Of images every pixel of a channel is a unit, of
            sequences every token a sample.

    Returns:
        Statistics, float64. Memory is layers × classes × units, whatever the number of samples.

    Raises:
        StackError: no residual stack was found, or no such stage.
        InputError: no batch came, or labels do not fit.
    """
    whole, batches = find_layers(model, batches)
    stack = whole.stage(stage)
    consumer = StatisticsConsumer(stack)
    stream(stack, batches, consumer)
    return consumer.result()
