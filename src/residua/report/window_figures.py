"""The figure of what some layers decide alone, all others taken out."""

from typing import Any

import numpy as np
import xarray as xr

from residua.report.shown import Choice, Plot, Shown, Take, laid_out, percent


def windows(data: xr.Dataset) -> Shown:
    """Return the accuracy of the head from every window of layers alone."""
    names = [n for n in ("window_accuracy", "window_accuracy_mean") if n in data]
    bounds = data["to"].values.tolist()
    # A window from a to b adds x_b − x_a: what comes after a is the first part in it, b the last.
    first = ["input" if a < 0 else f"layer {a + 1}" for a in bounds]
    last = ["nothing" if b < 0 else "input" if b == 0 else f"layer {b}" for b in bounds]
    plot = Plot()
    style = _scale(data, names) | {
        "colorscale": "Cividis",
        "colorbar": {"title": {"text": "accuracy"}, "thickness": 14, "tickformat": ".0%"},
        "x": last,
        "y": first,
        "hovertemplate": "from %{y} to %{x}: %{z:.1%}<extra></extra>",
    }
    plot.add("heatmap", "accuracy", style, z=Take(tuple(names), by="others"))
    layout = laid_out("last part included", "first part included", height=460)
    # No window ends before the input or begins after the last layer.
    layout["xaxis"] |= {"type": "category", "range": [0.5, len(bounds) - 0.5], "nticks": 12}
    layout["yaxis"] |= {"type": "category", "range": [-0.5, len(bounds) - 1.5], "nticks": 12}
    whole, start = data.window_accuracy, last.index("input")
    options = ("other parts at 0", "other parts at their mean")[: len(names)]
    return Shown(
        "windows",
        "What some layers decide alone",
        f"All layers without the input reach {percent(float(whole[start, -1]))}, the input alone "
        f"{percent(float(whole[0, start]))}, both together {percent(float(whole[0, -1]))}.",
        "Accuracy of the network's head from the input or some layers alone, from the first part "
        "included to the last, and the bias. At their mean: over training samples, so that a constant "
        "that the others add is kept. Colours begin at chance, or at the smallest value above it.",
        plot,
        layout,
        (Choice("others", "With", options),),
        narrow={"xaxis": {"nticks": 6}},
    )


def _scale(data: xr.Dataset, names: list[str]) -> dict[str, Any]:
    """Return the ends of the colours."""
    values = np.concatenate([data[name].values.ravel() for name in names])
    classes = len(data.attrs.get("all_classes", data["class"]))
    low = max(1 / classes, float(np.nanmin(values)))
    return {"zmin": min(low, 0.99), "zmax": 1}
