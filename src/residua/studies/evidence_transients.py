"""The sections of docs/studies.md on transients: E5 with C7, E6 with C6, cost of streaming."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from residua.studies.tables import (
    ASKED,
    Seeds,
    asked_and_found,
    by_seed,
    interval,
    made,
    ratio_table,
    table,
)

_E5 = """## E5, C7: the most sensitive units, and what decides the class

The uncut networks of the sections above, over all their test data; nothing is decided on it.
Largest in its own class: of the classes, those whose unit with the largest weight, argmax_i K_ci,
has its largest mean x_T in that class (paper: 9 of 10). Decided: the state from which on half of
the decisions are final.
"""
_WINDOWS = """Accuracy of the head from parts of the sum x_T alone, mean over seeds: with the other
parts at 0 / at their mean over training samples.
"""
_C7 = """C7: transient part Σ(y_t − y_∞) and steady part T y_∞, for the networks that settle within
1000 layers, by the same two ways. Criterion, set before: accuracy from the transient part less that
from the steady part, the others at their mean, paired by seed.
"""
_E6 = """## E6, C6: do the classes part, and without an attractor?

The same networks and test data. From x_1 to x_T: mean distance of two class means, pairs of classes
that are closer at x_T than at x_1, spread within a class (mean over units), Fisher ratio (trace of
the covariance between classes over that within). Criteria, set before: ratios of x_T to x_1 with a
95 % interval over seeds above 1; for C6 of the Fisher ratio, over networks that have not settled.
"""
_STREAMING = """## Cost of all streaming measures in one pass: 15 × 1064 units

Moments, settle distance, spread, Fisher ratios, class distances, attribution by class, decisions,
windows of layers, sensitive units; without linear probes. Times the forward pass of the same
process.
"""


def e5_section(found: Mapping[str, Seeds], ends: Seeds | None = None) -> str:
    """Return E5 and C7: counts of own classes, accuracies from windows and from parts.

    Args:
        found: E5's results.
        ends: E1's results on the circles, which say where their test points come to rest.
    """
    parts = {name: by_seed(found[name]) for name in ASKED if name in found}
    rows = [
        [
            name,
            asked_and_found(found[name], ASKED[name]),
            ", ".join(f"{sum(s['own_largest'])} of {len(s['own_largest'])}" for s in seeds),
            f"{sum(bool(s['settled']) for s in seeds)} of {len(seeds)}",
            ", ".join(str(s["median_layer"]) for s in seeds),
        ]
        for name, seeds in parts.items()
    ]
    names = list(next(iter(parts.values()))[0]["windows"])
    windows = [
        [name, *(_both([s["windows"][w] for s in seeds]) for w in names)]
        for name, seeds in parts.items()
    ]
    header = ["networks", "seeds", "largest in its own class", "settled", "decided"]
    lines = [
        _E5,
        *table(header, rows),
        "",
        _WINDOWS,
        *table(["networks", *names], windows),
        "",
        _C7,
    ]
    lines += [
        *_parts(parts),
        "",
        *_by_ends(found.get("circles", {}), ends or {}),
        made(next(iter(parts.values()))[0]),
        "",
    ]
    return "\n".join(lines)


def _parts(parts: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    rows = []
    for name, seeds in parts.items():
        settled = [s["parts"] for s in seeds if s["parts"]]
        if not settled:
            rows.append([name, f"0 of {len(seeds)}", "–", "–", "–", "–", "–"])
            continue
        gap = [p["transient"][1] - p["steady"][1] for p in settled]
        mean, low, high = interval(np.array(gap))
        verdict = "holds" if low > 0 else "reversed" if high < 0 else "undecided"
        cells = [_both([p[part] for p in settled]) for part in ("input", "transient", "steady")]
        difference = f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]: {verdict}"
        ahead = f"{sum(g > 0 for g in gap)}, {sum(g < 0 for g in gap)}"
        rows.append([name, f"{len(settled)} of {len(seeds)}", *cells, difference, ahead])
    header = ["networks", "settled", "input", "transient", "steady", "transient − steady, points"]
    header += ["seeds ahead: transient, steady"]
    return table(header, rows)


def _by_ends(circles: Seeds, ends: Seeds) -> list[str]:
    """Return C7 on the circles, apart for seeds whose points all rest at one point and the others."""
    ahead: dict[bool, list[bool]] = {True: [], False: []}
    for seed, s in circles.items():
        if s["parts"] and seed in ends:
            gap = s["parts"]["transient"][1] - s["parts"]["steady"][1]
            ahead[ends[seed]["one_point"]].append(gap > 0)
    if not any(ahead.values()):
        return []
    one, several = ahead[True], ahead[False]
    return [
        f"On the circles the transient part is ahead in {sum(one)} of {len(one)} seeds whose test "
        f"points all rest at one fixed point (E1), and in {sum(several)} of {len(several)} whose points "
        "rest at several.",
        "",
    ]


def _both(pairs: list[list[float]]) -> str:
    zero, mean = np.mean(pairs, axis=0)
    return f"{zero:.1f} / {mean:.1f} %"


def e6_section(found: Mapping[str, Seeds]) -> str:
    """Return E6 and C6: how far the classes part from x_1 to x_T."""
    rows = []
    for name in (n for n in ASKED if n in found):
        seeds = by_seed(found[name])
        moving = [s for s in seeds if not s["settled"]]
        closer = [s["pairs_closer"] for s in seeds]
        rows.append(
            [
                name,
                asked_and_found(found[name], ASKED[name]),
                f"{len(seeds) - len(moving)} of {len(seeds)}",
                _times([s["distance"] for s in seeds]),
                f"{min(closer)} to {max(closer)} of {seeds[0]['pairs']}",
                _times([s["spread"] for s in seeds]),
                _times([s["fisher"] for s in moving]) if moving else "–",
                _change([s["fisher"] for s in moving]) if moving else "–",
            ]
        )
    header = ["networks", "seeds", "settled", "distance, times", "pairs closer", "spread, times"]
    header += ["Fisher ratio of those not settled, times", "mean"]
    origin = made(next(iter(next(iter(found.values())).values())))
    return "\n".join([_E6, *table(header, rows), "", origin, ""])


def _change(values: list[list[float]]) -> str:
    first, last = (np.mean([v[t] for v in values]) for t in (1, -1))
    return f"{first:.2f} → {last:.2f}"


def _times(values: list[list[float]]) -> str:
    """Return the last value over that at t = 1: geometric mean and interval over seeds."""
    mean, low, high = np.exp(interval(np.array([np.log(v[-1] / v[1]) for v in values])))
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def streaming_section(found: Mapping[str, Any]) -> str:
    """Return the cost of one pass with all streaming measures, and its memory."""
    said = ", ".join(
        f"{int(v) / 1024:.0f} MiB for {k} samples" for k, v in found["memory_kib"].items()
    )
    last = f"Highest memory of a process, batches of 500: {said}. {made(found)}"
    return "\n".join([_STREAMING, *ratio_table("measure", found), "", last, ""])
