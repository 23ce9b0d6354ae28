"""What the files of a finished run must hold, and how they are written anew where they do not."""

import shlex
from pathlib import Path
from typing import Any, get_args

import xarray as xr

from residua.choices import SplitName
from residua.errors import DamagedError, InputError
from residua.folder_kinds import PRUNED
from residua.stored import FORMAT, check_format, read_json

CONFIG, NETWORK, ANALYSIS, SUMMARY = (
    "config.json",
    "model.safetensors",
    "analysis.nc",
    "summary.json",
)
_CHECKPOINT = "checkpoints/last.ckpt"
# What all that reads a run relies on; more is shown where it is there.
_SUMMARY: dict[str, Any] = {
    "data": str,
    "test_error": int | float,
    "val_error": int | float,
    "depth_initial": int,
    "depth_final": int,
    "adaptive": str,
    "epochs": int,
    "seconds": int | float,
    "seed": int,
    "versions": dict,
    "machine": str,
    "command": str,
    "decisions": list,
}
_ANALYSIS = (
    "magnitude",
    "settle_distance",
    "relative_settle_distance",
    "spread",
    "relative_spread",
    "depth_after_epoch",
)


def refuse_newer(folder: Path) -> None:
    """Raise InputError of a run that a newer residua wrote, whose configuration may have more in it."""
    try:
        found = read_json(folder / SUMMARY)
    except InputError:
        return
    check_format(found, folder / SUMMARY, remedy_of(folder))


def check_summary(summary: dict[str, Any], path: Path, remedy: str) -> None:
    """Raise DamagedError unless a summary holds what a run's does, InputError of a newer one."""
    version = check_format(summary, path, remedy)
    wrong = [name for name, kind in _SUMMARY.items() if not isinstance(summary.get(name), kind)]
    if wrong:
        raise DamagedError(
            f"{str(path)!r}{_written_by(version)} lacks {', '.join(wrong)}, or has it in another form; "
            f"{remedy}"
        )


def check_analysis(analysis: xr.Dataset, path: Path, remedy: str) -> None:
    """Raise DamagedError unless arrays hold what a run's do, InputError of newer ones."""
    version = check_format(analysis.attrs, path, remedy)
    wrong = [name for name in _ANALYSIS if name not in analysis]
    wrong += ["layer"] if "layer" not in analysis.coords else []
    wrong += ["split"] if analysis.attrs.get("split") not in get_args(SplitName) else []
    if wrong:
        raise DamagedError(
            f"{str(path)!r}{_written_by(version)} lacks {', '.join(wrong)}; {remedy}"
        )


def _written_by(version: int) -> str:
    return " was written by an older residua and" if version < FORMAT else ""


def resumable(folder: Path) -> bool:
    """Return whether a run's results can be written anew from its last checkpoint."""
    return (folder / _CHECKPOINT).exists() and not (folder / PRUNED).exists()


def remedy_of(folder: Path, *, resume: bool = True) -> str:
    """Return how the results of a run are written anew, by resuming it where that can be."""
    if resume and resumable(folder) and _command(folder / CONFIG):
        return f"write it anew with: residua resume {shlex.quote(str(folder))}"
    command = _command(folder / CONFIG) or _command(folder / SUMMARY)
    if command:
        return f"put it back, or make the run anew in a new folder; it was made by: {command}"
    return "put it back, or make the run anew in a new folder"


def _command(path: Path) -> str | None:
    try:
        found = read_json(path).get("command")
    except InputError:
        return None
    return found if isinstance(found, str) else None
