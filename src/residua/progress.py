"""One line that shows how far a piece of work is and how long it will take yet."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


def work_bar(*, disable: bool = False) -> Progress:
    """Return a bar on the standard error stream: what is done, how far it is, how long it takes yet."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(stderr=True),
        transient=True,
        disable=disable,
    )


@contextmanager
def share_bar(text: str, *, disable: bool = False) -> Iterator[Callable[[float], None]]:
    """Show a bar; what is given moves it on by a share of the whole."""
    with work_bar(disable=disable) as bar:
        yield partial(bar.advance, bar.add_task(text, total=1))


class StepBar(Callback):
    """A bar over all steps of a training, with the remaining time."""

    first_text = "training"

    def __init__(self) -> None:
        self.progress: Progress | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the bar where the training starts, or goes on."""
        self.progress = work_bar()
        total = int(trainer.estimated_stepping_batches)
        self.task = self.progress.add_task(self.first_text, total=total)
        self.progress.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *batch: Any
    ) -> None:
        """Move the bar on."""
        if self.progress is not None:
            self.progress.update(self.task, completed=trainer.global_step)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Take the bar away."""
        if self.progress is not None:
            self.progress.stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, error: Any) -> None:
        """Take the bar away before the error is said."""
        self.teardown(trainer, pl_module, "fit")


class TrainingBar(StepBar):
    """A bar that says epoch, depth and validation error, too."""

    first_text = "first epoch"

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say what the epoch has reached."""
        found = trainer.callback_metrics
        if self.progress is not None and "val_accuracy" in found and "depth" in found:
            said = (
                f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}, depth {int(found['depth'])}, "
                f"validation error {100 * (1 - float(found['val_accuracy'])):.2f} %"
            )
            self.progress.update(self.task, description=said)


def quiet_lightning() -> None:
    """Silence what Lightning says about itself; its errors still show."""
    for logger in _loggers():
        logger.setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


@contextmanager
def quietly() -> Iterator[None]:
    """Silence what Lightning says about itself, inside of this alone."""
    levels = [logger.level for logger in _loggers()]
    with warnings.catch_warnings():
        quiet_lightning()
        try:
            yield
        finally:
            for logger, level in zip(_loggers(), levels, strict=True):
                logger.setLevel(level)


def _loggers() -> list[logging.Logger]:
    return [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
