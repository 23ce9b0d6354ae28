"""What each experiment's part of the evidence page draws: means over seeds by layer, or every seed."""

from collections.abc import Callable, Mapping

import numpy as np

from residua.report.evidence_figures import Dots, Lines
from residua.studies.tables import Seeds, by_seed
from residua.studies.verdicts import Results

Figures = list[Lines | Dots]
Networks = Mapping[str, Seeds]


def drawn(name: str, results: Results) -> Figures:
    """Return the figures of an experiment; none where it has no results, or none to draw."""
    make = _MAKERS.get(name)
    return make(results[name]) if make and results.get(name) else []


def _layers(of: Networks, key: str) -> dict[str, list[float]]:
    """Return the mean over seeds by layer, of the networks that have the measure."""
    found = {n: [s[key] for s in by_seed(seeds) if key in s] for n, seeds in of.items()}
    return {n: [float(v) for v in np.mean(each, 0)] for n, each in found.items() if each}


def _e1(of: Networks) -> Figures:
    each = by_seed(of["circles"])
    words = {"map_mean": "exact map", "ode": "eq. 3", "constant": "y(1) kept"}
    values = {said: [s["eq3"][key] for s in each] for key, said in words.items()}
    definition = (
        "Mean over 15 layers, classes and units of abs differences of the class means of y to the "
        "network's; y lies between 0 and 1."
    )
    title = "Exact map and eq. 3 beside the network"
    return [Dots("eq3", title, "mean error of y", definition, values)]


def _spread(of: Networks) -> Lines:
    return Lines(
        "spread",
        "Spread of the residuals",
        "layer t",
        "standard deviation of y_t over samples",
        "Standard deviation over test samples, mean over units and seeds. The paper: zero after the 4th "
        "layer with variable weights.",
        _layers(of, "spread"),
    )


def _e2(of: Networks) -> Figures:
    settle = Lines(
        "settle",
        "Settle distance",
        "layer t",
        "mean of abs(y_t − y_{t−1})",
        "Mean over units, test samples and seeds; the paper's rule removes the last layer below 0.01.",
        _layers(of, "settle_distance"),
        2,
    )
    return [_spread(of), settle]


def _e3(of: Networks) -> Figures:
    values = {n: [s["single_samples"]["slow"] for s in by_seed(seeds)] for n, seeds in of.items()}
    definition = (
        "Of 200 test samples those whose fastest unit moves by less than 0.01 at layer 1000."
    )
    return [
        Dots("slow", "Samples at rest after 1000 layers", "share of samples", definition, values)
    ]


def _e4(of: Networks) -> Figures:
    weights = Lines(
        "weights",
        "How far the weights of neighbouring layers are apart",
        "layer t",
        "‖W_t − W_{t−1}‖ / ‖W_t‖",
        "Frobenius norms, mean over seeds; √2 for unrelated matrices, 0 for one. The paper: the last "
        "layers' weights come to be one matrix.",
        _layers(of, "weight_change"),
        2,
    )
    figures: Figures = [_spread(of), weights] if weights.values else []
    if "digits-starts" in of:
        each = by_seed(of["digits-starts"])
        values = {n: [s["networks"][n]["test_error"] for s in each] for n in each[0]["networks"]}
        figures.append(Dots("starts", "C14's networks", "test error, %", "Digits.", values))
    return figures


def _e5(of: Networks) -> Figures:
    values = {
        n: [float(sum(s["own_largest"])) for s in by_seed(seeds)]
        for n, seeds in of.items()
        if n != "circles"  # of two classes the count says little
    }
    definition = (
        "Classes whose most sensitive unit, argmax_i K_ci, has its largest mean x_T in that class; the "
        "paper: 9 of 10."
    )
    title = "Most sensitive units in their own class"
    return [Dots("own", title, "classes of 10", definition, values)] if values else []


def _e6(of: Networks) -> Figures:
    definition = (
        "Trace of the covariance between class means over that within classes, mean over seeds."
    )
    values = _layers(of, "fisher")
    return [
        Lines("fisher", "Do the classes part?", "state t", "Fisher ratio", definition, values, 0)
    ]


def _e7(of: Networks) -> Figures:
    definition = (
        "Layers left of 15: by the paper's rule in training (threshold 0.01); the fewest at which the "
        "validation loss of the uncut network rises by at most 0.01 nats (cut after training)."
    )
    values = {
        f"{n}, {said}": [float(s[key]["layers"]) for s in by_seed(seeds)]
        for n, seeds in of.items()
        for key, said in (("paper", "paper's rule"), ("needed", "needed"))
    }
    return [Dots("layers", "How many layers are left", "layers", definition, values)]


_MAKERS: dict[str, Callable[[Networks], Figures]] = {
    "e1": _e1,
    "e2": _e2,
    "e3": _e3,
    "e4": _e4,
    "e5": _e5,
    "e6": _e6,
    "e7": _e7,
}
