"""What the depth benchmark cuts: models, their data, and how they are trained.

All models are trained by the same function, on labels alone; test data are looked at once, at the end.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from residua.atomic import written_whole
from residua.choices import Weights
from residua.convnet import STAGES, ConvResNet
from residua.data import DataSplits, load_data, loader
from residua.errors import DamagedError
from residua.healing import HealConfig, heal
from residua.losses import Loss, cross_entropy, next_token
from residua.nets import ResNet
from residua.sources import Split
from residua.studies.transformer_tasks import gpt, vit, windows
from residua.trainers import device_of

Splits = tuple[Split, Split, Split]
Data = Callable[[int], Splits]


@dataclass(frozen=True)
class Task:
    """A model, what it learns, and how far it is cut.

    Attributes:
        name: in tables and files.
        said: the model and data in words.
        build: number of layers → a new model.
        data: seed → training, validation and test data.
        depth: layers of the uncut model.
        keeps: how many layers stay, one cell each.
        steps: of the uncut model's training; healing takes a tenth of them.
        lr: highest learning rate of the training.
        heal_rates: highest learning rates of healing, of which validation chooses.
        batch_size: samples a step.
        loss: of a sample, or token.
        fitted: training samples on which criteria and fits are made.
        shared: whether the layers share their weights, so that only the last can go.
        accelerator: Lightning's, on which all is trained and measured.
    """

    name: str
    said: str
    build: Callable[[int], nn.Module]
    data: Data
    depth: int
    keeps: tuple[int, ...]
    steps: int
    lr: float = 2e-3
    heal_rates: tuple[float, ...] = (1e-4, 5e-4)
    batch_size: int = 64
    loss: Loss = cross_entropy
    fitted: int = 2048
    shared: bool = False
    accelerator: str = "cpu"

    @property
    def tokens(self) -> bool:
        """Whether the loss is of tokens, so that there is no error in percent."""
        return self.loss is next_token

    @property
    def heal_steps(self) -> int:
        """Steps of a healing."""
        return max(1, self.steps // 10)

    def training(self, seed: int, steps: int, lr: float) -> HealConfig:
        """Return how a model of the task is trained."""
        return HealConfig(
            steps, lr=lr, weight_decay=0.05, loss=self.loss, seed=seed, accelerator=self.accelerator
        )


def dense(inputs: int, width: int, classes: int, weights: Weights, layers: int) -> nn.Module:
    """Return the paper's network with logistic units."""
    return ResNet(inputs, width, classes, depth=layers, weights=weights)


def convolutional(channels: int, classes: int, layers: int) -> nn.Module:
    """Return a ConvResNet, its layers spread over the stages, more of them in the first."""
    blocks = [(layers + STAGES - 1 - stage) // STAGES for stage in range(STAGES)]
    return ConvResNet(channels, classes, blocks=blocks)


@lru_cache(2)  # to read and scale images takes as long as some cells
def splits_of(name: str, seed: int) -> Splits:
    """Return the three parts of a data set, inputs as vectors."""
    return _vectors(load_data(name, seed=seed))


@lru_cache(2)
def images_of(name: str, seed: int) -> Splits:
    """Return the three parts of a data set, its grey images with a channel."""
    data = load_data(name, seed=seed)
    train, val, test = (
        Split(s.x[:, None] if s.x.ndim == 3 else s.x, s.y)
        for s in (data.train, data.val, data.test)
    )
    return train, val, test


def halved_mnist(seed: int) -> DataSplits:
    """Return MNIST with every four pixels averaged."""

    def halved(split: Split) -> Split:
        return Split(nn.functional.avg_pool2d(split.x[:, None], 2)[:, 0], split.y)

    data = load_data("mnist", seed=seed)
    train, val, test = (halved(s) for s in (data.train, data.val, data.test))
    return replace(data, train=train, val=val, test=test)


@lru_cache(2)
def halved_images(seed: int) -> Splits:
    """Return the same, as vectors of 14 by 14."""
    return _vectors(halved_mnist(seed))


def _vectors(data: DataSplits) -> Splits:
    train, val, test = (Split(s.x.flatten(1), s.y) for s in (data.train, data.val, data.test))
    return train, val, test


def _both(
    name: str, said: str, build: Callable[..., nn.Module], data: Data, **more: Any
) -> list[Task]:
    """Return a task of the paper's network with shared weights, and one with variable weights."""
    return [
        Task(
            f"{name}-{weights}",
            f"{said}, {weights} weights",
            partial(build, weights),
            data,
            shared=weights == "shared",
            **more,
        )
        for weights in get_args(Weights)
    ]


_LONG: dict[str, Any] = {"steps": 4000, "batch_size": 128, "fitted": 8192}

TASKS = {
    task.name: task
    for task in (
        *_both(
            "digits",
            "ResNet, 12 layers of 128 logistic units, digits",
            partial(dense, 64, 128, 10),
            partial(splits_of, "digits"),
            depth=12,
            keeps=(9, 6, 3),
            steps=1000,
        ),
        *_both(
            "mnist14",
            "ResNet, 12 layers of 256 logistic units, MNIST at 14 by 14 pixels",
            partial(dense, 196, 256, 10),
            halved_images,
            depth=12,
            keeps=(9, 6, 3),
            **_LONG,
        ),
        Task(
            "conv-digits",
            "ConvResNet-20, 7 blocks that keep the shape, digits",
            partial(convolutional, 1, 10),
            partial(images_of, "digits"),
            depth=7,
            keeps=(5, 4, 3),
            steps=600,
        ),
        Task(
            "vit",
            "ViT, 8 blocks of width 64, MNIST",
            vit,
            partial(images_of, "mnist"),
            depth=8,
            keeps=(6, 4),
            steps=1000,
            lr=1e-3,
            heal_rates=(5e-4,),
            batch_size=128,
        ),
        Task(
            "gpt",
            "GPT-2, 8 blocks of width 128, what Python says of itself, in 1,024 byte pairs",
            gpt,
            windows,
            depth=8,
            keeps=(6, 4),
            steps=1000,
            lr=1e-3,
            heal_rates=(5e-4,),
            batch_size=16,
            loss=next_token,
            fitted=1024,
        ),
        *_both(
            "mnist",
            "ResNet, 15 layers of 1064 logistic units, MNIST",
            partial(dense, 784, 1064, 10),
            partial(splits_of, "mnist"),
            depth=15,
            keeps=(11, 8, 4),
            **_LONG,
        ),
        *(
            Task(
                f"conv{layers}-cifar10",
                f"ConvResNet-{layers}, {blocks} blocks that keep the shape, CIFAR-10",
                partial(convolutional, 3, 10),
                partial(images_of, "cifar10"),
                depth=blocks,
                keeps=keeps,
                heal_rates=(5e-4,),
                **_LONG,
            )
            for layers, blocks, keeps in ((20, 7, (5, 4, 3)), (56, 25, (19, 13, 7)))
        ),
    )
}


def trained(task: Task, layers: int, steps: int, seed: int, folder: Path) -> nn.Module:
    """Return a model trained from scratch; what is in the folder is read, or gone on from."""
    torch.manual_seed(seed)
    device = device_of(task.accelerator)
    model = task.build(layers).to(device)
    path = folder / f"{task.name}-{seed}-{layers}-layers-{steps}-steps" / "model.safetensors"
    if path.exists():
        try:
            load_model(model, path, device=str(device))
        except (SafetensorError, RuntimeError) as error:
            raise DamagedError(
                f"{str(path)!r} is damaged ({str(error).splitlines()[0]}); delete it, and the same "
                "command makes it anew"
            ) from error
        return model.eval()
    batches = loader(task.data(seed)[0], task.batch_size, shuffle_seed=seed)
    heal(model, batches, task.training(seed, steps, task.lr), folder=path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as part:
        save_model(model, str(part))
    return model.eval()
