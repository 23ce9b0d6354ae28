"""How a network is trained, as one frozen record."""

from dataclasses import dataclass
from typing import get_args

from residua.choices import Augment, Optimizer
from residua.errors import InputError


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained: one learning-rate cycle, gradient norm clipped.

    Attributes:
        epochs: passes over the training split.
        batch_size: samples per step.
        lr: the cycle's highest learning rate.
        optimizer: "adamw", or "sgd" with Nesterov momentum 0.9.
        weight_decay: the optimizer's.
        label_smoothing: share of the target spread over all classes.
        input_dropout: share of the input dimensions set to 0 in every training step (Srivastava et
            al. 2014); drawn by seed and step, so a resumed training draws the same.
        input_noise: standard deviation of Gaussian noise added to the inputs in every training step,
            drawn likewise.
        augment: "none", or "crop-flip": every image of a training step is shifted by up to 4 pixels each
            way, with zeros coming in, and flipped left to right with probability ½; drawn likewise.
        clip: largest gradient norm.
        seed: initial weights, batches and the splits of the data.
        precision: Lightning's, such as "32-true", "bf16-mixed", "64-true".
        accelerator: Lightning's, such as "cpu", "gpu", "auto".
    """

    epochs: int = 12
    batch_size: int = 128
    lr: float = 2e-3
    optimizer: Optimizer = "adamw"
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    input_dropout: float = 0.0
    input_noise: float = 0.0
    augment: Augment = "none"
    clip: float = 1.0
    seed: int = 0
    precision: str = "32-true"
    accelerator: str = "auto"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise InputError(
                f"epochs and batch_size must be at least 1, not {self.epochs} and {self.batch_size}"
            )
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed must be 0…2³²−1, not {self.seed}")
        if not 0 < self.lr < float("inf"):
            raise InputError(f"lr must be a positive number, not {self.lr}")
        if not 0 <= self.weight_decay < float("inf"):
            raise InputError(f"weight_decay must be 0 or more, not {self.weight_decay}")
        if not self.clip > 0:
            raise InputError(f"clip must be above 0, not {self.clip}")
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"label_smoothing must be in [0, 1), not {self.label_smoothing}")
        if not 0 <= self.input_dropout < 1:
            raise InputError(f"input_dropout must be in [0, 1), not {self.input_dropout}")
        if self.optimizer not in get_args(Optimizer):
            raise InputError(f"optimizer must be 'adamw' or 'sgd', not {self.optimizer!r}")
        if self.augment not in get_args(Augment):
            raise InputError(f"augment must be 'none' or 'crop-flip', not {self.augment!r}")
        if not 0 <= self.input_noise < float("inf"):
            raise InputError(f"input_noise must be 0 or more, not {self.input_noise}")
