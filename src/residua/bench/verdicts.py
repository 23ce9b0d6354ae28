"""What the benchmarks are held to, and what was reached."""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from residua.bench.adaptive import OURS as RULE
from residua.bench.adaptive_page import outcomes
from residua.bench.depth_page import behind_paper
from residua.bench.depth_tables import SEEDS, Standing, led, recovered, standings
from residua.report.tables import Table

FIRST, DENSE, OTHERS = 0.8, 0.8, 0.5  # shares: of cells; of what raw cuts lose, given back
_NONE = f"no cell of {SEEDS} seeds is done"
COST, STREAMED, FASTER = 0.1, 1.3, 5.0  # of a grid; times the forward pass; times torchlens
Results = Sequence[Mapping[str, Any]]
Row = tuple[str, str, str, bool | None]


def verdicts(depth: Results, adaptive: Results, trace: Mapping[str, Any] | None) -> Table:
    """Return a row for every bound whose figures are there: what is asked, what was measured."""
    rows: list[Row] = []
    if depth:
        rows += _of_depth(depth)
    if adaptive:
        rows += _of_adaptive(adaptive)
    if trace:
        rows += _of_trace(trace)
    said = {True: "reached", False: "missed", None: "—"}
    return Table(
        "What is reached", ["", "bound", "measured", ""], [[*r[:3], said[r[3]]] for r in rows]
    )


def half_depth(depth: Results) -> set[tuple[str, int]]:
    """Return of every task the cut nearest to half of its depth."""
    found = {}
    for task in dict.fromkeys(r["task"] for r in depth):
        of = {r["keep"]: r["depth"] for r in depth if r["task"] == task}
        found[task] = min(sorted(of, reverse=True), key=lambda k: abs(k - of[k] / 2))
    return set(found.items())


def _of_depth(depth: Results) -> list[Row]:
    found = [s for s in standings(depth) if s.seeds >= SEEDS]
    counted = {(s.task, s.keep) for s in found}
    depth = [r for r in depth if (r["task"], r["keep"]) in counted]
    own = [s for s in found if not s.task.endswith("shared")]
    rows = [
        _first(f"cells, of {SEEDS} seeds or more, in which ours is first or tied", found),
        _first("… without those of shared weights, where all criteria agree", own),
    ]
    behind = behind_paper(found)
    rows.append(
        (
            "… behind the paper's rule by more than a tie",
            "0",
            str(len(behind)) if found else _NONE,
            not behind if found else None,
        )
    )
    shares = recovered(depth)
    for task, keep in sorted(half_depth(depth) & set(shares)):
        share = shares[task, keep].ours
        bound = OTHERS if any(kind in task for kind in ("conv", "vit", "gpt")) else DENSE
        rows.append(
            (f"loss given back by compensation: {task}, {keep} layers", f"≥ {bound:.0%}",
             f"{share:.0%}", None if math.isnan(share) else share >= bound)
        )  # fmt: skip
    both = [s for s in shares.values() if not (math.isnan(s.same_plan) or math.isnan(s.patch))]
    more = sum(s.same_plan > s.patch for s in both)
    told = f"{more} of {len(both)}" if both else _NONE
    rows.append(
        ("cuts in which it gives back more than ReplaceMe's patch, of ReplaceMe's own plan", "most",
         told, more > len(both) / 2 if both else None)
    )  # fmt: skip
    return rows


def _first(said: str, found: Sequence[Standing]) -> Row:
    first, of = led(found)
    if not of:
        return said, f"≥ {FIRST:.0%}", _NONE, None
    return (
        said,
        f"≥ {FIRST:.0%}",
        f"{first} of {of} ({first / of:.0%})",
        first >= FIRST * of,
    )


def _of_adaptive(adaptive: Results) -> list[Row]:
    rows: list[Row] = []
    for task, of in outcomes(adaptive).items():
        ours = next(o for o in of if o.rule == RULE)
        cost, error = max(ours.layers, ours.seconds), ours.standard_error
        rows += [
            (f"{task}: cost of a run over the grid's, the larger of layers and time",
             f"≤ {COST:.0%}", f"{cost:.1%}", cost <= COST),
            (f"{task}: test error above the grid's best", f"≤ {error:.2f} (one standard error)",
             f"{ours.gap:+.2f} points", None if math.isnan(error) else ours.gap <= error),
        ]  # fmt: skip
    return rows


def _of_trace(trace: Mapping[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for model in trace["models"]:
        of = {name: median(tool["ratios"]) for name, tool in model["tools"].items()}
        ours = of["residua.accumulate"]
        said = f"streamed statistics over the forward pass: {model['said']}"
        rows.append((said, f"≤ {STREAMED:g}", f"{ours:.2f}", ours <= STREAMED))
        if "torchlens" in of:
            theirs = of["torchlens"]
            faster, most = theirs / ours, "" if theirs >= FASTER else f"; if free, {theirs:.1f}"
            rows.append(
                ("… times faster than torchlens", f"≥ {FASTER:g}", f"{faster:.1f}{most}",
                 faster >= FASTER)
            )  # fmt: skip
    return rows
