"""What a network's weights say for looking at: who helps whom, where class means come to rest."""

import copy

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from residua.data import DataSplits, balanced, loader
from residua.dynamics.enumeration import enumerate_fixed_points
from residua.dynamics.fixed_points import FixedPoints
from residua.dynamics.interactions import KINDS, interactions
from residua.dynamics.ordered import ordered_units
from residua.dynamics.planes import judged, phase_planes
from residua.dynamics.prolonged import prolong
from residua.dynamics.residual_map import ResidualMap, first_pre_activation, residual_map
from residua.dynamics.search import SearchConfig, find_fixed_points
from residua.layers import like
from residua.nets import ResNet
from residua.sources import Split

RUN_ON = 1000  # layers
STEADY = 100  # samples that are run on
PIXELS = 200  # of which a picture of helpers is kept
_ENUMERATED, _SEARCHED = 6, 256  # units up to which fixed points are enumerated, searched for
_PATH = 60  # layers of a path


def one_map(net: nn.Module) -> bool:
    """Return whether one residual map makes all layers, so that the network can be run on."""
    return isinstance(net, ResNet) and net.shared and len(set(net.steps)) == 1


def see_weights(net: ResNet, shape: tuple[int, ...]) -> xr.Dataset:
    """Return the ordered matrix of the strongest units, the kinds of pairs, and helpers of pixels.

    With variable weights of the first, the middle and the last layer.

    Args:
        net: a residual network.
        shape: of an input; helpers are for images whose pixels are units.

    Returns:
        `interaction` (block, unit_i, unit_j), w_ij; `kind_share` (block, kind); where inputs are images
        `helper` (block, pixel, row, column), w_ij of input dimension j for i = `pixel`.
    """
    layers = [1] if net.shared else sorted({1, (net.depth + 1) // 2, net.depth})
    matrices = [net.block(t - 1).linear.weight.detach().float() for t in layers]
    mean_strength = torch.stack([w.abs() for w in matrices]).mean(0)
    order = ordered_units(matrices[0] if len(matrices) == 1 else mean_strength)
    parts = torch.stack([w[order][:, order] for w in matrices])
    kinds = [interactions(w, strongest=1).counted for w in matrices] if net_units(net) > 1 else []
    found = xr.Dataset(
        {"interaction": (("block", "unit_i", "unit_j"), parts.numpy(force=True))},
        coords={"block": layers, "unit_i": order, "unit_j": order},
    )
    if kinds:
        shares = [[k[kind] for kind in KINDS] for k in kinds]
        found = found.assign(kind_share=(("block", "kind"), shares)).assign_coords(kind=list(KINDS))
    if len(shape) == 2 and net.lift_name == "pad":
        pixels = _spaced_pixels(shape)
        rows = torch.stack([w[pixels][:, : net.inputs] for w in matrices])
        pictures = rows.reshape(len(matrices), len(pixels), *shape).numpy(force=True)
        found = found.assign(helper=(("block", "pixel", "row", "column"), pictures))
        found = found.assign_coords(pixel=pixels)
    return found


def net_units(net: ResNet) -> int:
    """Return N."""
    return int(net.head.in_features)


def _spaced_pixels(shape: tuple[int, ...]) -> np.ndarray:
    """Return up to 200 pixels of an image, every k-th of every k-th row."""
    step = int(np.ceil(np.sqrt(shape[0] * shape[1] / PIXELS)))
    rows, columns = (np.arange(min(step // 2, (n - 1) // 2), n, step) for n in shape)
    return np.asarray((rows[:, None] * shape[1] + columns).ravel())


def see_rest(net: nn.Module, data: DataSplits, split: Split) -> xr.Dataset:
    """Return where the residuals of each class come to rest, and phase planes of the units that differ.

    The network is run on for 1,000 layers over 100 samples, balanced over classes. Paths start from
    the mean z(1) of each class. Up to 6 units all fixed points are there, up to 256 those that a search
    finds from the classes' ends.

    Args:
        net: a logistic network of one map.
        data: whose classes are meant.
        split: where the samples are from.

    Returns:
        `steady_residual` (class, unit), the mean of y at layer 1,000, NaN for a class without samples;
        of :func:`phase_planes` all;
        `fixed_point` (point, shown), with `verdict` and `ode_verdict`.
    """
    weight = next(net.parameters())
    if weight.dtype in (torch.bfloat16, torch.float16):  # too coarse for a thousand layers
        net = copy.deepcopy(net).float()
        weight = next(net.parameters())
    exact = residual_map(net)
    classes = len(data.classes)
    some = balanced(split, max(STEADY, classes))
    long = prolong(net, loader(some, 100), RUN_ON)
    ends = torch.from_numpy(long.moments.mean[-1]).clamp(0, 1)
    present = torch.from_numpy(long.moments.count > 0)
    z = first_pre_activation(net, like(some.x, weight))
    starts = torch.stack(
        [z[some.y == c].mean(0) for c in range(classes)]
    )  # NaN for an absent class
    units = _units_that_differ(exact, starts[present], ends[present])
    found = xr.Dataset({"steady_residual": (("class", "unit"), long.moments.known[-1])})
    settled = long.settled()
    found.attrs["settled_from"] = 0 if settled is None else settled
    if len(units) > 1:
        middle = ends[present].mean(0)
        somewhere = torch.where(present[:, None], starts, starts[present][0])
        planes = phase_planes(exact, units, middle, somewhere, _PATH).rename(start="class")
        paths = [name for name in ("map_path", "ode_path") if name in planes]
        there = xr.DataArray(present.numpy(), dims="class")
        found = found.merge(planes.assign({name: planes[name].where(there) for name in paths}))
    fixed = _fixed_points(exact, ends[present])
    if fixed is None or len(units) < 2:
        return found
    points = judged(fixed, units)
    of = 0 if exact.units <= _ENUMERATED else int(present.sum())
    more = points.attrs | {"fixed_points_starts": of}
    return found.merge(points).assign_attrs(found.attrs | more)


def _units_that_differ(exact: ResidualMap, starts: Tensor, ends: Tensor) -> list[int]:
    """Return up to three units in which the classes differ most, on their way and at the end."""
    path = torch.cat([exact.trajectory(starts, _PATH).double(), ends[None]])  # (layer, class, unit)
    apart = path.var(1, correction=0).mean(0) + path.flatten(0, 1).var(0) / 10
    return sorted(apart.argsort(descending=True)[:3].tolist())


def _fixed_points(exact: ResidualMap, ends: Tensor) -> FixedPoints | None:
    if exact.units <= _ENUMERATED:
        return enumerate_fixed_points(exact.W, step_size=exact.step_size)
    if exact.units > _SEARCHED:
        return None
    config = SearchConfig(iterations=50, warm_up=RUN_ON)
    return find_fixed_points(exact, ends, config).fixed
