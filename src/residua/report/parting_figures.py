"""Figures of how far apart the classes are at every layer."""

import xarray as xr

from residua.report.palette import styled
from residua.report.shown import (
    Group,
    Plot,
    Shown,
    Take,
    either,
    laid_out,
    largest,
    number,
    percent,
)
from residua.report.thinned import names_of


def parting_figures(data: xr.Dataset, whole: xr.Dataset) -> Group:
    """Return Fisher ratios, distances of class means, spreads within classes, and probes."""
    found = [
        either(
            "Between the classes and within them",
            data,
            ("fisher", "residual_fisher"),
            _fisher,
            whole,
        ),
        either("Distance of class means", data, ("pair_distance",), _distances, whole),
        either("Spread within the classes", data, ("state_std_over_units",), _within, whole),
    ]
    return [*found, _probes(data, whole)] if "probe_accuracy" in data else found


def _fisher(data: xr.Dataset, whole: xr.Dataset) -> Shown:
    plot = Plot()
    for i, (name, array, steps) in enumerate(
        (("states x_t", "fisher", "state"), ("residuals y_t", "residual_fisher", "layer"))
    ):
        style = styled(i) | {"mode": "lines+markers"}
        plot.add("scatter", name, style, x=Take(steps), y=Take(array))
    fisher = whole.fisher
    best = int(whole["state"][largest(fisher)])
    return Shown(
        "fisher",
        "Between the classes and within them",
        f"Of the states the ratio is largest, {number(float(fisher.max()))}, at state {best}; "
        f"it is {number(float(fisher[0]))} on the input and {number(float(fisher[-1]))} "
        "at the end.",
        "Fisher ratio: trace of the covariance between classes over that within classes.",
        plot,
        laid_out("state or layer t", "Fisher ratio", log=True),
    )


def _distances(data: xr.Dataset, whole: xr.Dataset) -> Shown:
    plot = Plot()
    two = whole.sizes["class"] == 2  # of one pair all three are the same
    gaps = ["distance of the two means"] if two else data["gap"].values.tolist()
    for i, name in enumerate(gaps):
        style = styled(i) | {"mode": "lines+markers"}
        y = Take("pair_distance", {"gap": i})
        plot.add("scatter", name, style, x=Take("state"), y=y)
    first, last = data.pair_distance.values[0], data.pair_distance.values[-1]
    caption = (
        f"From the input to the last state the distance of the {'two' if two else 'closest'} class "
        f"means goes from {number(first[0])} to {number(last[0])}"
    )
    if not two:
        caption += f", the mean over all pairs from {number(first[1])} to {number(last[1])}"
    pairs = "" if two else ": the closest pair, the mean of all pairs, the farthest pair"
    return Shown(
        "class-distance",
        "Distance of class means",
        f"{caption}.",
        f"Euclidean distance between the means of the states x_t of two classes{pairs}.",
        plot,
        laid_out("state t", "distance"),
    )


def _within(data: xr.Dataset, whole: xr.Dataset) -> Shown:
    plot = Plot()
    name = "state_std_over_units"
    for i, label in enumerate(names_of(data)):
        style = styled(i) | {"mode": "lines+markers", "meta": {"class": i}}
        plot.add("scatter", label, style, x=Take("state"), y=Take(name, {"class": i}))
    mean = whole[name].mean("class")
    return Shown(
        "within-class",
        "Spread within the classes",
        f"Mean over classes: {number(float(mean[0]))} on the input, {number(float(mean[-1]))} at "
        "the end.",
        "Standard deviation of x_t over the samples of a class, mean over units.",
        plot,
        laid_out("state t", "spread within the class"),
        by_class=True,
    )


def _probes(data: xr.Dataset, whole: xr.Dataset) -> Shown:
    plot = Plot()
    for i, (name, array, steps) in enumerate(
        (
            ("probe of states x_t", "probe_accuracy", "state"),
            ("probe of residuals y_t", "residual_probe_accuracy", "layer"),
            ("the network's head on x_t", "head_accuracy", "state"),
        )
    ):
        if array in data:
            style = {"mode": "lines+markers"} | styled(i)
            plot.add("scatter", name, style, x=Take(steps), y=Take(array))
    layout = laid_out("state or layer t", "accuracy")
    layout["yaxis"] |= {"tickformat": ".0%"}
    probe = whole.probe_accuracy
    best = int(whole["state"][largest(probe)])
    return Shown(
        "probes",
        "What a linear probe reads",
        f"A probe of the input is right in {percent(float(probe[0]))}; the best, of state {best}, in "
        f"{percent(float(probe.max()))}.",
        "Accuracy of a linear probe of the labels, fitted in closed form on training data, its "
        "ridge chosen on validation data; and of the network's own head.",
        plot,
        layout,
    )
