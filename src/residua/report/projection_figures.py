"""The figure of states in projection: the classes come apart, layer by layer."""

from typing import Any

import numpy as np
import xarray as xr

from residua.report.palette import styled
from residua.report.shown import (
    SPACE,
    Choice,
    Plot,
    Setting,
    Shown,
    Take,
    laid_out,
    number,
    percent,
)
from residua.report.thinned import names_of

_VIEWS = ("axes 1 and 2", "axes 1 and 3", "axes 2 and 3", "three dimensions")
_SOLID = (False, False, False, True)  # which of them is a space
# The axis across and the one up in each view; a space has none of them.
_FIRST, _SECOND = (0, 0, 1, 0), (1, 2, 2, 1)


def projection(data: xr.Dataset) -> Shown:
    """Return states of some samples, and the class means on their way, along three axes."""
    plot = Plot()
    flat, deep = [], []
    for i, name in enumerate(names_of(data)):
        for array, t, style in _looks(i):
            at = {"state": t, "class": i}
            flat.append(_flat(plot, name, array, at, style))
            deep.append(_deep(plot, name, array, at, style))
    ranges = [_range(data.projected.isel(axis=k).values) for k in range(3)]
    states = [f"state {t}" for t in data["state"].values.tolist()]
    return Shown(
        "projection",
        "The classes come apart: states in projection",
        _caption(data),
        "Every point is a sample's state x_t, less the mean over all samples shown, along three "
        "orthonormal axes: those in which the class means of the last state differ most; lines: "
        "the class means from the input on. The axes and their scale stay the same for all t.",
        plot,
        _layout(ranges),
        (
            Choice("t", "Layer", states, start=len(states) - 1, kind="slider"),
            Choice("view", "Seen along", _VIEWS),
        ),
        _settings(flat, deep, ranges),
        by_class=True,
    )


def _looks(i: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Return arrays of a class, their state and style: its samples, and the way of their mean."""
    look: dict[str, Any] = styled(i) | {"meta": {"class": i}}
    cloud = look | {"mode": "markers", "opacity": 0.7, "hoverinfo": "name"}
    trail = look | {"mode": "lines", "hoverinfo": "skip", "showlegend": False}
    return [("projected", "@t", cloud), ("projected_mean", "<@t", trail)]


def _flat(plot: Plot, name: str, array: str, at: dict[str, Any], style: dict[str, Any]) -> int:
    line, marker = style["line"] | {"width": 2.5}, style["marker"] | {"size": 5}
    x, y = (Take(array, at | {"axis": ("view", axes)}) for axes in (_FIRST, _SECOND))
    return plot.add("scatter", name, style | {"line": line, "marker": marker}, x=x, y=y)


def _deep(plot: Plot, name: str, array: str, at: dict[str, Any], style: dict[str, Any]) -> int:
    line = style["line"] | {"width": 5}
    marker = {"color": style["marker"]["color"], "size": 2.5}
    axes = {key: Take(array, at | {"axis": k}) for k, key in enumerate("xyz")}
    return plot.add("scatter3d", name, style | {"line": line, "marker": marker}, **axes)


def _settings(flat: list[int], deep: list[int], ranges: list[list[float]]) -> list[Setting]:
    """Return what depends on the view: which traces are seen, titles and ends of the axes."""
    plane = [not solid for solid in _SOLID]
    found = [Setting(f"{k}.visible", "view", plane) for k in flat]
    found += [Setting(f"{k}.visible", "view", _SOLID) for k in deep]
    for key, side in (("xaxis", _FIRST), ("yaxis", _SECOND)):
        found += [
            Setting(f"layout.{key}.visible", "view", plane),
            Setting(f"layout.{key}.title.text", "view", [f"axis {k + 1}" for k in side]),
            Setting(f"layout.{key}.range", "view", [ranges[k] for k in side]),
        ]
    return found


def _layout(ranges: list[list[float]]) -> dict[str, Any]:
    layout = laid_out("axis 1", "axis 2", height=560)
    # Axes are orthonormal, so distances can be seen where all have one scale.
    layout["xaxis"] |= {"constrain": "domain"}
    layout["yaxis"] |= {"scaleanchor": "x", "constrain": "domain"}
    axes = {
        f"{key}axis": {"title": {"text": f"axis {k + 1}"}, "range": ranges[k]}
        for k, key in enumerate("xyz")
    }
    return layout | {"scene": SPACE | {"aspectmode": "data"} | axes}


def _range(values: np.ndarray) -> list[float]:
    """Return the ends of an axis that holds all values."""
    known = values[np.isfinite(values)]
    if not known.size:
        return [-1.0, 1.0]
    low, high = float(known.min()), float(known.max())
    room = 0.05 * (high - low) or 1.0
    return [low - room, high + room]


def _caption(data: xr.Dataset) -> str:
    between = float(data.between_share.sum())
    two = float(data.between_share[:2].sum())
    words = (
        "Of the variance between the class means of the last state, axes 1 and 2 hold "
        f"{percent(two)}, all three {percent(between)}; of all its variance over samples, the "
        f"three hold {percent(float(data.total_share.sum()))}. {data.sizes['member']} samples of a "
        "class at most are shown"
    )
    if "fisher" in data and bool(np.isfinite(data.fisher).all()):
        first, last = float(data.fisher[0]), float(data.fisher[-1])
        words += (
            f"; between all units, variance between classes over that within goes from {number(first)} "
            f"on the input to {number(last)} on the last state"
        )
    return words + "."
