"""Figures of a weight matrix: its phase portrait, one unit's helpers, multipliers, a path."""

from typing import Any

import numpy as np
import torch
import xarray as xr

from residua.report.dynamics_figures import image_shape
from residua.report.palette import GREY, SIGNS, VERDICTS, styled
from residua.report.phase_figures import phase_figures, with_planes
from residua.report.picture_figures import pixel_picture
from residua.report.shown import Plot, Section, Shown, Take, laid_out, number, signed

_MOST = 8  # units of a path


def portrait_section(
    found: Any, planes: xr.Dataset | None, inputs: int, unit: int | None
) -> Section:
    """Return the figures of a portrait.

    Args:
        found: a Portrait.
        planes: what :func:`residua.dynamics.planes.phase_planes` gives, with the fixed points, or None.
        inputs: how many units are input dimensions; drawn as an image where they make a square.
        unit: whose helpers are shown, or None.
    """
    data = with_planes(planes) if planes is not None else xr.Dataset()
    figures: list[Any] = list(phase_figures(data)) if planes is not None else []
    shape = image_shape(inputs)
    if unit is not None:
        row = found.residuals.W[unit].numpy(force=True)
        if shape and unit < inputs:
            data = data.assign(
                helper_image=(("one", "row", "column"), row[:inputs].reshape(1, *shape))
            )
            place = divmod(unit, shape[1])
            title = f"Who helps and who hinders input dimension {unit}"
            figures.append(
                pixel_picture("helpers", title, row[:inputs].reshape(shape), place, "helper_image")
            )
        else:
            data = data.assign_coords(unit=range(len(row))).assign(_row_arrays(row, unit))
            figures.append(_row(row, unit))
    if len(found.fixed):
        data = data.assign(_multiplier_arrays(found.fixed))
        figures.append(_multipliers(found.fixed))
    if found.path is not None:
        path = found.path.numpy(force=True)
        order = np.argsort(-path[-1])[:_MOST]
        data = data.assign(path=(("layer", "active"), path[:, order]))
        data = data.assign_coords(layer=range(1, len(path) + 1), active=order)
        figures.append(_path(order, path))
    return Section({"portrait": figures}, data)


def _row_arrays(row: np.ndarray, unit: int) -> dict[str, Any]:
    """Return w_ij of those that help a unit, of those that hinder it, and of itself."""
    itself = np.arange(len(row)) == unit
    parts = {"helps": (row > 0) & ~itself, "hinders": (row < 0) & ~itself, "itself": itself}
    return {name: ("unit", np.where(kept, row, np.nan)) for name, kept in parts.items()}


def _row(row: np.ndarray, unit: int) -> Shown:
    plot = Plot()
    for name, shade in (SIGNS | {"itself": GREY}).items():
        style = {"marker": {"color": shade}, "hovertemplate": "unit %{x}: %{y:.3g}"}
        plot.add("bar", name, style, x=Take("unit"), y=Take(name))
    layout = laid_out("unit j", "w_ij", barmode="overlay")
    layout["xaxis"] |= {"tickformat": "d"} | ({"dtick": 1} if len(row) <= 20 else {})
    others = np.where(np.arange(len(row)) == unit, 0, row)
    said = [
        f"{word} most by unit {k} ({signed(float(others[k]))})"
        for word, k in (("helped", others.argmax()), ("hindered", others.argmin()))
        if others[k] > 0 or (word == "hindered" and others[k] < 0)
    ]
    words = f"Unit {unit} is {' and '.join(said) or 'neither helped nor hindered'}"
    return Shown(
        "helpers",
        f"Who helps and who hinders unit {unit}",
        f"{words}; its own weight is {signed(float(row[unit]))}.",
        f"w_ij of every unit j for i = {unit}.",
        plot,
        layout,
    )


def _multiplier_arrays(fixed: Any) -> dict[str, Any]:
    verdicts = np.array(fixed.verdicts)
    arrays: dict[str, Any] = {}
    for verdict in dict.fromkeys(fixed.verdicts):
        kept = torch.from_numpy(verdicts == verdict)
        values = fixed.multipliers[kept].flatten().numpy(force=True)
        arrays[f"{verdict}_real"] = (f"{verdict}_multiplier", values.real.round(6))
        arrays[f"{verdict}_imag"] = (f"{verdict}_multiplier", values.imag.round(6))
    angle = np.linspace(0, 2 * np.pi, 181)
    arrays["circle_real"], arrays["circle_imag"] = (
        ("angle", np.cos(angle)),
        ("angle", np.sin(angle)),
    )
    return arrays


def _multipliers(fixed: Any) -> Shown:
    plot = Plot()
    circle = {"mode": "lines", "line": {"color": GREY, "dash": "dot"}, "hoverinfo": "skip"}
    plot.add("scatter", "radius 1", circle, x=Take("circle_real"), y=Take("circle_imag"))
    verdicts = [v for v in VERDICTS if v in fixed.verdicts]
    for verdict in reversed(verdicts):  # what is stable lies on top
        symbol, shade, _ = VERDICTS[verdict]
        style = {"mode": "markers", "marker": {"symbol": symbol, "color": shade, "size": 8}}
        x, y = Take(f"{verdict}_real"), Take(f"{verdict}_imag")
        plot.add("scatter", verdict, style, x=x, y=y)
    counts = ", ".join(f"{fixed.verdicts.count(v)} {v}" for v in verdicts)
    layout = laid_out("real part", "imaginary part", height=440)
    layout["xaxis"] |= {"constrain": "domain"}
    layout["yaxis"] |= {"scaleanchor": "x"}
    return Shown(
        "multipliers",
        "Multipliers of the fixed points",
        f"Fixed points: {counts}.",
        "Multipliers of the map at every fixed point, by its verdict; the circle has radius 1, "
        "inside it neighbours return.",
        plot,
        layout,
    )


def _path(order: np.ndarray, path: np.ndarray) -> Shown:
    plot = Plot()
    for i, unit in enumerate(order.tolist()):
        y = Take("path", {"active": i})
        plot.add("scatter", f"unit {unit}", styled(i) | {"mode": "lines"}, x=Take("layer"), y=y)
    return Shown(
        "path",
        "A path through the residuals",
        f"After {len(path)} layers unit {int(order[0])} is the most active, at "
        f"{number(float(path[-1, order[0]]))}.",
        "Residuals over layers from x(0) = 0, the most active units at the end.",
        plot,
        laid_out("layer t", "residual y_t"),
    )
