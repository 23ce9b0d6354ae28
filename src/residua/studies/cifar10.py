"""ConvResNet on CIFAR-10: two of seven blocks gone, raw, compensated, healed, and from scratch.

On a CPU: 20 layers, 10 epochs; healed for one epoch, a tenth; from scratch for 11 epochs, as many as
the healed network has seen in total. The highest learning rate is the best of 0.05, 0.1, 0.2 and 0.4 by
validation loss after two epochs, and every training has its cycle. Healing's is the best of 0.015, 0.04
and 0.1 by validation loss after its epoch.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from residua.convnet import ConvResNet
from residua.data import DataSplits, load_data, loader
from residua.depth.criteria import plan_depth
from residua.depth.evidence import evidence
from residua.depth.fitting import compensate
from residua.depth.plan import DepthPlan
from residua.depth.pruning import measure
from residua.depth.surgery import apply
from residua.provenance import machine, versions
from residua.pruned import Healing
from residua.studies.jobs import WORK, precision, repeat, results
from residua.train_config import TrainConfig
from residua.training import evaluate, fit

EPOCHS, HEAL, KEEP = 10, Healing(1, lr=0.015), 5
KINDS = ("none", "affine", "readers", "readers+affine", "steps+weighted", "readers+weighted")
CRITERIA = ("spans", "block-influence", "greedy", "taylor", "last")


def train_config(seed: int, epochs: int) -> TrainConfig:
    """Return the tuned schedule, which all trainings have."""
    return TrainConfig(
        epochs=epochs,
        batch_size=128,
        lr=0.4,
        optimizer="sgd",
        weight_decay=5e-4,
        label_smoothing=0.1,
        augment="crop-flip",
        clip=5.0,
        seed=seed,
        precision=precision(),
    )


def trained(
    data: DataSplits, seed: int, epochs: int, folder: Path, blocks: tuple[int, ...] | None = None
) -> ConvResNet:
    """Return a network trained from scratch; what is in the folder is gone on from."""
    torch.manual_seed(seed)
    net = ConvResNet(3, 10, depth=20, blocks=blocks)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fit(net, data, train_config(seed, epochs), folder, progress=False)
    net.eval()
    return net


def uncut(seed: int, folder: Path) -> dict[str, Any]:
    """Train the uncut network."""
    data = load_data("cifar10", seed=seed)
    net = trained(data, seed, EPOCHS, folder)
    return summary(net, data, seed, {"epochs": EPOCHS})


def planned(net: ConvResNet, data: DataSplits) -> tuple[DepthPlan, str, list[dict[str, Any]]]:
    """Return plan and compensation of the lowest validation loss, and all that were tried."""
    train, val = loader(data.train, 500), loader(data.val, 500)
    tried: list[tuple[float, DepthPlan, str]] = []
    for criterion in CRITERIA:
        plan = plan_depth(evidence(net, criterion, train, val), criterion, keep=KEEP)
        kinds = KINDS if criterion == "spans" else ("readers+affine",)
        for kind in kinds:
            fitted = compensate(net, plan, some(data), val, kind=kind)
            found = measure(apply(plan, net, compensation=fitted), val)
            tried.append((found.loss, plan, kind))
    best = min(tried, key=lambda t: t[0])
    shown = [
        {"criterion": p.criterion, "keep": p.keep, "kind": kind, "val_loss": loss}
        for loss, p, kind in tried
    ]
    return best[1], best[2], shown


def some(data: DataSplits) -> list[Any]:
    """Return the first 10,000 training samples as batches."""
    split = data.train
    return [(split.x[i : i + 500], split.y[i : i + 500]) for i in range(0, 10_000, 500)]


def cut(seed: int, folder: Path) -> dict[str, Any]:
    """Cut the uncut network of the seed: raw, compensated, healed."""
    data = load_data("cifar10", seed=seed)
    net = trained(data, seed, EPOCHS, WORK / "cifar10" / f"uncut-{seed}")
    plan, kind, tried = planned(net, data)
    fitted = compensate(net, plan, some(data), loader(data.val, 500), kind=kind)
    raw, compensated = apply(plan, net), apply(plan, net, compensation=fitted)
    found = {
        "plan": list(plan.keep),
        "reason": str(plan),
        "kind": kind,
        "tried": tried,
        "raw": 100 * (1 - evaluate(raw, data.test)),
        "val_loss_uncut": measure(net, loader(data.val, 500)).loss,
        "compensated": 100 * (1 - evaluate(compensated, data.test)),
        "blocks": list(compensated.blocks),
    }
    config = HEAL.training(train_config(seed, EPOCHS))
    fit(compensated, data, config, folder / "healed", teacher=net, progress=False)
    compensated.eval()
    return summary(compensated, data, seed, found | {"heal": asdict(config)})


def scratch(seed: int, folder: Path) -> dict[str, Any]:
    """Train a network of the cut one's shape from scratch for as many epochs in total."""
    data = load_data("cifar10", seed=seed)
    blocks = tuple(results("cifar10")["cut"][seed]["blocks"])
    small = trained(data, seed, EPOCHS + HEAL.epochs, folder, blocks)
    return summary(small, data, seed, {"epochs": EPOCHS + HEAL.epochs, "blocks": list(blocks)})


def summary(net: ConvResNet, data: DataSplits, seed: int, more: dict[str, Any]) -> dict[str, Any]:
    """Return what is stored of a network."""
    return {
        "data": "cifar10",
        "test_error": 100 * (1 - evaluate(net, data.test)),
        "val_error": 100 * (1 - evaluate(net, data.val)),
        "depth": net.depth,
        "seed": seed,
        "versions": versions(),
        "machine": machine(),
        "command": "make evidence-cifar10",
        **more,
    }


if __name__ == "__main__":
    jobs = {"uncut": uncut, "cut": cut, "scratch": scratch}
    repeat("cifar10", jobs, range(1))
