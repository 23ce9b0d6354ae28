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


def noise_figures(data: xr.Dataset) -> Group:
    """Return what perturbations and noise do, or that it was not measured."""
    if "gain" not in data:
        why = "this run was not perturbed; residua inspect RUN --out FOLDER measures it"
        return [Missing("Noise and perturbation", why)]
    noisy = ("signal_to_noise", "noise_strength"), ("noise_accuracy", "noise_accuracy_error")
    return [
        either("Gain of a small perturbation", data, [name for name, _ in _GAINS], _gain),
        either("Signal to noise over depth", data, noisy[0], _signal),
        either("Accuracy against noise", data, (*noisy[1], "noise_strength"), _accuracy),
        either(
            "What it costs to take one layer out",
            data,
            ("lesion_loss", "lesion_loss_error"),
            _lesion,
        ),
    ]


def _gain(data: xr.Dataset) -> Shown:
    plot = Plot()
    for i, (array, name) in enumerate(_GAINS):
        style = styled(i) | {"mode": "lines+markers"}
        plot.add("scatter", name, style, x=Take("state"), y=Take(array))
    first, last = float(data.gain[0]), float(data.gain[-1])
    word = "more" if first > last else "no more"
    return Shown(
        "gain",
        "Gain of a small perturbation",
        f"In the worst direction a perturbation of the input grows {number(first)}-fold up to the "
        f"last state, to the logits {number(float(data.logit_gain[0]))}-fold: early perturbations "
        f"cost {word} than late ones.",
        "What a small perturbation of x_t becomes, per unit of its length: exact products of the "
        "layers' Jacobians, worst direction by singular value decomposition, all directions by "
        f"root mean square; median over {int(data.attrs.get('jacobian_samples', 0))} samples.",
        plot,
        laid_out("state t that is perturbed", "gain", log=True),
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
    worst = data.noise_accuracy.isel(level=-1)
    k = int(np.nan_to_num(worst.values, nan=1.0).argmin())
    layout = laid_out("strength", "accuracy", height=420)
    layout["xaxis"] |= {"type": "log", "tickvals": [0.05, 0.1, 0.2, 0.4, 0.5, 1]}
    layout["yaxis"] |= {"tickformat": ".0%"}
    clean = (
        f"{percent(float(data.head_accuracy[-1]))} without noise; "
        if "head_accuracy" in data
        else ""
    )
    return Shown(
        "noise-accuracy",
        "Accuracy against noise",
        f"{clean}at the largest strengths {data['noise'].values[k]} hurts most: "
        f"{percent(float(worst[k]))}.",
        "Accuracy under noise, bars ± one standard error over "
        f"{int(data.attrs.get('perturbed_samples', 0))} samples. Strength: standard deviation "
        "(gaussian, uniform; layers: after every layer), largest change (gradient-sign), or share "
        "of the input (salt-and-pepper, occlusion).",
        plot,
        layout,
    )


def _lesion(data: xr.Dataset) -> Shown:
    plot = Plot()
    style = {"marker": {"color": colour(0)}, "error_y": {"type": "data", "thickness": 1.2}}
    style |= {"meta": {"ink": "error_y.color"}}
    error = Take("lesion_loss_error")
    plot.add(
        "bar", "loss added", style, x=Take("layer"), y=Take("lesion_loss"), error_y__array=error
    )
    worst = int(data["layer"][largest(data.lesion_loss)])
    return Shown(
        "lesions",
        "What it costs to take one layer out",
        f"Most with layer {worst}, {float(data.lesion_loss.max()):+.3g} nats; least "
        f"{float(data.lesion_loss.min()):+.3g} nats.",
        "Cross-entropy with the residual of one layer taken out, less that of the network as it "
        f"is; bars ± one standard error, paired over {int(data.attrs.get('perturbed_samples', 0))} "
        "samples.",
        plot,
        laid_out("layer t taken out", "loss added (nats)"),
    )
