"""Figures of cooperation and competition: the ordered matrix, and who helps and hinders a pixel."""

from typing import Any

import numpy as np
import xarray as xr

from residua.report.picture_figures import RING, helped, image_layout
from residua.report.shown import (
    Choice,
    Group,
    Missing,
    Plot,
    Shown,
    Take,
    laid_out,
    percent,
)


def cooperation_figures(data: xr.Dataset) -> Group:
    """Return who helps and hinders whom, and who a chosen pixel."""
    found: list[Shown | Missing] = []
    if "interaction" in data:
        found.append(_matrix(data))
    else:
        why = data.attrs.get("missing_interactions", "no weights are stored")
        found.append(Missing("Who helps and hinders whom", str(why)))
    if "helper" in data:
        found.append(_helpers(data))
    elif "interaction" in data:
        why = "the inputs are not grey images, or units are not pixels"
        found.append(Missing("Helpers of a pixel", why))
    return found


def _blocks(data: xr.Dataset) -> tuple[Choice, ...]:
    if data.sizes["block"] == 1:
        return ()
    words = [f"layer {t}" for t in data["block"].values.tolist()]
    return (Choice("block", "Weights of", words, start=len(words) - 1),)


def _matrix(data: xr.Dataset) -> Shown:
    plot = Plot()
    at: dict[str, Any] = {"block": "@block" if data.sizes["block"] > 1 else 0}
    units = [str(u) for u in data["unit_i"].values.tolist()]
    largest = float(np.quantile(np.abs(data.interaction.values), 0.995)) or 1.0
    style = {
        "meta": {"scale": "diverging"},
        "zmin": -largest,
        "zmax": largest,
        "x": units,
        "y": units,
        "colorbar": {"title": {"text": "w_ij"}, "thickness": 14},
        "hovertemplate": "unit %{x} on unit %{y}: %{z:.3g}<extra></extra>",
    }
    plot.add("heatmap", "w_ij", style, z=Take("interaction", at))
    layout = laid_out("unit j, which helps or hinders", "unit i", height=560)
    layout["xaxis"] |= {"type": "category", "constrain": "domain", "nticks": 12}
    layout["yaxis"] |= {"type": "category", "autorange": "reversed", "scaleanchor": "x"}
    layout["yaxis"] |= {"constrain": "domain", "nticks": 12}
    shown, all_units = len(units), int(data.attrs.get("units", len(units)))
    words = "Blue helps, orange hinders."
    if "kind_share" in data:
        of = data.kind_share.isel(block=-1)
        kinds = zip(data["kind"].values.tolist(), of.values.tolist(), strict=True)
        shares = ", ".join(f"{percent(v)} {k}" for k, v in kinds if v)
        layer = "" if data.sizes["block"] == 1 else f" in layer {int(data['block'][-1])}"
        words = f"Of all pairs of units{layer}: {shares}. {words}"
    if shown < all_units:
        words += f" The {shown} of {all_units} units with the largest weights are shown."
    return Shown(
        "interactions",
        "Who helps and hinders whom",
        words,
        "w_ij, what the residual of unit j does to that of unit i: w_ij, w_ji > 0 is cooperation, "
        "both below 0 competition, opposite signs predation. Units with like weights stand side by "
        "side (average linkage of rows and columns of W); the scale ends at the 99.5th percentile.",
        plot,
        layout,
        _blocks(data),
        narrow={"height": 440},
    )


def with_pixels(data: xr.Dataset) -> xr.Dataset:
    """Return arrays with the place of every pixel whose helpers there are, as the figure draws it."""
    if "helper" not in data:
        return data
    wide = data.sizes["column"]
    pixels = data["pixel"].values
    places = {"row": pixels // wide, "column": pixels % wide}
    new: dict[str, Any] = {f"pixel_{name}": ("pixel", at) for name, at in places.items()}
    # One mark: an array of one place for each pixel.
    new |= {f"ring_{name}": (("pixel", "mark"), at[:, None]) for name, at in places.items()}
    return data.assign(new)


def _helpers(data: xr.Dataset) -> Shown:
    plot = Plot()
    block: Any = "@block" if data.sizes["block"] > 1 else 0
    largest = float(np.quantile(np.abs(data.helper.values), 0.999)) or 1.0
    style = {
        "meta": {"scale": "diverging"},
        "zmin": -largest,
        "zmax": largest,
        "colorbar": {"title": {"text": "w_ij"}, "thickness": 14},
        "hovertemplate": "row %{y}, column %{x}: %{z:.3g}<extra></extra>",
    }
    plot.add("heatmap", "w_ij", style, z=Take("helper", {"block": block, "pixel": "@pixel"}))
    ringed: Any = {"pixel": "@pixel"}
    x, y = Take("ring_column", ringed), Take("ring_row", ringed)
    plot.add("scatter", "chosen pixel", RING, x=x, y=y)
    pixels = data["pixel"].values.tolist()
    wide = data.sizes["column"]
    start = _middle(data)
    place = divmod(pixels[start], wide)
    row = data.helper.isel(block=-1, pixel=start).values
    return Shown(
        "helpers",
        "Who helps and who hinders a chosen pixel",
        f"{helped(row, place)} {len(pixels)} of {row.size} pixels can be chosen; click on one or "
        "take it from the list.",
        "w_ij of each input dimension j for i, the chosen pixel (ringed), in its place in the "
        "image: blue helps, orange hinders.",
        plot,
        image_layout(),
        (
            Choice(
                "pixel", "Pixel", [f"row {p // wide}, column {p % wide}" for p in pixels], start
            ),
            *_blocks(data),
        ),
        narrow={"height": 420},
        click={"choice": "pixel", "x": "pixel_column", "y": "pixel_row"},
    )


def _middle(data: xr.Dataset) -> int:
    """Return which of the pixels is nearest to the middle of the image."""
    rows, wide = data.sizes["row"], data.sizes["column"]
    pixels = data["pixel"].values
    far = np.hypot(pixels // wide - rows / 2, pixels % wide - wide / 2)
    return int(far.argmin())
