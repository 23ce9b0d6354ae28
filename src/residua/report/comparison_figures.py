"""Plotly figures of E8: ResNet beside MLP under noise."""

from typing import Any

import plotly.graph_objects as go

from residua.report.dynamics_figures import Drawn
from residua.report.figures import COLOURS, MARKS, layout

_NETS = (("ResNet", "solid", "resnet"), ("MLP", "dash", "mlp"))


def comparison_figures(cells: list[dict[str, Any]]) -> Drawn:
    """Return E8's figures over all cells.

    Args:
        cells: what the study's comparison gives: paired differences and means over seeds.
    """
    return [
        (
            _differences(cells),
            "Accuracy of the ResNet less that of the MLP, mean over the strengths of a kind of noise, "
            "paired by seed, 95 % interval over seeds. Hollow: clean accuracies differ by more than "
            "half a point, so that nothing is decided.",
        ),
        (
            _by_strength(cells),
            "Accuracy under Gaussian noise on the input, mean over seeds. Line: ResNet; dashes: MLP.",
        ),
        (
            _by_state(cells),
            "Signal to noise of the states over depth under Gaussian noise: trace of the covariance "
            "between classes over that of the noise, geometric mean over seeds. Line: ResNet; "
            "dashes: MLP.",
        ),
    ]


def _differences(cells: list[dict[str, Any]]) -> go.Figure:
    figure = go.Figure()
    names = [c["name"] for c in cells]
    for i, kind in enumerate(cells[0]["kinds"]):
        found = [c["kinds"][kind]["difference"] for c in cells]
        hollow = [c["equal"] for c in cells]
        figure.add_scatter(
            x=[k + (i - 2.5) / 8 for k in range(len(names))],
            y=[f[0] for f in found],
            error_y={"array": [f[2] - f[0] for f in found], "thickness": 1},
            mode="markers",
            name=kind,
            marker={
                "color": COLOURS[i],
                "size": 9,
                "symbol": [MARKS[0] if solid else f"{MARKS[0]}-open" for solid in hollow],
            },
        )
    layout(figure, "", "ResNet − MLP, points")
    figure.add_hline(y=0, line={"color": "#888", "dash": "dot"})
    figure.update_xaxes(tickvals=list(range(len(names))), ticktext=names, dtick=None)
    figure.update_layout(height=480)
    return figure


def _by_strength(cells: list[dict[str, Any]]) -> go.Figure:
    figure = go.Figure()
    for i, cell in enumerate(cells):
        found = cell["kinds"]["gaussian"]
        for net, dash, key in _NETS:
            figure.add_scatter(
                x=found["strengths"],
                y=found[key],
                name=f"{cell['name']}, {net}",
                mode="lines+markers",
                line={"color": COLOURS[i % 8], "dash": dash},
                marker={"symbol": MARKS[i // 8 % 3]},
            )
    layout(figure, "standard deviation of the noise", "accuracy (%)")
    figure.update_layout(height=560)
    return figure


def _by_state(cells: list[dict[str, Any]]) -> go.Figure:
    figure = go.Figure()
    for i, cell in enumerate(cells):
        for values, (net, dash, _) in zip(cell["signal_to_noise_by_state"], _NETS, strict=True):
            figure.add_scatter(
                x=list(range(len(values))),
                y=values,
                name=f"{cell['name']}, {net}",
                mode="lines+markers",
                line={"color": COLOURS[i % 8], "dash": dash},
                marker={"symbol": MARKS[i // 8 % 3]},
            )
    layout(figure, "state t", "signal to noise", log=True)
    figure.update_layout(height=560)
    return figure
