"""Stored results of a benchmark, one file each, that a run goes on from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residua.errors import DamagedError, InputError
from residua.stored import read_json

# What every cell of a benchmark holds.
DEPTH = ("task", "depth", "keep", "seed", "methods", "command", "versions", "machine")
ADAPTIVE = (
    "task", "said", "rule", "depth", "seed", "depth_final", "layer_epochs", "seconds", "val_loss",
    "error", "command", "versions", "machine",
)  # fmt: skip


def read_cell(path: Path, made_of: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored result.

    Args:
        path: its file.
        made_of: what it must agree with.

    Raises:
        DamagedError: it lacks something.
        InputError: it is of something else of the same name.
    """
    found = checked(path, read_json(path))
    if any(found.get(k) != v for k, v in made_of.items()):
        raise InputError(
            f"{str(path)!r} holds results of another task of the same name; pass another folder"
        )
    return found


def checked(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Return a stored result that is whole.

    Raises:
        DamagedError: it lacks something.
    """
    names = ADAPTIVE if "layer_epochs" in found else DEPTH
    lacks = [name for name in names if name not in found]
    if lacks:
        raise DamagedError(
            f"{str(path)!r} lacks {', '.join(lacks)}; delete it, and the same command makes it anew"
        )
    return found
