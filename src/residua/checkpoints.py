"""What a checkpoint is of, so that a foreign or damaged one is told apart."""

import zlib
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from residua.data import DataSplits
from residua.errors import InputError


def fingerprint(data: DataSplits) -> str:
    """Return name, sizes and a checksum of the training and validation data."""
    arrays = (data.train.x, data.train.y, data.val.x, data.val.y)
    sums = [f"{zlib.crc32(a.contiguous().numpy().view(np.uint8).data):08x}" for a in arrays]
    return f"{data.name}, {len(data.train)} + {len(data.val)} samples, checksum {'-'.join(sums)}"


def names_of(callbacks: tuple[Callback, ...]) -> str:
    """Return what tells a training's callbacks from another's."""
    return ", ".join(c.state_key for c in callbacks)


def refuse_foreign(path: Path, made_of: dict[str, str]) -> None:
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


def last_checkpoint(folder: Path) -> ModelCheckpoint:
    """Return what writes folder/checkpoints/last.ckpt after every epoch."""
    return ModelCheckpoint(
        folder / "checkpoints",
        filename="last",
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )
