"""E1: network, exact map and eq. 3 side by side on two circles, and where the residuals come to rest."""

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from residua.data import DataSplits, load_data
from residua.dynamics.enumeration import enumerate_fixed_points
from residua.dynamics.prolonged import prolong
from residua.dynamics.residual_map import ResidualMap, first_pre_activation, residual_map
from residua.nets import ResNet
from residua.provenance import machine, versions
from residua.studies.map_checks import against_eq3, points, signs, symmetric_share
from residua.studies.networks import circles_start
from residua.studies.reproduction import Reproduction
from residua.training import evaluate
from residua.weights_seen import see_rest

# What the paper reports of its one network.
PAPER = {
    "accuracy": 100.0,
    "fixed_point": [0, 0, 1],
    "ode_eigenvalues": [-0.8, -0.87, -1.95],
    "last_state": {"r = 0.5": [1.95, 0.68, 12.02], "r = 1": [2.03, 0.81, 11.63]},
}
LAYERS = 15
DEEP = 1000
AT = 0.01  # a residual within this of a fixed point is at it
STEP_SIZES = (1.0, 0.5, 0.25, 0.125)
GAINS = (0.5, 1.0, 2.0)


def reproduce(seed: int, folder: Path) -> Reproduction:
    """Train the circles' network of one seed and set it beside eq. 3.

    Args:
        seed: draws the points and starts the search for a network that fits them.
        folder: for the training's files.
    """
    data = load_data("circles", seed=seed)
    start, losses = circles_start("shared", seed, folder)
    net = start.net.double().eval()
    x, labels = data.test.x.double(), data.test.y
    found = trajectories(net, x, labels, data.classes)
    residuals, z = residual_map(net), first_pre_activation(net, x)
    long = prolong(net, [(x, labels)], DEEP)
    z_end = next(islice(residuals.iterate(z), DEEP - 1, None))
    ends, moving = where_samples_end(residuals, z_end, labels)
    with torch.no_grad():
        last = _class_means(net.lift(x), labels) + torch.from_numpy(found.network_sum.values[-1])
    gaps = departure(residuals.W, z)
    summary = {
        "seed": seed,
        "starts": len(losses),
        "train_loss": start.train_loss,
        "accuracy": 100 * evaluate(net, data.test),
        "last_state": dict(zip(data.classes, _rounded(last), strict=True)),
        "classifier": _rounded(net.head.weight.detach()),
        "W": _rounded(residuals.W),
        "settled": long.settled(),
        "ends": ends,
        "moving": moving,
        "one_point": len(ends) == 1 and not any(moving),
        "map_error": _largest(found["network"] - found["map"]),
        "ode_error": _largest(found["network"] - found["ode"]),
        "ode_error_cumulative": _largest(found["network_sum"] - found["ode_sum"]),
        "eq3": against_eq3(net, x, labels),
        "signs": signs(net, x, seed=seed),
        "points": points(residuals.W, seed=seed),
        "symmetric_share": symmetric_share(residuals.W),
        "departure": gaps.to_series().reset_index().to_dict("records"),
        "versions": versions(),
        "machine": machine(),
    }
    return Reproduction(summary, with_portrait(found.assign(departure=gaps), net, data))


def with_portrait(found: xr.Dataset, net: ResNet, data: DataSplits) -> xr.Dataset:
    """Return the arrays with the phase planes of a network on its test points."""
    rest = see_rest(net, data, data.test)
    return found.merge(rest.drop_vars("steady_residual")).assign_attrs(rest.attrs)


def where_samples_end(
    residuals: ResidualMap, z: Tensor, labels: Tensor
) -> tuple[list[dict[str, Any]], list[float]]:
    """Return the fixed points at which samples are, to 0.01, and the share that is at none, by class."""
    fixed = enumerate_fixed_points(residuals.W)
    gap, nearest = torch.cdist(residuals.residual(z), fixed.points, p=torch.inf).min(1)
    nearest[gap > AT] = -1
    at = _shares(nearest, labels)
    found = [
        {
            "point": _rounded(fixed.points[k]),
            "verdict": fixed.verdicts[k],
            "ode_eigenvalues": _rounded(fixed.ode_eigenvalues[k].real),
            "shares": at[k],
        }
        for k in sorted(at.keys() - {-1}, key=lambda k: -sum(at[k]))
    ]
    return found, at.get(-1, [0.0] * (int(labels.max()) + 1))


def _shares(values: Tensor, labels: Tensor) -> dict[int, list[float]]:
    """Return of each value the share that has it, by class."""
    classes = range(int(labels.max()) + 1)
    return {
        k: [float((values[labels == c] == k).double().mean()) for c in classes]
        for k in set(values.tolist())
    }


def trajectories(net: ResNet, x: Tensor, labels: Tensor, classes: tuple[str, ...]) -> xr.Dataset:
    """Return the class means of y_t, t = 1…15, and their sums: of network, exact map and eq. 3."""
    residuals, z = residual_map(net), first_pre_activation(net, x)
    seen = []
    state = net.lift(x)
    with torch.no_grad():
        for t in range(LAYERS):
            after = net.advance(t, state)
            seen.append(after - state)
            state = after
    times = torch.arange(LAYERS, dtype=z.dtype)
    ways = {
        "network": torch.stack(seen),
        "map": residuals.trajectory(z, LAYERS),
        "ode": residuals.flow(z, times),
    }
    dims = ("layer", "class", "unit")
    means = {
        name: (dims, np.stack([_class_means(y, labels).numpy() for y in values]))
        for name, values in ways.items()
    }
    found = xr.Dataset(means, coords={"layer": range(1, LAYERS + 1), "class": list(classes)})
    return found.assign({f"{name}_sum": found[name].cumsum("layer") for name in ways})


def departure(W: Tensor, z: Tensor) -> xr.DataArray:
    """Return how far the map is from eq. 3 at equal times, over (gain of W, step_size h).

    Mean over samples and units of abs(y_map − y_ODE), at its largest over the time of 15 layers.
    """
    found = np.empty((len(GAINS), len(STEP_SIZES)))
    for i, gain in enumerate(GAINS):
        for j, h in enumerate(STEP_SIZES):
            steps = round((LAYERS - 1) / h)
            times = torch.arange(steps + 1, dtype=z.dtype) * h
            scaled = ResidualMap(gain * W, step_size=h)
            gap = (scaled.trajectory(z, steps + 1) - scaled.flow(z, times)).abs().mean((1, 2))
            found[i, j] = float(gap.max())
    coords = {"gain": list(GAINS), "step_size": list(STEP_SIZES)}
    return xr.DataArray(found, coords, ("gain", "step_size"), name="departure")


def _class_means(values: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([values[labels == c].mean(0) for c in range(int(labels.max()) + 1)])


def _largest(difference: xr.DataArray) -> float:
    return float(np.abs(difference).max())


def _rounded(values: Tensor) -> Any:
    return np.round(values.numpy(force=True), 4).tolist()
