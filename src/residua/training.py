"""Train and evaluate a network on Lightning."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn

from residua.augment import disturb
from residua.checkpoints import fingerprint, last_checkpoint, names_of, refuse_foreign
from residua.choices import Optimizer
from residua.data import DataSplits, loader
from residua.errors import InputError, StoppedError
from residua.layers import like, outputs_of
from residua.running import renew_running_statistics
from residua.sources import Split
from residua.stack import find_stages
from residua.train_config import TrainConfig
from residua.trainers import brought_back, make_trainer
from residua.training_bar import TrainingBar


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
        x = disturb(x, self.config, (self.config.seed, self.global_step))
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

    def on_fit_start(self) -> None:
        """Bring the teacher to where the training is."""
        self.teacher[0].to(self.device)

    def loss(self, logits: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean of the cross-entropies with labels and with the teacher's probabilities."""
        with torch.no_grad():
            told = self.teacher[0](x).float().softmax(1)
        return (super().loss(logits, x, y) + nn.functional.cross_entropy(logits, told)) / 2


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
    module.made_of |= {"data": fingerprint(data), "callbacks": names_of(callbacks)}
    last = folder / "checkpoints" / "last.ckpt"
    train = loader(data.train, config.batch_size, shuffle_seed=config.seed)
    if last.exists():
        refuse_foreign(last, module.made_of)
    elif teacher is not None:
        renew_running_statistics(net, train)
    trainer = make_trainer(
        config.accelerator,
        config.precision,
        max_epochs=config.epochs,
        callbacks=[*callbacks, last_checkpoint(folder), *([TrainingBar()] if progress else [])],
        logger=CSVLogger(folder, name="logs"),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
    models = (net,) if teacher is None else (net, teacher)
    with suppress(SystemExit), brought_back(*models):  # Lightning's answer to Ctrl-C
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


@torch.no_grad()
def evaluate(net: nn.Module, split: Split, *, batch_size: int = 1000) -> float:
    """Return the accuracy on a split, a share in [0, 1]."""
    weight = next(net.parameters())
    was_training = net.training
    net.eval()
    right = 0
    for x, y in loader(split, batch_size):
        right += int((outputs_of(net, like(x, weight)).argmax(1).cpu() == y).sum())
    net.train(was_training)
    return right / len(split)


@torch.no_grad()
def mean_loss(net: nn.Module, split: Split) -> float:
    """Return the mean cross-entropy on a split, in nats; infinite where it is no number."""
    sums = [nn.functional.cross_entropy(net(x), y, reduction="sum") for x, y in loader(split, 1000)]
    mean = float(torch.stack(sums).sum()) / len(split)
    return mean if mean == mean else float("inf")
