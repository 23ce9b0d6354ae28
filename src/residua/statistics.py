"""Statistics of states and residuals over a data set, in memory that does not grow with it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

from residua.errors import InputError
from residua.layers import ResidualStack, rows
from residua.moments import Moments, class_means, one_hot
from residua.streaming import find_layers, stream

PART = 524_288  # numbers of an array that are worked on together: 2 MB each of six in float32


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


class _Part(NamedTuple):
    """Rows of a batch, and where they are worked on: D_t, y_t and y_{t−1}, d_t, and a scratch."""

    rows: slice
    D: Tensor
    y: tuple[Tensor, Tensor]
    d: Tensor
    work: Tensor


class StatisticsConsumer:
    """Streams the batches of a stack into :class:`Statistics`.

    Deviations d_t of residuals from an origin of their class are summed, and those of states, which are
    D_t = D_{t−1} + d_t. Rows are taken in parts that stay in a processor's cache, in buffers that are
    used again: fresh memory, and memory far away, cost more than the arithmetic.
    """

    def __init__(self, stack: ResidualStack):
        self.stack = stack
        self.count: Tensor | None = None
        self.rows = 0

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
        if self.any_fresh:
            self._centre(t, class_means(after - before, self.members))
        for part in self.parts:
            self._add(t, part, before[part.rows], after[part.rows])

    def _first_state(self, x: Tensor, tokens: int) -> None:
        labels = self.labels
        if labels is not None and tokens > 1:
            labels = labels.repeat_interleave(tokens)
        members = one_hot(labels, x, self.stack.classes)
        size = members.sum(0)
        if self.count is None:
            self._allocate(x, len(size))
        assert self.count is not None
        if self.rows != len(x):
            self._buffers(x)
        self.fresh = (self.count == 0) & (size > 0)
        self.any_fresh = bool(self.fresh.any())
        self.count += size
        self.members, origin = members, self.origins[0, 0]
        if self.any_fresh:
            self._centre(0, class_means(x, members))
        for part in self.parts:
            torch.addmm(x[part.rows], members[part.rows], origin, alpha=-1, out=part.D)
            self.sums[0].add_(self._sum(part.D, part.rows))
            square = torch.mul(part.D, part.D, out=part.work)
            self.squares[0, 0].add_(self._sum(square, part.rows))

    def _allocate(self, x: Tensor, classes: int) -> None:
        """Begin all sums; entry t is of [state, residual] t, of which residual 0 stays unused."""
        shape = (self.stack.depth + 1, 2, classes, x.shape[1])
        self.origins = x.new_zeros(shape)
        self.squares = torch.zeros(shape, dtype=torch.float64, device=x.device)
        self.sums = torch.zeros_like(self.squares[:, 0])
        self.changes = torch.zeros_like(self.squares[:, :, 0, 0])
        self.count = torch.zeros_like(self.squares[0, 0, :, 0])

    def _buffers(self, x: Tensor) -> None:
        self.rows = len(x)
        size = max(1, PART // x.shape[1]) if x.device.type == "cpu" else len(x)
        D, *ys = x.new_empty(3, *x.shape)
        d, work = x.new_empty(2, min(size, len(x)), x.shape[1])
        cuts = [slice(i, min(i + size, len(x))) for i in range(0, len(x), size)]
        self.parts = [
            _Part(c, D[c], (ys[0][c], ys[1][c]), d[: c.stop - c.start], work[: c.stop - c.start])
            for c in cuts
        ]

    def _centre(self, t: int, means: Tensor) -> None:
        """Set the origins of classes that no batch before had; their sums are still 0."""
        of = self.origins[t]
        of[1] = torch.where(self.fresh[:, None], means, of[1])
        whole = means if t == 0 else self.origins[t - 1, 0] + of[1]
        of[0] = torch.where(self.fresh[:, None], whole, of[0])

    def _sum(self, value: Tensor, part: slice) -> Tensor:
        """Return the sums over the rows of each class."""
        members = self.members[part]
        return value.sum(0, keepdim=True) if members.shape[1] == 1 else members.T @ value

    def _add(self, t: int, part: "_Part", before: Tensor, after: Tensor) -> None:
        """Add some rows of layer t."""
        origin, changes, d, work = self.origins[t, 1], self.changes[t], part.d, part.work
        y = torch.sub(after, before, out=part.y[t % 2])
        if len(origin) == 1:
            torch.sub(y, origin, out=d)
        else:
            torch.addmm(y, self.members[part.rows], origin, alpha=-1, out=d)
        self.sums[t].add_(self._sum(d, part.rows))
        part.D.add_(d)
        squares = self.squares[t]
        squares[0].add_(self._sum(torch.mul(part.D, part.D, out=work), part.rows))
        squares[1].add_(self._sum(torch.mul(d, d, out=work), part.rows))
        # abs().sum() rather than torch's 1-norms, which take three to five times as long on a CPU.
        changes[0].add_(torch.abs(y, out=work).sum())
        if t > 1:
            changes[1].add_(torch.sub(y, part.y[1 - t % 2], out=work).abs_().sum())

    def end(self, logits: Tensor) -> None:
        """Finish the batch."""

    def result(self) -> Statistics:
        """Return the statistics of all batches so far."""
        assert self.count is not None  # stream refuses to end without a batch
        n = self.count.clamp(min=1)[:, None]
        # The deviations of states are those of all residuals before, added up.
        sums = torch.stack([self.sums.cumsum(0), self.sums], 1)
        mean = self.origins.double() + sums / n
        mean[:, :, self.count == 0] = 0
        m2 = (self.squares - sums**2 / n).clamp(min=0)
        units = mean.shape[-1]
        changes = self.changes[1:].numpy(force=True) / units
        return Statistics(
            self.stack.names,
            self._moments(mean[:, 0], m2[:, 0]),
            self._moments(mean[1:, 1], m2[1:, 1]),
            changes[1:, 1].copy(),
            changes[:, 0].copy(),
        )

    def _moments(self, mean: Tensor, m2: Tensor) -> Moments:
        assert self.count is not None
        count, mean_, m2_ = (v.numpy(force=True).copy() for v in (self.count, mean, m2))
        return Moments(count, mean_, m2_, torch.finfo(self.stack.weight.dtype).eps)


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
