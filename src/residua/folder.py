"""The folder of a run: made once, locked while it is worked on; its log."""

import csv
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

from residua.atomic import is_part, written_whole
from residua.errors import InputError
from residua.stored import readable, refuse_undecodable

_LOCK = ".lock"


def refuse_existing(folder: Path) -> None:
    """Raise InputError unless a folder is new, or empty but for what a killed process left."""
    refuse_undecodable(folder)
    with readable(folder):
        if not folder.exists():
            return
    if not folder.is_dir():
        raise InputError(f"{str(folder)!r} is a file; pass a new folder")
    if (folder / "config.json").exists():
        raise InputError(
            f"{str(folder)!r} holds a run already; pass a new folder, or continue the run with: "
            f"residua resume {shlex.quote(str(folder))}"
        )
    if any(p.name != _LOCK and not is_part(p) for p in folder.iterdir()):
        raise InputError(f"{str(folder)!r} is not empty; pass a new folder")


def unused(name: str) -> Path:
    """Return a folder of this name in the working directory, with the first number that makes it new."""
    plain = re.sub(r"[^\w.+-]+", "-", name)[:100]
    folders = (Path(plain if k == 1 else f"{plain}-{k}") for k in count(1))
    return next(f for f in folders if not f.exists())


def make_folder(folder: Path) -> None:
    """Make a folder that can be written, or raise InputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder {str(folder)!r} cannot be made ({error.strerror}); pass another"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(
            f"the folder {str(folder)!r} cannot be written (Permission denied); pass another"
        )


@contextmanager
def new_folder(folder: Path | None) -> Iterator[None]:
    """Make a folder for results, and take it away where an error or a stop leaves it empty."""
    if folder is None:
        yield
        return
    there = folder.exists()
    make_folder(folder)
    try:
        yield
    finally:
        if not there and not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run; the lock goes with the process, however it ends."""
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f"another process is working on the run in {str(folder)!r}; wait for it, or pass a new "
            "folder"
        ) from error
    except OSError as error:
        raise InputError(
            f"the folder {str(folder)!r} cannot be written ({error.strerror}); pass another"
        ) from error
    try:
        yield
    finally:
        (folder / _LOCK).unlink(missing_ok=True)
        lock.release()


def merge_logs(folder: Path) -> None:
    """Join the logs of all starts of a run into metrics.csv, without what a restart repeated."""
    rows: list[dict[str, str]] = []
    versions = sorted(folder.glob("logs/version_*"), key=lambda p: int(p.name.split("_")[1]))
    for path in (v / "metrics.csv" for v in versions):
        if not path.exists():
            continue
        with path.open(newline="", encoding="utf-8") as file:
            new = list(csv.DictReader(file))
        if new:
            first = min(int(r["epoch"]) for r in new)
            rows = [r for r in rows if int(r["epoch"]) < first] + new
    columns = list(dict.fromkeys(c for r in rows for c in r))
    with (
        written_whole(folder / "metrics.csv") as part,
        part.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
