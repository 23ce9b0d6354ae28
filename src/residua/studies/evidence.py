"""Write docs/studies.md from the stored results of studies beside the paper's claims."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from residua.studies.evidence_costs import (
    cost_section,
    dynamics_cost_section,
    fixed_points_section,
    report_section,
    streaming_section,
)
from residua.studies.evidence_depth import (
    adaptive_section,
    cifar10_section,
    criteria_section,
    latency_section,
    prune_section,
    time_section,
)
from residua.studies.evidence_transformers import transformers_section
from residua.studies.jobs import RESULTS, results
from residua.studies.tables import (
    ASKED,
    Seeds,
    asked_and_found,
    interval,
    origin,
)

_HEAD = """# Studies

What `docs/evidence.md`, the verdicts on the paper, leaves out: networks cut while and after
they train, at length; and costs.

Written by `make studies` from the JSON in `docs/evidence/`; do not edit. `make evidence-circles`
(digits, mnist, prune, criteria, cifar10, transformers likewise) and `make bench` repeat what
is below, resumable job by job. A difference is paired by seed (same split, same initial weights),
with Student's 95 % interval over seeds. Recipes, depth and ridge were chosen on validation data, and
test data is read once per run; with one exception: of the single-seed trials in which the MNIST
recipe was chosen (10,000 images held out), the first three, which led to label smoothing, printed
test errors beside validation errors. Input dropout, epochs and batch sizes were then chosen on the
held-out images alone.
"""
_TITLES = {
    "digits": "Handwritten digits (8 × 8), 15 × 256 logistic, shared weights",
    "mnist": "MNIST, 15 × 1064 logistic, no augmentation (the paper: 1.4 % shared, 1.8 % variable)",
}
_CIRCLES = """## Circles (E1, E7): 15 layers of 3 logistic units, shared weights where not "variable"

1,000 training and 1,000 test points a seed, radius ½ and 1. One start fits about half of the time, so
a seed is started anew, with other weights, until a start classifies every training point right at a
training loss below 0.002 nats, at most 10 times; the start with the lowest training loss counts.
"""
_NOTES = {
    "digits": "Seconds are upper bounds: one run at a time, beside other work on the machine. ",
    "mnist": "Seconds are upper bounds: several runs shared the machine. ",
}


def section(study: str, found: Mapping[str, Seeds]) -> str:
    """Return one table: a row for each network, paired with its uncut counterpart."""
    rows = [
        "| network | seeds | test error, mean (each) | final depth | accuracy minus uncut, points | "
        "seconds, threads |",
        "|---|---|---|---|---|---|",
    ]
    for name, seeds in sorted(found.items()):
        uncut = found.get(_uncut(name), {})
        shown = asked_and_found(seeds, ASKED[study])
        rows.append("| " + " | ".join([name, shown, *_cells(seeds, uncut)]) + " |")
    note = _NOTES[study] + origin(found)
    return "\n".join([f"## {_TITLES[study]}", "", *rows, "", note, ""])


def circles_section(found: Mapping[str, Seeds]) -> str:
    """Return the rate of seeds at 100 %, with final depths and starts."""
    rows = [
        "| depth rule | seeds at 100 % test accuracy | the others' accuracy | final depth: seeds | "
        "starts: seeds |",
        "|---|---|---|---|---|",
    ]
    for rule, seeds in sorted(found.items()):
        runs = list(seeds.values())
        others = sorted(s["test_error"] for s in runs if s["test_error"] > 0)
        cells = [
            rule,
            f"{len(runs) - len(others)} of {asked_and_found(seeds, ASKED['circles'])}",
            ", ".join(f"{100 - e:.1f} %" for e in others) or "–",
            _counts(s["depth_final"] for s in runs),
            _counts(s["starts"] for s in runs),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join([_CIRCLES, *rows, "", origin(found), ""])


def _counts(values: Iterable[int]) -> str:
    return ", ".join(f"{value}: {n}" for value, n in sorted(Counter(values).items()))


def _uncut(name: str) -> str:
    for rule in ("depth-curve", "paper", "spans"):
        name = name.removesuffix(rule)
    return name if name.endswith("none") else f"{name}none"


def _cells(seeds: Seeds, uncut: Seeds) -> list[str]:
    errors = np.array([s["test_error"] for s in seeds.values()])
    depths = ", ".join(str(s["depth_final"]) for s in seeds.values())
    common = sorted(seeds.keys() & uncut.keys())
    difference = "–"
    if seeds is not uncut and common:
        gaps = np.array([uncut[s]["test_error"] - seeds[s]["test_error"] for s in common])
        mean, low, high = interval(gaps)
        bounds = f" [{low:+.2f}, {high:+.2f}]" if len(common) > 1 else ""
        difference = f"{mean:+.2f}{bounds}, pairs: {len(common)}"
    each = ", ".join(f"{e:.2f}" for e in errors)
    threads = ", ".join(
        f"{s['seconds']:.0f} ({s['machine'].split(', ')[-1].removesuffix(' threads')})"
        for s in seeds.values()
    )
    return [
        f"{errors.mean():.2f} % ({each})",
        depths,
        difference,
        threads,
    ]


if __name__ == "__main__":
    parts = [section(study, found) for study in _TITLES if (found := results(study))]
    if found := results("circles"):
        parts.append(circles_section(found))
    if (found := results("mnist")) and "shared-spans" in found:
        parts.append(adaptive_section(found))
    for study, write_depth in (
        ("prune", prune_section),
        ("cifar10", cifar10_section),
        ("criteria", criteria_section),
        ("transformers", transformers_section),
    ):
        if found := results(study):
            parts.append(write_depth(found))
    for name, write_cost in (
        ("cost", cost_section),
        ("streaming_cost", streaming_section),
        ("dynamics_cost", dynamics_cost_section),
        ("fixed_points", fixed_points_section),
        ("adaptive_time", time_section),
        ("cut_latency", latency_section),
        ("report_cost", report_section),
    ):
        if (path := RESULTS / f"{name}.json").exists():
            parts.append(write_cost(json.loads(path.read_text())))
    Path("docs/studies.md").write_text("\n".join([_HEAD, *parts]))
    print("wrote docs/studies.md")
