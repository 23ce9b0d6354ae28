"""Figures of trajectories: states and residuals of every class over layers, and seen in projection."""

from typing import Any

import numpy as np
import xarray as xr

from residua.report.palette import faint, styled
from residua.report.projection_figures import projection
from residua.report.shown import (
    Choice,
    Group,
    Plot,
    Setting,
    Shown,
    Take,
    either,
    laid_out,
    largest,
    number,
)
from residua.report.thinned import names_of

_WHAT = ("residual", "state")
_TITLES = ("residual y_t", "state x_t")


def with_unit_choice(data: xr.Dataset) -> xr.Dataset:
    """Return states and residuals with the mean over units and single units in one dimension."""
    names = [f"{w}_{m}{end}" for w in _WHAT for m in ("mean", "std") for end in ("", "_over_units")]
    if not all(name in data for name in names):
        return data
    new = {}
    for what in _WHAT:
        for moment in ("mean", "std"):
            name = f"{what}_{moment}"
            over = data[f"{name}_over_units"].expand_dims("seen", axis=-1)
            units = data[name].drop_vars("unit").rename(unit="seen")
            new[f"{name}_seen"] = xr.concat([over, units.transpose(*over.dims)], "seen")
    seen = ["mean over units", *(f"unit {u}" for u in data["unit"].values.tolist())]
    return data.assign(new).assign_coords(seen=seen)


def trajectory_figures(data: xr.Dataset, whole: xr.Dataset) -> Group:
    """Return the trajectories of the classes and their projection.

    Here and in all groups of a run's figures `data` are what a page holds, thinned where the run is
    large, and `whole` all arrays of the run, of which captions speak.
    """
    return [
        either(
            "Trajectories: what every layer adds for each class",
            data,
            ("residual_mean_seen", "residual_mean_over_units"),
            _by_class,
            whole,
        ),
        either(
            "The classes come apart: states in projection",
            data,
            ("projected", "projected_mean", "between_share", "total_share"),
            projection,
        ),
    ]


def _by_class(data: xr.Dataset, whole: xr.Dataset) -> Shown:
    plot = Plot()
    names = names_of(data)
    share = 0.16 if len(names) <= 4 else 0.07
    bands = list(range(len(names)))
    several = ("residual_mean_seen", "state_mean_seen")
    spread = ("residual_std_seen", "state_std_seen")
    steps = ("layer", "state")
    for i, name in enumerate(names):
        at: dict[str, Any] = {"class": i, "seen": "@unit"}
        band: dict[str, Any] = {
            "mode": "lines",
            "fill": "toself",
            "fillcolor": faint(i, share),
            "hoverinfo": "skip",
        }
        band |= {
            "line": {"width": 0, "color": faint(i, share)},
            "showlegend": False,
            "meta": {"class": i},
        }
        plot.add(
            "scatter", name, band,
            x=Take(steps, by="what", mirror=True), y=Take(several, at, by="what", spread=spread),
        )  # fmt: skip
    for i, name in enumerate(names):
        style = styled(i) | {"mode": "lines+markers", "meta": {"class": i}}
        at = {"class": i, "seen": "@unit"}
        plot.add("scatter", name, style, x=Take(steps, by="what"), y=Take(several, at, by="what"))
    units = data["seen"].values.tolist()
    layout = laid_out("layer t", _TITLES[0], height=420)
    return Shown(
        "trajectories",
        "Trajectories: what every layer adds for each class",
        f"{_largest_and_smallest(whole)} {len(units) - 1} units can be chosen, first those in which "
        "the classes differ most.",
        "Residual y_t or state x_t of one unit, or its mean over all units: mean over the samples "
        "of each class, and one standard deviation over them to either side (of the mean over "
        "units: the mean of the units' standard deviations).",
        plot,
        layout,
        (
            Choice("what", "Show", ("residuals y_t", "states x_t")),
            Choice("unit", "Unit", units),
            # The bands of many classes lie over each other.
            Choice(
                "around",
                "Around the mean",
                ("one standard deviation", "nothing"),
                start=int(len(names) > 4),
            ),
        ),
        (
            *(Setting(f"{k}.visible", "around", (True, False)) for k in bands),
            Setting("layout.yaxis.title.text", "what", _TITLES),
            Setting("layout.xaxis.title.text", "what", ("layer t", "state t")),
        ),
        by_class=True,
    )


def _largest_and_smallest(whole: xr.Dataset) -> str:
    last, names = whole.residual_mean_over_units.isel(layer=-1), names_raw(whole)
    if not bool(np.isfinite(last).any()):
        return "At the last layer no mean residual is a number."
    high, low = largest(last), largest(-last)
    return (
        f"At the last layer the mean residual over units is largest for class {names[high]}, "
        f"{number(float(last[high]))}, and smallest for class {names[low]}, {number(float(last[low]))}."
    )


def names_raw(data: xr.Dataset) -> list[str]:
    """Return the labels of the classes as they are."""
    return [str(v) for v in data["class"].values.tolist()]
