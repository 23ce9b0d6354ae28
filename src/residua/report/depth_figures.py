"""Figures of depth: depth curve, settle distance and spread over one axis, and how deep it was when."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from residua.report.palette import VERMILLION, colour
from residua.report.shown import (
    LOG_AXIS,
    Group,
    Missing,
    Plot,
    Shown,
    Take,
    counted,
    laid_out,
    largest,
    number,
    split_of,
)

_CURVE = ("curve_loss",)
_SETTLE = ("settle_distance", "relative_settle_distance")
_SPREAD = ("spread", "relative_spread")
_PANELS = {"loss": _CURVE, "settle distance": _SETTLE, "spread": _SPREAD}
_WORDS = {"curve_loss": "depth curve"}
RULE = 0.01  # the paper's threshold
_DEFINITION = (
    "of a head that takes the state x_t, fitted in closed form on training samples to the network's own "
    "logits, bars ± one standard error; state 0 is the input. Settle distance: mean over units and "
    "samples of |y_t − y_{t−1}|, relative: over the mean of |y_t|; the paper removes the last layer "
    "where it is below 0.01 (dotted). Spread: mean over units of the standard deviation of y_t over "
    "samples, relative: over the same of x_{t−1}."
)


@dataclass(frozen=True)
class Cut:
    """What was cut: so many layers before and after, and which ones, where they are named."""

    before: int
    after: int
    removed: tuple[int, ...] = ()


def depth_figures(data: xr.Dataset, whole: xr.Dataset, cut: Cut | None = None) -> Group:
    """Return depth curve, settle distance and spread in one figure, and the history of depth."""
    panels = {
        _loss(data) + " (nats)" if names is _CURVE else title: [
            n for n in names if n in data and _known(data[n])
        ]
        for title, names in _PANELS.items()
    }
    absent = [title for title, names in panels.items() if not names]
    panels = {title: names for title, names in panels.items() if names}
    found: list[Shown | Missing] = [_depth(data, whole, panels, cut)] if panels else []
    if absent:
        why = (
            "the network has one layer"
            if data.sizes.get("layer") == 1
            else "no finite value is stored"
        )
        found.append(Missing(" and ".join(absent), why))
    return [*found, _history(data)]


def _known(values: xr.DataArray) -> bool:
    return bool(np.isfinite(values).any())


def _loss(data: xr.Dataset) -> str:
    """Return in words on which split the loss is; that may be the one to which heads were fitted."""
    split = split_of(data)
    return "loss" if split == "unknown" else f"{split} loss"


def _depth(
    data: xr.Dataset, whole: xr.Dataset, panels: dict[str, list[str]], cut: Cut | None
) -> Shown:
    plot = Plot()
    layout: dict[str, Any] = laid_out(
        "layer t (state t of the depth curve)", "", height=230 * len(panels) + 60
    )
    share, gap = 1 / len(panels), 0.05
    for k, (title, names) in enumerate(panels.items()):
        axis = "" if k == 0 else str(k + 1)
        top = 1 - k * share
        layout[f"yaxis{axis}"] = {
            "title": {"text": title, "standoff": 12},
            **LOG_AXIS,
            "domain": [max(0.0, top - share + (gap if k < len(panels) - 1 else 0)), top],
        }
        for name in names:
            steps = "state" if "state" in data[name].dims else "layer"
            more = {"error_y__array": Take(f"{name}_error")} if f"{name}_error" in data else {}
            i = len(plot.traces)
            style = {
                "mode": "lines+markers",
                "line": {"color": colour(i), "dash": "dash" if "relative" in name else "solid"},
                "marker": {"color": colour(i), "size": 7},
                "yaxis": f"y{axis}",
            }
            if more:
                style["error_y"] = {"type": "data", "color": colour(i), "thickness": 1.2}
            words = _WORDS.get(name, name.replace("_", " "))
            plot.add("scatter", words, style, x=Take(steps), y=Take(name), **more)
    last = "" if len(panels) == 1 else str(len(panels))
    layout["xaxis"] |= {"anchor": f"y{last}"}
    depth = int(data["layer"][-1]) if "layer" in data else 0
    layout["shapes"], layout["annotations"], span = _marks(panels, cut, depth)
    layout["xaxis"]["range"] = [-0.5, max(depth, span) + 0.5]
    return Shown(
        "depth",
        "Depth: what every layer still changes",
        _caption(whole, cut),
        f"Depth curve: cross-entropy on the {split_of(data)} split {_DEFINITION}",
        plot,
        layout,
    )


def _marks(
    panels: dict[str, list[str]], cut: Cut | None, depth: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
    """Return lines and areas that mark threshold and cut, their words, how far the axis must go."""
    shapes: list[dict[str, Any]] = []
    if "settle distance" in panels:
        axis = list(panels).index("settle distance")
        shapes.append(
            {
                "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": RULE, "y1": RULE,
                "yref": "y" if axis == 0 else f"y{axis + 1}", "line": {"dash": "dot", "width": 1},
            }
        )  # fmt: skip
    if cut is None or cut.before <= cut.after:
        return shapes, [], 0
    area = {"type": "rect", "yref": "paper", "y0": 0, "y1": 1, "layer": "below", "opacity": 0.16}
    area |= {"fillcolor": VERMILLION, "line": {"width": 0, "color": VERMILLION}}
    # What is left has at least half of the axis, however much went.
    end = min(cut.before, 2 * max(depth, cut.after) + 1)
    removed = cut.removed or tuple(range(cut.after + 1, end + 1))
    shapes += [area | {"x0": t - 0.5, "x1": t + 0.5} for t in removed]
    if not cut.removed:
        edge = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": cut.after + 0.5}
        line = {"dash": "dash", "width": 2, "color": VERMILLION}
        shapes.append(edge | {"x1": cut.after + 0.5, "line": line})
    more = ", not all of it shown" if removed[-1] < cut.before and not cut.removed else ""
    words = {
        "text": f"cut: {cut.before} → {cut.after}{more}", "x": float(np.mean(removed)), "y": 1,
        "yref": "paper", "yanchor": "top", "showarrow": False, "font": {"color": VERMILLION},
    }  # fmt: skip
    return shapes, [words], removed[-1]


def _caption(data: xr.Dataset, cut: Cut | None) -> str:
    said = []
    if "curve_loss" in data and _known(data.curve_loss):
        loss = data.curve_loss
        best = int(loss["state"][largest(-loss)])
        first, least = number(float(loss[0])), number(float(loss.min()))
        said.append(
            f"The {_loss(data)} is {first} nats on the input and lowest, {least}, on state {best}"
            if best
            else f"The {_loss(data)} is lowest, {first} nats, on the input itself"
        )
        enough = data.attrs.get("curve_enough_state")
        if enough is not None and enough < best:
            said.append(f"within one standard error of that first on state {int(enough)}")
    words = ", ".join(said) + "." if said else ""
    settle = data.get("settle_distance")
    last = float("nan") if settle is None else float(settle[-1])
    if not np.isnan(last):
        word = "below" if last < RULE else "above"
        words += (
            f" The last layer's residual differs from the one before by {number(last)} per unit, {word} "
            f"the paper's {RULE}."
        )
    if "spread" in data and _known(data.spread):
        words += (
            f" The residual's spread is {number(float(data.spread[0]))}."
            if data.sizes["layer"] == 1
            else f" The residuals' spread goes from {number(float(data.spread[0]))} at layer 1 to "
            f"{number(float(data.spread[-1]))} at layer {int(data['layer'][-1])}."
        )
    if cut is not None and cut.before > cut.after:
        words += f" Marked: {cut.before - cut.after} of {counted(cut.before, 'layer')} went."
    gone = [n for names in _PANELS.values() for n in names if n in data and _holes(data[n])]
    if gone:
        words += f" Not a number in: {', '.join(gone)}."
    return words.strip()


def _holes(values: xr.DataArray) -> bool:
    """Return whether a value is missing that should be there; layer 1 has no settle distance."""
    first = 1 if "settle" in str(values.name) else 0
    rest = values.values[first:]
    return bool(len(rest)) and not bool(np.isfinite(rest).all())


def layers_in_words(count: int) -> str:
    """Return "1 layer" or "2 layers"."""
    return counted(count, "layer")


def _history(data: xr.Dataset) -> Shown | Missing:
    title = "Depth over training"
    if "depth_after_epoch" not in data:
        return Missing(title, "the arrays hold no depth_after_epoch")
    if "pruned" in data.attrs:
        return Missing(title, "the layers went after training, not during it")
    plot = Plot()
    style = {
        "mode": "lines+markers",
        "line": {"color": colour(0), "shape": "hv"},
        "marker": {"size": 7},
    }
    plot.add("scatter", "layers", style, x=Take("epoch"), y=Take("depth_after_epoch"))
    depth, epochs = data.depth_after_epoch.values, data["epoch"].values
    changes = [
        f"{depth[k - 1]} → {depth[k]} after epoch {epochs[k]}"
        for k in range(1, len(depth))
        if depth[k] != depth[k - 1]
    ]
    words = (
        "; ".join(changes)
        if changes
        else f"{layers_in_words(int(depth[-1]))} after every epoch: no layer was cut while it trained"
    )
    layout = laid_out("epoch", "layers", height=280)
    layout["yaxis"] |= {"rangemode": "tozero", "tickformat": "d"}
    if depth.max() <= 20:
        layout["yaxis"]["dtick"] = max(1, round(depth.max() / 5))
    ticks = {"tickformat": "d", **({"dtick": 1} if len(epochs) <= 6 else {"nticks": 12})}
    layout["xaxis"] |= ticks
    return Shown(
        "history",
        title,
        f"{words[0].upper()}{words[1:]}.",
        "Layers of the network after every epoch.",
        plot,
        layout,
        narrow={"xaxis": {"nticks": 6}},
    )
