"""Criteria: from figures to a plan. They take numbers and never touch a model.

Most score every layer, and the lowest scored go; the others make the plan themselves.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np

from residua.depth.curve_records import DepthCurve
from residua.depth.oracle import Oracle
from residua.depth.plan import DepthPlan, check_keep, lowest_go
from residua.depth.planners import (
    angular,
    check_threshold,
    greedy,
    one_standard_error,
    paper,
    spans,
)
from residua.depth.scores import (
    Scores,
    block_influence,
    last_layers,
    leave_one_out,
    magnitude,
    random_layers,
    residual_ratio,
    settle,
    spread,
    taylor,
)
from residua.depth.similarity import Similarity
from residua.errors import InputError
from residua.statistics import Statistics


@dataclass(frozen=True)
class Criterion:
    """A rule and the evidence it reads.

    Attributes:
        rule: evidence → scores, one a layer, higher where it is more important; or, where `plans`,
            evidence → plan.
        evidence: what the rule reads; `Sequence` means names alone.
        plans: whether the rule makes the plan itself.
    """

    rule: Callable[..., Any]
    evidence: type
    plans: bool = False


CRITERIA: dict[str, Criterion] = {
    "paper": Criterion(paper, Statistics, plans=True),
    "depth-curve": Criterion(one_standard_error, DepthCurve, plans=True),
    "settle": Criterion(settle, Statistics),
    "spread": Criterion(spread, Statistics),
    "magnitude": Criterion(magnitude, Statistics),
    "spans": Criterion(spans, Similarity, plans=True),
    "block-influence": Criterion(block_influence, Similarity),
    "residual-ratio": Criterion(residual_ratio, Similarity),
    "angular": Criterion(angular, Similarity, plans=True),
    "taylor": Criterion(taylor, Oracle),
    "leave-one-out": Criterion(leave_one_out, Oracle),
    "greedy": Criterion(greedy, Oracle, plans=True),
    "last": Criterion(last_layers, Sequence),
    "random": Criterion(random_layers, Sequence),
}
_FROM = {
    Statistics: "residua.accumulate (of several stages, one each)",
    Similarity: "residua.similarity",
    DepthCurve: "residua.depth_curve",
    Oracle: "residua.oracle",
    Sequence: "residua.find_stages(model).names",
}


def criterion_named(name: str) -> Criterion:
    """Return a criterion by name, or raise InputError naming those there are."""
    if name not in CRITERIA:
        raise InputError(f"unknown criterion {name!r}; pass one of {', '.join(CRITERIA)}")
    return CRITERIA[name]


def plan_depth(
    evidence: Any,
    criterion: str = "spans",
    *,
    keep: int | None = None,
    threshold: float | None = None,
    **options: Any,
) -> DepthPlan:
    """Return the plan that a criterion makes of its evidence.

    Args:
        evidence: Statistics (of several stages a list), Similarity, DepthCurve, Oracle or names.
        criterion: a name in CRITERIA; default "spans", which reads :func:`residua.similarity`.
        keep: how many layers stay; the lowest scored go, of those that share weights the last ones
            first.
        threshold: for rules that score, layers below it go (default none); for "paper" 0.01.
        options: the criterion's own, such as errors=0.5 for "depth-curve" or seed=1 for "random".

    Raises:
        InputError: unknown criterion, evidence of another kind, no finite score, keep out of range, a
            threshold below 0, or neither given where one is needed.
    """
    found = criterion_named(criterion)
    one = evidence[0] if isinstance(evidence, list) and len(evidence) else evidence
    if not isinstance(one, found.evidence):
        raise InputError(
            f"the criterion {criterion!r} reads {found.evidence.__name__}, not {type(one).__name__}; "
            f"pass what {_FROM[found.evidence]} returns"
        )
    names = _names(evidence)
    if keep is not None:
        check_keep(keep, len(names))
    if threshold is not None:
        check_threshold(threshold)
    given = {"keep": keep, "threshold": threshold}
    options |= {k: v for k, v in given.items() if v is not None}
    if found.plans:
        _check_options(criterion, found.rule, options)
        plan: DepthPlan = found.rule(evidence, **options)
        return plan
    options = {k: v for k, v in options.items() if k not in given}
    _check_options(criterion, found.rule, options)
    if (keep is None) == (threshold is None):
        raise InputError(f"the criterion {criterion!r} needs keep=… or threshold=…, one of the two")
    scores = _scores(found.rule, evidence, options)
    if not np.isfinite([v for v in scores if v != float("inf")]).all():
        raise InputError(
            f"the criterion {criterion!r} gives scores that are no numbers ({scores}); the residuals "
            "are not finite, or all zero"
        )
    if keep is not None:
        stay, said = lowest_go(names, scores, keep=keep), "the lowest scored go"
    else:
        assert threshold is not None
        stay, said = lowest_go(names, scores, below=threshold), f"layers below {threshold:g} go"
    shown = tuple(None if v == float("inf") else v for v in scores)
    return DepthPlan(names, stay, criterion, shown, said)


def _check_options(criterion: str, rule: Callable[..., Any], options: dict[str, Any]) -> None:
    """Refuse options that a rule does not have, and the lack of one that it needs."""
    known = list(signature(rule).parameters.values())[1:]
    names = [p.name for p in known]
    for name in options:
        if name not in names:
            takes = ", ".join(f"{n}=…" for n in names) or "no options"
            raise InputError(f"the criterion {criterion!r} takes {takes}, not {name}=…")
    for p in known:
        if p.default is p.empty and p.name not in options:
            raise InputError(f"the criterion {criterion!r} needs {p.name}=…")


def _names(evidence: Any) -> tuple[str, ...]:
    if isinstance(evidence, Sequence) and all(isinstance(e, Statistics) for e in evidence):
        return tuple(name for part in evidence for name in part.names)
    return tuple(evidence if isinstance(evidence, Sequence) else evidence.names)


def _scores(rule: Callable[..., Scores], evidence: Any, options: dict[str, Any]) -> Scores:
    if isinstance(evidence, list) and isinstance(evidence[0], Statistics):
        return [score for part in evidence for score in rule(part, **options)]
    return rule(evidence, **options)
