"""Plotly figures of residual dynamics: E1's overlay, E3's rest, who helps whom."""

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from residua.report.figures import COLOURS, MARKS, layout

Drawn = list[tuple[go.Figure, str]]


def overlay_figures(found: xr.Dataset) -> Drawn:
    """Return E1's figures: network, exact map and eq. 3 per unit, their sums, and where they part."""
    ways = "Lines: network. Marks: the exact map. Dots: eq. 3 in continuous time."
    drawn = [
        (_overlay(found, cumulative=False), f"Residuals, mean over the samples of a class. {ways}"),
        (_overlay(found, cumulative=True), f"Their cumulative sums. {ways}"),
    ]
    figure = go.Figure()
    for i, gain in enumerate(found.gain.values):
        figure.add_scatter(
            x=found.step_size.values,
            y=found.departure.sel(gain=gain).values,
            name=f"W times {gain:g}",
            line={"color": COLOURS[i]},
            mode="lines+markers",
        )
    layout(figure, "step size h", "departure of map and eq. 3", log=True)
    figure.update_xaxes(type="log", tickvals=found.step_size.values)
    caption = (
        "Mean over samples and units of |y_map − y_ODE| at equal times, at its largest over the time of "
        "15 layers. The network is h = 1 and W times 1."
    )
    return [*drawn, (figure, caption)]


def _overlay(found: xr.Dataset, *, cumulative: bool) -> go.Figure:
    figure = go.Figure()
    marks = {"network": "lines", "map": "markers", "ode": "lines"}
    for i, label in enumerate(found["class"].values):
        for unit in range(found.sizes["unit"]):
            for way, mode in marks.items():
                y = found[way].isel({"class": i, "unit": unit})
                figure.add_scatter(
                    x=found["layer"].values,
                    y=(y.cumsum("layer") if cumulative else y).values,
                    name=f"{way}, {label}, unit {unit}",
                    mode=mode,
                    line={"color": COLOURS[unit % 8], "dash": "dot" if way == "ode" else "solid"},
                    marker={"color": COLOURS[unit % 8], "symbol": MARKS[i % 3]},
                )
    title = "Σ y_t" if cumulative else "residual y_t"
    return layout(figure, "layer t", f"{title}, class mean")


def rest_figures(found: xr.Dataset) -> Drawn:
    """Return E3's figures: settling, steady states as images, eigenvalues, answers to a push."""
    shape = image_shape(int(found.sizes["input"]))
    pixel = int(found.attrs["pixel"])
    drawn = [
        (
            _by_class(
                found, found.moved / found.magnitude, "moved since the measured layer before"
            ),
            "Mean over units and samples of |y_t − y_s| over that of |y_t|, s the measured layer before "
            "t. A network is called settled from where what it moved over the last sixth of its layers "
            "stays below 0.01.",
        ),
        (
            _spreads(found),
            "Spread: mean over units of the standard deviation of y_t over all samples, and over the "
            "samples of a class.",
        ),
    ]
    if shape:
        last = found.residual_mean.isel(layer=-1)[:, : found.sizes["input"]]
        rows = {"input": found.input_mean.values, "residual": last.values}
        names = [str(c) for c in found["class"].values]
        end = int(found.layer[-1])
        drawn += [
            (
                _images(rows, names, shape),
                "Above: the mean of each class's training inputs. Below: the mean residual at layer "
                f"{end} of the units that are input dimensions. Every picture has its own greys.",
            ),
            (
                who_helps(found.helpers.values, shape, pixel),
                helps_caption(pixel),
            ),
            (
                _images(
                    {p: found[f"{p}_change"].values[[0, -1]] for p in ("impulse", "step")},
                    ["layer 1", f"layer {end}"],
                    shape,
                    diverging=True,
                ),
                f"What a push of 1 in input dimension {pixel} changes in the residuals, mean over "
                "samples: an impulse, added to x_0 once, and a step, added before every layer. All four "
                "pictures have one scale.",
            ),
        ]
    drawn += [
        (
            _strengths(found),
            f"Mean over units and samples of |change of y_t| by a push in input dimension {pixel}.",
        ),
        (
            _eigenvalues(found),
            "Eigenvalues of eq. 3's Jacobian at each class's mean residual of the last layer; right of "
            "0 neighbours part. A mean need not be a fixed point.",
        ),
    ]
    return drawn


def portrait_figures(found: Any, inputs: int, unit: int | None) -> dict[str, Drawn]:
    """Return the figures of a portrait: one unit's helpers, multipliers, path.

    Args:
        found: a Portrait.
        inputs: how many units are input dimensions; drawn as an image where they make a square.
        unit: whose helpers are shown, or None.
    """
    drawn: Drawn = []
    shape = image_shape(inputs)
    if unit is not None:
        row = found.residuals.W[unit].numpy(force=True)
        if shape and unit < inputs:
            drawn.append((who_helps(row[:inputs], shape, unit), helps_caption(unit)))
        else:
            figure = go.Figure(go.Bar(x=list(range(len(row))), y=row.tolist()))
            drawn.append(
                (layout(figure, "unit j", "w_ij"), f"w_ij of every unit j for i = {unit}.")
            )
    if len(found.fixed):
        caption = (
            "Multipliers of the map at every fixed point, by its verdict; the circle has radius 1, "
            "inside it neighbours return."
        )
        drawn.append((_multipliers(found.fixed), caption))
    if found.path is not None:
        caption = "Residuals over layers from x(0) = 0, the most active units at the end."
        drawn.append((_path(found.path.numpy(force=True)), caption))
    return {"portrait": drawn}


def _multipliers(fixed: Any) -> go.Figure:
    figure = go.Figure()
    angle = np.linspace(0, 2 * np.pi, 181)
    style = {"color": "#888", "dash": "dot"}
    figure.add_scatter(
        x=np.cos(angle),
        y=np.sin(angle),
        mode="lines",
        line=style,
        name="radius 1",
        hoverinfo="skip",
    )
    verdicts = np.array(fixed.verdicts)
    for i, verdict in enumerate(dict.fromkeys(fixed.verdicts)):
        values = fixed.multipliers[verdicts == verdict].flatten().numpy(force=True)
        figure.add_scatter(
            x=values.real.round(6),
            y=values.imag.round(6),
            name=verdict,
            mode="markers",
            marker={"color": COLOURS[i], "symbol": MARKS[i % 3]},
        )
    layout(figure, "real part", "imaginary part")
    figure.update_xaxes(constrain="domain")
    figure.update_yaxes(scaleanchor="x")
    return figure


def _path(path: np.ndarray, most: int = 8) -> go.Figure:
    figure = go.Figure()
    for i, unit in enumerate(np.argsort(-path[-1])[:most].tolist()):
        figure.add_scatter(
            x=np.arange(1, len(path) + 1),
            y=path[:, unit],
            name=f"unit {unit}",
            line={"color": COLOURS[i]},
        )
    return layout(figure, "layer t", "residual y_t")


def image_shape(inputs: int) -> tuple[int, int] | None:
    """Return n × n where the inputs are n² ≥ 16 dimensions, as a square image has them."""
    side = math.isqrt(inputs)
    return (side, side) if side * side == inputs and side >= 4 else None


def helps_caption(unit: int) -> str:
    """Return what the picture of :func:`who_helps` means."""
    return (
        f"Who helps (blue) and who hinders (orange) input dimension {unit} (ringed): w_ij of each "
        f"input dimension j for i = {unit}."
    )


def who_helps(row: np.ndarray, shape: tuple[int, int], unit: int) -> go.Figure:
    """Draw w_ij of every input dimension j as an image, input dimension i ringed."""
    figure = go.Figure(_heat(row.reshape(shape), diverging=True, bar=True))
    figure.add_scatter(
        x=[unit % shape[1]],
        y=[unit // shape[1]],
        mode="markers",
        marker={"symbol": "circle-open", "size": 14, "color": "black", "line": {"width": 2}},
        showlegend=False,
    )
    layout(figure, "column", "row")
    figure.update_xaxes(constrain="domain", dtick=None)
    figure.update_yaxes(autorange="reversed", scaleanchor="x", constrain="domain")
    return figure


def _heat(
    image: np.ndarray, *, diverging: bool = False, bar: bool = False, largest: float | None = None
) -> go.Heatmap:
    largest = largest or float(np.abs(image).max()) or 1.0
    scale: Any = [[0, COLOURS[3]], [0.5, "#ffffff"], [1, COLOURS[0]]] if diverging else "Greys"
    return go.Heatmap(
        z=np.round(image.astype(float), 5),
        colorscale=scale,
        zmin=-largest if diverging else None,
        zmax=largest if diverging else None,
        showscale=bar,
    )


def _images(
    rows: dict[str, np.ndarray],
    columns: list[str],
    shape: tuple[int, int],
    *,
    diverging: bool = False,
) -> go.Figure:
    figure = make_subplots(
        len(rows),
        len(columns),
        row_titles=list(rows),
        column_titles=columns,
        horizontal_spacing=0.01,
        vertical_spacing=0.03,
    )
    largest = max(float(np.abs(images).max()) for images in rows.values()) if diverging else None
    for r, images in enumerate(rows.values(), 1):
        for c, image in enumerate(images, 1):
            bar = diverging and (r, c) == (1, 1)
            heat = _heat(image.reshape(shape), diverging=diverging, bar=bar, largest=largest)
            figure.add_trace(heat, row=r, col=c)
    figure.update_layout(
        template="plotly_white",
        height=140 * len(rows) + 160 * diverging + 40,
        margin={"t": 60, "b": 20},
    )
    figure.update_xaxes(visible=False, constrain="domain")
    figure.update_yaxes(visible=False, autorange="reversed", constrain="domain")
    for axis in figure.select_yaxes():
        axis.scaleanchor = axis.anchor
    return figure


def _by_class(found: xr.Dataset, values: xr.DataArray, title: str) -> go.Figure:
    figure = go.Figure()
    for i, label in enumerate(found["class"].values):
        y = values.isel({"class": i}).values
        figure.add_scatter(
            x=found.layer.values,
            y=np.where(y > 0, y, np.nan),
            name=str(label),
            line={"color": COLOURS[i % 8], "dash": ("solid", "dash", "dot")[i // 8 % 3]},
            mode="lines",
        )
    return _log_layers(figure, title, log=True)


def _spreads(found: xr.Dataset) -> go.Figure:
    figure = go.Figure()
    for i, name in enumerate(("spread", "spread_within")):
        title = "over all samples" if name == "spread" else "within a class"
        figure.add_scatter(
            x=found.layer.values, y=found[name].values, name=title, line={"color": COLOURS[i]}
        )
    return _log_layers(figure, "spread of y_t", log=False)


def _strengths(found: xr.Dataset) -> go.Figure:
    figure = go.Figure()
    for i, push in enumerate(("impulse", "step")):
        figure.add_scatter(
            x=found.layer.values,
            y=found[f"{push}_strength"].values,
            name=push,
            line={"color": COLOURS[i]},
        )
    return _log_layers(figure, "change of the residuals", log=True)


def _log_layers(figure: go.Figure, title: str, *, log: bool) -> go.Figure:
    layout(figure, "layer t", title, log=log)
    figure.update_xaxes(type="log", dtick=1)
    return figure


def _eigenvalues(found: xr.Dataset) -> go.Figure:
    figure = go.Figure()
    for i, label in enumerate(found["class"].values):
        figure.add_scatter(
            x=found.eigenvalue_real.values[i].round(6),
            y=found.eigenvalue_imag.values[i].round(6),
            name=str(label),
            mode="markers",
            marker={"color": COLOURS[i % 8], "size": 4, "symbol": MARKS[i // 8 % 3]},
        )
    return layout(figure, "real part", "imaginary part")
