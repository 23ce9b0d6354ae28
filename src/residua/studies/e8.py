"""E8: ResNet and MLP of one size and budget, each tuned by the same search: how noise travels in each.

What is said of each cell, written before the results; the verdicts on C8 to C10 are over cells, see
claims.py. C10: in a cell (weights, depth, with or without noise in training) a ResNet is more robust
against a kind of noise where the difference of accuracies, mean over the strengths and paired by seed,
has a 95 % interval above 0; the MLP where it lies below 0. A cell whose mean clean accuracies differ by
more than half a point is marked unequal and decides nothing. C9: noise travels differently where signal
to noise at x_T over that at x_0, of the ResNet over the MLP's, has a 95 % interval without 1. C8: early
changes cost more where the logits' gain from x_0 over that from x_{T−1} has a 95 % interval above 1.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from torch import nn

from residua.analysis import Advance
from residua.data import DataSplits, balanced, loader
from residua.provenance import machine, versions
from residua.studies.e8_training import (
    NETS,
    SEARCH_SEED,
    Task,
    data_for,
    search,
    trained,
)
from residua.studies.reproduction import Reproduction
from residua.studies.tables import interval
from residua.training import evaluate
from residua.transients.disturbance import Kind, NoiseConfig
from residua.transients.first_order import in_float64
from residua.transients.noise import noise
from residua.transients.perturbation import gains

SIGMAS = (0.25, 0.5, 1.0, 1.5)
STRENGTHS: dict[Kind, tuple[float, ...]] = {
    "gaussian": SIGMAS,
    "uniform": SIGMAS,
    "salt-and-pepper": (0.05, 0.1, 0.2, 0.4),
    "occlusion": (0.05, 0.1, 0.2, 0.4),
    "layers": (0.05, 0.1, 0.25, 0.5),
    "gradient-sign": (0.05, 0.1, 0.2, 0.4),
}
SAMPLES, FEW, DRAWS = 1000, 5, 4
TRAVEL = 1  # of SIGMAS: the noise whose way through the layers is kept
EQUAL = 0.5  # points of clean accuracy
PAPER = {"accuracy": "the ResNet is the more robust to noisy inputs; no figures are quoted"}


def reproduce(
    task: Task,
    seed: int,
    folder: Path,
    *,
    data_dir: str | None = None,
    advance: Advance = lambda share: None,
) -> Reproduction:
    """Train the networks of one seed, with the best settings of the search, and disturb them.

    Args:
        task: data set and cells.
        seed: of training and validation data, weights and batches.
        folder: keeps the search, which all seeds share, and the networks; what it holds is read.
        data_dir: folder of local parquet data sets.
        advance: called with the share of the work done since it was called before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = data_for(task, seed, data_dir)
    total = task.size()
    found: dict[str, Any] = {}
    travels: dict[str, xr.DataArray] = {}
    for cell in task.cells:
        for kind in NETS:
            net, figures = trained(task, cell, kind, seed, folder, data_dir)
            key = f"{cell.name}-{kind}"
            found[key] = figures | disturbed(net, data)
            travels |= _travel(key, found[key])
            advance(cell.depth / total)
    cells = [
        {"name": c.name, "weights": c.weights, "depth": c.depth, "noise": c.input_noise}
        for c in task.cells
    ]
    summary = {
        "data": task.data,
        "seed": seed,
        "width": task.width,
        "cells": cells,
        "networks": found,
        "versions": versions(),
        "machine": machine(),
    }
    return Reproduction(summary, xr.Dataset(travels))


def disturbed(net: nn.Module, data: DataSplits) -> dict[str, Any]:
    """Return what noise of every kind does to a network on test data, in float64.

    A deep MLP's states can differ by less than float32 tells apart.
    """
    double = in_float64(net)
    some = balanced(data.test, SAMPLES)
    low, high = float(data.train.x.min()), float(data.train.x.max())
    accuracy = {}
    travel: dict[str, Any] = {}
    for kind, strengths in STRENGTHS.items():
        config = NoiseConfig(kind, strengths, DRAWS, value_range=(low, high))
        one = noise(double, loader(some, 500), config)
        assert one.accuracy is not None
        assert one.signal is not None
        accuracy[kind] = (100 * one.accuracy).tolist()
        if kind == "gaussian":
            travel = {
                "noise_by_state": one.noise[TRAVEL].tolist(),
                "signal_by_state": one.signal.tolist(),
            }
    gain = gains(net, some.x[:FEW])
    return travel | {
        "test_accuracy": 100 * evaluate(net, data.test),
        "noisy_accuracy": accuracy,
        "gain_by_state": np.median(gain.state, 1).tolist(),
        "logit_gain_by_state": np.median(gain.logits_rms, 1).tolist(),
    }


def _travel(key: str, found: Mapping[str, Any]) -> dict[str, xr.DataArray]:
    dim = f"state_{len(found['signal_by_state'])}"
    names = ("noise_by_state", "signal_by_state", "gain_by_state")
    return {f"{key}-{name}": xr.DataArray(found[name], dims=dim) for name in names}


def compare(seeds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return for every cell the paired differences, ResNet minus MLP, in points, and their verdicts."""
    return [_compared(cell, seeds) for cell in seeds[0]["cells"]]


def _compared(cell: Mapping[str, Any], seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    pairs = [[s["networks"][f"{cell['name']}-{net}"] for net in NETS] for s in seeds]
    clean = np.array([[n["test_accuracy"] for n in pair] for pair in pairs])
    equal = bool(abs(np.diff(clean.mean(0))[0]) <= EQUAL)
    kinds = {}
    for kind in STRENGTHS:
        each = np.array([[n["noisy_accuracy"][kind] for n in pair] for pair in pairs])
        gap = (each[:, 0] - each[:, 1]).mean(1)
        kinds[kind] = {
            "difference": _interval(gap),
            "net": _interval(gap - (clean[:, 0] - clean[:, 1])),
            "strengths": list(STRENGTHS[kind]),
            "resnet": each[:, 0].mean(0).tolist(),
            "mlp": each[:, 1].mean(0).tolist(),
            "verdict": verdict(_interval(gap)) if equal else "unequal",
        }
    return dict(cell) | {
        "clean": clean.mean(0).tolist(),
        "clean_difference": _interval(clean[:, 0] - clean[:, 1]),
        "equal": equal,
        "kinds": kinds,
        "signal_to_noise": [float(np.exp(_kept([p[i] for p in pairs]).mean())) for i in (0, 1)],
        "signal_to_noise_ratio": _ratio(
            _kept([p[0] for p in pairs]) - _kept([p[1] for p in pairs])
        ),
        "signal_to_noise_by_state": [_by_state([p[i] for p in pairs]) for i in (0, 1)],
        "noise_growth": [_growth([p[i]["noise_by_state"] for p in pairs]) for i in (0, 1)],
        "signal_growth": [_growth([p[i]["signal_by_state"] for p in pairs]) for i in (0, 1)],
        "early_over_late": [_early([p[i]["logit_gain_by_state"] for p in pairs]) for i in (0, 1)],
    }


def verdict(difference: Sequence[float | None]) -> str:
    """Return which of the two an interval speaks for; "one seed" where there is no interval."""
    _, low, high = difference
    if low is None or high is None:
        return "one seed"
    return "ResNet" if low > 0 else "MLP" if high < 0 else "neither"


def _interval(values: np.ndarray) -> list[float | None]:
    """Return mean and interval; None for the interval of one seed, which JSON can hold."""
    return [float(v) if np.isfinite(v) else None for v in interval(values)]


def _kept(nets: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return the logarithm of signal to noise at x_T over that at x_0, of every seed."""
    ratio = [np.array(n["signal_by_state"]) / np.array(n["noise_by_state"]) for n in nets]
    return np.array([np.log(r[-1] / r[0]) for r in ratio])


def _by_state(nets: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return signal to noise at every state, geometric mean over seeds."""
    ratio = [np.log(np.array(n["signal_by_state"]) / n["noise_by_state"]) for n in nets]
    return [float(v) for v in np.exp(np.mean(ratio, 0))]


def _ratio(logarithms: np.ndarray) -> list[float | None]:
    """Return the geometric mean of ratios and its 95 % interval."""
    return [None if v is None else float(np.exp(v)) for v in _interval(logarithms)]


def _growth(values: Sequence[Sequence[float]]) -> float:
    """Return the value at x_T over that at x_0, geometric mean over seeds."""
    return float(np.exp(np.mean([np.log(v[-1] / v[0]) for v in values])))


def _early(gain: Sequence[Sequence[float]]) -> list[float | None] | None:
    """Return the logits' gain from x_0 over that from x_{T−1}; None where these are one state."""
    if len(gain[0]) < 3:
        return None
    return _ratio(np.array([np.log(g[0] / g[-2]) for g in gain]))


def searched(task: Task, folder: Path, data_dir: str | None = None) -> dict[str, Any]:
    """Return every setting tried, by cell and architecture, the best first; trains what is missing."""
    data = data_for(task, SEARCH_SEED, data_dir)
    return {
        f"{cell.name}-{net}": search(task, cell, net, data, folder)["settings"]
        for cell in task.cells
        for net in NETS
    }
