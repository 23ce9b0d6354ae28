"""E1, E3 and E5 as tables over seeds: what tables of each seed do not show, or at great length."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from residua.report.shown import counted
from residua.report.tables import Table
from residua.studies.tables import Seeds, by_seed, figure


def e1_over_seeds(found: Mapping[str, Seeds]) -> list[Table]:
    """Return how far eq. 3 is from the exact map, by the size of W and of steps."""
    gaps: dict[tuple[float, float], list[float]] = {}
    for s in by_seed(found["circles"]):
        for d in s["departure"]:
            gaps.setdefault((d["gain"], d["step_size"]), []).append(d["departure"])
    gains = sorted({gain for gain, _ in gaps})
    steps = sorted({step for _, step in gaps}, reverse=True)
    rows = [[f"{gain:g} W", *(f"{np.median(gaps[gain, h]):.3f}" for h in steps)] for gain in gains]
    note = (
        "abs(y_map − y_ODE) at equal times from the same y_1 on, mean over samples and units, "
        "the largest over the time of 15 layers; median over seeds. W is multiplied in the map "
        "and in eq. 3 alone, h is the size of a layer's step; the network is 1 W at h = 1. The "
        "map depends on their product, so that cells of a diagonal differ in how far they run "
        "only."
    )
    return [
        Table("where eq. 3 departs from the map", ["", *(f"h = {h:g}" for h in steps)], rows, note)
    ]


def e3_over_seeds(found: Mapping[str, Seeds]) -> list[Table]:
    """Return of which kind the fixed points are near which classes are after 1000 layers."""
    rows = []
    for network, seeds in found.items():
        classes = [c for s in by_seed(seeds) for c in s["classes"]]
        slowest = [c["at_slowest_sample"] for c in classes if c["at_slowest_sample"] is not None]
        saddles = [p["unstable_dimension"] for p in slowest if p["verdict"] == "saddle"]
        span = f", unstable in {min(saddles)} to {max(saddles)} dimensions" if saddles else ""
        rows.append(
            [
                network,
                f"{sum(c['at_mean'] is not None for c in classes)} of {len(classes)}",
                f"{len(slowest)} of {len(classes)}",
                f"{len(saddles)}{span}",
                str(sum(p["verdict"] == "stable" for p in slowest)),
                str(len(seeds)),
            ]
        )
    header = ["", "near the class's mean", "near its slowest sample", "saddles", "stable", "seeds"]
    note = (
        "Classes of all seeds for which Newton's steps find a fixed point within 0.01, in every "
        "unit, of their mean residual, and of the slowest of 20 samples. Every corner of {0, "
        "1}^N is a fixed point, so that a sample whose units are all saturated is near one: what "
        "tells is whether that is a saddle, which samples leave slowly, or stable."
    )
    title = "of which kind is the fixed point near which a class is after 1000 layers?"
    return [Table(title, header, rows, note)]


def e5_tables(found: Mapping[str, Seeds]) -> list[Table]:
    """Return E5 and C7: most sensitive units, and accuracies from parts of the sum, over seeds."""
    each = {network: by_seed(seeds) for network, seeds in found.items()}
    return [_units(each), _windows(each), _parts(each)]


def _units(each: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    rows = [["paper, MNIST", "9 of 10", "", "", ""]]
    for network, seeds in each.items():
        own = [sum(s["own_largest"]) for s in seeds]
        rows.append(
            [
                network,
                f"{_span(own)} of {len(seeds[0]['own_largest'])}",
                f"{sum(bool(s['settled']) for s in seeds)} of {len(seeds)}",
                # With two classes half of the decisions are final where all samples still get one.
                _span([s["median_layer"] for s in seeds])
                if len(seeds[0]["own_largest"]) > 2
                else "–",
                str(len(seeds)),
            ]
        )
    note = (
        "largest in own class: classes whose most sensitive unit, argmax_i K_ci, has its largest "
        "mean x_T in them, by chance one in all; half decided at: the state from which on half "
        "of the decisions are final. Ranges over seeds, on up to 10,000 test samples."
    )
    header = ["", "largest in own class", "settled", "half decided at", "seeds"]
    return Table("most sensitive units", header, rows, note)


def _windows(each: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    names = next(iter(each.values()))[0]["windows"]
    rows = [
        [name, *(_both([s["windows"][name] for s in of]) for of in each.values())] for name in names
    ]
    note = (
        "In %, mean over seeds: with the other parts at 0 / at their mean over training samples. "
        "Thirds are of five layers; the whole is input and all residuals."
    )
    header = ["part", *(f"{network}, {counted(len(of), 'seed')}" for network, of in each.items())]
    return Table("accuracy from parts of the sum x_15 alone", header, rows, note)


def _parts(each: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    rows = []
    for network, seeds in each.items():
        settled = [s["parts"] for s in seeds if s["parts"]]
        rows.append([network, *_settled_parts(settled), f"{len(settled)} of {len(seeds)}"])
    header = ["", "input", "transient", "steady", "transient − steady", "ahead: transient, steady"]
    header += ["seeds that settle"]
    note = (
        "Transient Σ(y_t − y_∞), steady T y_∞, of networks that settle within 1000 layers; in %, "
        "with the other parts at 0 / at their mean, the difference at their mean, in points. "
        "Where all samples rest at one point their steady parts are the same and cannot decide."
    )
    return Table("C7: transient and steady part", header, rows, note)


def _settled_parts(parts: Sequence[Mapping[str, Sequence[float]]]) -> list[str]:
    if not parts:
        return ["–"] * 5
    gap = [p["transient"][1] - p["steady"][1] for p in parts]
    cells = [_both([p[k] for p in parts]) for k in ("input", "transient", "steady")]
    return [*cells, figure(gap), f"{sum(g > 0 for g in gap)}, {sum(g < 0 for g in gap)}"]


def _both(pairs: Sequence[Sequence[float]]) -> str:
    zero, mean = np.mean(pairs, axis=0)
    return f"{zero:.1f} / {mean:.1f}"


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
