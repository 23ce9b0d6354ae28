"""The sections of docs/studies.md on what measures cost, and on the search for fixed points."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from residua.studies.tables import made, ratio_table, table

_COST = """## Cost over the plain forward pass: 15 × 1064 units, MNIST's test set

Statistics: moments per class, settle distance and spread. Curve: the normal equations of a head on
every state, and their solution. Times the forward pass of the same process, rounds interleaved.
"""
_STREAMING = """## Cost of all streaming measures in one pass: 15 × 1064 units

Moments, settle distance, spread, Fisher ratios, class distances, attribution by class, decisions,
windows of layers, sensitive units; without linear probes. Times the forward pass of the same
process.
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
_REPORT = """## The report: seconds

Written: the page from its stored arrays. Opened: from disk in headless Chromium, until the first figure
is drawn and the controls answer.
"""


def cost_section(found: Mapping[str, Any]) -> str:
    """Return the cost of streamed measures over the plain forward pass."""
    return "\n".join([_COST, *ratio_table("measure", found), "", made(found), ""])


def streaming_section(found: Mapping[str, Any]) -> str:
    """Return the cost of one pass with all streaming measures, and its memory."""
    said = ", ".join(
        f"{int(v) / 1024:.0f} MiB for {k} samples" for k, v in found["memory_kib"].items()
    )
    last = f"Highest memory of a process, batches of 500: {said}. {made(found)}"
    return "\n".join([_STREAMING, *ratio_table("measure", found), "", last, ""])


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


def report_section(found: Mapping[str, Any]) -> str:
    """Return how long pages take to write and to open, and how large they are."""
    lines = ratio_table("page", {"ratios": found["seconds"], "bounds": found["bounds"]})
    sizes = ", ".join(f"{name}: {n / 1e6:.2f} MB" for name, n in found["bytes"].items())
    return "\n".join([_REPORT, *lines, "", f"Sizes (at most 8 MB): {sizes}.", made(found), ""])
