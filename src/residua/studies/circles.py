"""E1 and E7: two circles, 15 layers of 3 units, restarted until the training points are fitted.

A single start of this recipe fits about half of the time. A seed draws the points; starts differ in
initial weights and batches. The first start whose training loss is below 0.002 nats with no training
point wrong ends the search, at most 10 are made, and the one with the lowest training loss counts.
Neither validation nor test points take part in that choice.
"""

import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from residua.choices import Weights
from residua.data import DataSplits, load_data
from residua.depth.adaptive import AdaptiveDepth
from residua.nets import ResNet
from residua.provenance import machine, versions
from residua.studies.jobs import repeat
from residua.train_config import TrainConfig
from residua.training import evaluate, fit, mean_loss

STARTS = 10
FITTED = 0.002
EPOCHS = 286  # 7 batches each: 2,002 steps


class Start(NamedTuple):
    """One trained start; ordered by its training loss."""

    train_loss: float
    train_error: float
    net: ResNet


def circles(rule: str, weights: Weights, seed: int, folder: Path) -> dict[str, Any]:
    """Train on the circles of one seed, with restarts, and return the summary of the best start."""
    data = load_data("circles", seed=seed)
    began = time.monotonic()
    best, losses = fitted_start(rule, data, seed, folder, weights)
    return {
        "data": "circles",
        "test_error": 100 * (1 - evaluate(best.net, data.test)),
        "train_error": best.train_error,
        "train_loss": best.train_loss,
        "depth_initial": 15,
        "depth_final": best.net.depth,
        "weights": weights,
        "adaptive": rule,
        "epochs": EPOCHS,
        "starts": len(losses),
        "start_losses": losses,
        "seconds": round(time.monotonic() - began, 1),
        "seed": seed,
        "versions": versions(),
        "machine": machine(),
        "command": "make evidence-circles",
    }


def fitted_start(
    rule: str,
    data: DataSplits,
    seed: int,
    folder: Path,
    weights: Weights = "shared",
    most: int = STARTS,
) -> tuple[Start, list[float]]:
    """Return the best of as many starts as it takes, at most `most`, and the training losses of all."""
    starts: list[Start] = []
    while len(starts) < most and not any(_fitted(s) for s in starts):
        shutil.rmtree(folder, ignore_errors=True)
        starts.append(train(rule, data, seed * STARTS + len(starts), folder, weights))
    return min(starts, key=lambda s: s.train_loss), [s.train_loss for s in starts]


def train(
    rule: str, data: DataSplits, seed: int, folder: Path, weights: Weights = "shared"
) -> Start:
    """Train one start."""
    config = TrainConfig(
        epochs=EPOCHS, lr=0.05, weight_decay=0.0, label_smoothing=0.0, seed=seed, accelerator="cpu"
    )
    torch.manual_seed(seed)
    net = ResNet(2, 3, 2, weights=weights)
    callbacks = () if rule == "none" else (AdaptiveDepth(rule),)
    fit(net, data, config, folder, callbacks=callbacks, progress=False)
    return Start(mean_loss(net, data.train), 100 * (1 - evaluate(net, data.train)), net)


def _fitted(start: Start) -> bool:
    return start.train_loss < FITTED and start.train_error == 0


if __name__ == "__main__":
    torch.set_num_threads(1)  # with 3 units a second thread only costs
    jobs = {rule: partial(circles, rule, "shared") for rule in ("none", "depth-curve", "spans")}
    jobs["variable-spans"] = partial(circles, "spans", "variable")
    repeat("circles", jobs, range(20))
