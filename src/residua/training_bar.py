"""The line that shows how far a training is, as callbacks of Lightning."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from rich.progress import Progress

from residua.progress import work_bar


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
