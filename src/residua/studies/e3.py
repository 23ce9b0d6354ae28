"""E3: a trained network run for 1000 layers: where each class comes to rest, and what rests there."""

import math
from copy import deepcopy
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from residua import runs
from residua.data import DataSplits, loader
from residua.dynamics.features import coupling, covariance, mantel, permuted, shares
from residua.dynamics.linearised import linearise
from residua.dynamics.prolonged import Prolonged, prolong
from residua.dynamics.residual_map import ResidualMap, first_pre_activation, residual_map
from residua.dynamics.response import response
from residua.dynamics.search import SearchConfig, find_fixed_points
from residua.errors import InputError
from residua.nets import ResNet
from residua.provenance import machine, versions
from residua.store import build, describe
from residua.studies.mnist import CONFIGS
from residua.studies.reproduction import Reproduction

LAYERS = 1000
SAMPLES = 1000
BATCH = 500
# Class means of a residual closer than this agree.
AGREE = 0.01
PAPER = {
    "samples": 200,
    "ode_positive": "1 in classes 0, 2 and 3, about 0.02; none in the others",
    "spread_within": "almost none",
    "residuals": "sparse, a few non-zero",
}


def train(seed: int, folder: Path, *, data_dir: str | None, progress: bool) -> runs.Run:
    """Train E2's network, go on where it was stopped, or read it where it is finished."""
    if (folder / "summary.json").exists():
        return runs.read(folder)
    if (folder / "config.json").exists():
        return runs.resume(folder, progress=progress)
    config = CONFIGS["shared-none"]
    config = replace(config, data_dir=data_dir, train=replace(config.train, seed=seed))
    return runs.start(config, folder, f"residua reproduce E3, seed {seed}", progress=progress)


def check(run: runs.Run) -> ResNet:
    """Return the network of a run, or raise InputError where E3 is not defined for it."""
    net = run.net
    residual_map(net)  # refuses an MLP and variable weights
    assert isinstance(net, ResNet)
    if net.activation != "logistic":
        raise InputError(f"E3 reads logistic residuals, and this run has {net.activation}")
    if net.lift_name != "pad":
        raise InputError(
            "E3 reads unit i as input dimension i, as zero-padding has it, and this run has a trained "
            "lift; pass a run with lift 'pad'"
        )
    return net


def reproduce(run: runs.Run, *, samples: int = SAMPLES, layers: int = LAYERS) -> Reproduction:
    """Run a network on for many layers over test samples and describe where its residuals rest.

    Raises:
        InputError: E3 is not defined for this network.
    """
    net = check(run).eval()
    data = runs.data_of(run)
    batches = list(islice(loader(data.test, min(BATCH, samples)), math.ceil(samples / BATCH)))
    long = prolong(net, batches, layers)
    residuals = residual_map(net)
    means = torch.from_numpy(long.moments.mean[-1])
    present = long.moments.count > 0
    here = linearise(residuals, means[present])
    nearest = _nearest(residuals, means[present])
    pixel = int(data.train.x.flatten(1).var(0).argmax())
    z = first_pre_activation(net, torch.cat([x for x, _ in batches])[:200])
    answers = {
        push: response(residuals, z, pixel, push=push, layers=layers)
        for push in ("impulse", "step")
    }
    names = [c for c, p in zip(data.classes, present, strict=True) if p]
    summary = {
        "seed": run.config.train.seed,
        "run": run.folder.name,
        "data": run.summary["data"],
        "test_error": run.summary["test_error"],
        "samples": int(long.moments.count.sum()),
        "layers": layers,
        "settled": long.settled(),
        "settled_by_class": dict(zip(data.classes, long.settled_by_class(), strict=True)),
        "at_zero": _at_end(long, long.at_zero),
        "at_one": _at_end(long, long.at_one),
        "magnitude": _at_end(long, long.magnitude),
        "spread": float(long.spread[-1]),
        "spread_within": float(long.spread_within[-1]),
        "units_that_differ": int((np.ptp(means[present].numpy(), 0) > AGREE).sum()),
        "units": residuals.units,
        "classes": [
            {
                "class": name,
                "speed": float(here.speed[c]),
                "ode_positive": int(here.ode_positive[c]),
                "ode_growth": float(here.growth[c]),
                "map_outside": int(here.map_outside[c]),
                "map_radius": float(here.radius[c]),
                **nearest[c],
            }
            for c, name in enumerate(names)
        ],
        "features": features(net, data, batches, long, run.config.train.seed, layers),
        "pixel": pixel,
        "responses": {push: [float(r.strength[k]) for k in (0, -1)] for push, r in answers.items()},
        "versions": versions(),
        "machine": machine(),
    }
    arrays = long.to_dataset(data.classes).assign(
        eigenvalue_real=(("present", "mode"), here.ode_eigenvalues.real.numpy()),
        eigenvalue_imag=(("present", "mode"), here.ode_eigenvalues.imag.numpy()),
        input_mean=(("class", "input"), _class_means(data)),
        helpers=("input", residuals.W[pixel, : data.inputs].numpy(force=True)),
    )
    for push, answer in answers.items():
        arrays[f"{push}_strength"] = answer.strength
        arrays[f"{push}_change"] = answer.change[:, : data.inputs].rename(unit="input")
    arrays = arrays.assign_coords(present=names).assign_attrs(pixel=pixel)
    return Reproduction(summary, arrays)


def features(
    net: ResNet,
    data: DataSplits,
    batches: list[tuple[Tensor, Tensor]],
    long: Prolonged,
    seed: int,
    layers: int,
) -> dict[str, Any]:
    """Return C5's statistics of a network, and of the same with permuted W and untrained.

    Over pairs of input dimensions that vary in the training data: does the steady co-activity (mean of
    y_i y_j over samples), and the coupling ½(w_ij + w_ji), follow the training covariance? And how
    much of the steady residuals is common to all inputs, differs by class, and by sample?
    """
    x = data.train.x.flatten(1)
    active = x.var(0) > 0
    target = covariance(x[:, active])
    pairs = active.nonzero()[:, 0]

    def inside(matrix: Tensor) -> Tensor:
        return matrix[pairs][:, pairs]

    def judge(ends: Prolonged, W: Tensor) -> dict[str, Any]:
        return {
            "coactivity": asdict(mantel(inside(ends.coactivity), target, seed=seed)),
            "coupling": asdict(mantel(inside(coupling(W)), target, seed=seed)),
            "shares": asdict(shares(ends.moments)),
        }

    found = {"trained": judge(long, residual_map(net).W)}
    shuffled, fresh = deepcopy(net), _untrained(net, seed)
    with torch.no_grad():
        weight = shuffled.block(0).linear.weight
        weight.copy_(permuted(weight, seed))
    for name, null in (("permuted W", shuffled), ("untrained", fresh)):
        found[name] = judge(prolong(null, batches, layers, at=[layers]), residual_map(null).W)
    return found


def _untrained(net: ResNet, seed: int) -> ResNet:
    torch.manual_seed(seed)
    fresh = build(describe(net))
    assert isinstance(fresh, ResNet)
    return fresh.eval()


def _nearest(residuals: ResidualMap, means: Tensor) -> list[dict[str, Any]]:
    """Return of each mean the nearest fixed point that Newton's steps reach from any of them."""
    found = find_fixed_points(residuals, means.clamp(0, 1), SearchConfig(warm_up=0)).fixed
    if not len(found):
        return [{"distance": None, "verdict": None, "ode_verdict": None}] * len(means)
    gaps = torch.cdist(means, found.points, p=torch.inf).min(1)
    verdicts, ode = found.verdicts, found.ode_verdicts
    return [
        {"distance": float(gap), "verdict": verdicts[k], "ode_verdict": ode[k]}
        for gap, k in zip(gaps.values, gaps.indices.tolist(), strict=True)
    ]


def _at_end(long: Prolonged, values: np.ndarray) -> float:
    return float(long.pooled(values)[-1])


def _class_means(data: DataSplits) -> np.ndarray:
    x, y = data.train.x.flatten(1), data.train.y
    return np.stack([x[y == c].mean(0).numpy() for c in range(len(data.classes))])
