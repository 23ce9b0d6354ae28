"""Figures of noise and perturbation: gain, signal to noise, accuracy against noise, lesions."""

from typing import Any

import numpy as np
import xarray as xr

from residua.report.palette import colour, plotted, styled
from residua.report.shown import (
    Choice,
    Group,
    Missing,
    Plot,
    Shown,
    Take,
    either,
    laid_out,
    largest,
    number,
    percent,
)

_GAINS = (
    ("gain", "to x_T, worst direction"),
    ("gain_rms", "to x_T, all directions"),
    ("logit_gain", "to the logits, worst"),
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
    for i in range(levels):
        style = styled(i) | {"mode": "lines+markers"}
        y = Take("signal_to_noise", {"noise": "@noise", "level": i})
        plot.add("scatter", f"strength {i + 1}", style, x=Take("state"), y=y)
    gaussian = data.signal_to_noise.isel(noise=0, level=-1)
    strengths = ", ".join(f"{s:g}" for s in data.noise_strength.values[0])
    kind = data["noise"].values[0]
    return Shown(
        "signal-to-noise",
        "Signal to noise over depth",
        f"Under {kind} noise of strength {float(data.noise_strength[0, -1]):g} it goes from "
        f"{number(float(gaussian[0]))} on the input to {number(float(gaussian[-1]))} at the last state. "
        f"Strengths 1 to {levels} of {kind} noise: {strengths}.",
        "Trace of the covariance between classes over that of the noise, the difference that the noise "
        "makes to the states.",
        plot,
        laid_out("state t", "signal to noise", log=True),
        (Choice("noise", "Kind of noise", [str(k) for k in data["noise"].values.tolist()]),),
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
        f"{int(data.attrs.get('perturbed_samples', 0))} samples. Strength: standard deviation "
        "(gaussian, uniform; layers: after every layer), largest change (gradient-sign), or share "
        "of the input (salt-and-pepper, occlusion).",
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
    kind = data["noise"].values[k]
    return f"{words}At the largest strengths {kind} hurts most: {percent(float(worst[k]))}."


def _lesion(data: xr.Dataset, whole: xr.Dataset) -> Shown:
    plot = Plot()
    style = {"marker": {"color": colour(0)}, "error_y": {"type": "data", "thickness": 1.2}}
    style |= {"meta": {"ink": "error_y.color"}}
    error = Take("lesion_loss_error")
    plot.add(
        "bar", "loss added", style, x=Take("layer"), y=Take("lesion_loss"), error_y__array=error
    )
    loss = whole.lesion_loss
    worst = int(whole["layer"][largest(loss)])
    return Shown(
        "lesions",
        "What it costs to take one layer out",
        f"Most with layer {worst}, {float(loss.max()):+.3g} nats; least {float(loss.min()):+.3g} nats.",
        "Cross-entropy with the residual of one layer taken out, less that of the network as it "
        f"is; bars ± one standard error, paired over {int(data.attrs.get('perturbed_samples', 0))} "
        "samples.",
        plot,
        laid_out("layer t taken out", "loss added (nats)"),
    )
