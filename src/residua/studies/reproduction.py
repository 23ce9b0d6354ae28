"""The results of an experiment of the paper, one for each seed or run; what is finished is kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from residua.errors import InputError
from residua.folder import locked, make_folder, refuse_existing
from residua.folder_kinds import EXPERIMENT as _MARK
from residua.stored import read_arrays, read_json, write_arrays, write_json


@dataclass(frozen=True)
class Reproduction:
    """An experiment once: a summary of plain values, and the labelled arrays behind it."""

    summary: dict[str, Any]
    arrays: xr.Dataset


Make = Callable[[], Reproduction]


def repeat(
    identity: dict[str, Any],
    folder: Path,
    jobs: Mapping[str, Make],
    finish: Callable[[dict[str, Reproduction]], None],
) -> None:
    """Do every job once, keep each result as NAME.json and NAME.nc, and finish with all of them.

    A folder in which the same was stopped is continued; finished jobs are read, not done again.

    Args:
        identity: what is done, such as {"experiment": "E3"}; a folder of another is refused.
        folder: new, or one in which the same was stopped, or done for fewer jobs.
        jobs: by name, what makes a result.
        finish: called with all results while the folder is locked; writes the rest.

    Raises:
        InputError: the folder holds something else, or all of this already.
    """
    _begin(identity, folder, jobs)
    try:
        _go(identity, folder, jobs, finish)
    finally:
        if [p.name for p in folder.iterdir()] == [_MARK]:  # nothing came of it
            (folder / _MARK).unlink()
            folder.rmdir()


def _go(
    identity: dict[str, Any],
    folder: Path,
    jobs: Mapping[str, Make],
    finish: Callable[[dict[str, Reproduction]], None],
) -> None:
    with locked(folder):
        done = {}
        for name, make in jobs.items():
            if not (folder / f"{name}.json").exists():
                found = make()
                write_arrays(found.arrays, folder / f"{name}.nc")
                write_json(folder / f"{name}.json", found.summary)
            done[name] = _read(folder, name)
        finish(done)
        write_json(folder / _MARK, identity | {"finished": list(jobs)})


def _begin(identity: dict[str, Any], folder: Path, jobs: Mapping[str, Make]) -> None:
    mark = folder / _MARK
    if not mark.exists():
        refuse_existing(folder)
        make_folder(folder)
        write_json(mark, identity | {"finished": []})
        return
    before = read_json(mark)
    finished = before.pop("finished", [])
    if before != identity:
        raise InputError(
            f"{str(folder)!r} holds {before}, and this is {identity}; pass a new folder"
        )
    if set(jobs) <= set(finished):
        raise InputError(
            f"{str(folder)!r} holds {', '.join(jobs)} already; pass a new folder, or more seeds"
        )


def _read(folder: Path, name: str) -> Reproduction:
    remedy = f"remove {name}.json to make the result {name} again"
    summary = read_json(folder / f"{name}.json", remedy)
    return Reproduction(summary, read_arrays(folder / f"{name}.nc", remedy))
