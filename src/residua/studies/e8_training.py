"""E8's networks: ResNet and MLP of one size, each with the best of the same twelve settings.

Test data takes no part in anything here. The test split is the same for all seeds; a seed draws
training and validation data anew from the rest, weights and batches. The search has a seed of its own.
"""

import shutil
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from residua.choices import Net, Weights
from residua.data import DataSplits, load_data, resplit
from residua.errors import InputError
from residua.nets import MLP, ResNet
from residua.sources import Split
from residua.store import NetConfig, Network, build, load, save
from residua.stored import read_json, write_json
from residua.train_config import TrainConfig
from residua.training import evaluate, fit, mean_loss

NETS: tuple[Net, ...] = ("resnet", "mlp")
SEARCH_SEED = 1000


@dataclass(frozen=True)
class Setting:
    """What is searched: the learning rate, and from what W (Xavier, with a gain) and b start."""

    lr: float
    gain: float
    bias: float


# A layer of the quiet start is close to the identity in a ResNet; at gain 8 a logistic layer neither
# shrinks nor grows a small change much, at gain 1 it shrinks it four times or more.
SETTINGS = tuple(
    Setting(lr, gain, bias)
    for gain, bias in ((0.3, -3.0), (1.0, 0.0), (4.0, 0.0), (8.0, 0.0))
    for lr in (5e-4, 2e-3, 8e-3)
)


@dataclass(frozen=True)
class Cell:
    """One comparison: both architectures at this depth, kind of weights and noise in training."""

    weights: Weights
    depth: int
    input_noise: float

    @property
    def name(self) -> str:
        """Return a name for files."""
        trained = "noisy" if self.input_noise else "clean"  # a dot would read as a file's suffix
        return f"{self.weights}-{self.depth}-{trained}"


@dataclass(frozen=True)
class Task:
    """A data set, the networks' width, what is compared on it, and the budget of every training.

    `search_samples` is the number of training samples in the search, None for all; `settings` are those
    that it tries.
    """

    data: str
    width: int
    cells: tuple[Cell, ...]
    train: TrainConfig
    search_samples: int | None = None
    settings: tuple[Setting, ...] = SETTINGS

    def size(self) -> int:
        """Return the work of a search and of one seed, in layers passed by samples."""
        return sum(cell.depth for cell in self.cells) * len(NETS)


def _cells(weights: tuple[Weights, ...], depths: tuple[int, ...]) -> tuple[Cell, ...]:
    """Return all cells; one layer is the same with shared and with variable weights."""
    kinds = [(w, t) for t in depths for w in (weights if t > 1 else weights[:1])]
    return tuple(Cell(w, t, s) for w, t in kinds for s in (0.0, NOISE))


NOISE = 0.5
TASKS = {
    "digits": Task(
        "digits",
        128,
        _cells(("variable", "shared"), (1, 3, 7, 15)),
        TrainConfig(epochs=40, batch_size=64, label_smoothing=0.0, accelerator="cpu"),
    ),
    "mnist": Task(
        "mnist",
        800,
        _cells(("variable",), (3, 5, 7)),
        TrainConfig(epochs=5, label_smoothing=0.0, accelerator="cpu"),
        12_000,
    ),
}


def data_for(task: Task, seed: int, data_dir: str | None = None) -> DataSplits:
    """Return the task's data: the same test split for every seed, the rest drawn by the seed."""
    return resplit(load_data(task.data, data_dir=data_dir, seed=0), seed)


def search(task: Task, cell: Cell, net: Net, data: DataSplits, folder: Path) -> dict[str, Any]:
    """Train every setting once and return all with their validation figures, the best first.

    The lowest validation error is the best, among equals the lowest validation loss. What was tried
    before a stop is kept in the folder and not repeated.
    """
    some = data.train
    if task.search_samples is not None:
        some = Split(some.x[: task.search_samples], some.y[: task.search_samples])
    smaller = replace(data, train=some)
    tried = []
    for k, setting in enumerate(task.settings):
        path = folder / f"search-{cell.name}-{net}-{k}.json"
        if not path.exists():
            made = train(task, cell, (net, setting, SEARCH_SEED), smaller, folder)
            write_json(path, asdict(setting) | made[1])
        tried.append(read_json(path))
    return {"settings": sorted(tried, key=lambda s: (s["val_error"], s["val_loss"]))}


def trained(
    task: Task, cell: Cell, net: Net, seed: int, folder: Path, data_dir: str | None = None
) -> tuple[Network, dict[str, Any]]:
    """Return a network of one seed with the best setting of its search, and its validation figures.

    What is in the folder already is read.
    """
    path = folder / f"{cell.name}-{net}-{seed}"
    if not path.with_suffix(".json").exists():
        best = search(task, cell, net, data_for(task, SEARCH_SEED, data_dir), folder)["settings"][0]
        setting = Setting(best["lr"], best["gain"], best["bias"])
        data = data_for(task, seed, data_dir)
        made, figures = train(task, cell, (net, setting, seed), data, folder)
        path.with_suffix(".safetensors").unlink(missing_ok=True)
        save(made, path.with_suffix(".safetensors"))
        write_json(path.with_suffix(".json"), asdict(setting) | figures)
    return load(path.with_suffix(".safetensors")), read_json(path.with_suffix(".json"))


def train(
    task: Task, cell: Cell, what: tuple[Net, Setting, int], data: DataSplits, folder: Path
) -> tuple[Network, dict[str, Any]]:
    """Train one network; return it with validation error (in %) and loss (in nats).

    Of one network and seed no two processes may train in one folder at once; callers hold its lock.
    """
    net, setting, seed = what
    torch.manual_seed(seed)
    made = build(
        NetConfig(net, data.inputs, task.width, len(data.classes), cell.depth, cell.weights)
    )
    initialise(made, setting)
    config = replace(task.train, lr=setting.lr, input_noise=cell.input_noise, seed=seed)
    # Named by what it trains: one that was killed leaves this alone, and the next one clears it away.
    work = folder / f".{cell.name}-{net}-{'-'.join(f'{v:g}' for v in (*astuple(setting), seed))}"
    if work.exists():
        shutil.rmtree(work)
    try:
        fit(made, data, config, work, progress=False)
    except InputError as error:
        if "diverged" not in str(error):
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    figures = {
        "val_error": 100 * (1 - evaluate(made, data.val)),
        "val_loss": mean_loss(made, data.val),
        "train_error": 100 * (1 - evaluate(made, data.train)),
    }
    return made, figures


def initialise(net: Network, setting: Setting) -> None:
    """Draw W from Xavier's normal distribution with the setting's gain; set b to its bias."""
    assert isinstance(net, ResNet | MLP)
    for block in net.blocks:
        linear = block.linear
        assert isinstance(linear, nn.Linear)
        nn.init.xavier_normal_(linear.weight, gain=setting.gain)
        nn.init.constant_(linear.bias, setting.bias)
