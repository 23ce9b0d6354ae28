"""Figures of E8: ResNet beside MLP under noise."""

from typing import Any

import numpy as np
import xarray as xr

from residua.report.palette import colour, plotted
from residua.report.shown import Choice, Plot, Section, Shown, Take, laid_out

_NETS = {"resnet": "ResNet", "mlp": "MLP"}


def comparison_section(cells: list[dict[str, Any]]) -> Section:
    """Return E8's figures over all cells.

    Args:
        cells: what the study's comparison gives: paired differences and means over seeds.
    """
    data = _arrays(cells)
    figures = [_differences(cells), _by_strength(cells), _by_state(cells)]
    return Section({"ResNet beside MLP": figures}, data)


def _arrays(cells: list[dict[str, Any]]) -> xr.Dataset:
    kinds = list(cells[0]["kinds"])
    gaps = [[c["kinds"][k]["difference"] for k in kinds] for c in cells]
    mean = np.array([[g[0] for g in row] for row in gaps], dtype=float)
    half = np.array([[(g[2] or g[0]) - g[0] for g in row] for row in gaps], dtype=float)
    place = np.arange(len(cells))[:, None] + (np.arange(len(kinds)) - 2.5) / 8
    first = cells[0]["kinds"][kinds[0]]["strengths"]
    arrays: dict[str, Any] = {
        "difference": (("cell", "kind"), mean),
        "half_interval": (("cell", "kind"), half),
        "place": (("cell", "kind"), place),
        "strengths": (
            ("kind", "level"),
            np.array([cells[0]["kinds"][k]["strengths"] for k in kinds], dtype=float),
        ),
    }
    for net in _NETS:
        values = [[c["kinds"][k][net] for k in kinds] for c in cells]
        arrays[f"{net}_accuracy"] = (("cell", "kind", "level"), np.array(values, dtype=float))
    deepest = max(c["depth"] for c in cells)
    for i, net in enumerate(_NETS):
        seen = np.full((len(cells), deepest + 1), np.nan)
        for k, c in enumerate(cells):
            values = c["signal_to_noise_by_state"][i]
            seen[k, : len(values)] = values
        arrays[f"{net}_signal_to_noise"] = (("cell", "state"), seen)
    names = [c["name"] for c in cells]
    coords = {"cell": names, "kind": kinds, "level": range(len(first)), "state": range(deepest + 1)}
    return xr.Dataset(arrays, coords=coords)


def _differences(cells: list[dict[str, Any]]) -> Shown:
    plot = Plot()
    kinds = list(cells[0]["kinds"])
    symbols = ["circle" if c["equal"] else "circle-open" for c in cells]
    for i, kind in enumerate(kinds):
        marker = {"color": colour(i), "size": 9, "symbol": symbols}
        style = {"mode": "markers", "marker": marker, "error_y": {"type": "data", "thickness": 1}}
        at: dict[str, Any] = {"kind": i}
        plot.add(
            "scatter", plotted(kind), style,
            x=Take("place", at), y=Take("difference", at), error_y__array=Take("half_interval", at),
        )  # fmt: skip
    layout = laid_out("", "ResNet − MLP, points", height=480)
    names = [plotted(c["name"]) for c in cells]
    layout["xaxis"] |= {"tickvals": list(range(len(cells))), "ticktext": names}
    zero = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 0, "y1": 0}
    layout["shapes"] = [zero | {"line": {"dash": "dot", "width": 1}}]
    decided = [c["kinds"][k]["verdict"] for c in cells for k in kinds]
    return Shown(
        "differences",
        "ResNet less MLP",
        f"Of {len(decided)} comparisons {decided.count('ResNet')} are for the ResNet, "
        f"{decided.count('MLP')} for the MLP, {decided.count('unequal')} between networks of "
        "unequal clean accuracy.",
        "Accuracy of the ResNet less that of the MLP, mean over the strengths of a kind of noise, "
        "paired by seed, 95 % interval over seeds. Hollow: clean accuracies differ by more than "
        "half a point, so that nothing is decided.",
        plot,
        layout,
    )


def _cells(cells: list[dict[str, Any]]) -> Choice:
    return Choice("cell", "Networks", [c["name"] for c in cells])


def _by_strength(cells: list[dict[str, Any]]) -> Shown:
    plot = Plot()
    for i, (net, name) in enumerate(_NETS.items()):
        style = _style(i)
        at: dict[str, Any] = {"cell": "@cell", "kind": "@kind"}
        x = Take("strengths", {"kind": "@kind"})
        plot.add("scatter", name, style, x=x, y=Take(f"{net}_accuracy", at))
    kinds = list(cells[0]["kinds"])
    of = cells[0]["kinds"][kinds[0]]
    return Shown(
        "by-strength",
        "Accuracy against noise",
        f"{cells[0]['name']}, {kinds[0]} noise of the largest strength: ResNet "
        f"{of['resnet'][-1]:.1f} %, MLP {of['mlp'][-1]:.1f} %.",
        "Accuracy under noise, mean over seeds.",
        plot,
        laid_out("strength", "accuracy (%)"),
        (_cells(cells), Choice("kind", "Kind of noise", kinds)),
    )


def _by_state(cells: list[dict[str, Any]]) -> Shown:
    plot = Plot()
    for i, (net, name) in enumerate(_NETS.items()):
        y = Take(f"{net}_signal_to_noise", {"cell": "@cell"})
        plot.add("scatter", name, _style(i), x=Take("state"), y=y)
    kept = cells[0]["signal_to_noise"]
    return Shown(
        "by-state",
        "Signal to noise over depth",
        f"{cells[0]['name']}: from the input to the last state the ResNet keeps {kept[0]:.3g} of "
        f"it, the MLP {kept[1]:.3g}.",
        "Under Gaussian noise: trace of the covariance between classes over that of the noise, "
        "geometric mean over seeds.",
        plot,
        laid_out("state t", "signal to noise", log=True),
        (_cells(cells),),
    )


def _style(i: int) -> dict[str, Any]:
    line = {"color": colour(i), "dash": ("solid", "dash")[i], "width": 2}
    return {"mode": "lines+markers", "line": line, "marker": {"color": colour(i), "size": 6}}
