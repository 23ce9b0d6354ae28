"""E3: a trained network run for 1000 layers: where each class comes to rest, and what rests there."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from residua import runs
from residua.analysis import Advance
from residua.data import DataSplits, balanced, loader
from residua.dynamics.fixed_points import FixedPoints
from residua.dynamics.linearised import Linearised, linearise
from residua.dynamics.prolonged import SATURATED, Prolonged, prolong
from residua.dynamics.residual_map import ResidualMap, first_pre_activation, residual_map
from residua.dynamics.response import PUSHES, response
from residua.dynamics.search import SearchConfig, find_fixed_points
from residua.errors import InputError
from residua.nets import ResNet
from residua.provenance import machine, versions
from residua.studies.c5 import features
from residua.studies.jobs import made
from residua.studies.map_checks import speed_at
from residua.studies.mnist import CONFIGS
from residua.studies.reproduction import Reproduction

LAYERS = 1000
SAMPLES = 1000
BATCH = 100
FEW = 200  # samples, as in the paper, where trajectories of single samples are looked at
# Class means of a residual closer than this agree.
AGREE = 0.01
PAPER = {
    "test_error": 1.4,
    "samples": 200,
    "ode_positive": "1 in classes 0, 2 and 3, about 0.02; none in the others",
    "spread_within": "almost none",
    "residuals": "sparse, a few non-zero",
}


def train(seed: int, folder: Path, *, data_dir: str | None, progress: bool) -> runs.Run:
    """Train E2's network, go on where it was stopped, or read it where it is finished."""
    config = replace(CONFIGS["shared-none"], data_dir=data_dir)
    command = f"residua reproduce E3, seed {seed}"
    return made(config, seed, folder, command, progress=progress)


def check(run: runs.Run) -> ResNet:
    """Return the network of a run, or raise InputError where E3 is not defined for it."""
    net = run.net
    residual_map(net)  # refuses an MLP and variable weights
    assert isinstance(net, ResNet)
    if net.activation != "logistic":
        raise InputError(
            f"E3 reads logistic residuals, and this run has {net.activation}; pass a run of "
            "residua fit --activation logistic"
        )
    if net.lift_name != "pad":
        raise InputError(
            "E3 reads unit i as input dimension i, as zero-padding has it, and this run has a trained "
            "lift; pass a run with lift 'pad'"
        )
    return net


def reproduce(
    run: runs.Run,
    *,
    data_dir: str | None = None,
    samples: int = SAMPLES,
    layers: int = LAYERS,
    advance: Advance = lambda share: None,
) -> Reproduction:
    """Run a network on for many layers over test samples and describe where its residuals rest.

    Args:
        run: finished.
        data_dir: folder of local parquet data sets.
        samples: of the test split, balanced over classes.
        layers: how many.
        advance: called with the share of the work done since it was called before.

    Raises:
        InputError: E3 is not defined for this network.
    """
    net = check(run).eval()
    data = runs.data_of(run, None, data_dir)
    seed = run.config.train.seed
    chosen = balanced(data.test, max(samples, len(data.classes)))

    def batches() -> Iterator[Any]:
        parts = loader(chosen, BATCH)
        for batch in parts:
            yield batch
            advance(0.2 / len(parts))

    long = prolong(net, batches(), layers)
    residuals = residual_map(net)
    means = torch.from_numpy(long.moments.mean[-1])
    here = linearise(residuals, means)
    few = max(FEW, len(data.classes))
    z, labels = first_pre_activation(net, chosen.x[:few]), chosen.y[:few]
    ends = next(islice(residuals.iterate(z), layers - 1, None))
    fixed = _fixed_points(residuals, means, ends, labels)
    advance(0.25)
    pixel = int(data.train.x.flatten(1).var(0).argmax())
    pushed = {p: response(residuals, z, pixel, push=p, layers=layers) for p in PUSHES}
    advance(0.15)
    classes = [
        {"class": name} | _at_point(here, c) | fixed[c] for c, name in enumerate(data.classes)
    ]
    summary = _overall(run, long) | {
        "units_that_differ": int((np.ptp(means.numpy(), 0) > AGREE).sum()),
        "classes": classes,
        "single_samples": single_samples(residuals, ends, labels)
        | slowing(residuals, z, ends, net.depth),
        "features": features(net, long, data.train.x, batches, seed=seed),
        "pixel": pixel,
        "responses": {p: [float(r.strength[k]) for k in (0, -1)] for p, r in pushed.items()},
        "versions": versions(),
        "machine": machine(),
    }
    arrays = long.to_dataset(data.classes).assign(
        eigenvalue_real=(("class", "mode"), here.ode_eigenvalues.real.numpy()),
        eigenvalue_imag=(("class", "mode"), here.ode_eigenvalues.imag.numpy()),
        input_mean=(("class", "input"), _class_means(data)),
        helpers=("input", residuals.W[pixel, : data.inputs].numpy(force=True)),
    )
    for push, answer in pushed.items():
        arrays[f"{push}_strength"] = answer.strength
        arrays[f"{push}_change"] = answer.change[:, : data.inputs].rename(unit="input")
    return Reproduction(summary, arrays.assign_attrs(pixel=pixel))


def _overall(run: runs.Run, long: Prolonged) -> dict[str, Any]:
    """Return what is so of all samples at the last layer."""
    at_end = {
        name: float(long.pooled(getattr(long, name))[-1])
        for name in ("at_zero", "at_one", "magnitude")
    }
    return {
        "seed": run.config.train.seed,
        "run": run.folder.name,
        "data": run.summary["data"],
        "test_error": run.summary["test_error"],
        "samples": int(long.moments.count.sum()),
        "layers": int(long.layers[-1]),
        "settled": long.settled(),
        "settled_by_class": list(long.settled_by_class()),
        **at_end,
        "spread": float(long.spread[-1]),
        "spread_within": float(long.spread_within[-1]),
        "units": long.moments.mean.shape[2],
    }


def _at_point(here: Linearised, c: int) -> dict[str, Any]:
    return {
        "speed": float(here.speed[c]),
        "ode_positive": int(here.ode_positive[c]),
        "ode_growth": float(here.growth[c]),
        "map_outside": int(here.map_outside[c]),
        "map_radius": float(here.radius[c]),
    }


def single_samples(residuals: ResidualMap, z: Tensor, labels: Tensor) -> dict[str, Any]:
    """Return in how many patterns of saturated units samples end, and how fast they still move."""
    y = residuals.residual(z)
    speed = (residuals.residual(residuals.step(z)) - y).abs().amax(1)
    patterns, which = np.unique((y > 0.5).numpy(force=True), axis=0, return_inverse=True)
    of = labels.numpy(force=True)
    classes = [len(np.unique(of[which == k])) for k in range(len(patterns))]
    return {
        "samples": len(y),
        "patterns": len(patterns),
        "patterns_by_class": [len(np.unique(which[of == c])) for c in np.unique(of)],
        "patterns_of_several_classes": sum(n > 1 for n in classes),
        "units_at_one": float((y > 1 - SATURATED).double().sum(1).mean()),
        "units_between": float(((y > SATURATED) & (y < 1 - SATURATED)).double().sum(1).mean()),
        "speed_median": float(speed.median()),
        "speed_largest": float(speed.max()),
    }


def slowing(residuals: ResidualMap, z: Tensor, ends: Tensor, depth: int) -> dict[str, float]:
    """Return the share of samples that move by less than 0.01 a layer at the end (C13).

    `slower`: their median speed there over that at layer T. A sample's speed is its fastest unit's.
    """
    then, now = speed_at(residuals, z, depth), speed_at(residuals, ends, 1)
    return {
        "slow": float((now < AGREE).double().mean()),
        "slower": float(now.median() / then.median()),
    }


def _fixed_points(
    residuals: ResidualMap, means: Tensor, z: Tensor, labels: Tensor
) -> list[dict[str, Any]]:
    """Return for each class where its mean, and the slowest of its samples, have a fixed point.

    Newton's steps start at both. A mean or sample with no fixed point within 0.01 has none.
    """
    y = residuals.residual(z).double()
    speed = (residuals.residual(residuals.step(z)).double() - y).abs().amax(1)
    slowest = [int(torch.where(labels == c, speed, torch.inf).argmin()) for c in range(len(means))]
    starts = torch.cat([means, y[slowest]])
    found = find_fixed_points(residuals, starts.clamp(0, 1), SearchConfig(warm_up=0)).fixed
    near = [_near(found, start) for start in starts]
    return [
        {"at_mean": near[c], "at_slowest_sample": near[len(means) + c], "slowest": float(speed[k])}
        for c, k in enumerate(slowest)
    ]


def _near(found: FixedPoints, start: Tensor) -> dict[str, Any] | None:
    if not len(found):
        return None
    gap, k = (found.points - start).abs().amax(1).min(0)
    if gap > AGREE:
        return None
    return {
        "distance": float(gap),
        "verdict": found.verdicts[int(k)],
        "unstable_dimension": int(found.unstable_dimension[k]),
        "ode_verdict": found.ode_verdicts[int(k)],
    }


def _class_means(data: DataSplits) -> np.ndarray:
    x, y = data.train.x.flatten(1), data.train.y
    return np.stack([x[y == c].mean(0).numpy() for c in range(len(data.classes))])
