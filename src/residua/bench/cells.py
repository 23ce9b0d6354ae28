"""Stored results of a benchmark, one file each, that a run goes on from."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from residua.errors import DamagedError, InputError
from residua.stored import read_json

T = TypeVar("T")
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


def chosen(
    names: Sequence[str],
    known: Mapping[str, T],
    usual: Sequence[str],
    quick: Callable[[], list[T]] | None,
) -> list[T]:
    """Return what is measured: the quick forms, what is named, or what is usual.

    Args:
        names: as given.
        known: all there are.
        usual: names where none is given.
        quick: makes the quick forms, where these are asked for.

    Raises:
        InputError: there is no such task, or names are given for the quick form.
    """
    if quick is not None:
        if names:
            raise InputError(f"--quick has tasks of its own, so leave out --task {names[0]}")
        return quick()
    unknown = [n for n in names if n not in known]
    if unknown:
        raise InputError(f"there is no task {unknown[0]!r}; pass one of {', '.join(known)}")
    return [known[n] for n in names or usual]


def made_by(results: Sequence[Mapping[str, Any]]) -> str:
    """Return by which commands results were made, on each machine and with each set of versions."""
    of: dict[str, dict[str, None]] = {}
    for r in results:
        versions = ", ".join(f"{k} {v}" for k, v in r["versions"].items())
        of.setdefault(f"{r['machine']}, {versions}", {})[f"`{r['command']}`"] = None
    return "; ".join(f"{'; '.join(commands)}, {made}" for made, commands in of.items())
