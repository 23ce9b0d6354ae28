"""Where a map rests: the record of fixed points, and the verdict on each."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

Verdict = Literal["stable", "saddle", "unstable", "marginal"]
# Multipliers this close to the unit circle decide nothing by themselves.
MARGIN = 1e-6


@dataclass(frozen=True, eq=False)
class FixedPoints:
    """Fixed points of a map, with the stability of each in the map and in its continuous-time reading.

    Attributes:
        points: (point, unit), float64.
        speed: max over units of abs(F(y) − y) at each point.
        multipliers: eigenvalues of the map's Jacobian, (point, unit).
        ode_eigenvalues: eigenvalues of eq. 3's Jacobian, or of F − identity for a map of which no
            differential equation is known.
        family: dimension of the continuous family that a point stands for, 0 for an isolated one.
        found_from: how many attempts (starts, and places to which the map leads from them) ended at each
            point; 0 for an enumeration.
    """

    points: Float[Tensor, "point unit"]
    speed: Float[Tensor, "point"]
    multipliers: Complex[Tensor, "point unit"]
    ode_eigenvalues: Complex[Tensor, "point unit"]
    family: Int[Tensor, "point"]
    found_from: Int[Tensor, "point"]

    def __len__(self) -> int:
        return len(self.points)

    @property
    def unstable_dimension(self) -> Int[Tensor, "point"]:
        """Number of multipliers outside the unit circle."""
        return (self.multipliers.abs() > 1 + MARGIN).sum(1)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Stable, saddle, unstable or marginal, in the map."""
        return _verdicts(self.multipliers.abs() - 1)

    @property
    def ode_verdicts(self) -> tuple[Verdict, ...]:
        """The same in continuous time."""
        return _verdicts(self.ode_eigenvalues.real)

    @property
    def disagree(self) -> Bool[Tensor, "point"]:
        """Where map and continuous time come to different verdicts."""
        pairs = zip(self.verdicts, self.ode_verdicts, strict=True)
        return torch.tensor([a != b for a, b in pairs], dtype=torch.bool)

    def __str__(self) -> str:
        lines = [f"{len(self)} fixed points"]
        for k, (verdict, ode) in enumerate(zip(self.verdicts, self.ode_verdicts, strict=True)):
            shown = ", ".join(f"{v:.4g}" for v in self.points[k, :6].tolist())
            more = ", …" if self.points.shape[1] > 6 else ""
            line = f"({shown}{more}): {verdict}"
            if verdict == "saddle":
                line += f", unstable dimension {int(self.unstable_dimension[k])}"
            if self.family[k]:
                line += f", stands for a family of dimension {int(self.family[k])}"
            if ode != verdict:
                line += f"; {ode} in continuous time"
            lines.append(line)
        return "\n".join(lines)


def _verdicts(growth: Tensor) -> tuple[Verdict, ...]:
    """Judge rows of growth: above 0 leaves, below 0 returns, near 0 decides nothing."""
    found: list[Verdict] = []
    for row in growth:
        leaves, returns = bool((row > MARGIN).any()), bool((row < -MARGIN).any())
        if bool((row.abs() <= MARGIN).any()) and not leaves:
            found.append("marginal")
        elif leaves:
            found.append("saddle" if returns or bool((row.abs() <= MARGIN).any()) else "unstable")
        else:
            found.append("stable")
    return tuple(found)
