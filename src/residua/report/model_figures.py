"""Figures of any model: how much every layer adds, turns and differs."""

import numpy as np
import xarray as xr

from residua.report.palette import colour
from residua.report.shown import Choice, Plot, Section, Shown, Take, laid_out, largest, number

_MEASURES = {
    "ratio": "|y|/|x|: what it adds to the state",
    "influence": "1 − cos: how far it turns the state",
    "spread": "spread: how much of it depends on the input",
    "settle": "settle: how far it is from the layer before",
    "magnitude": "mean |y|",
}


def model_section(found: xr.Dataset) -> Section:
    """Return the measures of every layer of a model, one to be chosen; layers that went are pale."""
    names = [name for name in _MEASURES if name in found]
    plot = Plot()
    kept = found["kept"].values.tolist() if "kept" in found else [1] * found.sizes["layer"]
    opacity = [1.0 if stays else 0.35 for stays in kept]
    marker = {"color": colour(0), "opacity": opacity}
    style = {"marker": marker, "hovertemplate": "%{x}: %{y:.4g}<extra></extra>"}
    plot.add("bar", "layer", style, x=Take("block"), y=Take(tuple(names), by="measure"))
    ratio = found[names[0]]
    most, blocks = largest(ratio), found["block"].values.tolist()
    layout = laid_out("", "", height=440)
    layout["xaxis"] |= {"type": "category", "nticks": 24}
    figure = Shown(
        "layers",
        "What every layer of the model does",
        f"{blocks[most]} adds most, {number(float(np.nanmax(ratio)))} of the state before it; "
        f"{len(blocks)} layers{_gone(kept)}.",
        "Mean over held-out samples (of sequences: tokens). |y|/|x|: length of the residual over "
        "that of the state before it; 1 − cos: of the angle between the states before and after; "
        "spread and settle: both relative, as in docs/report.md.",
        plot,
        layout,
        (Choice("measure", "Show", [_MEASURES[n] for n in names]),),
    )
    return Section({"Layers": [figure]}, found)


def _gone(kept: list[int]) -> str:
    """Return in words how many went."""
    return "" if all(kept) else f", of which the {kept.count(0)} pale ones went"
