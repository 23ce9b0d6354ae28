"""`residua.load`: a run of its folder, a network or labelled arrays of their file."""

from pathlib import Path
from typing import Any

from torch import nn

from residua import runs, store
from residua.errors import InputError
from residua.stored import read_arrays, readable


def load(path: str | Path, model: nn.Module | None = None) -> Any:
    """Read what residua stored; nothing in a file is executed.

    Args:
        path: a run folder, a model.safetensors, or labelled arrays (.nc).
        model: for a file of another model than residua's and transformers', one with all its parts, made
            as the saved one was; it is changed into the saved one.

    Returns:
        Of a run folder a :class:`residua.Run` with network, arrays, summary and configuration; of a file
        what :func:`residua.save` wrote, or an xarray.Dataset.

    Raises:
        DamagedError: a file is missing in a run, truncated, damaged, or of an older format and lacks
            something; says what writes it anew.
        InputError: there is no such file or folder; the folder is no finished run (the error says what
            it is and what reads it); a newer residua wrote it; a model is needed, not needed, or does
            not fit.
    """
    path = Path(path)
    with readable(path):
        if not path.exists():
            raise InputError(
                f"no such file or folder: {str(path)!r}; pass a run folder, or a model.safetensors or "
                "an .nc file that residua wrote"
            )
        whole = path.is_dir() or path.suffix == ".nc"
        if whole and model is not None:
            raise InputError(
                f"model= is for a model.safetensors, and {str(path)!r} is none; leave it out"
            )
        if path.is_dir():
            return runs.read(path)
        return read_arrays(path) if whole else store.load(path, model)
