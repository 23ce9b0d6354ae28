"""The residual map to first order at points that need not be fixed, such as class means."""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from residua.dynamics.fixed_points import MARGIN
from residua.dynamics.residual_map import ResidualMap, check_points
from residua.dynamics.stability import eigenvalues, map_jacobian, ode_jacobian
from residua.errors import InputError


@dataclass(frozen=True, eq=False)
class Linearised:
    """Speed and eigenvalues at given residuals y.

    Where the speed is not 0 the eigenvalues describe how neighbours part, not where y goes.

    Attributes:
        points: y, (point, unit), float64.
        speed: max over units of abs(F(y) − y).
        multipliers: eigenvalues of the map's Jacobian.
        ode_eigenvalues: eigenvalues of eq. 3's Jacobian, by falling real part.
    """

    points: Float[Tensor, "point unit"]
    speed: Float[Tensor, "point"]
    multipliers: Complex[Tensor, "point unit"]
    ode_eigenvalues: Complex[Tensor, "point unit"]

    @property
    def ode_positive(self) -> Int[Tensor, "point"]:
        """How many of eq. 3's eigenvalues have a positive real part (above 1e-6)."""
        return (self.ode_eigenvalues.real > MARGIN).sum(1)

    @property
    def map_outside(self) -> Int[Tensor, "point"]:
        """How many of the map's multipliers lie outside the unit circle (by more than 1e-6)."""
        return (self.multipliers.abs() > 1 + MARGIN).sum(1)

    @property
    def growth(self) -> Float[Tensor, "point"]:
        """Largest real part of eq. 3's eigenvalues."""
        return self.ode_eigenvalues.real.amax(1)

    @property
    def radius(self) -> Float[Tensor, "point"]:
        """Largest modulus of the map's multipliers."""
        return self.multipliers.abs().amax(1)


def linearise(residuals: ResidualMap, y: Float[Tensor, "point unit"]) -> Linearised:
    """Return speed and all eigenvalues of logistic residuals at points y, in map and ODE.

    In float64 and dense, one point at a time: 18 N² bytes at once, N up to some thousands; beyond,
    see :func:`residua.leading_eigenvalues`.

    Raises:
        InputError: the map is not logistic, or y lies outside [0, 1] or is of another shape.
    """
    if residuals.activation != "logistic":
        raise InputError(
            f"eq. 3 is of logistic residuals, not {residuals.activation}; use "
            "residua.leading_eigenvalues on residuals.step"
        )
    check_points(y, residuals.units)
    exact = ResidualMap(residuals.W.double(), residuals.step_size)
    points = y.double()
    speed = (exact(points) - points).abs().amax(1)
    W, h = exact.W, exact.step_size
    return Linearised(
        points,
        speed,
        torch.stack([eigenvalues(map_jacobian(W, p, step_size=h)) for p in points]),
        torch.stack([eigenvalues(ode_jacobian(W, p)) for p in points]),
    )
