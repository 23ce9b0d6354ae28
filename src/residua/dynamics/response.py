"""The network as a nonlinear filter: how its residuals answer to an impulse and to a step."""

from collections.abc import Sequence
from typing import Literal

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from residua.dynamics.prolonged import measured_layers
from residua.dynamics.residual_map import ResidualMap, check_points
from residua.errors import InputError

Push = Literal["impulse", "step"]
PUSHES: tuple[Push, ...] = ("impulse", "step")


@torch.no_grad()
def response(
    residuals: ResidualMap,
    z: Float[Tensor, "batch unit"],
    unit: int,
    *,
    push: Push = "impulse",
    size: float = 1.0,
    layers: int = 1000,
    at: Sequence[int] | None = None,
) -> xr.Dataset:
    """Return what a push in one input dimension changes in the residuals of every layer.

    An impulse adds s to x_i once, before layer 1; since the state is a running sum it stays there. A
    step adds s to x_i before every layer. In terms of z: z(1) + s W e_i, and for a step s W e_i again
    at each later layer. Exact, not to first order; at a fixed point and for small s the answer to a
    step is the running sum of that to an impulse. Only two trajectories are held.

    Args:
        residuals: the map.
        z: z(1) of each sample, see :func:`residua.first_pre_activation`.
        unit: i; with zero-padding unit i is input dimension i.
        push: "impulse" or "step".
        size: s, in units of the state.
        layers: how many.
        at: the layers measured; default about 40, evenly spaced in their logarithm.

    Returns:
        Dataset over (layer, unit): `change`, mean over samples of y_t pushed − y_t; over (layer):
        `strength`, mean over units and samples of abs(y_t pushed − y_t).

    Raises:
        InputError: z of another shape, no such unit or push, a size that is not a number, or layers
            out of range.
    """
    if push not in PUSHES:
        raise InputError(f"push must be 'impulse' or 'step', not {push!r}")
    check_points(z, residuals.units, "z")
    if not 0 <= unit < residuals.units:
        raise InputError(f"the map has units 0…{residuals.units - 1}, not {unit}")
    if not 0 < abs(size) < float("inf"):
        raise InputError(f"size must be a number other than 0, not {size}")
    where = sorted(set(at or measured_layers(layers)))
    if not 1 <= where[0] <= where[-1] <= layers:
        raise InputError(f"layers to measure must be in 1…{layers}, not {where[0]}…{where[-1]}")
    kick = size * residuals.W[:, unit]
    pushed = z + kick
    change, strength = [], []
    for t in range(1, where[-1] + 1):
        if t in where:
            gap = residuals.residual(pushed) - residuals.residual(z)
            change.append(gap.mean(0))
            strength.append(float(gap.abs().mean()))
        z, pushed = residuals.step(z), residuals.step(pushed)
        if push == "step":
            pushed = pushed + kick
    return xr.Dataset(
        {
            "change": (("layer", "unit"), torch.stack(change).numpy(force=True)),
            "strength": ("layer", strength),
        },
        coords={"layer": where},
        attrs={"unit_pushed": unit, "push": push, "size": size},
    )
