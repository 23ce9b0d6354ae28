"""Depth found while a network trains, beside a grid that trains every depth.

Every training is one cell: a depth of the grid, or a rule that begins with the full depth. Validation
data choose in the grid and decide for the rules; test data are looked at once, at the end.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import torch
from torch import nn

from residua.bench.cells import chosen, read_cell
from residua.bench.methods import largest_residuals
from residua.bench.tasks import dense, halved_mnist
from residua.choices import Weights
from residua.data import DataSplits, load_data, loader
from residua.depth.adaptive import AdaptiveDepth
from residua.depth.plan import DepthPlan, lowest_go
from residua.depth.surgery import cut
from residua.provenance import machine, versions
from residua.stack import find_stages
from residua.stored import write_json
from residua.streaming import held_out_figures
from residua.train_config import TrainConfig
from residua.training import fit

EPSILON = 0.01  # of max|y_t|; of the paper's rule, too, whose threshold is on the mean change
OURS = "residua"


@dataclass(frozen=True)
class Setting:
    """What is trained.

    Attributes:
        name: in tables and files.
        said: in words.
        build: number of layers → a new network.
        data: seed → the data in three parts.
        depth: where rules begin, and the deepest of the grid.
        train: how every network is trained.
    """

    name: str
    said: str
    build: Callable[[int], nn.Module]
    data: Callable[[int], DataSplits]
    depth: int
    train: TrainConfig


class EpsilonDepth(L.Callback):
    """After every epoch, take away the layers with max|y_t| < ε on the training samples.

    The strict identity of ε-ResNet as a rule by itself, without its side loss, which drives residuals
    towards 0; logistic ones are above it.

    Source: Yu et al., Learning Strict Identity Mappings in Deep Residual Networks, 2018.
    """

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ask the rule, and cut."""
        batches: Any = trainer.train_dataloader
        stack = find_stages(pl_module)
        scores = largest_residuals(stack, batches)
        stay = lowest_go(stack.names, scores, below=EPSILON)
        if len(stay) < stack.depth:
            plan = DepthPlan(stack.names, stay, "epsilon", tuple(scores), "max|y| below ε")
            cut(pl_module, plan, optimizers=trainer.optimizers)


class _Depths(L.Callback):
    """How many layers each epoch was trained with: what a training costs, whatever the machine."""

    def __init__(self) -> None:
        self.each: list[int] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the depth."""
        self.each.append(find_stages(pl_module).depth)


RULES: dict[str, Callable[[], L.Callback]] = {
    OURS: AdaptiveDepth,
    "paper": partial(AdaptiveDepth, "paper"),
    "epsilon": EpsilonDepth,
}


def _settings(weights: Weights) -> list[Setting]:
    return [
        Setting(
            f"digits-{weights}",
            f"ResNet, 15 layers of 128 logistic units, {weights} weights, digits",
            partial(dense, 64, 128, 10, weights),
            lambda seed: load_data("digits", seed=seed),
            15,
            TrainConfig(epochs=60, batch_size=64, accelerator="cpu"),
        ),
        Setting(
            f"mnist14-{weights}",
            f"ResNet, 15 layers of 256 logistic units, {weights} weights, MNIST at 14 by 14 pixels",
            partial(dense, 196, 256, 10, weights),
            halved_mnist,
            15,
            TrainConfig(epochs=8, batch_size=128, accelerator="cpu"),
        ),
    ]


SETTINGS = {s.name: s for weights in ("shared", "variable") for s in _settings(weights)}


def quick_settings() -> list[Setting]:
    """Return one small setting, which takes half a minute."""
    small = SETTINGS["digits-shared"]
    train = replace(small.train, epochs=6)
    build = partial(dense, 64, 66, 10, "shared")
    said = "ResNet, 5 layers of 66 logistic units, shared weights, digits"
    return [replace(small, name="quick", said=said, build=build, depth=5, train=train)]


def chosen_settings(names: Sequence[str], *, quick: bool) -> list[Setting]:
    """Return the settings of these names, or those on digits.

    Raises:
        InputError: there is no such setting, or names are given for the quick form.
    """
    usual = [name for name in SETTINGS if name.startswith("digits")]
    return chosen(names, SETTINGS, usual, quick_settings if quick else None)


@dataclass(frozen=True)
class Training:
    """One training: a setting, a seed, and a rule or a depth of the grid."""

    setting: Setting
    seed: int
    rule: str | None
    depth: int

    @property
    def name(self) -> str:
        """Of its file."""
        how = self.rule or f"depth-{self.depth}"
        return f"{self.setting.name}-{how}-seed-{self.seed}"

    @property
    def config(self) -> TrainConfig:
        """How it is trained."""
        return replace(self.setting.train, seed=self.seed)

    @property
    def made_of(self) -> dict[str, Any]:
        """What a stored result must agree with."""
        return {
            "task": self.setting.name,
            "said": self.setting.said,
            "seed": self.seed,
            "rule": self.rule,
            "depth": self.depth,
            "train": repr(self.config),
        }


def trainings(settings: Iterable[Setting], seeds: int) -> list[Training]:
    """Return all trainings, those of a seed before those of the next."""
    found = []
    for seed in range(seeds):
        for s in settings:
            found += [Training(s, seed, rule, s.depth) for rule in RULES]
            found += [Training(s, seed, None, d) for d in range(1, s.depth + 1)]
    return found


def run_trainings(
    all_: Sequence[Training], folder: Path, command: str, done: Callable[[], None]
) -> list[dict[str, Any]]:
    """Do what is missing of the trainings, and return all results, each kept in a file of `cells`."""
    results = []
    for one in all_:
        path = folder / "cells" / f"{one.name}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, _train(one) | {"command": command})
        results.append(read_cell(path, one.made_of))
        done()
    return results


def _train(one: Training) -> dict[str, Any]:
    data = one.setting.data(one.seed)
    torch.manual_seed(one.seed)
    net = one.setting.build(one.depth)
    depths = _Depths()
    rule = (RULES[one.rule](),) if one.rule else ()
    with TemporaryDirectory() as work:
        begin = time.process_time()  # what else runs on the machine does not count
        fit(net, data, one.config, Path(work), callbacks=(depths, *rule), progress=False)
        seconds = time.process_time() - begin
    net.eval()
    val, test = (held_out_figures(net, loader(s, 1000)) for s in (data.val, data.test))
    return {
        **one.made_of,
        "depth_final": find_stages(net).depth,
        "layer_epochs": sum(depths.each),
        "seconds": seconds,
        "val_loss": val.loss,
        "val_error": 100 * (1 - val.accuracy),
        "loss": test.loss,
        "error": 100 * (1 - test.accuracy),
        "versions": versions(),
        "machine": machine(),
    }
