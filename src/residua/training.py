"""Train and evaluate a network on Lightning."""

import logging
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import lightning as L
import numpy as np
import torch
from jaxtyping import Float
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn

from residua.choices import Augment, Optimizer
from residua.data import DataSplits, loader
from residua.errors import InputError, StoppedError
from residua.progress import TrainingBar
from residua.sources import Split
from residua.stack import find_stages, like


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


class Classifier(L.LightningModule):
    """A network with cross-entropy, AdamW or SGD, and a one-cycle schedule."""

    def __init__(self, net: nn.Module, config: TrainConfig):
        super().__init__()
        self.net = net
        self.config = config
        self.made_of = {"network": repr(net), "training": repr(config)}

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.net(x)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Return the loss of one batch."""
        x, y = batch
        x = _disturb(x, self.config, (self.config.seed, self.global_step))
        loss = self.loss(self(x).float(), x, y)
        self.log("train_loss", loss, on_epoch=True, on_step=False)
        return loss

    def loss(self, logits: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean cross-entropy with smoothed labels."""
        return nn.functional.cross_entropy(logits, y, label_smoothing=self.config.label_smoothing)

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Log loss, accuracy and depth."""
        x, y = batch
        logits = self(x).float()
        self.log("val_loss", nn.functional.cross_entropy(logits, y))
        self.log("val_accuracy", (logits.argmax(1) == y).float().mean())
        self.log("depth", float(find_stages(self.net).depth))

    def on_validation_end(self) -> None:
        """Stop where training has diverged.

        Raises:
            InputError: the validation loss is not finite.
        """
        loss = self.trainer.callback_metrics["val_loss"]
        if not bool(loss.isfinite()):
            raise InputError(
                f"training diverged: the validation loss is {float(loss)} after epoch "
                f"{self.current_epoch + 1}; pass a lower lr (it is {self.config.lr:g})"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write down what the checkpoint is of; see :func:`fit`."""
        checkpoint["made_of"] = self.made_of

    def configure_optimizers(self) -> Any:
        """Return the optimizer and a one-cycle schedule over all steps."""
        config = self.config
        kinds: dict[Optimizer, Callable[..., torch.optim.Optimizer]] = {
            "adamw": torch.optim.AdamW,
            "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
        }
        optimizer = kinds[config.optimizer](
            self.parameters(),
            lr=config.lr,
            weight_decay=config.weight_decay,
            fused=config.precision != "16-mixed",  # there gradients are unscaled before the step
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, config.lr, total_steps=int(self.trainer.estimated_stepping_batches)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient norm; Lightning itself refuses to beside a fused optimizer."""
        nn.utils.clip_grad_norm_(self.parameters(), self.config.clip)


class Distiller(Classifier):
    """A network that learns from the labels and from another network, half and half.

    Source: Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015.
    """

    def __init__(self, net: nn.Module, config: TrainConfig, teacher: nn.Module):
        super().__init__(net, config)
        self.teacher = (teacher.eval(),)  # a tuple, so that it is neither trained nor saved

    def loss(self, logits: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean of the cross-entropies with labels and with the teacher's probabilities."""
        with torch.no_grad():
            self.teacher[0].to(x.device)
            told = self.teacher[0](x).float().softmax(1)
        return (super().loss(logits, x, y) + nn.functional.cross_entropy(logits, told)) / 2


def _disturb(x: Tensor, config: TrainConfig, key: tuple[int, int]) -> Tensor:
    """Shift and flip images, set a share to 0, add noise; the draw depends on the key alone."""
    if config.input_dropout == 0 and config.input_noise == 0 and config.augment == "none":
        return x
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
    generator = torch.Generator(x.device).manual_seed(seed)
    if config.augment == "crop-flip":
        x = _crop_flip(x, generator)
    if config.input_dropout > 0:
        share = 1 - config.input_dropout
        x = x * torch.empty_like(x).bernoulli_(share, generator=generator) / share
    if config.input_noise > 0:
        x = x + config.input_noise * torch.empty_like(x).normal_(generator=generator)
    return x


def _crop_flip(
    x: Float[Tensor, "batch *channels height width"], generator: torch.Generator, pixels: int = 4
) -> Float[Tensor, "batch *channels height width"]:
    """Shift each image by up to so many pixels each way and flip half of them."""
    n, height, width = len(x), x.shape[-2], x.shape[-1]

    def drawn(high: int) -> Tensor:
        return torch.randint(high, (n, 1), generator=generator, device=x.device)

    padded = nn.functional.pad(x, (pixels,) * 4)
    rows = drawn(2 * pixels + 1) + torch.arange(height, device=x.device)
    columns = drawn(2 * pixels + 1) + torch.arange(width, device=x.device)
    columns = torch.where(drawn(2) == 1, columns.flip(1), columns)
    sample = torch.arange(n, device=x.device)[:, None, None]
    where = (rows[:, :, None], columns[:, None, :])
    if x.ndim == 3:
        return padded[sample, *where]
    return padded.movedim(1, -1)[sample, *where].movedim(-1, 1)


def fit(
    net: nn.Module,
    data: DataSplits,
    config: TrainConfig,
    folder: Path,
    *,
    callbacks: tuple[Callback, ...] = (),
    teacher: nn.Module | None = None,
    progress: bool = True,
) -> Classifier:
    """Train a network; continue from the last checkpoint in the folder where there is one.

    With a teacher the network learns from its outputs too; see :class:`Distiller`. A checkpoint is
    written after every epoch into folder/checkpoints, Lightning's logs into folder/logs, one version
    for each start. Training is a function of data, network, config and thread count alone,
    interrupted or not.

    Raises:
        InputError: the checkpoint is damaged, or of another network, data or training; training
            diverged; or the machine lacks the accelerator or precision.
        StoppedError: a signal (Ctrl-C, SIGTERM) ended training early.
    """
    module = Classifier(net, config) if teacher is None else Distiller(net, config, teacher)
    module.made_of |= {"data": _fingerprint(data), "callbacks": _names(callbacks)}
    last = folder / "checkpoints" / "last.ckpt"
    if last.exists():
        _refuse_foreign(last, module.made_of)
    trainer = make_trainer(
        config,
        callbacks=[*callbacks, _last_checkpoint(folder), *([TrainingBar()] if progress else [])],
        logger=CSVLogger(folder, name="logs"),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
    train = loader(data.train, config.batch_size, shuffle_seed=config.seed)
    with suppress(SystemExit):  # Lightning's answer to Ctrl-C
        trainer.fit(
            module,
            train,
            loader(data.val, 1000),
            ckpt_path=last if last.exists() else None,
            weights_only=True,
        )
    if trainer.current_epoch < config.epochs:
        raise StoppedError(
            f"training was stopped after {trainer.current_epoch} of {config.epochs} epochs"
        )
    return module


def _fingerprint(data: DataSplits) -> str:
    """Return name, sizes and a checksum of the training and validation data."""
    arrays = (data.train.x, data.train.y, data.val.x, data.val.y)
    sums = [f"{zlib.crc32(a.contiguous().numpy().view(np.uint8).data):08x}" for a in arrays]
    return f"{data.name}, {len(data.train)} + {len(data.val)} samples, checksum {'-'.join(sums)}"


def _names(callbacks: tuple[Callback, ...]) -> str:
    return ", ".join(c.state_key for c in callbacks)


def _refuse_foreign(path: Path, made_of: dict[str, str]) -> None:
    """Refuse a checkpoint that is damaged or of another training; nothing in it is executed."""
    try:
        found = torch.load(path, map_location="cpu", mmap=True, weights_only=True)["made_of"]
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        raise InputError(
            f"training cannot continue from {str(path)!r}: it is truncated, or not a checkpoint of "
            f"residua ({type(error).__name__}); pass an intact run, or train anew into a new folder"
        ) from error
    for what, expected in made_of.items():
        if found.get(what) != expected:
            raise InputError(
                f"training cannot continue from {str(path)!r}: it is of another {what} "
                f"({_shown(found.get(what))}) than this run ({_shown(expected)}); put the run's own "
                "checkpoint back, or train anew into a new folder"
            )


def _shown(text: str | None) -> str:
    return " ".join((text or "none").split())[:200]


def make_trainer(config: TrainConfig, **options: Any) -> L.Trainer:
    """Return a trainer on one device of the accelerator and precision asked for.

    Raises:
        InputError: there is no such accelerator or precision, or this machine lacks it.
    """
    try:
        return L.Trainer(
            max_epochs=config.epochs,
            accelerator=config.accelerator,
            devices=1,
            precision=config.precision,  # type: ignore[arg-type]
            **options,
        )
    except (ValueError, ImportError, MisconfigurationException) as error:
        raise InputError(
            f"accelerator {config.accelerator!r} and precision {config.precision!r} cannot be used "
            f"here ({str(error).splitlines()[0]}); pass others, such as 'auto' and '32-true'"
        ) from error


def quiet_lightning() -> None:
    """Silence what Lightning says about itself; its errors still show."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


def _last_checkpoint(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(
        folder / "checkpoints",
        filename="last",
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )


@torch.no_grad()
def evaluate(net: nn.Module, split: Split, *, batch_size: int = 1000) -> float:
    """Return the accuracy on a split, a share in [0, 1]."""
    weight = next(net.parameters())
    was_training = net.training
    net.eval()
    right = 0
    for x, y in loader(split, batch_size):
        right += int((net(like(x, weight)).argmax(1).cpu() == y).sum())
    net.train(was_training)
    return right / len(split)


@torch.no_grad()
def mean_loss(net: nn.Module, split: Split) -> float:
    """Return the mean cross-entropy on a split, in nats; infinite where it is no number."""
    sums = [nn.functional.cross_entropy(net(x), y, reduction="sum") for x, y in loader(split, 1000)]
    mean = float(torch.stack(sums).sum()) / len(split)
    return mean if mean == mean else float("inf")
