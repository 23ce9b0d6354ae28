"""Figures of several runs in one: depth curves, settle distances, gains and noise beside each other."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from residua.report.noise_figures import MEASURES, strength_words
from residua.report.palette import plotted, styled
from residua.report.shown import Choice, Plot, Shown, Take, laid_out, number, percent

# By name: title, axes, what is drawn, over which dimension, and whether the axis is logarithmic.
_MEASURES = {
    "curve": ("Depth curves", "state t", "held-out loss (nats)", "curve_loss", "state", True),
    "settle": ("Settle distances", "layer t", "settle distance", "settle_distance", "layer", True),
    "spread": ("Spreads", "layer t", "spread", "spread", "layer", True),
    "fisher": (
        "Between the classes and within",
        "state t",
        "Fisher ratio",
        "fisher",
        "state",
        True,
    ),
    "gain": ("Gain of a small perturbation", "state t", "gain", "gain", "state", True),
}
_DEFINITIONS = {
    "curve": "Held-out cross-entropy of a head fitted in closed form on x_t to the old logits.",
    "settle": "Mean over units and samples of |y_t − y_{t−1}|.",
    "spread": "Mean over units of the standard deviation of y_t over samples.",
    "fisher": "Trace of the covariance of x_t between classes over that within classes.",
    "gain": "What a small perturbation of x_t becomes in x_T, worst direction, per unit of length.",
}


def side_by_side(analyses: Mapping[str, xr.Dataset]) -> tuple[xr.Dataset, list[Shown]]:
    """Return figures over several runs, and the arrays that they draw; none of a single run.

    A measure is drawn where two runs or more have it.
    """
    data: dict[str, Any] = {}
    figures = []
    for name, (title, across, up, array, dim, log) in _MEASURES.items():
        held = {run: a[array] for run, a in analyses.items() if _has(a, array)}
        if len(held) < 2:
            continue
        plot = Plot()
        for i, run in enumerate(analyses):
            if run not in held:
                continue
            own, steps = f"{run}: {array}", f"{run}: {dim}"
            data[own] = (steps, held[run].values.astype(float))
            data[f"{steps} t"] = (steps, held[run][dim].values)
            style = styled(i) | {"mode": "lines+markers"}
            plot.add("scatter", plotted(run), style, x=Take(f"{steps} t"), y=Take(own))
        ends = ", ".join(f"{run} {number(float(v[-1]))}" for run, v in held.items())
        layout = laid_out(across, up, log=log)
        caption = f"At the last {dim}: {ends}."
        figures.append(Shown(f"all-{name}", title, caption, _DEFINITIONS[name], plot, layout))
    noisy = {run: a for run, a in analyses.items() if _has(a, "noise_accuracy")}
    if len(noisy) > 1:
        figures.append(_noise(noisy, list(analyses), data))
        figures.append(_signal(noisy, list(analyses), data))
    return xr.Dataset(data), figures


def _has(analysis: xr.Dataset, name: str) -> bool:
    return name in analysis and bool(np.isfinite(analysis[name]).any())


def _noise(noisy: Mapping[str, xr.Dataset], order: list[str], data: dict[str, Any]) -> Shown:
    plot = Plot()
    first = next(iter(noisy.values()))
    kinds = [str(k) for k in first["noise"].values.tolist()]
    at: dict[str, Any] = {"noise": "@noise"}
    for run, analysis in noisy.items():
        both = ("noise", "level")
        for array in ("noise_strength", "noise_accuracy", "noise_accuracy_error"):
            data[f"{run}: {array}"] = (both, analysis[array].values)
        style = styled(order.index(run)) | {"mode": "lines+markers"}
        style |= {"error_y": {"type": "data", "thickness": 1.2}}
        plot.add(
            "scatter", plotted(run), style,
            x=Take(f"{run}: noise_strength", at), y=Take(f"{run}: noise_accuracy", at),
            error_y__array=Take(f"{run}: noise_accuracy_error", at),
        )  # fmt: skip
    layout = laid_out("strength", "accuracy")
    layout["yaxis"] |= {"tickformat": ".0%"}
    ends = ", ".join(f"{r} {percent(float(a.noise_accuracy[0, -1]))}" for r, a in noisy.items())
    strength = strength_words(kinds[0], float(first.noise_strength[0, -1]))
    return Shown(
        "all-noise",
        "Accuracy against noise",
        f"Under {kinds[0]} noise of {strength}: {ends}.",
        f"Accuracy under noise on the input, bars ± one standard error. {MEASURES}",
        plot,
        layout,
        (Choice("noise", "Kind of noise", kinds),),
    )


def _signal(noisy: Mapping[str, xr.Dataset], order: list[str], data: dict[str, Any]) -> Shown:
    plot = Plot()
    first = next(iter(noisy.values()))
    kinds = [str(k) for k in first["noise"].values.tolist()]
    at: dict[str, Any] = {"noise": "@noise", "level": "@level"}
    ends = []
    for run, analysis in noisy.items():
        steps, own = f"{run}: state", f"{run}: signal_to_noise"
        data[own] = (("noise", "level", steps), analysis.signal_to_noise.values)
        data[f"{steps} t"] = (steps, analysis["state"].values)
        style = styled(order.index(run)) | {"mode": "lines+markers"}
        plot.add("scatter", plotted(run), style, x=Take(f"{steps} t"), y=Take(own, at))
        seen = analysis.signal_to_noise[0, -1].values
        ends.append(f"{run} from {number(float(seen[0]))} to {number(float(seen[-1]))}")
    levels = [f"level {k + 1}" for k in range(first.sizes["level"])]
    strength = strength_words(kinds[0], float(first.noise_strength[0, -1]))
    return Shown(
        "all-signal",
        "Signal to noise over depth",
        f"Under {kinds[0]} noise of {strength}, from the input to the last state: {'; '.join(ends)}.",
        "Trace of the covariance between classes over that of the noise. The levels of each kind, the "
        "weakest first, are the strengths of the figure above.",
        plot,
        laid_out("state t", "signal to noise", log=True),
        (
            Choice("noise", "Kind of noise", kinds),
            Choice("level", "Level", levels, start=len(levels) - 1),
        ),
    )
