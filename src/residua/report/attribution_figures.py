"""Figures of attribution: which layer pushed which class, on average and for a chosen sample."""

from typing import Any

import numpy as np
import xarray as xr

from residua.report.palette import styled
from residua.report.shown import (
    Choice,
    Group,
    Plot,
    Setting,
    Shown,
    Take,
    either,
    laid_out,
    largest,
    number,
    percent,
    signed,
)
from residua.report.thinned import names_of
from residua.report.trajectory_figures import names_raw
from residua.report.window_figures import windows

_HOW = {
    "exact": "K x_0 of the input, K y_t of each layer, c of the bias; their sum is the logits, exactly",
    "frozen norm": "K x_0 of the input, K y_t of each layer, c of the bias, with the scale of the norm "
    "before the head held at its value for the true x_T; their sum is the logits",
}


_CLIPPED = (
    "Blue: for the class, orange: against it. The colours end at the 99th percentile of input and "
    "layers; the bias may go beyond."
)


def attribution_figures(data: xr.Dataset, whole: xr.Dataset) -> Group:
    """Return what layers add on average and in single samples, and when decisions are final."""
    return [
        either(
            "What every layer adds for the true class",
            data,
            ("own_contribution", "input_contribution"),
            _own,
            whole,
        ),
        either(
            "Which layer pushes which class, on average",
            data,
            ("mean_contribution",),
            _average,
            whole,
        ),
        either(
            "One sample, layer by layer",
            data,
            ("sample_contribution", "sample_logit", "sample_label", "sample_decision"),
            _sample,
        ),
        either("When decisions are made", data, ("decided_share",), _decided, whole),
        either("What some layers decide alone", data, ("window_accuracy",), windows),
    ]


def _how(data: xr.Dataset) -> str:
    return _HOW.get(str(data.attrs.get("attribution")), "K y_t of each layer")


def _scale(contribution: xr.DataArray) -> dict[str, Any]:
    """Return the colours of contributions; a large bias, the last part, would leave all else pale."""
    values = np.abs(contribution.isel(part=slice(None, -1)).values)
    known = values[np.isfinite(values)]
    end = float(np.quantile(known, 0.99)) if known.size else 0.0
    end = end or 1.0
    return {"meta": {"scale": "diverging"}, "zmin": -end, "zmax": end}


def _own(data: xr.Dataset, whole: xr.Dataset) -> Shown:
    plot = Plot()
    for i, name in enumerate(names_of(data)):
        style = styled(i) | {"mode": "lines+markers", "meta": {"class": i}}
        plot.add("scatter", name, style, x=Take("layer"), y=Take("own_contribution", {"class": i}))
    mean = whole.own_contribution.mean("class")
    most = int(whole["layer"][largest(mean)])
    given = float(whole.input_contribution.mean())
    return Shown(
        "own-contribution",
        "What every layer adds for the true class",
        f"On average over classes layer {most} adds most, {number(float(mean.max()))}; the input itself "
        f"gives {number(given)}, all {len(mean)} layers together {number(float(mean.sum()))}."
        if len(mean) > 1
        else f"On average over classes the one layer adds {number(float(mean[0]))}; the input itself "
        f"gives {number(given)}.",
        "What a layer adds to the logit of the true class less its mean for the other classes, "
        f"mean over the samples of each class: {_how(data)}.",
        plot,
        laid_out("layer t", "added to the class's logit"),
        by_class=True,
    )


def _average(data: xr.Dataset, whole: xr.Dataset) -> Shown:
    plot = Plot()
    style = _scale(data.mean_contribution) | {
        "colorbar": {"title": {"text": "added to<br>the logit"}, "thickness": 14},
        "hovertemplate": "%{y}<br>logit of class %{x}: %{z:.3g}<extra></extra>",
    }
    z = Take("mean_contribution", {"class": "@true"})
    plot.add("heatmap", "mean contribution", style, x=Take("class_b"), y=Take("part"), z=z)
    layout = laid_out("logit of class", "", height=max(420, 20 * data.sizes["part"] + 110))
    layout["xaxis"] |= {"type": "category"}
    layout["yaxis"] |= {"type": "category", "autorange": "reversed"}
    layers = whole.mean_contribution.isel(part=slice(1, -1)).values
    where = np.unravel_index(int(np.nan_to_num(np.abs(layers)).argmax()), layers.shape)
    part, true, logit = (int(k) for k in where)
    raw = names_raw(whole)
    return Shown(
        "mean-contribution",
        "Which layer pushes which class, on average",
        f"The strongest push: {whole['part'].values[part + 1]} changes the logit of class "
        f"{raw[logit]} by {signed(float(layers[part, true, logit]))} in samples of class {raw[true]}.",
        f"Mean contribution to every logit over the samples of the chosen true class: {_how(data)}. "
        f"{_CLIPPED}",
        plot,
        layout,
        (Choice("true", "True class", names_raw(data)),),
    )


def _sample(data: xr.Dataset) -> Shown:
    plot = Plot()
    image = "sample_image" in data
    for i, name in enumerate(names_of(data)):
        style = styled(i) | {"mode": "lines+markers", "meta": {"class": i}}
        at: dict[str, Any] = {"class": i, "sample": "@sample"}
        plot.add("scatter", name, style, x=Take("state"), y=Take("sample_logit", at))
    bar = {"thickness": 14, "len": 0.44, "y": 0.2, "title": {"text": "added to<br>the logit"}}
    pushes = _scale(data.sample_contribution) | {
        "xaxis": "x2",
        "yaxis": "y2",
        "colorbar": bar,
        "hovertemplate": "%{x}<br>logit of class %{y}: %{z:.3g}<extra></extra>",
    }
    z = Take("sample_contribution", {"sample": "@sample"}, transpose=True)
    plot.add("heatmap", "contribution", pushes, x=Take("part"), y=Take("class"), z=z)
    if image:
        grey = {"meta": {"scale": "grey"}, "showscale": False, "xaxis": "x3", "yaxis": "y3"}
        grey |= {"hovertemplate": "row %{y}, column %{x}: %{z:.3g}<extra></extra>"}
        plot.add("heatmap", "input", grey, z=Take("sample_image", {"sample": "@sample"}))
    words = "The picture is the input. " if image else ""
    return Shown(
        "sample",
        "One sample, layer by layer",
        _sample_caption(data),
        f"{words}Lines: the logits that the head would give the state x_t, K x_t + c. Colours "
        f"below: what each part adds to every logit: {_how(data)}. {_CLIPPED}",
        plot,
        _sample_layout(image, narrow=False),
        (Choice("sample", "Sample", _told(data)),),
        narrow=_sample_layout(image, narrow=True),
        by_class=True,
    )


def _sample_layout(image: bool, *, narrow: bool) -> dict[str, Any]:
    """Return the place of lines, picture and colours: beside each other, or below where it is narrow."""
    left = 0.3 if image and not narrow else 0.0
    lines, colours = ([0.56, 1.0], [0.0, 0.4])
    if narrow and image:
        lines, colours = [0.4, 0.68], [0.0, 0.27]
    layout = laid_out("state t", "logit", height=760 if narrow and image else 600)
    layout["xaxis"] |= {"domain": [left, 1]}
    layout["yaxis"] |= {"domain": lines}
    layout["xaxis2"] = {"domain": [left, 1], "anchor": "y2", "type": "category", "nticks": 12}
    layout["yaxis2"] = {
        "domain": colours,
        "anchor": "x2",
        "type": "category",
        "autorange": "reversed",
    }
    layout["yaxis2"]["title"] = {"text": "logit of class"}
    if image:
        none = {"visible": False, "constrain": "domain"}
        domain = [0.25, 0.75] if narrow else [0.0, 0.22]
        layout["xaxis3"] = none | {"domain": domain, "anchor": "y3"}
        layout["yaxis3"] = none | {"domain": [0.76, 1] if narrow else [0.56, 1.0], "anchor": "x3"}
        layout["yaxis3"] |= {"scaleanchor": "x3", "autorange": "reversed"}
    return layout


def _told(data: xr.Dataset) -> list[str]:
    """Return of every sample in words what it is and what the network says."""
    raw = list(map(str, data.attrs.get("all_classes", names_raw(data))))
    pairs = zip(data.sample_label.values, data.sample_decision.values, strict=True)
    return [
        f"{k}: class {raw[a]}, " + ("right" if a == b else f"taken for {raw[b]}")
        for k, (a, b) in enumerate(pairs)
    ]


def _sample_caption(data: xr.Dataset) -> str:
    right = data.sample_label.values == data.sample_decision.values
    words = f"{int(right.sum())} of the {len(right)} samples shown are classified right"
    wrong = np.flatnonzero(~right)[:5]
    if len(wrong):
        words += f"; wrong: {', '.join(map(str, wrong))}"
    return f"{words}. The first samples of each class are shown, not chosen ones."


def _decided(data: xr.Dataset, whole: xr.Dataset) -> Shown:
    plot = Plot()
    for i, name in enumerate(names_of(data)):
        style = styled(i) | {"mode": "lines+markers", "meta": {"class": i}}
        plot.add("scatter", name, style, x=Take("state"), y=Take("decided_share", {"class": i}))
    layout = laid_out("state t", "share of samples decided")
    layout["yaxis"] |= {"range": [-0.02, 1.02], "tickformat": ".0%"}
    return Shown(
        "decided",
        "When decisions are made",
        _decided_caption(whole),
        "Share of the samples of each class whose decision by the network's own head does not "
        "change any more after x_t; state 0 is the input.",
        plot,
        layout,
        by_class=True,
    )


def _decided_caption(whole: xr.Dataset) -> str:
    half = np.flatnonzero(whole.decided_share.mean("class") >= 0.5)
    accuracy = whole.get("head_accuracy")
    words = f"final from state {half[0]} on" if len(half) else "never final"
    words = f"Half of all decisions, mean over classes, are {words}"
    if accuracy is not None:
        there = f"{percent(float(accuracy[half[0]]))} there and in " if len(half) else ""
        end = percent(float(accuracy[-1]))
        words += f"; the network's own head is right in {there}{end} at the end"
    return f"{words}."


def sensitive_figures(data: xr.Dataset, whole: xr.Dataset) -> Group:
    """Return the most sensitive unit of every class over depth."""
    needs = ("sensitive_unit", "sensitive_residual", "sensitive_state")
    return [either("The most sensitive unit of each class", data, needs, _sensitive, whole)]


def _sensitive(data: xr.Dataset, whole: xr.Dataset) -> Shown:
    plot = Plot()
    own = data["class"].values.tolist()
    for i, name in enumerate(names_of(data)):
        at: dict[str, Any] = {"class": "@unit", "class_b": i}
        style = styled(i) | {"mode": "lines+markers", "meta": {"class": i}}
        arrays = ("sensitive_residual", "sensitive_state")
        x = Take(("layer", "state"), by="what")
        plot.add("scatter", name, style, x=x, y=Take(arrays, at, by="what"))
    last = whole.sensitive_state.isel(state=-1).values
    known = np.flatnonzero(np.isfinite(np.diag(last)))  # a class without samples has no mean
    most = sum(int(np.nanargmax(last[c])) == c for c in known)
    units = data.sensitive_unit.values.astype(int).tolist()
    return Shown(
        "sensitive-unit",
        "The most sensitive unit of each class",
        f"In {most} of {len(known)} classes the unit with the largest weight to the class has its "
        "largest mean x_T in that class.",
        "The unit of a class is argmax_i K_ci; its mean residual or state over the samples of each "
        "class, its own class and the others.",
        plot,
        laid_out("layer t", "residual y_t"),
        (
            Choice("unit", "Unit of", [f"{c}: unit {u}" for c, u in zip(own, units, strict=True)]),
            Choice("what", "Show", ("residuals y_t", "states x_t")),
        ),
        (
            Setting("layout.yaxis.title.text", "what", ("residual y_t", "state x_t")),
            Setting("layout.xaxis.title.text", "what", ("layer t", "state t")),
        ),
        by_class=True,
    )
