"""Plotly figures of E8: ResNet beside MLP under noise."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from residua.report.dynamics_figures import Drawn
from residua.report.figures import COLOURS, MARKS, layout

_KEYS = ("resnet", "mlp")


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
            "Accuracy under Gaussian noise on the input, mean over seeds.",
        ),
        (
            _by_state(cells),
            "Signal to noise of the states over depth under Gaussian noise: trace of the covariance "
            "between classes over that of the noise, geometric mean over seeds.",
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
            error_y={"array": [(f[2] or f[0]) - f[0] for f in found], "thickness": 1},
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
    curves = [
        (c["name"], c["kinds"]["gaussian"]["strengths"], [c["kinds"]["gaussian"][k] for k in _KEYS])
        for c in cells
    ]
    return _multiples(curves, "σ", "accuracy (%)")


def _by_state(cells: list[dict[str, Any]]) -> go.Figure:
    curves = [
        (c["name"], [float(t) for t in range(c["depth"] + 1)], c["signal_to_noise_by_state"])
        for c in cells
    ]
    return _multiples(curves, "state t", "signal to noise", log=True)


def _multiples(
    cells: Sequence[tuple[str, Sequence[float], Sequence[Sequence[float]]]],
    across: str,
    up: str,
    *,
    log: bool = False,
) -> go.Figure:
    """Draw a small picture for each cell, ResNet beside MLP, all with one vertical axis."""
    columns = min(4, len(cells))
    rows = -(-len(cells) // columns)
    figure = make_subplots(
        rows, columns, shared_yaxes="all", subplot_titles=[name for name, _, _ in cells]
    )
    for k, (_, x, both) in enumerate(cells):
        for i, (y, net) in enumerate(zip(both, ("ResNet", "MLP"), strict=True)):
            figure.add_scatter(
                x=x,
                y=y,
                name=net,
                mode="lines+markers",
                line={"color": COLOURS[i], "dash": ("solid", "dash")[i]},
                showlegend=k == 0,
                row=k // columns + 1,
                col=k % columns + 1,
            )
    figure.update_layout(
        template="plotly_white", height=210 * rows + 100, margin={"t": 70, "b": 50, "r": 20}
    )
    figure.update_xaxes(title=across, row=rows)
    figure.update_yaxes(title=up, col=1, type="log" if log else "linear")
    figure.update_yaxes(type="log" if log else "linear")
    return figure
