"""What the sections of docs/studies.md share: tables, intervals, where figures come from."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from scipy import stats

Seeds = dict[int, dict[str, Any]]
# Seeds asked for, by networks, in the order in which they are shown.
ASKED = {"circles": 20, "digits": 10, "mnist": 3}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def ratio_table(what: str, found: Mapping[str, Any], digits: int = 2) -> list[str]:
    """Return the lines of a table of a benchmark's ratios over its rounds."""
    rows = []
    for name, ratios in found["ratios"].items():
        middle, *ends = (f"{v:.{digits}f}" for v in (np.median(ratios), min(ratios), max(ratios)))
        rows.append([name, f"{middle} ({', '.join(ends)})", str(found["bounds"][name])])
    return table([what, "median over rounds (lowest, highest)", "bound"], rows)


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return mean and Student's 95 % interval; the interval is NaN for fewer than two values."""
    mean = float(values.mean())
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = _student(len(values) - 1) * float(values.std(ddof=1)) / len(values) ** 0.5
    return mean, mean - half, mean + half


@cache
def _student(degrees: int) -> float:
    return float(stats.t.ppf(0.975, degrees))


def shown(values: Sequence[float], digits: int = 2) -> str:
    """Return a mean with its 95 % interval in words; of one value no interval."""
    mean, low, high = interval(np.array(values))
    if len(values) < 2:
        return f"{mean:+.{digits}f}"
    return f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def figure(values: Sequence[float]) -> str:
    """Return a mean with its 95 % interval, in three digits; of fewer than three values without."""
    mean, low, high = interval(np.array(values, dtype=float))
    return f"{mean:.3g}" if len(values) < 3 else in_three(mean, low, high)


def in_three(mean: float, low: float, high: float) -> str:
    """Return a mean with its interval in three digits; what is rounding beside that is 0."""
    mean = 0.0 if abs(mean) < 1e-12 * (high - low) else mean
    return f"{mean:.3g} [{low:.3g}, {high:.3g}]"


def asked_and_found(seeds: Seeds, asked: int) -> str:
    """Return the number of seeds, marked where it is not all that were asked for."""
    return str(len(seeds)) if len(seeds) >= asked else f"{len(seeds)} of {asked}, incomplete"


def origin(found: Mapping[str, Seeds]) -> str:
    """Return the machine and versions of the first result."""
    return made(next(iter(next(iter(found.values())).values())))


def made(result: Mapping[str, Any]) -> str:
    """Return the machine, or machines, and versions of a result."""
    each = (m.split(", ") for m in result["machine"].split("; "))
    known = (", ".join(p for p in m if not p.endswith(("thread", "threads"))) for m in each)
    versions = ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    return f"Machine: {'; '.join(dict.fromkeys(known))}. Versions: {versions}."


def by_seed(seeds: Seeds) -> list[dict[str, Any]]:
    """Return the results in the order of their seeds."""
    return [s for _, s in sorted(seeds.items())]
