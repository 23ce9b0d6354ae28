"""Figures of several runs in one: depth curves, settle distances, gains and noise beside each other."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from residua.report.noise_figures import MEASURES, strength_words
from residua.report.palette import plotted, styled
from residua.report.shown import Choice, Plot, Shown, Take, laid_out, number, percent, split_of

# By name: title, axes, what is drawn, over which dimension, and whether the axis is logarithmic.
_MEASURES = {
    "curve": ("Depth curves", "state t", "loss (nats)", "curve_loss", "state", True),
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
    "curve": "Cross-entropy of a head that takes x_t, fitted in closed form on training samples to the "
    "network's logits.",
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
    split = " and ".join(dict.fromkeys(map(split_of, analyses.values())))
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
        words = f"{_DEFINITIONS[name]} Taken on the {split} split."
        figures.append(Shown(f"all-{name}", title, caption, words, plot, layout))
    noisy = {run: a for run, a in analyses.items() if _is_noisy(a)}
    if len(noisy) > 1:
        figures += _noise_figures(noisy, list(analyses), data)
    return xr.Dataset(data), figures


def _has(analysis: xr.Dataset, name: str) -> bool:
    return name in analysis and bool(np.isfinite(analysis[name]).any())


def _is_noisy(analysis: xr.Dataset) -> bool:
    needs = ("noise_strength", "noise_accuracy_error", "signal_to_noise")
    return _has(analysis, "noise_accuracy") and {"noise", *needs} <= set(analysis.variables)


def _noise_figures(
    noisy: Mapping[str, xr.Dataset], order: list[str], data: dict[str, Any]
) -> list[Shown]:
    """Return accuracy and signal to noise, of those kinds of noise that all runs have."""
    every = list(dict.fromkeys(str(k) for a in noisy.values() for k in a["noise"].values))
    kinds = [k for k in every if all(k in a["noise"] for a in noisy.values())]
    alike = [k for k in kinds if len({_strengths(a, k) for a in noisy.values()}) == 1]
    found = []
    for shared, make, why in ((kinds, _noise, ""), (alike, _signal, " of the same strengths")):
        if shared:
            left = [k for k in every if k not in shared]
            note = f" Not drawn, as not all runs have it{why}: {', '.join(left)}." if left else ""
            shown = {run: a.sel(noise=shared) for run, a in noisy.items()}
            found.append(make(shown, order, data, note))
    return found


def _strengths(analysis: xr.Dataset, kind: str) -> tuple[float, ...]:
    return tuple(analysis.noise_strength.sel(noise=kind).values.tolist())


def _noise(
    noisy: Mapping[str, xr.Dataset], order: list[str], data: dict[str, Any], note: str
) -> Shown:
    plot = Plot()
    at: dict[str, Any] = {"noise": "@noise"}
    for run, analysis in noisy.items():
        both = ("noise", f"{run}: level")  # runs may have other numbers of strengths
        for array in ("noise_strength", "noise_accuracy", "noise_accuracy_error"):
            data[f"{run}: {array}"] = (both, analysis[array].values)
        style = styled(order.index(run)) | {"mode": "lines+markers"}
        style |= {"error_y": {"type": "data", "thickness": 1.2}}
        plot.add(
            "scatter", plotted(run), style,
            x=Take(f"{run}: noise_strength", at), y=Take(f"{run}: noise_accuracy", at),
            error_y__array=Take(f"{run}: noise_accuracy_error", at),
        )  # fmt: skip
    kinds = next(iter(noisy.values()))["noise"].values.tolist()
    layout = laid_out("strength", "accuracy")
    layout["yaxis"] |= {"tickformat": ".0%"}
    ends = ", ".join(
        f"{run} {percent(float(a.noise_accuracy[0, -1]))} at {float(a.noise_strength[0, -1]):g}"
        for run, a in noisy.items()
    )
    return Shown(
        "all-noise",
        "Accuracy against noise",
        f"Under {kinds[0]} noise of the largest strength: {ends}.{note}",
        f"Accuracy under noise on the input, bars ± one standard error. {MEASURES}",
        plot,
        layout,
        (Choice("noise", "Kind of noise", kinds),),
    )


def _signal(
    noisy: Mapping[str, xr.Dataset], order: list[str], data: dict[str, Any], note: str
) -> Shown:
    plot = Plot()
    at: dict[str, Any] = {"alike": "@alike", "level": "@level"}
    ends = []
    for run, analysis in noisy.items():
        steps, own = f"{run}: state", f"{run}: signal_to_noise"
        data[own] = (("alike", "level", steps), analysis.signal_to_noise.values)
        data[f"{steps} t"] = (steps, analysis["state"].values)
        style = styled(order.index(run)) | {"mode": "lines+markers"}
        plot.add("scatter", plotted(run), style, x=Take(f"{steps} t"), y=Take(own, at))
        seen = analysis.signal_to_noise[0, -1].values
        ends.append(f"{run} from {number(float(seen[0]))} to {number(float(seen[-1]))}")
    first = next(iter(noisy.values()))
    kinds = first["noise"].values.tolist()
    levels = [f"level {k + 1}" for k in range(first.sizes["level"])]
    strength = strength_words(kinds[0], float(first.noise_strength[0, -1]))
    return Shown(
        "all-signal",
        "Signal to noise over depth",
        f"Under {kinds[0]} noise of {strength}, from the input to the last state: "
        f"{'; '.join(ends)}.{note}",
        "Trace of the covariance between classes over that of the noise. The levels of each kind, the "
        "weakest first, are the strengths of the figure above.",
        plot,
        laid_out("state t", "signal to noise", log=True),
        (
            Choice("alike", "Kind of noise", kinds),
            Choice("level", "Level", levels, start=len(levels) - 1),
        ),
    )
