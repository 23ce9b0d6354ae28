"""Figures that are images: residuals of units that are pixels, and who helps one pixel."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from residua.report.palette import GREY, plotted
from residua.report.shown import (
    Choice,
    Group,
    Missing,
    Plot,
    Setting,
    Shown,
    Take,
    laid_out,
    number,
    signed,
)

_ACROSS = 5  # pictures in a line
_SHOWN = {
    "steady_image": "residual at layer 1,000",
    "last_image": "residual at the last layer",
    "first_image": "residual at layer 1",
    "input_image": "mean input",
}


def image_arrays(analysis: xr.Dataset) -> dict[str, Any]:
    """Return means of inputs, of residuals at layers 1, last and 1,000 as images (class, row, column).

    Of colours the mean; nothing where inputs are no images, or units no pixels.
    """
    shape = tuple(int(n) for n in np.atleast_1d(analysis.attrs.get("image", ())))
    channels = int(analysis.attrs.get("channels", 1))
    pixels = channels * math.prod(shape)
    known = {"state_mean", "residual_mean"} <= set(analysis.data_vars)
    if len(shape) != 2 or not analysis.attrs.get("pixels_are_units") or not known:
        return {}
    parts = {
        "input_image": analysis["state_mean"].isel(state=0),
        "first_image": analysis["residual_mean"].isel(layer=0),
        "last_image": analysis["residual_mean"].isel(layer=-1),
    }
    if "steady_residual" in analysis:
        parts["steady_image"] = analysis["steady_residual"]
    return {
        name: (
            ("class", "row", "column"),
            v.values[:, :pixels].reshape(-1, channels, *shape).mean(1),
        )
        for name, v in parts.items()
    }


def image_figures(data: xr.Dataset, whole: xr.Dataset) -> Group:
    """Return what the residuals of each class look like where units are pixels."""
    title = "Residuals as images"
    shown = {name: words for name, words in _SHOWN.items() if name in data}
    if not shown:
        why = "units are not pixels" if "image" in data.attrs else "the inputs are no images"
        return [Missing(title, why)]
    names = [str(v) for v in data["class"].values.tolist()]
    shape = (data.sizes["row"], data.sizes["column"])
    return [
        mosaic(
            "images",
            title,
            _caption(whole.assign(image_arrays(whole)), next(iter(shown))),
            "Mean over the samples of a class of the residuals of those units that are input "
            "dimensions, in their place in the image, of colours the mean. At layer 1,000: the "
            "network of one map, run on. All pictures shown together have one scale.",
            shown,
            names,
            shape,
        )
    ]


def _caption(data: xr.Dataset, name: str) -> str:
    values = data[name].values
    known = values[np.isfinite(values)]
    words = "No value is a number."
    if known.size:
        apart = float(np.nanmax(data[name].std("class").values))
        words = (
            f"The residuals first shown lie between {number(float(known.min()))} and "
            f"{number(float(known.max()))}; where classes differ most, by {number(apart)} (standard "
            "deviation over classes)."
        )
    if "steady_image" not in data:
        words += f" None at layer 1,000: {data.attrs.get('missing_rest', 'none are stored')}."
    elif not int(data.attrs.get("settled_from", 0)):
        words += " At layer 1,000 the residuals still move."
    return words


def mosaic(
    name: str,
    title: str,
    caption: str,
    definition: str,
    arrays: Mapping[str, str],
    labels: Sequence[str],
    shape: tuple[int, int],
    *,
    across: int = _ACROSS,
    scale: str = "grey",
) -> Shown:
    """Return a figure of pictures side by side, each with its name above it.

    Args:
        name: of the figure.
        title: heading.
        caption: what is to be seen.
        definition: what is drawn.
        arrays: by name of an array (picture, row, column), what it is in words.
        labels: names of the pictures.
        shape: rows and columns of each.
        across: how many stand in a line at most.
        scale: colours, "grey" or "diverging".
    """
    across = min(across, len(labels))
    room, lines = max(1, round(0.4 * shape[0])), -(-len(labels) // across)
    plot = Plot()
    style: dict[str, Any] = {
        "meta": {"scale": scale},
        "colorbar": {"title": {"text": "value"}, "thickness": 14},
        "hovertemplate": "%{z:.3g}<extra></extra>",
    }
    if scale == "diverging":
        style["zmid"] = 0
    plot.add("heatmap", title, style, z=Take(tuple(arrays), by="what", tile=(across, room)))
    layout = laid_out("", "", height=185 * lines + 40)
    layout["xaxis"] |= {"visible": False, "constrain": "domain"}
    layout["yaxis"] |= {"visible": False, "autorange": "reversed", "scaleanchor": "x"}
    layout["yaxis"] |= {"constrain": "domain"}
    layout["annotations"], layout["shapes"] = _named_frames(labels, shape, across, room)
    return Shown(
        name,
        title,
        caption,
        definition,
        plot,
        layout,
        (Choice("what", "Show", list(arrays.values())),),
        (Setting("0.name", "what", list(arrays.values())),),
        narrow={"height": 105 * lines + 110},
    )


def _named_frames(
    labels: Sequence[str], shape: tuple[int, int], across: int, room: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the name above each picture and a frame, since its empty parts look like the paper."""
    corners = [
        ((k % across) * (shape[1] + 1) - 0.5, (k // across) * (shape[0] + room) + room - 0.5)
        for k in range(len(labels))
    ]
    names: list[dict[str, Any]] = [
        {
            "text": plotted(label if len(label) <= 14 else f"{label[:13]}…"),
            "showarrow": False,
            "font": {"size": 12},
            "x": left + shape[1] / 2,
            "y": top,
            "xanchor": "center",
            "yanchor": "bottom",
        }
        for label, (left, top) in zip(labels, corners, strict=True)
    ]
    frame = {"type": "rect", "line": {"width": 1, "color": GREY}}
    frames = [
        frame | {"x0": left, "x1": left + shape[1], "y0": top, "y1": top + shape[0]}
        for left, top in corners
    ]
    return names, frames


def pixel_picture(
    name: str, title: str, row: np.ndarray, place: tuple[int, int], array: str
) -> Shown:
    """Return the picture of w_ij of every input dimension j for one, i, at a place in the image.

    Args:
        name: of the figure.
        title: heading.
        row: w_ij in the shape of the image.
        place: row and column of i.
        array: (one, row, column), which holds the same.
    """
    plot = Plot()
    heat = {
        "meta": {"scale": "diverging"},
        "zmid": 0,
        "colorbar": {"title": {"text": "w_ij"}, "thickness": 14},
        "hovertemplate": "row %{y}, column %{x}: %{z:.3g}<extra></extra>",
    }
    plot.add("heatmap", "w_ij", heat, z=Take(array, {"one": 0}))
    plot.add("scatter", "itself", RING | {"x": [place[1]], "y": [place[0]]})
    return Shown(
        name,
        title,
        helped(row, place),
        "w_ij of each input dimension j for i, the one that is ringed: who helps (blue) and who hinders "
        "(orange) it.",
        plot,
        image_layout(),
        narrow={"height": 420},
    )


RING: dict[str, Any] = {
    "mode": "markers",
    "marker": {"symbol": "circle-open", "size": 16, "line": {"width": 3}},
    "meta": {"ink": "marker.color"},
    "hoverinfo": "skip",
    "showlegend": False,
}


def image_layout() -> dict[str, Any]:
    """Return the layout of one image, its first row at the top."""
    layout = laid_out("column", "row", height=480)
    layout["xaxis"] |= {"constrain": "domain"}
    layout["yaxis"] |= {"autorange": "reversed", "scaleanchor": "x", "constrain": "domain"}
    return layout


def helped(row: np.ndarray, place: tuple[int, int]) -> str:
    """Return in a sentence who helps and who hinders a pixel most, itself apart."""
    others = row.astype(float).copy()
    others[place] = 0
    best = np.unravel_index(int(others.argmax()), others.shape)
    worst = np.unravel_index(int(others.argmin()), others.shape)
    return (
        f"The input dimension at row {place[0]}, column {place[1]} is helped most by row "
        f"{best[0]}, column {best[1]} ({signed(float(others.max()))}) and hindered most by row "
        f"{worst[0]}, column {worst[1]} ({signed(float(others.min()))})."
    )
