"""Plotly figures of an analysis, each with a caption that gives its definition."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

# Okabe and Ito's colours, safe for the colour-blind; further classes repeat them with dashes.
COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#B8A800",
)  # fmt: skip
DASHES = ("solid", "dash", "dot")
MARKS = ("circle", "x", "diamond")


def all_figures(analysis: xr.Dataset) -> list[tuple[go.Figure, str]]:
    """Return the figures of a run in the order of reading, with their captions."""
    by_class = [
        (
            _classes(analysis, name, title),
            f"{caption}, mean over units.",
        )
        for name, title, caption in (
            (
                "residual_mean",
                "residual y_t, mean over units",
                "Residual of every layer, mean over the samples of each class",
            ),
            (
                "residual_std",
                "spread of y_t within the class",
                "Standard deviation of the residual over the samples of each class",
            ),
        )
        if name in analysis
    ]
    curve = (
        "Depth curve: held-out cross-entropy of a head fitted in closed form on the state x_t to the "
        "network's own logits, with its standard error; state 0 is the input."
    )
    figures = [
        *by_class,
        (
            _lines(analysis, "layer", ["settle_distance", "relative_settle_distance"], log=True),
            "Settle distance: mean over units and samples of |y_t − y_{t−1}|; relative: over the mean "
            "of |y_t|. The paper removes the last layer where it is below 0.01.",
        ),
        (
            _lines(analysis, "layer", ["spread", "relative_spread"], log=True),
            "Spread: mean over units of the standard deviation of y_t over samples, how much of the "
            "residual depends on the input; relative: over the same of x_{t−1}.",
        ),
        *([(_curve(analysis), curve)] if "curve_loss" in analysis else []),
        (
            _lines(analysis, "epoch", ["depth_after_epoch"]),
            "Layers of the network after every epoch.",
        ),
    ]
    # A network of one layer has no settle distance, say.
    return [(figure, caption) for figure, caption in figures if _holds_a_value(figure)]


def _holds_a_value(figure: go.Figure) -> bool:
    return any(np.isfinite(np.asarray(line.y, dtype=float)).any() for line in figure.data)


def layout(figure: go.Figure, x: str, y: str, *, log: bool = False) -> go.Figure:
    """Give a figure the page's look and its axes their titles."""
    figure.update_layout(
        template="plotly_white",
        height=360,
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        xaxis_title=x,
        yaxis_title=y,
        yaxis_type="log" if log else "linear",
    )
    values = {float(v) for line in figure.data if line.x is not None for v in line.x}
    if len(values) <= 20 and all(v.is_integer() for v in values):  # layers, epochs
        figure.update_xaxes(dtick=1)
    if y.startswith("depth"):
        figure.update_yaxes(tickformat="d", rangemode="tozero")
    return figure


def _classes(analysis: xr.Dataset, name: str, title: str) -> go.Figure:
    figure = go.Figure()
    values = analysis[name].mean("unit")
    for i, label in enumerate(analysis["class"].values):
        style = {"color": COLOURS[i % 8], "dash": DASHES[i // 8 % 3]}
        figure.add_scatter(
            x=analysis["layer"].values,
            y=values.isel({"class": i}).values,
            name=str(label),
            line=style,
            marker={"symbol": MARKS[i // 8 % 3]},
            mode="lines+markers",
        )
    return layout(figure, "layer t", title)


def _lines(analysis: xr.Dataset, axis: str, names: list[str], *, log: bool = False) -> go.Figure:
    figure = go.Figure()
    for i, name in enumerate(names):
        y = analysis[name].values.astype(float)
        figure.add_scatter(
            x=analysis[axis].values,
            y=np.where(y > 0, y, np.nan) if log else y,
            name=name.replace("_", " "),
            line={"color": COLOURS[i]},
            mode="lines+markers",
        )
    title = "layer t" if axis == "layer" else axis
    return layout(figure, title, names[0].replace("_", " "), log=log)


def _curve(analysis: xr.Dataset) -> go.Figure:
    figure = go.Figure()
    figure.add_scatter(
        x=analysis["state"].values,
        y=analysis["curve_loss"].values,
        error_y={"array": analysis["curve_loss_error"].values},
        name="held-out loss",
        line={"color": COLOURS[0]},
        mode="lines+markers",
    )
    return layout(figure, "state t", "held-out loss (nats)", log=True)
