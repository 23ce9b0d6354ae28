"""Figures of two experiments on residual dynamics: E1's overlay, and E3's rest."""

import math
from typing import Any

import numpy as np
import xarray as xr

from residua.report.palette import colour, plotted, styled
from residua.report.phase_figures import phase_figures, with_planes
from residua.report.picture_figures import mosaic, pixel_picture
from residua.report.shown import (
    LOG_AXIS,
    Choice,
    Plot,
    Section,
    Setting,
    Shown,
    Take,
    either,
    laid_out,
    number,
    percent,
)
from residua.report.thinned import names_of

_WAYS = {
    "network": ("network", {"mode": "lines"}, "solid"),
    "map": ("exact map", {"mode": "markers"}, "solid"),
    "ode": ("eq. 3", {"mode": "lines"}, "dot"),
}


def overlay_section(found: xr.Dataset) -> Section:
    """Return E1's figures: network, exact map and eq. 3, where they part, and the phase portrait."""
    data = with_planes(found)
    needs = [name + end for name in _WAYS for end in ("", "_sum")]
    dynamics = [
        either("Network, exact map and eq. 3", data, needs, _overlay),
        either("Where map and eq. 3 part", data, ["departure"], _departure),
    ]
    return Section({"Dynamics": dynamics, "Phase portrait": phase_figures(data)}, data)


def _overlay(data: xr.Dataset) -> Shown:
    plot = Plot()
    for i, label in enumerate(names_of(data)):
        for way, (words, style, dash) in _WAYS.items():
            line = {"color": colour(i), "dash": dash, "width": 3 if way == "ode" else 2}
            marker = styled(i)["marker"] | {"symbol": "circle-open", "size": 9}
            y = Take((way, f"{way}_sum"), {"class": i, "unit": "@unit"}, by="what")
            look = style | {"line": line, "marker": marker, "meta": {"class": i, "key": words}}
            plot.add("scatter", f"{words}, {label}", look, x=Take("layer"), y=y)
    apart = {w: float(np.abs(data["network"] - data[w]).max()) for w in ("map", "ode")}
    units = [f"unit {u}" for u in range(data.sizes["unit"])]
    return Shown(
        "overlay",
        "Network, exact map and eq. 3",
        f"Class means of the exact map lie within {number(apart['map'])} of the network's at every "
        f"layer, those of eq. 3 within {number(apart['ode'])}.",
        "Residuals of one unit, mean over the samples of a class, or their cumulative sums. Lines: "
        "network. Marks: the exact map. Dots: eq. 3 in continuous time.",
        plot,
        laid_out("layer t", "residual y_t", height=440),
        (Choice("unit", "Unit", units), Choice("what", "Show", ("residuals", "their sums"))),
        (Setting("layout.yaxis.title.text", "what", ("residual y_t", "Σ y_t")),),
        by_class=True,
    )


def _departure(data: xr.Dataset) -> Shown:
    plot = Plot()
    for i, gain in enumerate(data["gain"].values.tolist()):
        style = styled(i) | {"mode": "lines+markers"}
        y = Take("departure", {"gain": i})
        plot.add("scatter", f"W times {gain:g}", style, x=Take("step_size"), y=y)
    layout = laid_out("step size h", "departure of map and eq. 3", log=True)
    layout["xaxis"] |= {"type": "log", "tickvals": data["step_size"].values.tolist()}
    at_one = float(data.departure.sel(step_size=1, gain=1))
    return Shown(
        "departure",
        "Where map and eq. 3 part",
        f"At h = 1 and W times 1 they are {number(at_one)} apart.",
        "Mean over samples and units of |y_map − y_ODE| at equal times, at its largest over the "
        "time of 15 layers. The network is h = 1 and W times 1.",
        plot,
        layout,
    )


def rest_section(found: xr.Dataset) -> Section:
    """Return E3's figures: settling, steady states as images, eigenvalues, answers to a push."""
    shape = image_shape(int(found.sizes["input"]))
    data = found
    figures = [
        either("How much the residuals still move", data, ["moved_share"], _moved),
        _spreads(data),
    ]
    if shape:
        figures += _rest_images(data, shape)
        data = data.assign(_as_images(data, shape))
    figures += [_strengths(data), _eigenvalues(data)]
    return Section({"Rest": figures}, data)


def image_shape(inputs: int) -> tuple[int, int] | None:
    """Return n × n where the inputs are n² ≥ 16 dimensions, as a square image has them."""
    side = math.isqrt(inputs)
    return (side, side) if side * side == inputs and side >= 4 else None


def _as_images(data: xr.Dataset, shape: tuple[int, int]) -> dict[str, Any]:
    pixels = math.prod(shape)
    flat = {
        "input_image": data.input_mean.values,
        "last_image": data.residual_mean.isel(layer=-1).values[:, :pixels],
        "helper_image": data.helpers.values[None],
    }
    pushes = [data[f"{p}_change"].values[[0, -1]] for p in ("impulse", "step")]
    flat["push_image"] = np.concatenate(pushes)
    dims = {
        "input_image": "class",
        "last_image": "class",
        "helper_image": "one",
        "push_image": "push",
    }
    return {
        name: ((dims[name], "row", "column"), values.reshape(-1, *shape))
        for name, values in flat.items()
    }


def _rest_images(data: xr.Dataset, shape: tuple[int, int]) -> list[Shown]:
    end, pixel = int(data["layer"][-1]), int(data.attrs["pixel"])
    classes = [str(v) for v in data["class"].values.tolist()]
    last = data.residual_mean.isel(layer=-1)
    pushes = [f"{p}, layer {t}" for p in ("impulse", "step") for t in (int(data["layer"][0]), end)]
    changes = np.concatenate([data[f"{p}_change"].values[[0, -1]] for p in ("impulse", "step")])
    return [
        mosaic(
            "rest-images",
            f"Where the residuals are at layer {end}",
            f"They lie between {number(float(last.min()))} and {number(float(last.max()))}.",
            "The mean residual of the units that are input dimensions, and the mean of each class's "
            "training inputs.",
            {"last_image": f"residual at layer {end}", "input_image": "mean input"},
            classes,
            shape,
        ),
        pixel_picture(
            "rest-helpers",
            f"Who helps and who hinders input dimension {pixel}",
            data.helpers.values.reshape(shape),
            divmod(pixel, shape[1]),
            "helper_image",
        ),
        mosaic(
            "rest-pushes",
            "What a push of one input dimension changes",
            f"A push of 1 in input dimension {pixel} changes residuals by "
            f"{number(float(abs(changes).max()))} at most.",
            "Mean change of the residuals over samples: by an impulse, added to x_0 once, and by a "
            "step, added before every layer. All pictures have one scale.",
            {"push_image": "change"},
            pushes,
            shape,
            across=2,
            scale="diverging",
        ),
    ]


def _moved(data: xr.Dataset) -> Shown:
    plot = Plot()
    for i, label in enumerate(names_of(data)):
        style = styled(i) | {"mode": "lines", "meta": {"class": i}}
        plot.add("scatter", label, style, x=Take("layer"), y=Take("moved_share", {"class": i}))
    last = data.moved_share.isel(layer=-1)
    return Shown(
        "moved",
        "How much the residuals still move",
        f"At layer {int(data['layer'][-1])} by {percent(float(last.min()))} to "
        f"{percent(float(last.max()))} of their size, by class.",
        "Mean over units and samples of |y_t − y_s| over that of |y_t|, s the measured layer "
        "before t. A network is called settled from where what it moved over the last sixth of its "
        "layers stays below 0.01.",
        plot,
        _log_layers("moved since the measured layer before", log=True),
        by_class=True,
    )


def _spreads(data: xr.Dataset) -> Shown:
    plot = Plot()
    names = (("spread", "over all samples"), ("spread_within", "within a class"))
    for i, (array, words) in enumerate(names):
        plot.add("scatter", words, styled(i) | {"mode": "lines"}, x=Take("layer"), y=Take(array))
    return Shown(
        "rest-spread",
        "Spread over samples and within classes",
        f"At the end {number(float(data.spread[-1]))} over all samples and "
        f"{number(float(data.spread_within[-1]))} within a class.",
        "Mean over units of the standard deviation of y_t over all samples, and over the samples "
        "of a class.",
        plot,
        _log_layers("spread of y_t", log=False),
    )


def _strengths(data: xr.Dataset) -> Shown:
    plot = Plot()
    for i, push in enumerate(("impulse", "step")):
        y = Take(f"{push}_strength")
        plot.add("scatter", push, styled(i) | {"mode": "lines"}, x=Take("layer"), y=y)
    ends = [number(float(data[f"{p}_strength"][-1])) for p in ("impulse", "step")]
    return Shown(
        "push",
        "How long a push is felt",
        f"At the last layer an impulse still changes residuals by {ends[0]}, a step by {ends[1]}.",
        f"Mean over units and samples of |change of y_t| by a push in input dimension "
        f"{int(data.attrs['pixel'])}.",
        plot,
        _log_layers("change of the residuals", log=True),
    )


def _log_layers(title: str, *, log: bool) -> dict[str, Any]:
    layout = laid_out("layer t", title, log=log)
    layout["xaxis"] |= LOG_AXIS
    return layout


def _eigenvalues(data: xr.Dataset) -> Shown:
    plot = Plot()
    for i, label in enumerate(data["class"].values.tolist()):
        style = {
            "mode": "markers",
            "meta": {"class": i},
            "marker": styled(i)["marker"] | {"size": 5},
        }
        at: dict[str, Any] = {"class": i}
        x, y = Take("eigenvalue_real", at), Take("eigenvalue_imag", at)
        plot.add("scatter", plotted(label), style, x=x, y=y)
    positive = (data.eigenvalue_real > 1e-6).sum("mode").values.tolist()
    return Shown(
        "eigenvalues",
        "Eigenvalues at the class means",
        f"Positive ones by class: {', '.join(map(str, positive))}.",
        "Eigenvalues of eq. 3's Jacobian at each class's mean residual of the last layer; right of 0 "
        "neighbours part. A mean need not be a fixed point.",
        plot,
        laid_out("real part", "imaginary part"),
        by_class=True,
    )
