"""The residual map of a finished run, or of a weight matrix in a file."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from residua.dynamics.residual_map import ResidualMap, residual_map
from residua.errors import InputError
from residua.runs import read


def residuals_of(
    source: Path, bias: Path | None, *, step_size: float | None, layer: int | None
) -> tuple[ResidualMap, Tensor | None]:
    """Return the residual map of a run, or of a weight matrix in an .npy file, and where it starts.

    The start is z(1) = b for x(0) = 0, of a run always, of a matrix where a bias is given.

    Raises:
        InputError: a file is missing, damaged or of another shape, or the run has no one map.
    """
    if source.is_dir():
        if bias is not None:
            raise InputError("a run has its own bias; pass --bias with an .npy file of W only")
        net = read(source).net
        residuals = residual_map(net, step_size=step_size, layer=layer)
        return residuals, net.block((layer or 1) - 1).linear.bias.detach()
    if layer is not None:
        raise InputError("an .npy file of W is one layer; pass --layer with a run only")
    W = _array(source)
    residuals = residual_map(W, step_size=step_size)
    start = None if bias is None else _array(bias)
    if start is not None and start.shape != W.shape[:1]:
        raise InputError(
            f"{str(bias)!r} has the shape {tuple(start.shape)} where W has {len(W)} units; pass one "
            "number a unit"
        )
    return residuals, start


def _array(path: Path) -> Tensor:
    """Read an .npy file without executing anything in it."""
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float64))
    except (OSError, ValueError, EOFError, AttributeError, TypeError) as error:
        raise InputError(
            f"{str(path)!r} cannot be read as an array ({str(error).splitlines()[0]}); pass a run "
            "folder or an .npy file"
        ) from error
