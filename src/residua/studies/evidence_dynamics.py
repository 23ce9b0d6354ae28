"""The sections of docs/studies.md on residual dynamics: E1, E3 with C5, costs, the search."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from residua.studies.tables import Seeds, asked_and_found, made, shown, table

_E1 = """## E1: the circles' residuals, network, exact map and eq. 3

The networks of the circles section, in float64, over their 1,000 test points. Ends: the fixed points at
which test points are (to 0.01 in every unit) after 1000 layers, with the share of each class there; the
others are at none yet. A saddle is passed on the way to another point, not a place of rest. Errors:
largest difference over 15 layers, units and classes of the class mean to the network's; of its running
sum. The paper's one network: both classes at the same stable point (0, 0, 1), eq. 3 reproduces means and
sums.
"""
_E3 = """## E3, C5, C13: MNIST networks run for 1000 layers

Networks trained as the uncut shared ones of the MNIST section (trained anew on another machine they
differ by rounding, so by a few test images), over 1,000 test images, 100 a class; nothing is decided
on them.
Settled: from where the residuals move by less than 1 % between measured layers a fifth apart. Spread:
standard deviation over samples, mean over units. Ends: different patterns of units above ½ among 200
images, and how many of these hold images of several classes. Speed: largest change of a unit from
layer 1000 to 1001, median over these images. Eigenvalues of eq. 3 above 0 at the class means: how many
classes have some, and how many each. The paper (200 images): almost no spread within a class, few
non-zero units, one eigenvalue of about 0.02 in three classes, none in the others.
"""
_C5 = """Does the steady state follow the training data? Rank correlation over the pairs of input
dimensions that vary in the training data, between their training covariance and the steady co-activity
(mean of y_i y_j; "linear": Pearson's correlation, for which pairs at rest near 0 do not count), or the
coupling ½(w_ij + w_ji): mean over seeds with its 95 % interval, and the p of each seed by relabelling
units (999 times). Relabelling does not keep neighbourhood in the image.
Shares of the mean squared residual: common to all images, between classes, between images of a class.
"""
_DYNAMICS_COST = """## Cost of the prolonged network and of eigenvalues: 1064 units

Prolonged: 10,000 images, 1000 layers, about 40 of them measured, against a loop of the same products and
activations, batch by batch in turn. Eigenvalues: all, at a residual, with the making of the Jacobian,
against `torch.linalg.eigvals` of the matrix alone.
"""
_FIXED_POINTS = """## Fixed points of 16-unit maps from 1024 starts, one thread

The search to max abs(F(x) − x) ≤ 1e-12, against Adam on ½‖F(x) − x‖² from the same starts: 20,000 steps
at each rate of 0.3, 0.1, 0.03, 0.01, 0.003. Only starts that Adam leads within 0.01 of a fixed point
count, of each its best step; "all" is the tolerance, 1e-12 at best, that the last of them reaches at the
best rate (lowest tolerance, then fastest), "median" that of half of them; both methods are timed to it.
The search's time is all of it: slow points, uniqueness, verdicts. Stable points: where the map itself
leads from 100,000 starts.
"""


def e1_section(seeds: Seeds) -> str:
    """Return E1: a row for each seed, and the rates."""
    rows = [_e1_row(seed, s) for seed, s in sorted(seeds.items())]
    found = list(seeds.values())
    rates = {
        "100 % test accuracy": [s["accuracy"] == 100 for s in found],
        "all test points at one stable fixed point": [
            s["one_point"] and s["ends"][0]["verdict"] == "stable" for s in found
        ],
        "all test points at some stable fixed point": [
            not any(s["moving"]) and all(e["verdict"] == "stable" for e in s["ends"]) for s in found
        ],
    }
    said = "; ".join(f"{name}: {sum(hits)} of {len(hits)} seeds" for name, hits in rates.items())
    worst = max(s["map_error"] for s in found)
    header = ["seed", "accuracy", "ends: share of each class", "none", "eq. 3", "its sum"]
    gains = sorted({d["gain"] for d in found[0]["departure"]})
    steps = sorted({d["step_size"] for d in found[0]["departure"]}, reverse=True)
    departures = [[f"W times {g:g}", *(_departure(found, g, h) for h in steps)] for g in gains]
    lines = [
        _E1,
        f"{asked_and_found(seeds, 20)} seeds. {said[0].upper() + said[1:]}. The exact map differs from "
        f"the network by at most {worst:.0e}.",
        "",
        *table(header, rows),
        "",
        "Where eq. 3 departs from the map: mean over samples and units of abs(y_map − y_ODE) at equal "
        "times, the largest over the time of 15 layers; median over seeds.",
        "",
        *table(["", *(f"h = {h:g}" for h in steps)], departures),
        "",
        made(found[0]),
        "",
    ]
    return "\n".join(lines)


def _e1_row(seed: int, s: dict[str, Any]) -> list[str]:
    def percent(share: list[float]) -> str:
        return ", ".join(f"{100 * v:.0f} %" for v in share)

    ends = [
        f"({', '.join(f'{v:.2g}' for v in e['point'])}) {e['verdict']}: {percent(e['shares'])}"
        for e in s["ends"]
    ]
    return [
        str(seed),
        f"{s['accuracy']:.1f} %",
        "; ".join(ends) or "–",
        percent(s["moving"]),
        f"{s['ode_error']:.2f}",
        f"{s['ode_error_cumulative']:.2f}",
    ]


def _departure(found: list[dict[str, Any]], gain: float, step_size: float) -> str:
    values = [
        d["departure"]
        for s in found
        for d in s["departure"]
        if (d["gain"], d["step_size"]) == (gain, step_size)
    ]
    return f"{np.median(values):.3f}"


def e3_section(seeds: Seeds) -> str:
    """Return E3: a row for each seed; C5's correlations and shares with their nulls."""
    found = [s for _, s in sorted(seeds.items())]
    header = ["seed", "test error", "settled", "spread", "within a class", "below 0.01"]
    header += ["ends (mixed)", "speed", "classes with eigenvalues > 0: how many, largest"]
    rows = [_e3_row(seed, s) for seed, s in sorted(seeds.items())]
    names = list(found[0]["features"])
    lines = [
        _E3,
        f"{asked_and_found(seeds, 3)} seeds, {sum(bool(s['settled']) for s in found)} of them settled.",
        "",
        *table(header, rows),
        "",
        _C5,
        *table(
            [
                "network",
                *("co-activity", "p", "linear", "p", "coupling", "p"),
                *("common", "class", "image"),
            ],
            [_c5_row(name, found) for name in names],
        ),
        "",
        _fixed(found),
        "",
        made(found[0]),
        "",
    ]
    return "\n".join(lines)


def _e3_row(seed: int, s: dict[str, Any]) -> list[str]:
    positive = [c["ode_positive"] for c in s["classes"] if c["ode_positive"]]
    growth = max(c["ode_growth"] for c in s["classes"])
    single = s["single_samples"]
    span = f": {min(positive)}–{max(positive)}, {growth:.2f}" if positive else ""
    return [
        str(seed),
        f"{s['test_error']:.2f} %",
        f"layer {s['settled']}" if s["settled"] else "no",
        f"{s['spread']:.4f}",
        f"{s['spread_within']:.4f}",
        f"{100 * s['at_zero']:.1f} %",
        f"{single['patterns']} ({single['patterns_of_several_classes']})",
        f"{single['speed_median']:.3f}",
        f"{len(positive)} of {len(s['classes'])}{span}",
    ]


def _c5_row(name: str, found: list[dict[str, Any]]) -> list[str]:
    parts = [s["features"][name] for s in found]
    cells = [name]
    for key in ("coactivity", "coactivity, linear", "coupling"):
        cells.append(shown([p[key]["correlation"] for p in parts], 3))
        cells.append(", ".join(f"{p[key]['p']:.3f}" for p in parts))
    for share in ("common", "between", "within"):
        cells.append(f"{100 * np.mean([p['shares'][share] for p in parts]):.0f} %")
    return cells


def _fixed(found: list[dict[str, Any]]) -> str:
    classes = [c for s in found for c in s["classes"]]
    at_mean = sum(c["at_mean"] is not None for c in classes)
    slowest = [c["at_slowest_sample"] for c in classes if c["at_slowest_sample"] is not None]
    saddles = [p["unstable_dimension"] for p in slowest if p["verdict"] == "saddle"]
    span = f" with {min(saddles)}–{max(saddles)} unstable dimensions" if saddles else ""
    return (
        f"A fixed point lies within 0.01 of the class mean in {at_mean} of {len(classes)} classes, and "
        f"of the slowest image of the class (of 20) in {len(slowest)}: {len(saddles)} saddles{span}, "
        f"{sum(p['verdict'] == 'stable' for p in slowest)} stable."
    )


def dynamics_cost_section(found: Mapping[str, Any]) -> str:
    """Return the cost of prolonging and of eigenvalues over the bare arithmetic."""
    ratios = found["prolonged"]["ratios"]
    bounds = found["bounds"]
    memory = found["memory_kib"]
    whole = found["prolonged"]["seconds"] / found["prolonged"]["bare_seconds"]
    rows = [
        [
            f"prolonged, all {len(ratios)} batches",
            f"{whole:.2f} ({min(ratios):.2f}, {max(ratios):.2f})",
            str(bounds["prolonged"]),
        ]
    ]
    rows += [
        [
            f"eigenvalues, {name}",
            f"{np.median(values):.2f} ({min(values):.2f}, {max(values):.2f})",
            str(bounds["eigenvalues"]),
        ]
        for name, values in found["eigenvalues"].items()
    ]
    said = ", ".join(f"{int(v) / 1024:.0f} MiB for {k} layers" for k, v in memory.items())
    return "\n".join(
        [
            _DYNAMICS_COST,
            *table(["measure", "times the bare cost (lowest, highest)", "bound"], rows),
            "",
            f"Highest memory of a process that prolongs one batch of 500: {said}. {made(found)}",
            "",
        ]
    )


def fixed_points_section(found: Mapping[str, Any]) -> str:
    """Return the search's completeness and its time against Adam's."""
    header = [
        "map",
        "planted",
        "farthest planted, stable",
        "points found",
        "search",
        "largest speed",
    ]
    header += ["against", "Adam: rate, reaches, in", "search to the same in", "times faster"]
    rows = [
        [
            name,
            str(m["planted"]),
            f"{m['farthest_planted']:.0e}, {m['farthest_stable']:.0e}",
            f"{m['points']} ({m['stable']} stable)",
            f"{m['seconds']:.2f} s",
            f"{m['largest_speed']:.0e}",
            which,
            f"{a['adam_rate']:g}, {a['adam_reaches']:.0e}, {a['adam_seconds']:.2f} s",
            f"{a['seconds']:.2f} s",
            f"{a['times_faster']:.0f}",
        ]
        for name, m in found["maps"].items()
        for which, a in m["adam"].items()
    ]
    wanted = found["bound"]
    short = min(a["times_faster"] for m in found["maps"].values() for a in m["adam"].values())
    missed = f"Asked for: {wanted} times faster; {'reached' if short >= wanted else 'not reached'}."
    led = ", ".join(str(m["attractors"]) for m in found["maps"].values())
    said = f"{missed} The map itself leads to {led} points, each found."
    far = max(m["farthest_stable"] for m in found["maps"].values())
    if far > 1e-5:
        said = f"{missed} Of the points to which the map leads, some are missed."
    return "\n".join([_FIXED_POINTS, *table(header, rows), "", said, "", made(found), ""])
