"""All measures that one pass over a data set gives."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import xarray as xr
from torch import nn

from residua.stack import find_stack
from residua.statistics import Statistics, StatisticsConsumer
from residua.streaming import stream
from residua.transients.attribution import ClassAttribution
from residua.transients.decisions import Decisions, DecisionsConsumer
from residua.transients.separability import (
    SensitiveUnits,
    Separability,
    sensitive_units,
    separability,
)


@dataclass(frozen=True, eq=False)
class Measures:
    """What one pass gives.

    Attributes:
        statistics: moments by class, settle distance, spread.
        states, residuals: how far apart the classes are, of x_t and of y_t.
        attribution: mean contribution of each layer to every logit, by class.
        decisions: the head on states and windows of layers.
        units: the most sensitive unit of every class; None with a norm before the head.
    """

    statistics: Statistics
    states: Separability
    residuals: Separability
    attribution: ClassAttribution
    decisions: Decisions
    units: SensitiveUnits | None

    def to_dataset(self, classes: list[str] | None = None) -> xr.Dataset:
        """Return labelled arrays with the dimensions state 0…T, layer 1…T, class, unit, bound."""
        found = self.statistics.to_dataset(classes)
        own, decided = self.attribution.own, self.decisions
        new: dict[str, Any] = {
            "fisher": ("state", self.states.fisher),
            "residual_fisher": ("layer", self.residuals.fisher),
            "class_distance": (("state", "class", "class_b"), self.states.distance),
            "input_contribution": ("class", own[0]),
            "own_contribution": (("layer", "class"), own[1:-1]),
            "mean_contribution": (("part", "class", "class_b"), self.attribution.mean),
            "head_accuracy": ("state", decided.accuracy),
            "margin": (("state", "class"), decided.margin),
            "decided": (("state", "class"), decided.decided),
            "window_accuracy": (("from", "to"), decided.alone),
        }
        if decided.others_mean is not None:
            new["window_accuracy_mean"] = (("from", "to"), decided.others_mean)
        if self.units is not None:
            new |= {
                "sensitive_unit": ("class", list(self.units.unit)),
                "sensitive_residual": (("layer", "class", "class_b"), self.units.residual),
                "sensitive_state": (("state", "class", "class_b"), self.units.state),
            }
        names = found["class"].values
        coords: dict[str, Any] = {"class_b": names, "from": decided.bounds, "to": decided.bounds}
        coords["part"] = list(self.attribution.parts)
        return (
            found.assign(new)
            .assign_coords(coords)
            .assign_attrs(attribution=self.attribution.method)
        )


def measures(
    model: nn.Module, batches: Iterable[Any], *, means: ClassAttribution | None = None
) -> Measures:
    """Stream a data set once and return all measures that need nothing but this pass.

    Args:
        model: a model with a residual stack and a head that is linear up to a norm.
        batches: yields (x, labels).
        means: mean contributions on training data, for windows with the other parts at their mean.

    Raises:
        StackError: no residual stack was found, or the head is not applied to the last state.
        InputError: no batch came, labels are missing or of one class only, or the head is not linear.
    """
    stack = find_stack(model)
    moments, decisions = StatisticsConsumer(stack), DecisionsConsumer(stack, means)
    stream(stack, batches, moments, decisions)
    stats = moments.result()
    readout = stack.readout
    units = None if readout.norm is not None else sensitive_units(stats, readout.head.weight)
    return Measures(
        stats,
        separability(stats.states),
        separability(stats.residuals),
        decisions.attribution(),
        decisions.result(),
        units,
    )
