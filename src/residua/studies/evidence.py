"""Write docs/evidence.md from the stored results."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from residua.studies.jobs import results

_HEAD = """# Evidence

Written by `make evidence` from the JSON in `docs/evidence/`; do not edit. `make evidence-digits` and
`make evidence-mnist` repeat the trainings, resumable job by job. A difference is paired by seed (same
split, same initial weights), with Student's 95 % interval over seeds. Depth and ridge were decided on
validation data; test data was read once per run. The MNIST recipe (label smoothing 0.1, epochs) was
picked from a few single-seed trials; three of them printed test errors beside the validation errors, so
the choice was not wholly blind to the test set. The training seconds were taken
beside other jobs, some of them paused meanwhile; they are no timings to quote.
"""
_FOOT = """## Not reached or not measured yet

A row with fewer seeds than its study asks for (10 for digits, 3 for MNIST) is incomplete; the command
continues it. Circles (E1) over seeds are not measured yet.
"""
_TITLES = {
    "digits": "Handwritten digits (8 × 8), 15 × 256 logistic, shared weights",
    "mnist": "MNIST, 15 × 1064 logistic, no augmentation (the paper: 1.4 % shared, 1.8 % variable)",
}
Seeds = dict[int, dict[str, Any]]


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return mean and Student's 95 % interval; the interval is NaN for fewer than two values."""
    mean = float(values.mean())
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return mean, mean - half, mean + half


def section(study: str, found: Mapping[str, Seeds]) -> str:
    """Return one table: a row for each network, paired with its uncut counterpart."""
    rows = [
        "| network | seeds | test error, mean (each) | final depth | accuracy minus uncut, points | "
        "training, mean |",
        "|---|---|---|---|---|---|",
    ]
    for name, seeds in sorted(found.items()):
        uncut = found.get(_uncut(name), {})
        rows.append("| " + " | ".join([name, *_cells(seeds, uncut)]) + " |")
    first = next(iter(next(iter(found.values())).values()))
    versions = ", ".join(f"{k} {v}" for k, v in first["versions"].items())
    note = f"Machine: {first['machine']}. Versions: {versions}."
    return "\n".join([f"## {_TITLES[study]}", "", *rows, "", note, ""])


def _uncut(name: str) -> str:
    for rule in ("depth-curve", "paper"):
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
    seconds = np.mean([s["seconds"] for s in seeds.values()])
    return [
        ", ".join(map(str, seeds)),
        f"{errors.mean():.2f} % ({each})",
        depths,
        difference,
        f"{seconds:.0f} s",
    ]


if __name__ == "__main__":
    parts = [section(study, found) for study in _TITLES if (found := results(study))]
    Path("docs/evidence.md").write_text("\n".join([_HEAD, *parts, _FOOT]))
    print("wrote docs/evidence.md")
