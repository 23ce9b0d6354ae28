"""What the files of a finished run must hold, and how they are written anew where they do not."""

import shlex
from collections.abc import Callable
from hashlib import sha256
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
_NESTED: dict[str, Callable[[Any], bool]] = {
    "decisions": lambda found: all(
        _holds(d, "epoch", "depth_before", "depth_after") for d in found
    ),
    "pruned": lambda found: (
        _holds(found, "removed", "healed")
        and all(
            _holds(found.get(name), "layers", "loss", "seconds") for name in ("before", "after")
        )
    ),
    "scale": lambda found: found is None or _holds(found, "mean", "std"),
    "files": lambda found: isinstance(found, dict),
}
_ANALYSIS = (
    "magnitude",
    "settle_distance",
    "relative_settle_distance",
    "spread",
    "relative_spread",
    "depth_after_epoch",
)


def _by_step(values: xr.DataArray) -> bool:
    """Return whether an array has a number for each layer, or epoch, and at least one."""
    return (
        values.dims in (("layer",), ("epoch",)) and values.dtype.kind in "iuf" and values.size > 0
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
    wrong += [
        name for name, sound in _NESTED.items() if name in summary and not sound(summary[name])
    ]
    if wrong:
        raise DamagedError(
            f"{str(path)!r}{_written_by(version)} lacks {', '.join(wrong)}, or has it in another form; "
            f"{remedy}"
        )


def digests(folder: Path) -> dict[str, str]:
    """Return what tells the files of a run from others of their names."""
    return {name: sha256((folder / name).read_bytes()).hexdigest() for name in (NETWORK, ANALYSIS)}


def check_digests(summary: dict[str, Any], folder: Path, remedy: str) -> None:
    """Raise DamagedError unless network and arrays are those with which a summary was written."""
    told, found = summary.get("files", {}), digests(folder)
    other = [name for name in found if told.get(name, found[name]) != found[name]]
    if other:
        raise DamagedError(
            f"{' and '.join(other)} in {str(folder)!r} changed after {SUMMARY} was written, or belong "
            f"to another run; {remedy}"
        )


def check_analysis(analysis: xr.Dataset, path: Path, remedy: str) -> None:
    """Raise DamagedError unless arrays hold what a run's do, InputError of newer ones."""
    version = check_format(analysis.attrs, path, remedy)
    wrong = [name for name in _ANALYSIS if name not in analysis or not _by_step(analysis[name])]
    wrong += ["layer"] if "layer" not in analysis.coords else []
    wrong += ["split"] if analysis.attrs.get("split") not in get_args(SplitName) else []
    if wrong:
        raise DamagedError(
            f"{str(path)!r}{_written_by(version)} lacks {', '.join(wrong)}; {remedy}"
        )


def _holds(found: Any, *names: str) -> bool:
    return isinstance(found, dict) and all(name in found for name in names)


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
