"""What a phase portrait draws: arrows, nullclines, paths and fixed points, in a plane and in space."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from residua.report.palette import COLOURS, GREY, VERDICTS, styled
from residua.report.shown import Plot, Setting, Take
from residua.report.thinned import names_of

_CLOSE = 0.01  # of paths and points that lie in one place
_WAYS = {"map_path": "exact map", "ode_path": "eq. 3"}
_NULLCLINES = {"first": ("across", COLOURS[4]), "second": ("up", COLOURS[5])}


def flat(plot: Plot, data: xr.Dataset) -> tuple[dict[int, list[bool]], list[Setting]]:
    """Add what is drawn in a plane; return in which planes each trace is seen, and settings."""
    planes = data.sizes["plane"]
    # The last option is space, where none of this is seen.
    at: dict[str, Any] = {"plane": ("plane", [*range(planes), planes - 1])}
    found = {_arrows(plot, data, at): [True] * planes}
    for name in _NULLCLINES:
        crosses = np.isfinite(data[f"nullcline_{name}"].values).all((1, 2)).tolist()
        if any(crosses):
            found[_nullcline(plot, name, at)] = crosses
    paths, widths = _paths(plot, data, at)
    found |= dict.fromkeys(paths, [True] * planes)
    found |= dict.fromkeys(_points(plot, data, at), [True] * planes)
    number, settings = _counts(plot, data)
    return found | {number: [True] * planes}, [*widths, *settings]


def _arrows(plot: Plot, data: xr.Dataset, at: Mapping[str, Any]) -> int:
    size = data.sizes["up"]
    style = {
        "mode": "markers",
        "opacity": 0.5,
        "marker": {"symbol": "arrow", "size": 9, "color": GREY},
        "hoverinfo": "skip",
        "x": np.tile(data["across"].values, size).tolist(),
        "y": np.repeat(data["up"].values, size).tolist(),
    }
    angle = Take("direction_flat", at)
    return plot.add("scatter", "direction of eq. 3", style, marker__angle=angle)


def _nullcline(plot: Plot, name: str, at: Mapping[str, Any]) -> int:
    side, shade = _NULLCLINES[name]
    style = {"mode": "lines", "line": {"dash": "dash", "width": 2, "color": shade}}
    axes = {k: Take(f"nullcline_{name}", {**at, "coordinate": i}) for i, k in enumerate("xy")}
    return plot.add("scatter", f"nullcline of the unit {side}", style, **axes)


def _paths(plot: Plot, data: xr.Dataset, at: Mapping[str, Any]) -> tuple[list[int], list[Setting]]:
    found, settings = [], []
    planes = [_widths(data, plane) for plane in range(data.sizes["plane"])]
    extra = np.array([*planes, planes[-1]])  # (option, class)
    for i, label in enumerate(names_of(data)):
        look = styled(i)
        colour, mark = look["line"]["color"], look["marker"]["symbol"]
        dots = {"size": 4, "color": colour, "symbol": mark}
        styles: dict[str, dict[str, Any]] = {
            "map_path": {"mode": "lines+markers", "marker": dots},
            "ode_path": {"mode": "lines"},
        }
        for name, style in styles.items():
            if f"{name}_seen" not in data:
                continue
            dash = "dot" if name == "map_path" else "solid"
            line = {"line": {"color": colour, "dash": dash}}
            meta = {"meta": {"class": i, "key": _WAYS[name]}, "showlegend": False}
            where = {**at, "class": i}
            axes = {k: Take(f"{name}_seen", where | {"coordinate": c}) for c, k in enumerate("xy")}
            words = f"{label}, {_WAYS[name]}"
            found.append(plot.add("scatter", words, style | line | meta, **axes))
            widths = (1.5 + extra[:, i]).tolist()
            settings.append(Setting(f"{found[-1]}.line.width", "plane", widths))
    return found, settings


def _widths(data: xr.Dataset, plane: int) -> list[float]:
    """Return how much wider each path is drawn in a plane for the later ones that would hide it."""
    name = "ode_path_seen" if "ode_path_seen" in data else "map_path_seen"
    paths = [_evenly(path) for path in data[name].values[plane]]
    later = [sum(_hides(other, mine) for other in paths[i + 1 :]) for i, mine in enumerate(paths)]
    return [min(3.0 * n, 6.0) for n in later]


def _evenly(path: np.ndarray, places: int = 200) -> np.ndarray:
    """Return a path at even distances along it."""
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    at = np.linspace(0, along[-1], places)
    return np.stack([np.interp(at, along, side) for side in path.T], 1)


def _hides(path: np.ndarray, other: np.ndarray) -> bool:
    """Return whether most of another path lies under this one."""
    far = np.linalg.norm(path[:, None] - other[None], axis=-1).min(0)
    return bool((far < _CLOSE).mean() > 0.7)


def _points(plot: Plot, data: xr.Dataset, at: Mapping[str, Any]) -> list[int]:
    found = []
    for verdict, (symbol, colour, size) in reversed(VERDICTS.items()):  # what is stable lies on top
        dim = f"{verdict}_point"
        if dim in data:
            marker = {"symbol": symbol, "color": colour, "size": size, "line": {"width": 1.5}}
            style = {"mode": "markers", "marker": marker}
            if not symbol.endswith("open"):  # a ring is all line
                style["meta"] = {"ink": "marker.line.color"}
            points = {key: Take(dim, {**at, "coordinate": k}) for k, key in enumerate("xy")}
            found.append(plot.add("scatter", verdict, style, **points))
    return found


def _counts(plot: Plot, data: xr.Dataset) -> tuple[int, list[Setting]]:
    """Add how many fixed points share a place, where it is more than one; return trace and settings."""
    style = {"mode": "text", "hoverinfo": "skip", "showlegend": False, "textfont": {"size": 12}}
    number = plot.add("scatter", "points in one place", style | {"x": [], "y": [], "text": []})
    by_plane = [_crowded(data, plane) for plane in range(data.sizes["plane"])]
    by_plane.append([])  # in space there are none
    parts: dict[str, list[list[Any]]] = {
        "x": [[p[0] for p in places] for places in by_plane],
        "y": [[p[1] for p in places] for places in by_plane],
        "text": [[f"\u2003×{n}\u2003" for _, _, n in places] for places in by_plane],
        "textposition": [
            [
                f"{'bottom' if y > 0.5 else 'top'} {'left' if x > 0.5 else 'right'}"
                for x, y, _ in places
            ]
            for places in by_plane
        ],
    }
    return number, [Setting(f"{number}.{key}", "plane", parts[key]) for key in parts]


def _crowded(data: xr.Dataset, plane: int) -> list[tuple[float, float, int]]:
    """Return the places in a plane at which several fixed points are seen, and how many."""
    dims = [f"{v}_point" for v in VERDICTS if f"{v}_point" in data]
    if not dims:
        return []
    points = np.concatenate([data[dim].values[plane] for dim in dims])
    places, counts = np.unique((points / (2 * _CLOSE)).round(), axis=0, return_counts=True)
    return [
        (float(x) * 2 * _CLOSE, float(y) * 2 * _CLOSE, int(n))
        for (x, y), n in zip(places, counts, strict=True)
        if n > 1
    ]


def solid(plot: Plot, data: xr.Dataset) -> list[int]:
    """Add what is drawn in the space of three units; return the numbers of its traces."""
    found = []
    for i, label in enumerate(names_of(data)):
        colour = styled(i)["line"]["color"]
        for name, words in _WAYS.items():
            if name not in data:
                continue
            mode = "markers" if name == "map_path" else "lines"
            line = {"color": colour, "width": 4}
            style = {"mode": mode, "line": line, "showlegend": False}
            style |= {"marker": {"color": colour, "size": 3}}
            style |= {"meta": {"class": i, "key": words}}
            axes = {key: Take(name, {"class": i, "shown": k}) for k, key in enumerate("xyz")}
            found.append(plot.add("scatter3d", f"{label}, {words}", style, **axes))
    for verdict, (symbol, colour, _) in VERDICTS.items():
        dim = f"{verdict}_point_in_space"
        if dim in data:
            style = {"mode": "markers", "marker": {"symbol": symbol, "color": colour, "size": 5}}
            axes = {key: Take(dim, {"shown": k}) for k, key in enumerate("xyz")}
            found.append(plot.add("scatter3d", verdict, style, **axes))
    return found
