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
    names = {"before": "uncut", "after": f"cut, {cut['compensation']}", "healed": "healed"}
    before = cut["before"]["seconds"]
    rows = []
    for key, name in names.items():
        m = cut[key]
        if m is None:
            continue
        seconds = m["seconds"] or cut["after"]["seconds"]  # healing changes no shape
        rows.append(
            [
                name,
                str(m["layers"]),
                f"{m['loss']:.4f}",
                f"{100 * (1 - m['accuracy']):.2f} %",
                f"{tests[key]:.2f} %" if key in tests else "",
                f"{1000 * seconds:.1f} ms",
                f"{before / seconds:.2f}",
            ]
        )
    header = ["", "layers", "val loss", "val error", "test error", "batch", "speedup"]
    return Table("side by side", header, rows)
