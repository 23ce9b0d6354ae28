"""The phase portrait: nullclines, points of rest by verdict, paths of the map and of eq. 3."""

from typing import Any

import numpy as np
import xarray as xr

from residua.report.palette import VERDICTS
from residua.report.phase_plot import flat, solid
from residua.report.shown import (
    SPACE,
    Choice,
    Group,
    Missing,
    Plot,
    Setting,
    Shown,
    counted,
    laid_out,
    number,
)

_PLANES = ("plane_unit", "direction", "nullcline", "map_path")
_POINTS = ("fixed_point", "verdict", "ode_verdict")


def _lacks(data: xr.Dataset) -> list[str]:
    """Return which arrays a portrait needs that are not there."""
    return [n for n in _PLANES if n not in data] + ["shown"] * ("shown" not in data.coords)


def with_planes(data: xr.Dataset) -> xr.Dataset:
    """Return paths, points and nullclines seen in each plane, as the figure draws them."""
    if _lacks(data):
        return data
    if any(name not in data for name in _POINTS):
        data = data.drop_vars(_POINTS, errors="ignore")
    shown = data["shown"].values.tolist()
    sides = np.vectorize(shown.index)(data.plane_unit.values)  # (plane, coordinate)
    new: dict[str, Any] = {}
    for name in ("map_path", "ode_path"):
        if name in data:
            new[f"{name}_seen"] = xr.concat(
                [data[name].isel(shown=("coordinate", s)) for s in sides], "plane"
            )
    if "fixed_point" in data:
        for verdict in VERDICTS:
            points = data.fixed_point.values[data.verdict.values == verdict]
            if not len(points):
                continue
            dim = f"{verdict}_point"
            seen = np.stack([points[:, s] for s in sides])
            new[dim] = (("plane", dim, "coordinate"), seen)
            new[f"{dim}_in_space"] = ((dim, "shown"), points)
    flat = data.direction.stack(place=("up", "across")).drop_vars(["place", "up", "across"])
    new["direction_flat"] = flat
    ends = data.nullcline
    new["nullcline_first"], new["nullcline_second"] = ends.isel(of=0), ends.isel(of=1)
    return data.assign(new)


def phase_figures(data: xr.Dataset) -> Group:
    """Return the phase portrait, or why there is none."""
    title = "Phase portrait"
    lacks = _lacks(data)
    if lacks:
        why = data.attrs.get("missing_rest") or f"the arrays hold no {', no '.join(lacks)}"
        return [Missing(title, str(why))]
    plot = Plot()
    seen, settings = flat(plot, data)
    spatial = solid(plot, data) if data.sizes["shown"] == 3 else []
    pairs = data.plane_unit.values.astype(int).tolist()
    planes = [_plane(data, pair) for pair in pairs] + (["three dimensions"] if spatial else [])
    last = pairs + [pairs[-1]] * bool(spatial)
    layout = laid_out("", "", height=600)
    layout["xaxis"] |= {"range": [-0.03, 1.03], "constrain": "domain"}
    layout["yaxis"] |= {"range": [-0.03, 1.03], "scaleanchor": "x", "constrain": "domain"}
    for key, unit in zip("xyz", data["shown"].values.tolist(), strict=False):
        axis = {"title": {"text": f"y of unit {unit}"}, "range": [-0.03, 1.03]}
        layout.setdefault("scene", dict(SPACE))[f"{key}axis"] = axis
    view = [len(pairs) == k for k in range(len(planes))]
    space = [False] * bool(spatial)
    settings += [Setting(f"{k}.visible", "plane", [*there, *space]) for k, there in seen.items()]
    settings += [Setting(f"{k}.visible", "plane", view) for k in spatial]
    for key, side in (("xaxis", 0), ("yaxis", 1)):
        titles = [f"y of unit {p[side]}" for p in last]
        settings.append(Setting(f"layout.{key}.title.text", "plane", titles))
        settings.append(Setting(f"layout.{key}.visible", "plane", [not v for v in view]))
    return [
        Shown(
            "phase",
            title,
            _caption(data),
            _definition(data),
            plot,
            layout,
            (Choice("plane", "Plane of", planes),),
            settings,
            narrow={"height": 380},
            by_class=True,
            stored=[n for n in (*_PLANES, "ode_path", "fixed_point", *_by_verdict()) if n in data],
        )
    ]


def _by_verdict() -> list[str]:
    """Return the names of the points of every verdict; those of `fixed_point` do not tell theirs."""
    return [f"{verdict}_point_in_space" for verdict in VERDICTS]


def _plane(data: xr.Dataset, pair: list[int]) -> str:
    """Return a plane in words: its units, and where it cuts the third unit's axis."""
    words = "units {} and {}".format(*pair)
    if "plane_at" not in data:
        return words
    values = zip(data["shown"].values.tolist(), data.plane_at.values.tolist(), strict=True)
    return ", ".join([words, *(f"unit {u} at {number(v)}" for u, v in values if u not in pair)])


def _caption(data: xr.Dataset) -> str:
    settled = int(data.attrs.get("settled_from", 0))
    words = (
        f"Run on, the residuals rest from layer {settled} on."
        if settled
        else "Run on for 1,000 layers, the residuals still move."
    )
    if "matrix_alone" in data.attrs:
        paths = counted(data.sizes["class"], "path")
        words = f"{paths} over {counted(data.sizes['step'], 'layer')}."
    if "verdict" in data:
        words += _counted(data)
    else:
        words += (
            " The network has too many units to judge its fixed points here; residua dynamics does."
        )
    if "ode_path" not in data:
        words += " Eq. 3 is not drawn: the run was stored without it."
    return words


def _counted(data: xr.Dataset) -> str:
    """Return how many fixed points there are by verdict; those stored are the first of them only."""
    drawn = data.sizes["point"]
    count = int(data.attrs.get("fixed_points_count", drawn))
    starts = int(data.attrs.get("fixed_points_starts", 0))
    apart = int(data.attrs.get("fixed_points_apart", 0))
    words = f" found from {starts} starts, of perhaps more" if starts else ""
    words = f" Fixed points{words}: {data.attrs.get('fixed_points', 'unknown') or 'none'}"
    words += f"; map and eq. 3 differ in the verdict on {apart}" if apart else ""
    return words + (f"; {drawn} of {count} are drawn." if drawn < count else ".")


def _definition(data: xr.Dataset) -> str:
    steps, units = data.sizes["step"], int(data.attrs.get("units", 0))
    alone = "matrix_alone" in data.attrs
    starts = "from the starts that the key names" if alone else "from the mean z(1) of each class"
    words = (
        f"Residuals y over {counted(steps, 'layer')}, {starts}: dots joined by dots, the exact map; "
        "lines, eq. 3. Arrows: direction of eq. 3 in the plane. Dashed: nullclines, (W y)_i = 0; so are "
        "the sides of the square. Points by their verdict in the map; ×2: two in one place. Of "
        "paths that coincide the first is the widest."
    )
    if units > 2:
        through = (
            "the end of the first path, or ½ without one"
            if alone
            else "the mean of the classes' residuals at layer 1,000"
        )
        words += (
            f" The plane goes through {through}; paths and points are seen from above it, so that they "
            "may lie elsewhere in the other units."
        )
    return words
