"""What a page shows besides the measures: means over units, orders of units, samples, portraits."""

import numpy as np
import xarray as xr
from torch import nn

from residua.choices import SplitName
from residua.data import DataSplits
from residua.followed import follow, project
from residua.nets import ResNet
from residua.weights_seen import one_map, see_rest, see_weights


def overview(
    net: nn.Module,
    data: DataSplits,
    split: SplitName,
    found: xr.Dataset,
) -> xr.Dataset:
    """Return the measures with all that a page draws besides.

    What a network does not have is named by an attribute `missing_…` that says why.

    Args:
        net: a network with a residual stack and a linear head.
        data: its data.
        split: where samples are taken.
        found: the measures of that split.
    """
    samples = getattr(data, split)
    parts = [follow(net, data, samples), project(net, samples, len(data.classes))]
    missing = {}
    if isinstance(net, ResNet):
        parts.append(see_weights(net, data.shape[1:] if data.shape[:-2] == (1,) else data.shape))
    else:
        missing["missing_interactions"] = "an MLP has no residual map, so no unit helps another"
    why = _no_rest(net)
    if why:
        missing["missing_rest"] = why
    else:
        parts.append(see_rest(net, data, samples))
    whole = by_unit_and_pair(found)
    for part in parts:
        whole = whole.merge(part)
        whole.attrs |= part.attrs
    image = len(data.shape) in (2, 3)
    if image:
        whole.attrs["image"] = [int(n) for n in data.shape[-2:]]
        whole.attrs["channels"] = int(np.prod(data.shape[:-2]))
    units = image and getattr(net, "lift_name", "") == "pad"
    return whole.assign_attrs(missing | {"pixels_are_units": int(units)})


def _no_rest(net: nn.Module) -> str:
    """Return why a network cannot be run on until it rests; nothing where it can."""
    if not isinstance(net, ResNet):
        return "an MLP has no skip, so its layers have no residual map"
    if not one_map(net):
        return "its layers have weights or steps of their own, so that no one map makes them"
    if net.activation != "logistic":
        return f"the portrait is of logistic residuals, and these are {net.activation}"
    return ""


def by_unit_and_pair(found: xr.Dataset) -> xr.Dataset:
    """Return means over units, units by how much classes differ in them, distances of pairs.

    Of a class without samples all is NaN.
    """
    means = {
        f"{name}_over_units": found[name].mean("unit")
        for name in ("state_mean", "state_std", "residual_mean", "residual_std")
    }
    apart = found.state_mean.isel(state=-1).std("class")
    moved = found.residual_mean.std("class").mean("layer")
    both = apart / max(float(apart.max()), 1e-300) + moved / max(float(moved.max()), 1e-300)
    upper = np.triu_indices(found.sizes["class"], 1)
    pairs = found.class_distance.values[:, upper[0], upper[1]]
    known = pairs[:, ~np.isnan(pairs).all(0)]
    gaps = np.stack([known.min(1), known.mean(1), known.max(1)], 1) if known.size else None
    decided = found.decided.cumsum("state") / found.samples.where(found.samples > 0)
    new = found.assign(
        means
        | {
            "unit_order": ("rank", np.argsort(-both.values, kind="stable")),
            "decided_share": decided,
        }
    )
    if gaps is not None:
        new = new.assign(pair_distance=(("state", "gap"), gaps))
        new = new.assign_coords(gap=["closest pair", "mean of all pairs", "farthest pair"])
    return new
