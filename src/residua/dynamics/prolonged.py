"""The network run on for many more layers than it was trained with, without storing them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor, nn

from residua.dynamics.class_sums import ClassSums
from residua.dynamics.residual_map import ResidualMap, first_pre_activation, residual_map
from residua.errors import InputError
from residua.inputs import unpack
from residua.layers import like
from residua.moments import Moments, class_means, one_hot
from residua.stack import find_stack

# A logistic unit within this of 0 or 1 counts as saturated.
SATURATED = 0.01


@dataclass(frozen=True, eq=False)
class Prolonged:
    """Residuals of a prolonged network, at the layers where they were measured.

    Attributes:
        layers: the layers measured, from 1, ascending.
        moments: of y, per measured layer, class and unit.
        settle_distance: mean over units and a class's samples of abs(y_t − y_{t−1}); NaN for layer 1.
        moved: the same from the measured layer before; NaN for the first.
        magnitude: mean over units and a class's samples of abs(y_t).
        at_zero: share of a class's residuals below 0.01.
        at_one: share of a class's residuals above 0.99.
        coactivity: mean over all samples of y_i y_j at the last measured layer: large where units are
            active together.
    """

    layers: Int[np.ndarray, "measured"]
    moments: Moments
    settle_distance: Float[np.ndarray, "measured classes"]
    moved: Float[np.ndarray, "measured classes"]
    magnitude: Float[np.ndarray, "measured classes"]
    at_zero: Float[np.ndarray, "measured classes"]
    at_one: Float[np.ndarray, "measured classes"]
    coactivity: Float[Tensor, "unit unit"]

    @property
    def spread(self) -> Float[np.ndarray, "measured"]:
        """Mean over units of the standard deviation over all samples."""
        return np.asarray(self.moments.pooled().std.mean((1, 2)))

    @property
    def spread_within(self) -> Float[np.ndarray, "measured"]:
        """Mean over units of the standard deviation over the samples of a class, pooled over classes."""
        variance = self.moments.m2.sum(1) / self.moments.count.sum()
        return np.asarray(np.sqrt(variance).mean(1))

    def pooled(
        self, values: Float[np.ndarray, "measured classes"]
    ) -> Float[np.ndarray, "measured"]:
        """Return the mean over all samples of a measure by class."""
        count = self.moments.count
        return np.asarray(values[:, count > 0] @ count[count > 0] / count.sum())

    def settled(self, threshold: float = 0.01) -> int | None:
        """Return the first measured layer from which on residuals move by less than 1 % of their size.

        Moved counts from the last measured layer that lies a sixth of t or more before t. A small step
        from layer to layer alone is not convergence: with W = −2, y falls like 1/(2t), and between
        layers a sixth apart still by a sixth.
        """
        return self._settled(self.pooled(self.moved), self.pooled(self.magnitude), threshold)

    def settled_by_class(self, threshold: float = 0.01) -> tuple[int | None, ...]:
        """Return the same for the samples of every class; None too for an absent class."""
        pairs = zip(self.moved.T, self.magnitude.T, strict=True)
        return tuple(self._settled(moved, size, threshold) for moved, size in pairs)

    def _settled(self, moved: np.ndarray, size: np.ndarray, threshold: float) -> int | None:
        # Where layers are measured closer than that, what was moved between them adds up.
        since = np.searchsorted(self.layers, self.layers * (5 / 6) + 1e-9)
        total = [moved[min(j, k) : k + 1].sum() for k, j in enumerate(since)]
        moving = np.flatnonzero(~(np.array(total) <= threshold * size))
        after = 0 if not len(moving) else int(moving[-1]) + 1
        return int(self.layers[after]) if after < len(self.layers) else None

    def to_dataset(self, classes: Sequence[str] | None = None) -> xr.Dataset:
        """Return labelled arrays with the dimensions layer (those measured), class and unit.

        `moved_share` is `moved` over `magnitude`; NaN for the first layer, and where no residual is.
        Means and spreads of a class without samples are NaN.
        """
        measures = ("settle_distance", "moved", "magnitude", "at_zero", "at_one")
        by_class = ("layer", "class", "unit")
        unknown = np.full_like(self.moved, np.nan)
        share = np.divide(self.moved, self.magnitude, out=unknown, where=self.magnitude > 0)
        return xr.Dataset(
            {name: (by_class[:2], getattr(self, name)) for name in measures}
            | {"moved_share": (by_class[:2], share)}
            | {name: ("layer", getattr(self, name)) for name in ("spread", "spread_within")}
            | {
                "residual_mean": (by_class, self.moments.known),
                "residual_std": (by_class, self.moments.std),
            },
            coords={
                "layer": self.layers,
                "class": list(classes or map(str, range(len(self.moments.count)))),
            },
        )


def measured_layers(layers: int, count: int = 40) -> list[int]:
    """Return about `count` layers from 1 to `layers`, evenly spaced in their logarithm."""
    if layers < 1 or count < 2:
        raise InputError(
            f"layers must be at least 1 and count at least 2, not {layers} and {count}"
        )
    spaced = np.geomspace(1, layers, count).round().astype(int)
    return sorted(set(map(int, spaced)))


@torch.no_grad()
def prolong(
    model: nn.Module,
    batches: Iterable[Any],
    layers: int = 1000,
    *,
    at: Sequence[int] | None = None,
    layer: int | None = None,
) -> Prolonged:
    """Run a network's residual map for many layers and measure the residuals at some of them.

    Args:
        model: a model with one ResNet; with variable weights name the layer whose block is repeated.
        batches: yields x or (x, labels); each batch runs to the end before the next, so memory does
            not depend on the number of layers or of batches.
        layers: how many.
        at: the layers to measure; default about 40 of them, evenly spaced in their logarithm.
        layer: the block that is repeated, from 1; the batch first passes the blocks before it.

    Raises:
        InputError: as :func:`residual_map`; no batch, or labels that do not fit; a layer to
            measure that is not run.

    Source: Lagzi, arXiv 2101.03009, the network of 1000 layers.
    """
    stack = find_stack(model)
    where = sorted(set(at or measured_layers(layers)))
    if not 1 <= where[0] <= where[-1] <= layers:
        raise InputError(f"layers to measure must be in 1…{layers}, not {where[0]}…{where[-1]}")
    measure = _Measure(residual_map(model, layer=layer), where, stack.classes)
    for batch in batches:
        x, labels = unpack(batch, stack.classes)
        start = first_pre_activation(model, like(x, stack.weight), layer=layer or 1)
        measure.add(start, labels)
    if measure.count is None or not bool(measure.count.any()):
        raise InputError("the data loader gave no batch; pass one with at least one sample")
    return measure.result()


class _Measure:
    """Runs batches through a map and sums up what is measured."""

    def __init__(self, residuals: ResidualMap, at: list[int], classes: int):
        self.residuals, self.at, self.classes = residuals, at, classes
        self.sums: list[ClassSums] = []
        self.totals: list[Tensor] = []
        self.count: Tensor | None = None

    def add(self, z: Tensor, labels: Tensor | None) -> None:
        members = one_hot(labels, z, self.classes)
        if self.count is None:
            classes = members.shape[1]
            self.count = torch.zeros(classes, dtype=torch.float64, device=z.device)
            self.sums = [ClassSums(classes, z) for _ in self.at]
            self.totals = [z.new_zeros(5, classes, dtype=torch.float64) for _ in self.at]
            self.products = torch.zeros_like(self.residuals.W, dtype=torch.float64)
        size = members.sum(0)
        self.fresh = (self.count == 0) & (size > 0)
        self.count += size
        wanted = {t: k for k, t in enumerate(self.at)}
        W, h, z = self.residuals.W.T, self.residuals.step_size, z.clone()
        y = self.residuals.residual(z)
        last: Tensor | None = None
        measured: Tensor | None = None
        for t in range(1, self.at[-1] + 1):
            if t in wanted:
                self._measure(wanted[t], y, (last, measured), members)
                measured = y
            if t < self.at[-1]:
                z.addmm_(y, W, alpha=h)
                last = y if t + 1 in wanted else None
                y = self.residuals.residual(z)
        self.products += (y.T @ y).double()

    def _measure(
        self, k: int, y: Tensor, earlier: tuple[Tensor | None, Tensor | None], members: Tensor
    ) -> None:
        if bool(self.fresh.any()):
            self.sums[k].centre(self.fresh, class_means(y, members))
        self.sums[k].add(y, members)
        zero, one = y < SATURATED, y > 1 - SATURATED
        moved = [None if e is None else (y - e).abs_() for e in earlier]
        for row, value in zip(self.totals[k], (*moved, y.abs(), zero, one), strict=True):
            row += torch.nan if value is None else value.sum(1).to(members.dtype) @ members

    def result(self) -> Prolonged:
        assert self.count is not None
        pairs = [s.result(self.count) for s in self.sums]
        mean, m2 = (np.stack([p[i].numpy(force=True) for p in pairs]) for i in (0, 1))
        # 0 / 0 is NaN: an absent class has no mean.
        totals = torch.stack(self.totals, 1) / (self.count * self.residuals.units)
        settle, moved, size, zero, one = totals.numpy(force=True)
        moments = Moments(self.count.numpy(force=True), mean, m2)
        at, together = np.array(self.at), self.products / self.count.sum()
        return Prolonged(at, moments, settle, moved, size, zero, one, together)
