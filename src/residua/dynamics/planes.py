"""Planes through the space of residuals: nullclines, directions, and the paths that cross them."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from residua.dynamics.fixed_points import FixedPoints
from residua.dynamics.residual_map import ResidualMap
from residua.errors import InputError

GRID = 17  # directions are shown at so many places along either side
_PER_LAYER = 4  # points of a continuous path between two layers


def phase_planes(
    residuals: ResidualMap,
    units: Sequence[int],
    at: Float[Tensor, "unit"],
    starts: Float[Tensor, "start unit"],
    layers: int,
) -> xr.Dataset:
    """Return what a phase portrait of logistic residuals draws, in each plane of two of some units.

    In a plane of the units a and b all others rest at their value in `at`. There ẏ_i = y_i(1−y_i)(W y)_i
    is 0 on the sides of the square, and on the line (W y)_i = 0 where it crosses the square.

    Args:
        residuals: a logistic map.
        units: two or more; each pair of them spans a plane.
        at: y through which the planes go.
        starts: z(1) of each path.
        layers: length of the paths.

    Returns:
        `plane_unit` (plane, coordinate); `plane_at` (shown), y of these units in `at`;
        `direction` in degrees from up, clockwise, and `speed`, the length of ẏ in the plane (plane,
        up, across); `nullcline` (plane, of, end, coordinate), NaN where the line misses the square;
        `map_path` (start, step, shown) and `ode_path` (start, time, shown), y of the map and of eq. 3.

    Raises:
        InputError: the map is not logistic, or fewer than two units are named.
    """
    if residuals.activation != "logistic" or len(units) < 2:
        raise InputError(
            f"a phase portrait is of two or more logistic units, not of {len(units)} "
            f"{residuals.activation} ones"
        )
    W = residuals.W.detach().double().numpy(force=True)
    rest = at.detach().double().numpy(force=True)
    pairs = list(combinations(units, 2))
    side = (np.arange(GRID) + 0.5) / GRID
    fields = [_field(W, rest, pair, side) for pair in pairs]
    exact = ResidualMap(residuals.W.detach().double().cpu(), residuals.step_size, "logistic")
    z = starts.detach().double().cpu()
    shown = list(units)
    found = xr.Dataset(
        {
            "plane_unit": (("plane", "coordinate"), np.array(pairs)),
            "plane_at": ("shown", rest[shown]),
            "direction": (("plane", "up", "across"), np.stack([f[0] for f in fields])),
            "speed": (("plane", "up", "across"), np.stack([f[1] for f in fields])),
            "nullcline": (
                ("plane", "of", "end", "coordinate"),
                np.stack([[_nullcline(W, rest, p, i) for i in p] for p in pairs]),
            ),
            "map_path": (
                ("start", "step", "shown"),
                exact.trajectory(z, layers)[..., shown].transpose(0, 1).numpy(force=True),
            ),
        },
        coords={"up": side, "across": side, "step": range(1, layers + 1), "shown": shown},
    )
    times = torch.linspace(0, layers - 1, _PER_LAYER * (layers - 1) + 1, dtype=torch.float64)
    flow = exact.flow(z, residuals.step_size * times) if layers > 1 else exact.residual(z)[None]
    path = flow[..., shown].transpose(0, 1).numpy(force=True)
    return found.assign(ode_path=(("start", "time", "shown"), path)).assign_coords(
        time=1 + times.numpy()
    )


def judged(fixed: FixedPoints, units: Sequence[int], most: int = 300) -> xr.Dataset:
    """Return fixed points seen in some units, with their verdicts in the map and in eq. 3.

    Returns:
        `fixed_point` (point, shown), the first `most`; `verdict` and `ode_verdict` (point). Attributes
        count all: `fixed_points` by verdict, `fixed_points_count`, and `fixed_points_apart`, how many
        have another verdict in eq. 3.
    """
    kept = slice(most)
    pairs = zip(fixed.verdicts, fixed.ode_verdicts, strict=True)
    return xr.Dataset(
        {
            "fixed_point": (("point", "shown"), fixed.points[kept][:, units].numpy(force=True)),
            "verdict": ("point", np.array(fixed.verdicts[kept], dtype="U8")),
            "ode_verdict": ("point", np.array(fixed.ode_verdicts[kept], dtype="U8")),
        },
        coords={"shown": list(units)},
        attrs={
            "fixed_points": ", ".join(f"{n} {v}" for v, n in Counter(fixed.verdicts).items()),
            "fixed_points_count": len(fixed.verdicts),
            "fixed_points_apart": sum(a != b for a, b in pairs),
        },
    )


def portrait_planes(
    residuals: ResidualMap,
    fixed: FixedPoints,
    start: Float[Tensor, "unit"] | None,
    layers: int = 60,
) -> xr.Dataset | None:
    """Return the planes of a weight matrix alone; None of a single unit.

    Of up to three units all; of more those with the largest weights, and the others at the end of the
    path, or at ½. Paths go from z(1) = `start` and, of up to three units, from y near the corners.

    Args:
        residuals: a logistic map.
        fixed: its fixed points.
        start: z(1) of a path, or None.
        layers: length of the paths.
    """
    n = residuals.units
    if n < 2:
        return None
    W = residuals.W.detach().double()
    strength = W.abs().sum(0) + W.abs().sum(1)
    units = sorted(strength.argsort(descending=True)[:3].tolist())
    names, starts = [], []
    if start is not None:
        names, starts = ["x(0) = 0"], [start.detach().double()]
    if n <= 3:
        corners = [torch.tensor(y, dtype=torch.float64) for y in product((0.1, 0.9), repeat=n)]
        names += [f"y(1) = ({', '.join(f'{v:g}' for v in y.tolist())})" for y in corners]
        starts += [torch.logit(y) for y in corners]
    elif start is None:
        names, starts = ["y(1) = ½"], [W.new_zeros(n)]
    z = torch.stack(starts)
    exact = ResidualMap(W, residuals.step_size)
    at = exact.trajectory(z[0], layers)[-1] if start is not None else W.new_full((n,), 0.5)
    found = phase_planes(residuals, units, at, z, layers).rename(start="class")
    points = judged(fixed, units)
    whole = found.assign_coords({"class": names}).merge(points)
    return whole.assign_attrs(points.attrs | {"units": n, "matrix_alone": 1})


def _field(
    W: np.ndarray, rest: np.ndarray, pair: tuple[int, int], side: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return direction (degrees) and length of (ẏ_a, ẏ_b) on a grid, rows up."""
    a, b = pair
    up, across = np.meshgrid(side, side, indexing="ij")
    y = np.broadcast_to(rest, (*up.shape, len(rest))).copy()
    y[..., a], y[..., b] = across, up
    push = y @ W[[a, b]].T
    u, v = (across * (1 - across) * push[..., 0]), (up * (1 - up) * push[..., 1])
    return np.degrees(np.arctan2(u, v)), np.hypot(u, v)


def _nullcline(W: np.ndarray, rest: np.ndarray, pair: tuple[int, int], i: int) -> np.ndarray:
    """Return the ends (end, coordinate) of (W y)_i = 0 in the unit square, or NaN."""
    a, b = pair
    others = rest.copy()
    others[[a, b]] = 0
    c, p, q = float(W[i] @ others), float(W[i, a]), float(W[i, b])
    ends = []
    if q:
        ends += [(x, -(c + p * x) / q) for x in (0.0, 1.0)]
    if p:
        ends += [(-(c + q * y) / p, y) for y in (0.0, 1.0)]
    inside = sorted({e for e in ends if all(-1e-12 <= v <= 1 + 1e-12 for v in e)})
    if len(inside) < 2:
        return np.full((2, 2), np.nan)
    return np.array([inside[0], inside[-1]])
