"""What each experiment came to in one sentence with figures, beside the paper's."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from residua.choices import Experiment

Results = Sequence[Mapping[str, Any]]


def experiment_headline(name: Experiment, found: Mapping[str, Any]) -> str:
    """Return the sentence of an experiment's page, over all its seeds or runs."""
    return _MAKERS[name](found, list(found["results"].values()))


def _e1(found: Mapping[str, Any], each: Results) -> str:
    right = np.mean([s["accuracy"] for s in each])
    one = sum(bool(s["one_point"]) for s in each)
    ode = max(s["ode_error"] for s in each)
    exact = max(s["map_error"] for s in each)
    return (
        f"{right:.2f} % of the test points are right, mean of {_seeds(each)} (paper: 100 %). All "
        f"residuals end in one point in {one} of {len(each)} (paper: in one, stable). Class "
        f"means by eq. 3 lie within {ode:.2g} of the network's, by the exact map within {exact:.0e}."
    )


def _e3(found: Mapping[str, Any], each: Results) -> str:
    rest = sum(s["settled"] is not None for s in each)
    within = np.mean([s["spread_within"] for s in each])
    share = np.mean([s["at_zero"] for s in each])
    return (
        f"Run on for {each[0]['layers']} layers {rest} of {len(each)} networks settle; {share:.1%} of "
        f"the residuals are at 0 (paper: most), and their spread within a class is {within:.4f} (paper: "
        "almost none)."
    )


def _e5(found: Mapping[str, Any], each: Results) -> str:
    hits = sum(sum(s["own_largest"]) for s in each)
    classes = sum(len(s["own_largest"]) for s in each)
    halves = sorted({int(s["median_layer"]) for s in each})
    span = f"state {halves[0]}" if len(halves) == 1 else f"states {halves[0]} to {halves[-1]}"
    return (
        f"The unit with the largest weight to a class has its largest mean in it for {hits} of "
        f"{classes} classes (paper: 9 of 10); half of the decisions are final at {span}."
    )


def _e6(found: Mapping[str, Any], each: Results) -> str:
    first = np.mean([s["distance"][1] for s in each])
    last = np.mean([s["distance"][-1] for s in each])
    ratio = np.mean([s["fisher"][-1] / s["fisher"][1] for s in each])
    closer, pairs = (sum(s[key] for s in each) for key in ("pairs_closer", "pairs"))
    return (
        f"From x_1 to the last state the distance of class means goes from {first:.3g} to {last:.3g} "
        f"(paper: it grows), that of {closer} of {pairs} pairs shrinks, and the Fisher ratio is "
        f"multiplied by {ratio:.3g}."
    )


def _e8(found: Mapping[str, Any], each: Results) -> str:
    cells = [c for c in found["compared"] if c["equal"]]
    decided = [kind["verdict"] for c in cells for kind in c["kinds"].values()]
    counts = {net: decided.count(net) for net in ("ResNet", "MLP")}
    return (
        f"In {len(cells)} of {len(found['compared'])} pairs of networks both are as accurate on clean "
        f"inputs; of their {len(decided)} comparisons under noise the ResNet is the more robust in "
        f"{counts['ResNet']}, the MLP in {counts['MLP']} (95 % interval over {_seeds(each)}; paper: the "
        "ResNet)."
    )


def _seeds(each: Results) -> str:
    return f"{len(each)} seed" + "s" * (len(each) > 1)


_MAKERS: dict[str, Callable[[Mapping[str, Any], Results], str]] = {
    "E1": _e1,
    "E3": _e3,
    "E5": _e5,
    "E6": _e6,
    "E8": _e8,
}
