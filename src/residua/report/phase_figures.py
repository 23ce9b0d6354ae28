"""The phase portrait: nullclines, points of rest by verdict, paths of the map and of eq. 3."""

from typing import Any

import numpy as np
import xarray as xr

from residua.report.palette import styled
from residua.report.shown import Choice, Group, Missing, Plot, Setting, Shown, Take, laid_out
from residua.report.thinned import names_of

# By verdict: mark in a plane, mark in space (of which plotly has few), colour.
_VERDICTS = {
    "stable": ("circle", "circle", "#009E73"),
    "marginal": ("diamond", "circle-open", "#B8A800"),
    "saddle": ("x", "diamond", "#E69F00"),
    "unstable": ("square", "square", "#D55E00"),
}


def with_planes(data: xr.Dataset) -> xr.Dataset:
    """Return paths, points and nullclines seen in each plane, as the figure draws them."""
    if "plane_unit" not in data:
        return data
    shown = data["shown"].values.tolist()
    sides = np.vectorize(shown.index)(data.plane_unit.values)  # (plane, coordinate)
    new: dict[str, Any] = {}
    for name in ("map_path", "ode_path"):
        if name in data:
            new[f"{name}_seen"] = xr.concat(
                [data[name].isel(shown=("coordinate", s)) for s in sides], "plane"
            )
    if "fixed_point" in data:
        for verdict in _VERDICTS:
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
    if "plane_unit" not in data:
        why = data.attrs.get("missing_rest", "no planes are stored")
        return [Missing(title, str(why))]
    plot = Plot()
    flat = _flat(plot, data)
    solid = _solid(plot, data) if data.sizes["shown"] == 3 else []
    pairs = data.plane_unit.values.astype(int).tolist()
    planes = [f"units {a} and {b}" for a, b in pairs] + (["three dimensions"] if solid else [])
    last = pairs + [pairs[-1]] * bool(solid)
    layout = laid_out("", "", height=600)
    layout["xaxis"] |= {"range": [-0.03, 1.03], "constrain": "domain"}
    layout["yaxis"] |= {"range": [-0.03, 1.03], "scaleanchor": "x", "constrain": "domain"}
    for key, unit in zip("xyz", data["shown"].values.tolist(), strict=False):
        layout.setdefault("scene", {})[f"{key}axis"] = {"title": {"text": f"y of unit {unit}"}}
    view = [len(pairs) == k for k in range(len(planes))]
    settings = [Setting(f"{k}.visible", "plane", [not v for v in view]) for k in flat]
    settings += [Setting(f"{k}.visible", "plane", view) for k in solid]
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
        )
    ]


def _flat(plot: Plot, data: xr.Dataset) -> list[int]:
    """Add what is drawn in a plane; return the numbers of its traces."""
    planes = data.sizes["plane"]
    plane = ("plane", [*range(planes), planes - 1])  # the last option is space
    found = []
    arrows = {
        "mode": "markers",
        "opacity": 0.5,
        "marker": {"symbol": "arrow", "size": 9, "color": "#8A8A8A"},
        "hoverinfo": "skip",
    }
    size = data.sizes["up"]
    grid = np.repeat(data["up"].values, size), np.tile(data["across"].values, size)
    arrows |= {"x": grid[1].tolist(), "y": grid[0].tolist()}
    at: dict[str, Any] = {"plane": plane}
    found.append(
        plot.add("scatter", "direction of eq. 3", arrows, marker__angle=Take("direction_flat", at))
    )
    for i, name in enumerate(("first", "second")):
        line = {
            "mode": "lines",
            "line": {"dash": "dash", "width": 2, "color": ("#CC79A7", "#56B4E9")[i]},
        }
        ends = f"nullcline_{name}"
        side = "across" if i == 0 else "up"
        found.append(
            plot.add(
                "scatter", f"nullcline of the unit {side}", line,
                x=Take(ends, at | {"coordinate": 0}), y=Take(ends, at | {"coordinate": 1}),
            )
        )  # fmt: skip
    for i, label in enumerate(names_of(data)):
        colour = styled(i)["line"]["color"]
        styles: dict[str, dict[str, Any]] = {
            "map_path": {"mode": "lines+markers", "marker": {"size": 4, "color": colour}},
            "ode_path": {"mode": "lines"},
        }
        for name, style in styles.items():
            if f"{name}_seen" not in data:
                continue
            dash = "dot" if name == "map_path" else "solid"
            line = {"line": {"color": colour, "width": 1.5, "dash": dash}}
            where = at | {"class": i}
            words = "exact map" if name == "map_path" else "eq. 3"
            meta = {"meta": {"class": i, "key": words}}
            found.append(
                plot.add(
                    "scatter", f"{label}, {words}", style | line | meta | {"showlegend": False},
                    x=Take(f"{name}_seen", where | {"coordinate": 0}),
                    y=Take(f"{name}_seen", where | {"coordinate": 1}),
                )
            )  # fmt: skip
    for verdict, (symbol, _, colour) in reversed(_VERDICTS.items()):  # what is stable lies on top
        dim = f"{verdict}_point"
        if dim in data:
            marker = {"symbol": symbol, "color": colour, "size": 12, "line": {"width": 1.5}}
            style = {"mode": "markers", "marker": marker, "meta": {"ink": "marker.line.color"}}
            points = {key: Take(dim, at | {"coordinate": k}) for k, key in enumerate("xy")}
            found.append(plot.add("scatter", verdict, style, **points))
    return found


def _solid(plot: Plot, data: xr.Dataset) -> list[int]:
    """Add what is drawn in the space of three units; return the numbers of its traces."""
    found = []
    for i, label in enumerate(names_of(data)):
        colour = styled(i)["line"]["color"]
        for name, words in (("map_path", "exact map"), ("ode_path", "eq. 3")):
            if name not in data:
                continue
            mode = "markers" if name == "map_path" else "lines"
            style = {"mode": mode, "line": {"color": colour, "width": 4}, "showlegend": False}
            style |= {"marker": {"color": colour, "size": 3}, "meta": {"class": i, "key": words}}
            axes = {key: Take(name, {"class": i, "shown": k}) for k, key in enumerate("xyz")}
            found.append(plot.add("scatter3d", f"{label}, {words}", style, **axes))
    for verdict, (_, symbol, colour) in _VERDICTS.items():
        dim = f"{verdict}_point_in_space"
        if dim in data:
            style = {"mode": "markers", "marker": {"symbol": symbol, "color": colour, "size": 5}}
            axes = {key: Take(dim, {"shown": k}) for k, key in enumerate("xyz")}
            found.append(plot.add("scatter3d", verdict, style, **axes))
    return found


def _caption(data: xr.Dataset) -> str:
    settled = int(data.attrs.get("settled_from", 0))
    words = (
        f"Run on, the residuals rest from layer {settled} on."
        if settled
        else "Run on for 1,000 layers, the residuals still move."
    )
    if "matrix_alone" in data.attrs:
        paths = data.sizes["class"]
        words = f"{paths} path{'s' * (paths != 1)} over {data.sizes['step']} layers."
    if "verdict" in data:
        words += _counted(data)
    else:
        words += (
            " The network has too many units to judge its fixed points here; residua dynamics does."
        )
    if "ode_path" not in data:
        words += " Eq. 3 is not drawn: torchdiffeq was not installed."
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
        f"Residuals y of the first {steps} layers, {starts}: dots joined by dots, the exact map; lines, "
        "eq. 3. Arrows: direction of eq. 3 in the plane. Dashed: nullclines, (W y)_i = 0; the sides of "
        "the square are nullclines, too. Points by their verdict in the map."
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
