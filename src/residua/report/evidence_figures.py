"""Figures of the evidence page: what layers do, over seeds."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from residua.report.palette import colour, plotted
from residua.report.shown import Plot, Section, Shown, Take, laid_out

_FIGURES = {
    "spread": (
        "Spread of the residuals",
        "layer t",
        "standard deviation of y_t over samples",
        "Standard deviation over test samples of y_t, mean over units; the paper: zero after the "
        "4th layer with variable weights.",
        1,
    ),
    "weights": (
        "How far the weights of neighbouring layers are apart",
        "layer t",
        "‖W_t − W_{t−1}‖ / ‖W_t‖",
        "Frobenius norms; √2 for unrelated matrices, 0 for one matrix; the paper: the last "
        "layers' weights come to be one matrix.",
        2,
    ),
    "fisher": (
        "Do the classes part?",
        "state t",
        "Fisher ratio of x_t",
        "Trace of the covariance between class means over that within classes.",
        0,
    ),
}


def layers_section(lines: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]) -> Section:
    """Return a figure for each measure: one line for each network, mean over seeds.

    Args:
        lines: by measure ("spread", "weights", "fisher") and network, values by layer of every seed.
    """
    arrays: dict[str, tuple[tuple[str, str], np.ndarray]] = {}
    figures = [_figure(name, of, arrays) for name, of in lines.items()]
    return Section({"By layer, mean over seeds": figures}, xr.Dataset(arrays))


def _figure(
    name: str,
    of: Mapping[str, Sequence[Sequence[float]]],
    arrays: dict[str, tuple[tuple[str, str], np.ndarray]],
) -> Shown:
    title, x, y, definition, first = _FIGURES[name]
    networks = list(of)
    length = max(len(v[0]) for v in of.values())
    means = np.full((len(networks), length), np.nan)
    for k, network in enumerate(networks):
        mean = np.mean(of[network], 0)
        means[k, : len(mean)] = mean
    at = np.broadcast_to(np.arange(first, first + length, dtype=float), means.shape)
    dims = (f"{name}_network", f"{name}_layer")
    arrays[name], arrays[f"{name}_at"] = (dims, means), (dims, at)
    plot = Plot()
    for k, network in enumerate(networks):
        style = {"mode": "lines+markers", "line": {"color": colour(k)}}
        index = {dims[0]: k}
        plot.add(
            "scatter", plotted(network), style, x=Take(f"{name}_at", index), y=Take(name, index)
        )
    ends = "; ".join(
        f"{n}: {np.mean([v[0] for v in of[n]]):.3g} → {np.mean([v[-1] for v in of[n]]):.3g}"
        for n in networks
    )
    return Shown(
        name, title, f"From the first to the last: {ends}.", definition, plot, laid_out(x, y)
    )
