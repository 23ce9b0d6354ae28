"""Files written whole or not at all: under a hidden name, and renamed when they are on the disk."""

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from residua.errors import InputError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give the name under which a file is written; it takes its own when it is on the disk.

    Each process has a part of its own, so that of several the last one's file stands, whole. One that is
    killed leaves a hidden part at most, which nothing reads and the next one removes.

    Raises:
        InputError: the disk is full, or the folder missing or read-only.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}-{token_hex(2)}.part")
    try:
        _remove_left(path)
        part.touch()
        mode = part.stat().st_mode
        yield part
        part.chmod(mode)  # some writers let nobody else read
        with part.open("r+b") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        _remove(part)
        said = os.strerror(error.errno) if error.errno else str(error)  # HDF5 says more
        raise InputError(
            f"{str(path)!r} cannot be written ({said}); make room or pass a folder that can be written"
        ) from error
    except BaseException:
        _remove(part)
        raise


@contextmanager
def folder_written_whole(folder: Path) -> Iterator[Path]:
    """Give a folder for files that then move into another, config.json last.

    For writers that name their files themselves. A process that is killed leaves a hidden part at most.
    """
    part = folder / ".files.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
        yield part
        for path in sorted(part.iterdir(), key=lambda p: p.name == "config.json"):
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def is_part(path: Path) -> bool:
    """Return whether a path is what a killed process left of a file, or of a folder of files."""
    return path.name.startswith(".") and path.suffix == ".part"


def _remove_left(path: Path) -> None:
    """Remove the parts of a file that processes left which are no more."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        writer = part.name.split(".")[-2].split("-")[0]
        if writer.isdigit() and not _runs(int(writer)):
            _remove(part)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user, or a system that does not tell
        return True
    return True


def _remove(part: Path) -> None:
    with suppress(OSError):  # in a folder that cannot be written there is none
        part.unlink(missing_ok=True)
