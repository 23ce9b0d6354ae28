"""Figures of noise and perturbation: gain, signal to noise, accuracy against noise, lesions."""

from typing import Any

import numpy as np
import xarray as xr

from residua.report.palette import BLUE, colour, plotted, styled
from residua.report.shown import (
    Choice,
    Group,
    Missing,
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

_GAINS = (
    ("gain", "to x_T, worst direction"),
    ("gain_rms", "to x_T, all directions"),
    ("logit_gain", "to the logits, worst"),
)
_STRENGTHS = {"gradient-sign": "ε", "salt-and-pepper": "share", "occlusion": "share"}


_SAME = 1e-6  # nats; what is left of rounding in a loss
MEASURES = (
    "Strength: σ, the standard deviation (gaussian, uniform; layers: after every layer); ε, the largest "
    "change (gradient-sign); share, of the input (salt-and-pepper, occlusion)."
)


def noise_figures(data: xr.Dataset, whole: xr.Dataset) -> Group:
    """Return what perturbations and noise do, or that it was not measured."""
    noisy = ("signal_to_noise", "noise_strength"), ("noise_accuracy", "noise_accuracy_error")
    measured = ("gain", "signal_to_noise", "noise_accuracy", "lesion_loss")
    if not any(name in data for name in measured):
        why = "this run was not perturbed; residua inspect RUN --out FOLDER measures it"
        return [Missing("Noise and perturbation", why)]
    return [
        either("Gain of a small perturbation", data, [name for name, _ in _GAINS], _gain),
        either("Signal to noise over depth", data, noisy[0], _signal),
        either("Accuracy against noise", data, (*noisy[1], "noise_strength"), _accuracy),
        either(
            "What it costs to take one layer out",
            data,
            ("lesion_loss", "lesion_loss_error"),
            _lesion,
            whole,
        ),
    ]


def strength_words(kind: str, value: float) -> str:
    """Return the strength of a kind of noise, with what it measures."""
    return f"{_STRENGTHS.get(kind, 'σ')} = {value:g}"


def _gain(data: xr.Dataset) -> Shown:
    plot = Plot()
    for i, (array, name) in enumerate(_GAINS):
        style = styled(i) | {"mode": "lines+markers"}
        plot.add("scatter", name, style, x=Take("state"), y=Take(array))
    return Shown(
        "gain",
        "Gain of a small perturbation",
        _gain_caption(data),
        "What a small perturbation of x_t becomes, per unit of its length: exact products of the "
        "layers' Jacobians, worst direction by singular value decomposition, all directions by "
        f"root mean square; median over {int(data.attrs.get('jacobian_samples', 0))} samples.",
        plot,
        laid_out("state t that is perturbed", "gain", log=True),
    )


def _gain_caption(data: xr.Dataset) -> str:
    first, last = float(data.gain[0]), float(data.gain[-1])
    if np.isnan(first):
        return "How much a perturbation of the input grows is not a number here."
    words = (
        f"In the worst direction a perturbation of the input grows {number(first)}-fold up to the last "
        f"state, to the logits {number(float(data.logit_gain[0]))}-fold"
    )
    if np.isnan(last):
        return f"{words}."
    return (
        f"{words}: early perturbations cost {'more' if first > last else 'no more'} than late ones."
    )


def _signal(data: xr.Dataset) -> Shown:
    plot = Plot()
    levels = data.sizes["level"]
    kinds = [str(k) for k in data["noise"].values.tolist()]
    names = [
        [strength_words(kind, float(s)) for s in strengths]
        for kind, strengths in zip(kinds, data.noise_strength.values, strict=True)
    ]
    for i in range(levels):
        style = styled(i) | {"mode": "lines+markers"}
        y = Take("signal_to_noise", {"noise": "@noise", "level": i})
        plot.add("scatter", names[0][i], style, x=Take("state"), y=y)
    first = data.signal_to_noise.isel(noise=0, level=-1)
    return Shown(
        "signal-to-noise",
        "Signal to noise over depth",
        f"Under {kinds[0]} noise of {names[0][-1]} it goes from {number(float(first[0]))} on the input "
        f"to {number(float(first[-1]))} at the last state.",
        "Trace of the covariance between classes over that of the noise, the difference that the noise "
        f"makes to the states. {MEASURES}",
        plot,
        laid_out("state t", "signal to noise", log=True),
        (Choice("noise", "Kind of noise", kinds),),
        [Setting(f"{i}.name", "noise", [of_kind[i] for of_kind in names]) for i in range(levels)],
    )


def _accuracy(data: xr.Dataset) -> Shown:
    plot = Plot()
    for i, kind in enumerate(data["noise"].values.tolist()):
        at: dict[str, Any] = {"noise": i}
        style = styled(i) | {"mode": "lines+markers"}
        style |= {"error_y": {"type": "data", "color": colour(i), "thickness": 1.2}}
        error = Take("noise_accuracy_error", at)
        x, y = Take("noise_strength", at), Take("noise_accuracy", at)
        plot.add("scatter", plotted(kind), style, x=x, y=y, error_y__array=error)
    layout = laid_out("strength", "accuracy", height=420)
    layout["xaxis"] |= {"type": "log", "tickvals": [0.05, 0.1, 0.2, 0.4, 0.5, 1]}
    layout["yaxis"] |= {"tickformat": ".0%"}
    return Shown(
        "noise-accuracy",
        "Accuracy against noise",
        _accuracy_caption(data),
        "Accuracy under noise, bars ± one standard error over "
        f"{int(data.attrs.get('perturbed_samples', 0))} samples. {MEASURES}",
        plot,
        layout,
    )


def _accuracy_caption(data: xr.Dataset) -> str:
    words = ""
    if "clean_accuracy" in data.attrs:
        clean = percent(float(data.attrs["clean_accuracy"]))
        words = f"{clean} of the same samples are right without noise. "
    worst = data.noise_accuracy.isel(level=-1)
    if not bool(np.isfinite(worst).any()):
        return f"{words}At the largest strengths no accuracy is a number."
    k = largest(-worst)
    kind = str(data["noise"].values[k])
    strength = strength_words(kind, float(data.noise_strength[k, -1]))
    return f"{words}At the largest strengths {kind} ({strength}) hurts most: {percent(float(worst[k]))}."


def _lesion(data: xr.Dataset, whole: xr.Dataset) -> Shown | Missing:
    title, costs = "What it costs to take one layer out", whole.lesion_loss.values
    if len(costs) > 1 and np.ptp(costs) <= _SAME * max(1.0, np.abs(costs).max()):
        return Missing(
            title,
            f"it is the same for every layer, {signed(float(costs[0]))} nats: they are one map, so that "
            "taking any of them out is one step less",
        )
    plot = Plot()
    style = {"marker": {"color": BLUE}, "error_y": {"type": "data", "thickness": 1.2}}
    style |= {"meta": {"ink": "error_y.color"}}
    error = Take("lesion_loss_error")
    plot.add(
        "bar", "loss added", style, x=Take("layer"), y=Take("lesion_loss"), error_y__array=error
    )
    loss = whole.lesion_loss
    worst = int(whole["layer"][largest(loss)])
    return Shown(
        "lesions",
        title,
        f"Most with layer {worst}, {signed(float(loss.max()))} nats; least "
        f"{signed(float(loss.min()))} nats."
        if len(costs) > 1
        else f"Without its one layer the loss is {signed(float(costs[0]))} nats.",
        "Cross-entropy with the residual of one layer taken out, less that of the network as it "
        f"is; bars ± one standard error, paired over {int(data.attrs.get('perturbed_samples', 0))} "
        "samples.",
        plot,
        laid_out("layer t taken out", "loss added (nats)"),
    )
