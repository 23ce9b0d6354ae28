"""All that a weight matrix says about its residuals, in one record."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from residua.dynamics.enumeration import LARGEST, enumerate_fixed_points
from residua.dynamics.fixed_points import FixedPoints
from residua.dynamics.interactions import Interactions, interactions
from residua.dynamics.residual_map import ResidualMap
from residua.dynamics.search import SearchConfig, Status, find_fixed_points
from residua.dynamics.stability import escape_time
from residua.errors import InputError

# Layers of the search's warm-up, at most, and its products, which are some ten seconds' work.
_LONGEST, _WORK = 30_000, 1e11


@dataclass(frozen=True, eq=False)
class Portrait:
    """Interactions, fixed points and where the residuals lead from a start.

    Attributes:
        residuals: the map.
        pairs: who helps and hinders whom.
        fixed: the fixed points.
        slow: slow points of the search, minima of the speed that is not 0, (point, unit).
        ends: how many starts of the search ended as what; empty where all points were enumerated.
        path: y(1)…y(T) from the start given, or None.
    """

    residuals: ResidualMap
    pairs: Interactions
    fixed: FixedPoints
    slow: Float[Tensor, "slow unit"]
    ends: dict[Status, int]
    path: Float[Tensor, "layers unit"] | None

    @property
    def counted(self) -> str:
        """How many fixed points there are by verdict, in a sentence."""
        verdicts = Counter(self.fixed.verdicts)
        kinds = ", ".join(f"{n} {verdict}" for verdict, n in verdicts.items()) or "none"
        how = "found by a search that need not be complete" if self.ends else "all there are"
        return f"{len(self.fixed)} fixed points, {how}: {kinds}."

    @property
    def searched(self) -> str:
        """How the fixed points were found, in words."""
        if not self.ends:
            return "all there are"
        ends = ", ".join(f"{n} {status}" for status, n in self.ends.items())
        return (
            f"searched from {sum(self.ends.values())} starts, which ended so: {ends}; outlier: outside "
            f"[0, 1]; {len(self.slow)} slow points"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON wants them; complex numbers are pairs."""
        fixed = self.fixed
        verdicts, ode = fixed.verdicts, fixed.ode_verdicts
        unstable, escape = fixed.unstable_dimension.tolist(), escape_time(fixed.multipliers)
        points = [
            {
                "y": fixed.points[k].tolist(),
                "speed": float(fixed.speed[k]),
                "verdict": verdicts[k],
                "ode_verdict": ode[k],
                "unstable_dimension": unstable[k],
                "multipliers": torch.view_as_real(fixed.multipliers[k]).tolist(),
                "ode_eigenvalues": torch.view_as_real(fixed.ode_eigenvalues[k]).tolist(),
                "escape_time": _finite(float(escape[k])),
                "family": int(fixed.family[k]),
                "found_from": int(fixed.found_from[k]),
            }
            for k in range(len(fixed))
        ]
        return {
            "units": self.residuals.units,
            "step_size": self.residuals.step_size,
            "activation": self.residuals.activation,
            "interactions": asdict(self.pairs),
            "ends": self.ends,
            "slow_points": self.slow.tolist(),
            "fixed_points": points,
            "path": None if self.path is None else self.path.tolist(),
        }


def portrait(
    residuals: ResidualMap,
    *,
    start: Float[Tensor, "unit"] | None = None,
    layers: int = 100,
    starts: int | None = None,
    seed: int = 0,
) -> Portrait:
    """Return interactions, fixed points and a path of a logistic residual map.

    Up to 12 units all fixed points are enumerated; beyond, they are searched for from random starts
    and from the end of the path.

    Args:
        residuals: the map.
        start: z(1), where the path starts, such as the bias for x(0) = 0; default no path.
        layers: length of the path.
        starts: of the search; default as many as have 20,000 entries together, 8 to 1024.
        seed: of the starts.

    Raises:
        InputError: the map is not logistic, has one unit, or starts or layers is below 1.
    """
    if residuals.activation != "logistic":
        raise InputError(
            f"a portrait is of logistic residuals, not {residuals.activation}; use find_fixed_points "
            "on the map"
        )
    if layers < 1:
        raise InputError(f"layers must be at least 1, not {layers}")
    if starts is not None and starts < 1:
        raise InputError(f"starts must be at least 1, not {starts}")
    W = residuals.W
    n = residuals.units
    path = None if start is None else residuals.trajectory(start, layers)
    ends: dict[Status, int] = {}
    slow = W.new_zeros(0, n, dtype=torch.float64)
    if n <= LARGEST:
        fixed = enumerate_fixed_points(W, step_size=residuals.step_size)
    else:
        tried = starts or min(1024, max(8, 20_000 // n))
        generator = torch.Generator().manual_seed(seed)
        y = torch.rand(tried, n, dtype=torch.float64, generator=generator).to(W.device)
        if path is not None:
            y = torch.cat([y, path[-1:].double()])
        # Saddles hold residuals for thousands of layers, so attractors need a long warm-up.
        warm_up = int(min(_LONGEST, _WORK / (len(y) * n**2)))
        search = find_fixed_points(residuals, y, SearchConfig(warm_up=warm_up))
        fixed, slow, ends = search.fixed, search.slow, dict(Counter(search.status))
    return Portrait(residuals, interactions(W), fixed, slow, ends, path)


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None
