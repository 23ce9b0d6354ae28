"""Stored results: JSON and labelled arrays, with the version of their format, checked when read."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from residua.atomic import written_whole
from residua.errors import DamagedError, InputError

# Of analysis.nc and summary.json. Those written before there were versions count as 0.
FORMAT = 1
INTACT = "pass an intact one"


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write named values as JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, whole or not at all; what is no text in it becomes a question mark."""
    with written_whole(path) as part:
        part.write_bytes(text.encode("utf-8", "replace"))


def read_json(path: Path, remedy: str = INTACT) -> dict[str, Any]:
    """Read named values from JSON.

    Args:
        path: the file.
        remedy: what to do where it cannot be read; ends the error.

    Raises:
        DamagedError: it is missing, truncated or something else.
        InputError: it may not be read.
    """
    check_readable(path, remedy)
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{str(path)!r} is not readable JSON ({error}); {remedy}") from error
    if not isinstance(found, dict):
        raise DamagedError(
            f"{str(path)!r} holds a {type(found).__name__}, not named values; {remedy}"
        )
    return found


def write_arrays(arrays: xr.Dataset, path: Path) -> None:
    """Write labelled arrays as netCDF with the version of the format, whole or not at all."""
    with written_whole(path) as part:
        # Absolute, since xarray takes a leading ~ for a home.
        arrays.assign_attrs(format=FORMAT).to_netcdf(part.absolute(), engine="h5netcdf")


def read_arrays(path: Path, remedy: str = INTACT) -> xr.Dataset:
    """Read labelled arrays that :func:`write_arrays` wrote, into memory.

    Args:
        path: the file.
        remedy: what to do where it cannot be read; ends the error.

    Raises:
        DamagedError: it is missing, truncated or damaged.
        InputError: a newer residua wrote it, or it may not be read.
    """
    check_readable(path, remedy)
    try:
        _check_structure(path)
        with xr.open_dataset(path.absolute(), engine="h5netcdf") as file:
            found: xr.Dataset = file.load()
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise DamagedError(f"{str(path)!r} is truncated or damaged ({said}); {remedy}") from error
    check_format(found.attrs, path, remedy)
    return found


def check_format(attrs: Any, path: Path, remedy: str) -> int:
    """Return the version of the format of stored results, 0 where they have none.

    Raises:
        DamagedError: it is no version.
        InputError: a newer residua wrote them.
    """
    found = attrs.get("format", 0)
    if not isinstance(found, int | np.integer) or isinstance(found, bool) or found < 0:
        raise DamagedError(
            f"{str(path)!r} says that its format is {found!r}, which is no version; {remedy}"
        )
    if found > FORMAT:
        raise InputError(
            f"{str(path)!r} was written by a newer residua (format {found}; this one reads up to "
            f"{FORMAT}); update residua to read it"
        )
    return int(found)


def _check_structure(path: Path) -> None:
    """Raise what HDF5 does of a damaged file; h5netcdf would print more of it when it is collected."""
    with h5py.File(path, "r") as file:
        dict(file.attrs)
        file.visititems(lambda name, found: dict(found.attrs) and None)


def refuse_undecodable(path: Path) -> None:
    """Raise InputError of a name that is no text, which not all that reads files can take."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"the name {str(path)!r} is not valid UTF-8; pass another") from error


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Say of a file or folder that the system refuses to read why."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{str(path)!r} cannot be read ({error.strerror or error}); pass what can be read"
        ) from error


def check_readable(path: Path, remedy: str = INTACT) -> None:
    """Raise DamagedError of a missing file, InputError of what is none or may not be read."""
    refuse_undecodable(path)
    with readable(path):
        if not path.exists():
            raise DamagedError(f"{str(path)!r} is missing; {remedy}")
        if not path.is_file():
            raise InputError(f"{str(path)!r} is no file; move it away, then {remedy}")
        path.open("rb").close()
