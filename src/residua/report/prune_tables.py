"""Tables of a cut: what became of every layer, and what was measured."""

from collections.abc import Sequence
from typing import Any

from residua.depth.plan import DepthPlan
from residua.report.tables import Table


def layer_table(plan: DepthPlan, stages: Sequence[str]) -> Table:
    """Return one row a layer: its name, its score where the rule has one, what becomes of it."""
    stands_for = dict(zip(plan.keep, plan.spans(stages), strict=True))
    scored = any(score is not None for score in plan.scores)
    rows = []
    for t, name in enumerate(plan.names, 1):
        score = plan.scores[t - 1]
        first, last = stands_for.get(t, (t, t))
        became = "goes" if t in plan.removed else "stays"
        if t in stands_for and (first, last) != (t, t):
            became = f"stays, for {first}" if first == last else f"stays, for {first} to {last}"
        number = [] if not scored else ["" if score is None else f"{score:.4g}"]
        rows.append([name, str(t), *number, became])
    header = ["module", "layer", *(["score"] if scored else []), "what becomes of it"]
    return Table(f"the plan, by {plan.criterion}", header, rows, plan.reason)


def measured_table(summary: dict[str, Any]) -> Table:
    """Return the cut network beside the uncut one."""
    cut = summary["pruned"]
    tests = {"before": summary["test_error_uncut"]}
    tests["healed" if cut["healed"] else "after"] = summary["test_error"]
    return _side_by_side(cut, tests)


def model_table(summary: dict[str, Any]) -> Table:
    """Return any cut model beside the uncut one."""
    return _side_by_side(summary, None)


def _side_by_side(cut: dict[str, Any], tests: dict[str, float] | None) -> Table:
    names = {"before": "uncut", "after": f"cut, {cut['compensation']}", "healed": "healed"}
    before = cut["before"]["seconds"]
    rows = []
    for key, name in names.items():
        m = cut[key]
        if m is None:
            continue
        seconds = m["seconds"] or cut["after"]["seconds"]  # healing changes no shape
        error = 100 * (1 - m["accuracy"])
        tested = [] if tests is None else [f"{tests[key]:.2f} %" if key in tests else ""]
        rows.append(
            [
                name,
                str(m["layers"]),
                f"{m['loss']:.4f}",
                "" if error != error else f"{error:.2f} %",
                *tested,
                f"{1000 * seconds:.1f} ms",
                f"{before / seconds:.1f}",
            ]
        )
    test = [] if tests is None else ["test error"]
    header = ["", "layers", "val loss", "val error", *test, "batch", "speedup"]
    return Table("side by side", header, rows)
