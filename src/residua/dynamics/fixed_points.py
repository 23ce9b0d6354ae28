"""Where a map rests: the record of fixed points, and the verdict on each."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

Verdict = Literal["stable", "saddle", "unstable", "marginal"]
# Multipliers this close to the unit circle decide nothing by themselves.
MARGIN = 1e-6
_ORDER: tuple[Verdict, ...] = ("stable", "marginal", "saddle", "unstable")
_SHOWN = 30  # points that are printed; all are in the record


@dataclass(frozen=True, eq=False)
class FixedPoints:
    """Fixed points of a map, with the stability of each in the map and in its continuous-time reading.

    Attributes:
        points: (point, unit), float64.
        speed: max over units of abs(F(y) − y) at each point.
        multipliers: eigenvalues of the map's Jacobian, (point, unit).
        ode_eigenvalues: eigenvalues of eq. 3's Jacobian, or of F − identity for a map of which no
            differential equation is known.
        family: dimension of the continuous family that an enumerated point stands for, 0 for an
            isolated one; a search does not tell, and has 0 throughout.
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
        verdicts, ode = self.verdicts, self.ode_verdicts
        unstable, family = self.unstable_dimension.tolist(), self.family.tolist()
        lines = [f"{len(self)} fixed point{'s' * (len(self) != 1)}"]
        first = sorted(range(len(self)), key=lambda k: _ORDER.index(verdicts[k]))
        for k in first[:_SHOWN]:
            line = f"{_told(self.points[k])}: {verdicts[k]}"
            if verdicts[k] == "saddle":
                line += f", unstable dimension {unstable[k]}"
            if family[k]:
                line += f", stands for a family of dimension {family[k]}"
            if ode[k] != verdicts[k]:
                line += f"; {ode[k]} in continuous time"
            lines.append(line)
        if len(self) > _SHOWN:
            counts = ", ".join(f"{n} {v}" for v, n in Counter(verdicts).items())
            lines.append(f"… and {len(self) - _SHOWN} more; of all: {counts}")
        return "\n".join(lines)


def _told(point: Tensor) -> str:
    """Return a point in words: all of it, or for many logistic units which are not at 0."""
    if len(point) <= 6 or not bool(((point >= 0) & (point <= 1)).all()):
        shown = ", ".join(f"{v:.4g}" for v in point[:6].tolist())
        return f"({shown}{', …' if len(point) > 6 else ''})"
    between = ((point > 0) & (point < 1)).nonzero()[:, 0].tolist()
    parts = [f"{int((point == 1).sum())} of {len(point)} units at 1"]
    parts += [f"unit {i} at {point[i]:.3g}" for i in between[:3]]
    parts += [f"{len(between) - 3} more between"] if len(between) > 3 else []
    return ", ".join(parts)


def _verdicts(growth: Tensor) -> tuple[Verdict, ...]:
    """Judge rows of growth: above 0 leaves, below 0 returns, near 0 decides nothing."""
    leaves, returns = (~(growth <= MARGIN)).any(1), (growth < -MARGIN).any(1)
    neutral = (growth.abs() <= MARGIN).any(1)
    found: list[Verdict] = [
        ("saddle" if r or n else "unstable") if g else "marginal" if n else "stable"
        for g, r, n in zip(leaves.tolist(), returns.tolist(), neutral.tolist(), strict=True)
    ]
    return tuple(found)
