"""Plotly figures of transients: what decides the class, when classes part, how perturbations travel."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from residua.report.figures import COLOURS, DASHES, MARKS, layout

Drawn = list[tuple[go.Figure, str]]


def streamed_figures(found: xr.Dataset) -> Drawn:
    """Return the figures of what one pass over a data set gives; none of runs made before there were."""
    return deciding_figures(found) + parting_figures(found) if "fisher" in found else []


def deciding_figures(found: xr.Dataset) -> Drawn:
    """Return E5's figures: what decides the class, and the most sensitive units."""
    names = [str(c) for c in found["class"].values]
    state, layer = found["state"].values, found["layer"].values
    by_class = {n: found.own_contribution.values[:, c] for c, n in enumerate(names)}
    margins = {n: found.margin.values[:, c] for c, n in enumerate(names)}
    decided = found.decided.values.cumsum(0) / np.maximum(found.decided.values.sum(0), 1)
    drawn = [
        (
            lines(layer, by_class, "layer t", "added to the class's logit"),
            "What each layer adds on average to the logit of the true class, less its mean for the "
            f"other classes: K y_t, {found.attrs['attribution']}.",
        ),
        (
            lines(state, margins, "state t", "margin"),
            "Logit of the true class less the best other, from the network's own head on x_t; mean over "
            "the samples of each class. State 0 is the input.",
        ),
        (
            lines(
                state, {n: decided[:, c] for c, n in enumerate(names)}, "state t", "share decided"
            ),
            "Share of the samples of each class whose decision does not change any more after x_t.",
        ),
        (_windows(found), _windows_caption("window_accuracy_mean" in found)),
    ]
    if "sensitive_unit" in found:
        units = ", ".join(
            f"{n}: {u}" for n, u in zip(names, found.sensitive_unit.values, strict=True)
        )
        drawn += [
            (
                _sensitive(found, "sensitive_residual", "layer"),
                "Most sensitive unit of each class, argmax_i K_ci: mean residual over the samples of "
                f"its own class (line) and of each other class (dots). Units: {units}.",
            ),
            (
                _sensitive(found, "sensitive_state", "state"),
                "The same of the state x_t, the input and the sum of the residuals.",
            ),
        ]
    return drawn


def parting_figures(found: xr.Dataset) -> Drawn:
    """Return E6's figures: how far apart the classes are at every layer."""
    state, layer = found["state"].values, found["layer"].values
    parts = {
        "states x_t": (state, found.fisher.values),
        "residuals y_t": (layer, found.residual_fisher.values),
    }
    spread = found.state_std.mean("unit")
    within = {str(n): spread.isel({"class": c}).values for c, n in enumerate(found["class"].values)}
    gaps = _gaps(found.class_distance.values)
    return [
        (
            several(parts, "state or layer t", "Fisher ratio", log=True),
            "Fisher ratio: trace of the covariance between classes over that within classes.",
        ),
        (
            lines(state, gaps, "state t", "distance of class means"),
            "Euclidean distance between the means of two classes: the closest pair, the mean of all "
            "pairs, the farthest.",
        ),
        (
            lines(state, within, "state t", "spread within the class"),
            "Standard deviation of x_t over the samples of a class, mean over units.",
        ),
        (
            _means(found),
            f"Mean of x_1 and of x_{int(state[-1])} of every class less the mean of all classes, for "
            "the units in which the classes of the last state differ most, these first.",
        ),
    ]


def _means(found: xr.Dataset, most: int = 40) -> go.Figure:
    last = int(found["state"][-1])
    mean = found.state_mean - found.state_mean.mean("class")
    apart = mean.sel(state=last).std("class").values
    units = np.argsort(-apart)[:most]
    largest = float(abs(mean.sel(state=last).values[:, units]).max()) or 1.0
    names = [str(c) for c in found["class"].values]
    shown = [1, last] if last > 1 else [last]
    titles = [f"x_{t}" for t in shown]
    figure = make_subplots(len(shown), 1, subplot_titles=titles, vertical_spacing=0.12)
    for row, t in enumerate(shown, 1):
        heat = go.Heatmap(
            z=mean.sel(state=t).values[:, units].round(4),
            x=[f"unit {u}" for u in units],
            y=names,
            zmin=-largest,
            zmax=largest,
            colorscale=[[0, COLOURS[3]], [0.5, "#ffffff"], [1, COLOURS[0]]],
            showscale=row == 1,
        )
        figure.add_trace(heat, row, 1)
    figure.update_xaxes(showticklabels=False)
    figure.update_yaxes(type="category", title="class")
    figure.update_layout(
        template="plotly_white", height=250 * len(shown) + 60, margin={"t": 60, "b": 20}
    )
    return figure


def perturbed_figures(found: xr.Dataset) -> Drawn:
    """Return the figures of probes, perturbations and noise; none where they were not measured."""
    if "gain" not in found:
        return []
    state, layer = found["state"].values, found["layer"].values
    probes = {
        "states x_t": (state, found.probe_accuracy.values),
        "residuals y_t": (layer, found.residual_probe_accuracy.values),
        "the network's head on x_t": (state, found.head_accuracy.values),
    }
    gains = {
        "to x_T, worst direction": found.gain.values,
        "to x_T, all directions": found.gain_rms.values,
        "to the logits, worst": found.logit_gain.values,
    }
    lesion = lines(layer, {}, "layer t taken out", "loss added (nats)")
    lesion.add_bar(
        x=layer,
        y=found.lesion_loss.values,
        error_y={"array": 1.96 * found.lesion_loss_error.values},
        marker={"color": COLOURS[0]},
        name="loss added",
    )
    samples = int(found.attrs["perturbed_samples"])
    noisy = {
        f"σ = {s:g}": found.signal_to_noise.sel(noise="gaussian").values[k]
        for k, s in enumerate(found.noise_strength.sel(noise="gaussian").values)
    }
    return [
        (
            several(probes, "state or layer t", "accuracy"),
            "Accuracy of a linear probe of the labels, fitted in closed form on training data, its "
            "ridge chosen on validation data; and of the network's own head.",
        ),
        (
            lines(state, gains, "state t that is perturbed", "gain", log=True),
            "What a small perturbation of x_t becomes, per unit of its length: exact products of the "
            "layers' Jacobians, worst direction by singular value decomposition, all directions by root "
            f"mean square; median over {int(found.attrs['jacobian_samples'])} samples.",
        ),
        (
            lesion,
            "Cross-entropy with the residual of one layer taken out, less that of the network as it is; "
            f"95 % interval, paired over {samples} samples.",
        ),
        (
            lines(state, noisy, "state t", "signal to noise", log=True),
            "Trace of the covariance between classes over that of the noise, Gaussian noise of standard "
            "deviation σ on every input dimension.",
        ),
        (
            accuracies(found),
            f"Accuracy under noise, 95 % interval over {samples} samples. Strength: standard deviation "
            "(gaussian, uniform; layers: after every layer), largest change (gradient-sign), or share "
            "of the input (salt-and-pepper, occlusion).",
        ),
    ]


def accuracies(found: xr.Dataset) -> go.Figure:
    """Draw accuracy against the strength of each kind of noise."""
    figure = go.Figure()
    for i, kind in enumerate(found["noise"].values):
        one = found.sel(noise=kind)
        figure.add_scatter(
            x=one.noise_strength.values,
            y=one.noise_accuracy.values,
            error_y={"array": 1.96 * one.noise_accuracy_error.values},
            name=str(kind),
            mode="lines+markers",
            line={"color": COLOURS[i % 8], "dash": DASHES[i // 3 % 3]},
        )
    layout(figure, "strength", "accuracy")
    figure.update_xaxes(type="log", tickvals=[0.05, 0.1, 0.2, 0.4, 0.5, 1])
    return figure


def lines(
    x: np.ndarray, series: Mapping[str, np.ndarray], across: str, up: str, *, log: bool = False
) -> go.Figure:
    """Draw series over one axis."""
    return several({name: (x, y) for name, y in series.items()}, across, up, log=log)


def several(
    series: Mapping[str, tuple[np.ndarray, np.ndarray]], across: str, up: str, *, log: bool = False
) -> go.Figure:
    """Draw series, each over an axis of its own."""
    figure = go.Figure()
    for i, (name, (x, y)) in enumerate(series.items()):
        figure.add_scatter(
            x=x,
            y=np.where(y > 0, y, np.nan) if log else y,
            name=name,
            mode="lines+markers",
            line={"color": COLOURS[i % 8], "dash": DASHES[i // 8 % 3]},
            marker={"symbol": MARKS[i // 8 % 3]},
        )
    return layout(figure, across, up, log=log)


def _gaps(distance: np.ndarray) -> dict[str, np.ndarray]:
    upper = np.triu_indices(distance.shape[1], 1)
    pairs = distance[:, upper[0], upper[1]]
    return {
        "closest pair": np.nanmin(pairs, 1),
        "mean": np.nanmean(pairs, 1),
        "farthest pair": np.nanmax(pairs, 1),
    }


def _windows(found: xr.Dataset) -> go.Figure:
    names = [n for n in ("window_accuracy", "window_accuracy_mean") if n in found]
    titles = ["other parts at 0", "other parts at their mean"][: len(names)]
    figure = make_subplots(1, len(names), subplot_titles=titles, horizontal_spacing=0.12)
    words = ["nothing" if b < 0 else "input" if b == 0 else str(b) for b in found["to"].values]
    for k, name in enumerate(names, 1):
        heat = go.Heatmap(
            z=found[name].values[:-1, 1:].round(4),
            x=words[1:],
            y=words[:-1],
            zmin=0,
            zmax=1,
            colorscale="Cividis",
            colorbar={"title": "accuracy"},
            showscale=k == len(names),
        )
        figure.add_trace(heat, 1, k)
    figure.update_xaxes(title="to state", type="category")
    figure.update_yaxes(title="from state", type="category")
    figure.update_layout(template="plotly_white", height=440, margin={"t": 70, "b": 50})
    return figure


def _windows_caption(mean: bool) -> str:
    filled = (
        " Right: with the other parts at their mean over training samples, so that a constant that they "
        "add is kept."
        if mean
        else ""
    )
    return (
        "Accuracy of the network's head from some layers alone: K(x_b − x_a) + c, from a to b. Lowest "
        "row: all up to b, its first cell the input alone; the cell at the top right: the last residual "
        "alone."
        f"{filled}"
    )


def _sensitive(found: xr.Dataset, name: str, axis: str) -> go.Figure:
    classes = [str(c) for c in found["class"].values]
    columns = min(5, len(classes))
    rows = -(-len(classes) // columns)
    figure = make_subplots(
        rows, columns, shared_xaxes=True, subplot_titles=[f"unit of {c}" for c in classes]
    )
    x = found[axis].values
    for c, values in enumerate(found[name].values.transpose(1, 2, 0)):
        where = {"row": c // columns + 1, "col": c % columns + 1}
        others = np.delete(values, c, axis=0)
        figure.add_scatter(
            x=np.tile([*x, np.nan], len(others)),
            y=np.concatenate([[*row, np.nan] for row in others]).round(5),
            mode="lines",
            line={"color": "#999", "dash": "dot", "width": 1},
            name="each other class",
            showlegend=c == 0,
            **where,
        )
        figure.add_scatter(
            x=x,
            y=values[c].round(5),
            mode="lines",
            line={"color": COLOURS[0], "width": 3},
            name="own class",
            showlegend=c == 0,
            **where,
        )
    figure.update_layout(
        template="plotly_white", height=200 * rows + 90, margin={"t": 70, "b": 40, "l": 40, "r": 20}
    )
    figure.update_xaxes(title={"text": f"{axis} t"}, row=rows)
    return figure
