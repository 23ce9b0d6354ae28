"""The residual map of a finished run, or of a weight matrix in a file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from residua.dynamics.residual_map import ResidualMap, residual_map
from residua.errors import InputError
from residua.nets import ResNet
from residua.runs import read


@dataclass(frozen=True, eq=False)
class MapSource:
    """A residual map, where it starts, and how many of its units are input dimensions.

    The start is z(1) = b for x(0) = 0, of a run always, of a matrix where a bias is given. Of a matrix
    all units are taken for input dimensions, of a run with a trained lift none.
    """

    residuals: ResidualMap
    start: Tensor | None
    inputs: int


def residuals_of(
    source: Path, bias: Path | None, *, step_size: float | None, layer: int | None
) -> MapSource:
    """Return the residual map of a run, or of a weight matrix in an .npy file.

    Raises:
        InputError: a file is missing, damaged or of another shape, or the run has no one map.
    """
    if source.is_dir():
        if bias is not None:
            raise InputError("a run has its own bias; pass --bias with an .npy file of W only")
        net = read(source).net
        residuals = residual_map(net, step_size=step_size, layer=layer)
        assert isinstance(net, ResNet)  # others have no residual map
        start = net.block((layer or 1) - 1).linear.bias.detach()
        return MapSource(residuals, start, net.inputs if net.lift_name == "pad" else 0)
    if layer is not None:
        raise InputError("an .npy file of W is one layer; pass --layer with a run only")
    W = _array(source)
    residuals = residual_map(W, step_size=step_size)
    given = None if bias is None else _array(bias)
    if given is not None and given.shape != W.shape[:1]:
        raise InputError(
            f"{str(bias)!r} has the shape {tuple(given.shape)} where W has {len(W)} units; pass one "
            "number a unit"
        )
    if given is not None and not bool(given.isfinite().all()):
        raise InputError(f"{str(bias)!r} holds NaN or infinite values; pass finite ones")
    return MapSource(residuals, given, len(W))


def _array(path: Path) -> Tensor:
    """Read an .npy file without executing anything in it."""
    if not path.is_file():
        raise InputError(
            f"no such file: {str(path)!r}; pass a run folder or an .npy file of numbers"
        )
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        found = None  # numpy's advice to load it unsafely is not passed on
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu":
        kind = f", but holds {found.dtype}" if isinstance(found, np.ndarray) else ""
        raise InputError(
            f"{str(path)!r} cannot be read as an array of real numbers{kind}; pass a run folder or an "
            ".npy file of numbers"
        )
    return torch.from_numpy(found.astype(np.float64))
