"""What of a run's arrays a page holds: all where they are small, else some, and it says which."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from residua.report.palette import plotted

_FEWEST = 4


@dataclass(frozen=True)
class Limits:
    """How much of each dimension a page holds at most."""

    steps: int = 60
    classes: int = 40
    units: int = 48
    samples: int = 60
    members: int = 30
    pixels: int = 196

    def halved(self) -> "Limits":
        """Return limits that take about half the room; layers and classes go last."""
        names: tuple[str, ...] = ("units", "samples", "members", "pixels")
        if max(getattr(self, n) for n in names) == _FEWEST:
            names = ("steps", "classes")
        return replace(self, **{n: max(_FEWEST, getattr(self, n) // 2) for n in names})


def thinned(analysis: xr.Dataset, limits: Limits) -> tuple[xr.Dataset, list[str]]:
    """Return the arrays that a page draws, and in words what is left out.

    Layers are taken at even distances, first and last among them; units by `unit_order`; of classes,
    samples and pixels the first, or every k-th.
    """
    found, said = analysis, []
    depth = int(found.sizes.get("layer", 0))
    if depth > limits.steps:
        kept = np.unique(np.linspace(1, depth, limits.steps).round().astype(int))
        found = _at_layers(found, kept, depth)
        said.append(f"{len(kept)} of {depth} layers")
    if "class" in found.dims:
        found, text = _first_classes(found, limits.classes)
        said += text
    if "unit" in found.dims:
        found, text = _units(found, limits.units)
        said += text
    for dim, most in (("sample", limits.samples), ("member", limits.members)):
        if found.sizes.get(dim, 0) > most:
            if dim == "sample":
                said.append(f"{most} of {found.sizes[dim]} samples that were kept")
            found = found.isel({dim: slice(most)})
    if found.sizes.get("pixel", 0) > limits.pixels:
        step = -(-found.sizes["pixel"] // limits.pixels)
        found = found.isel(pixel=slice(None, None, step))
    return found, said


def _at_layers(found: xr.Dataset, kept: np.ndarray, depth: int) -> xr.Dataset:
    states = np.concatenate([[0], kept])
    at: dict[str, Any] = {"layer": kept - 1, "state": states}
    if found.sizes.get("part") == depth + 2:  # the input, the layers, the bias
        at["part"] = np.concatenate([[0], kept, [depth + 1]])
    for dim in ("from", "to"):  # of a deep network the bounds of windows are few already
        if found.sizes.get(dim) == depth + 2:
            at[dim] = np.concatenate([[0], states + 1])
    return found.isel({dim: where for dim, where in at.items() if dim in found.dims})


def _first_classes(found: xr.Dataset, most: int) -> tuple[xr.Dataset, list[str]]:
    classes = found.sizes["class"]
    if classes <= most:
        return found, []
    found = found.assign_attrs(all_classes=[str(c) for c in found["class"].values.tolist()])
    both = {dim: slice(most) for dim in ("class", "class_b") if dim in found.dims}
    return found.isel(both), [f"the first {most} of {classes} classes"]


def _units(found: xr.Dataset, most: int) -> tuple[xr.Dataset, list[str]]:
    units = found.sizes["unit"]
    order = found["unit_order"].values if "unit_order" in found else np.arange(units)
    chosen = order[:most]
    found = found.drop_vars("unit_order", errors="ignore").isel(unit=chosen)
    found = found.assign_coords(unit=chosen)
    return found, [f"{most} of {units} units"] if units > most else []


def names_of(found: xr.Dataset, dim: str = "class") -> list[str]:
    """Return the labels of a dimension, as plotly must be given them."""
    return [plotted(v) for v in found[dim].values.tolist()]
