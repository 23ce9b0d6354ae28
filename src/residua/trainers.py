"""Lightning's trainer on one device, and models that come back to where they were."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from residua.errors import InputError


def make_trainer(accelerator: str, precision: str, **options: Any) -> L.Trainer:
    """Return a trainer on one device of the accelerator and precision asked for.

    Args:
        accelerator: Lightning's, such as "cpu", "gpu", "auto".
        precision: Lightning's, such as "32-true", "bf16-mixed".
        options: the trainer's others.

    Raises:
        InputError: there is no such accelerator or precision, or this machine lacks it.
    """
    try:
        return L.Trainer(
            accelerator=accelerator,
            devices=1,
            precision=precision,  # type: ignore[arg-type]
            **options,
        )
    except (ValueError, ImportError, MisconfigurationException) as error:
        raise InputError(
            f"accelerator {accelerator!r} and precision {precision!r} cannot be used "
            f"here ({str(error).splitlines()[0]}); pass others, such as 'auto' and '32-true'"
        ) from error


def device_of(accelerator: str) -> torch.device:
    """Return the device that an accelerator of Lightning trains on.

    Raises:
        InputError: there is no such accelerator, or this machine lacks it.
    """
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    try:
        return make_trainer(accelerator, "32-true", **options).strategy.root_device
    except InputError as error:
        raise InputError(
            f"there is no accelerator {accelerator!r} here; pass another, such as 'cpu' or 'auto'"
        ) from error


@contextmanager
def brought_back(*models: nn.Module) -> Iterator[None]:
    """Bring models back to the device they were on: Lightning leaves what it trained on the CPU.

    A model that was spread over several devices stays where it was trained.
    """
    before = [{t.device for t in chain(m.parameters(), m.buffers())} for m in models]
    try:
        yield
    finally:
        for model, devices in zip(models, before, strict=True):
            if len(devices) == 1:
                model.to(devices.pop())
