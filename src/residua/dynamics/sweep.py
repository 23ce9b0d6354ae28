"""Where fixed points change their stability as the step size or the gain of W changes."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from residua.dynamics.fixed_points import MARGIN
from residua.dynamics.residual_map import check_points, check_weights
from residua.dynamics.stability import map_jacobian, ode_jacobian
from residua.errors import InputError


def stability_sweep(
    W: Float[Tensor, "unit unit"],
    points: Float[Tensor, "point unit"],
    values: Sequence[float],
    *,
    over: Literal["step_size", "gain"] = "step_size",
) -> xr.Dataset:
    """Return each fixed point's stability for several step sizes h, or for several gains g of g·W.

    Points of y → σ(logit y + h g W y) are the same for all h and g > 0; their stability is not. h and g
    act on the map alike, and only g on the ODE, whose verdict neither changes.

    Args:
        W: weights.
        points: fixed points, such as `enumerate_fixed_points(W).points`.
        values: the step sizes, or the gains.
        over: which of the two.

    Returns:
        Dataset over (value, point): `radius`, the largest modulus of the map's multipliers;
        `growth`, the largest real part of the ODE's eigenvalues; `stable` and `ode_stable`.

    Raises:
        InputError: W is not square or finite, points are of another shape, or a value is not a
            positive number.
    """
    check_weights(W)
    check_points(points, len(W))
    if over not in ("step_size", "gain"):
        raise InputError(f"over must be 'step_size' or 'gain', not {over!r}")
    bad = [v for v in values if not 0 < v < float("inf")]
    if bad or not len(values):
        raise InputError(
            f"values must be positive numbers, at least one, not {bad or list(values)}"
        )
    exact, y = W.double(), points.double()
    radius, growth = [], []
    for value in values:
        J = map_jacobian(exact, y, step_size=value)
        radius.append(torch.linalg.eigvals(J).abs().amax(1))
        gain = value if over == "gain" else 1.0
        growth.append(torch.linalg.eigvals(ode_jacobian(gain * exact, y)).real.amax(1))
    dims = (over, "point")
    r, g = (torch.stack(found).numpy(force=True) for found in (radius, growth))
    return xr.Dataset(
        {
            "radius": (dims, r),
            "growth": (dims, g),
            "stable": (dims, r < 1 - MARGIN),
            "ode_stable": (dims, g < -MARGIN),
        },
        coords={over: list(values), "point": np.arange(len(y))},
    )


def critical_step_size(
    W: Float[Tensor, "unit unit"], point: Float[Tensor, "unit"], *, edge: float = 1e-9
) -> float:
    """Return the step size at which a fixed point that is stable in the ODE turns unstable in the map.

    A saturated unit's multiplier exp(h λ) never leaves the unit circle, a free unit's 1 + h λ does at
    h = −2 Re λ / abs(λ)². Infinite for a vertex; NaN where the ODE is not stable.
    """
    exact, y = W.double(), point.double()
    free = (y > edge) & (y < 1 - edge)
    drive = (1 - 2 * y[~free]) * (exact @ y)[~free]
    if bool((drive >= 0).any()):
        return float("nan")
    if not bool(free.any()):
        return float("inf")
    inside = exact[free][:, free] * (y * (1 - y))[free][:, None]
    found = torch.linalg.eigvals(inside)
    if bool((found.real >= 0).any()):
        return float("nan")
    return float((-2 * found.real / found.abs() ** 2).min())
