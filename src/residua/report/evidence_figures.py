"""Figures of the evidence page: a line for each network over layers, or a dot for each seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from residua.report.palette import colour, plotted
from residua.report.shown import Plot, Section, Shown, Take, laid_out, number
from residua.report.tables import Table


@dataclass(frozen=True)
class Lines:
    """Values by layer of several networks.

    Attributes:
        name: for files.
        title, x, y, definition: words; x and y with their units.
        values: by network.
        first: the layer of the first value.
    """

    name: str
    title: str
    x: str
    y: str
    definition: str
    values: Mapping[str, Sequence[float]]
    first: int = 1


@dataclass(frozen=True)
class Dots:
    """Values of every seed of several networks.

    Attributes:
        name: for files.
        title, y, definition: words; y with its unit.
        values: by network, one a seed.
    """

    name: str
    title: str
    y: str
    definition: str
    values: Mapping[str, Sequence[float]]


def evidence_section(
    figures: Sequence[Lines | Dots], said: Sequence[str], tables: Sequence[Table]
) -> Section:
    """Return a part of the page: paragraphs, tables, figures."""
    arrays: dict[str, Any] = {}
    shown = [_lines(f, arrays) if isinstance(f, Lines) else _dots(f, arrays) for f in figures]
    return Section({"Figures": shown} if shown else {}, xr.Dataset(arrays), said, tables)


def _lines(f: Lines, arrays: dict[str, Any]) -> Shown:
    plot = Plot()
    for k, (network, values) in enumerate(f.values.items()):
        style = {"mode": "lines+markers", "line": {"color": colour(k)}}
        at = np.arange(f.first, f.first + len(values), dtype=float)
        _add(plot, arrays, (f"{f.name}_{k}", network, style), (at, np.array(values, dtype=float)))
    ends = "; ".join(f"{n}: {number(v[0])} → {number(v[-1])}" for n, v in f.values.items())
    caption = f"From the first to the last: {ends}."
    return Shown(f.name, f.title, caption, f.definition, plot, laid_out(f.x, f.y))


def _dots(f: Dots, arrays: dict[str, Any]) -> Shown:
    plot = Plot()
    for k, (network, values) in enumerate(f.values.items()):
        style = {"mode": "markers", "marker": {"color": colour(k), "size": 9, "opacity": 0.7}}
        spread = np.linspace(-0.25, 0.25, len(values)) if len(values) > 1 else np.zeros(1)
        _add(
            plot, arrays, (f"{f.name}_{k}", network, style), (k + spread, np.array(values, dtype=float))
        )  # fmt: skip
    layout = laid_out("", f.y)
    layout["xaxis"] |= {
        "tickvals": list(range(len(f.values))),
        "ticktext": [plotted(n) for n in f.values],
    }
    spans = "; ".join(f"{n}: {number(min(v))} to {number(max(v))}" for n, v in f.values.items())
    return Shown(f.name, f.title, f"A dot a seed. {spans}.", f.definition, plot, layout)


def _add(
    plot: Plot,
    arrays: dict[str, Any],
    of: tuple[str, str, dict[str, Any]],
    values: tuple[np.ndarray, np.ndarray],
) -> None:
    name, network, style = of
    dim = f"{name}_point"
    arrays[f"{name}_at"], arrays[name] = (dim, values[0]), (dim, values[1])
    plot.add("scatter", plotted(network), style, x=Take(f"{name}_at"), y=Take(name))
