"""Criteria: from figures to a plan. They take numbers and never touch a model.

Most score every layer, and the lowest scored go; four make the plan themselves (:data:`PLANNERS`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
import torch

from residua.depth.curve import DepthCurve
from residua.depth.oracle import Oracle
from residua.depth.plan import DepthPlan, check_keep, lowest_go, may_go
from residua.depth.similarity import Similarity
from residua.depth.spans import best_spans, span_errors
from residua.errors import InputError
from residua.statistics import Statistics

Scores = list[float]


def paper(statistics: Statistics, *, threshold: float = 0.01) -> DepthPlan:
    """Remove the last layer if its residual differs from the one before by less than a threshold.

    s_T = mean over units and samples of abs(y_T − y_{T−1}) < threshold removes layer T.

    Source: Lagzi, arXiv 2101.03009, adaptive depth.
    """
    check_threshold(threshold)
    T = statistics.depth
    distances = statistics.settle_distance
    keep, relation = T, "there is no layer to compare with"
    if T > 1:
        keep = T - int(distances[-1] < threshold)
        sign = "<" if keep < T else "≥"
        relation = f"settle distance of layer {T}: {distances[-1]:.4f} {sign} {threshold:g}"
    scores = (None, *map(float, distances))
    return DepthPlan(statistics.names, _first(keep), "paper", scores, relation)


def one_standard_error(
    curve: DepthCurve, *, errors: float = 1.0, keep: int | None = None
) -> DepthPlan:
    """Keep the fewest layers whose held-out loss is within one standard error of the best.

    The smallest t ≥ 1 with loss_t ≤ min_u loss_u + errors · se over u ≥ 1, se the standard error
    of the best loss over held-out samples; the head is refitted at t. At least one layer stays, so the
    input itself (t = 0) is no candidate.

    Args:
        curve: with a state for every layer.
        errors: how many standard errors; default 1. Who asks again and again while a network trains
            passes what is left of it (:func:`errors_spent`), or gives away one each time.
        keep: how many layers stay, whatever the curve says.

    Raises:
        InputError: errors is below 0.

    Source: Breiman, Friedman, Olshen, Stone, Classification and Regression Trees, 1984, 3.4.3.
    """
    if not errors >= 0:
        raise InputError(f"errors must be 0 or more, not {errors}")
    best = _best(curve)
    bound = curve.loss[best] + errors * curve.loss_error[best]
    allowed = "one standard error" if errors == 1 else f"{errors:.2g} standard errors"
    said = f", within {allowed} of" if keep is None else "; the number of layers was given;"
    if keep is None:
        keep = 1 + int(np.flatnonzero(curve.loss[1:] <= bound)[0])
    reason = (
        f"held-out loss {curve.loss[keep]:.4f} after layer {keep}{said} the best, "
        f"{curve.loss[best]:.4f} ± {curve.loss_error[best]:.4f} after layer {best}"
    )
    scores = tuple(map(float, curve.loss[1:]))
    return DepthPlan(curve.names, _first(keep), "depth-curve", scores, reason, refit_head=True)


def errors_spent(curve: DepthCurve, plan: DepthPlan) -> float:
    """Return by how many standard errors the loss after a plan's last layer exceeds the best."""
    best = _best(curve)
    gap = float(curve.loss[plan.keep[-1]] - curve.loss[best])
    return gap / float(curve.loss_error[best]) if gap > 0 else 0.0


def _best(curve: DepthCurve) -> int:
    return 1 + int(np.argmin(curve.loss[1:]))


def _first(keep: int) -> tuple[int, ...]:
    return tuple(range(1, keep + 1))


def settle(statistics: Statistics) -> Scores:
    """Return s_t relative to the mean of abs(y_t): how far a residual is from the one before."""
    with np.errstate(invalid="ignore", divide="ignore"):  # residuals of zero give no score
        return [float("inf"), *map(float, statistics.relative_settle_distance)]


def spread(statistics: Statistics) -> Scores:
    """Return v_t relative to that of x_{t−1}: how much of a residual depends on the input."""
    return list(map(float, statistics.relative_spread))


def magnitude(statistics: Statistics) -> Scores:
    """Return the mean of abs(y_t)."""
    return list(map(float, statistics.magnitude_sum / statistics.samples))


def block_influence(found: Similarity) -> Scores:
    """Return 1 − E cos(x_{t−1}, x_t).

    Source: Men et al., ShortGPT, 2024, equation 1.
    """
    return [float(v) for s in found.cosine for v in 1 - np.diagonal(found.cosine[s], 1)]


def residual_ratio(found: Similarity) -> Scores:
    """Return E ‖y_t‖ / ‖x_{t−1}‖."""
    return list(map(float, found.ratio))


def taylor(found: Oracle) -> Scores:
    """Return abs(∂L/∂g_t) at gates of 1: the loss of a layer's removal, to first order.

    Source: Molchanov et al., 2017; on the gates of layers.
    """
    gates = torch.ones(len(found.names), dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(found.evaluate(gates), gates)
    return list(map(float, gradient.abs()))


def leave_one_out(found: Oracle) -> Scores:
    """Return by how much the loss rises without each layer alone, in nats."""
    whole = found.without()
    return [found.without(t) - whole for t in range(1, len(found.names) + 1)]


def last_layers(names: Sequence[str]) -> Scores:
    """Return less for every layer, so that the last layers go."""
    return [-float(t) for t in range(1, len(names) + 1)]


def random_layers(names: Sequence[str], *, seed: int = 0) -> Scores:
    """Return a random order."""
    return list(map(float, np.random.default_rng(seed).permutation(len(names))))


def angular(found: Similarity, *, keep: int) -> DepthPlan:
    """Remove the run of so many successive layers that turns the state least.

    d(ℓ, n) = E arccos cos(x_{ℓ−1}, x_{ℓ+n−1}) / π, n = T − keep, over the runs that lie within a stage.

    Raises:
        InputError: no stage has so many layers.

    Source: Gromov et al., The Unreasonable Ineffectiveness of the Deeper Layers, 2024.
    """
    n, runs = len(found.names) - keep, {}
    for stage, angle in found.angle.items():
        first = found.stages.index(stage) + 1
        for i in range(len(angle) - n):
            runs[first + i] = float(angle[i, i + n])
    if not runs:
        raise InputError(
            f"'angular' removes one run of layers within a stage, and no stage has {n}; keep more, or "
            "pass another criterion"
        )
    begin = min(runs, key=lambda t: runs[t])
    if len(set(found.names)) != len({n.partition(", call ")[0] for n in found.names}):
        begin = len(found.names) - n + 1  # layers that share their weights go from the end
    kept = tuple(t for t in range(1, len(found.names) + 1) if not begin <= t < begin + n)
    scores = tuple(runs.get(t) for t in range(1, len(found.names) + 1))
    said = f"{n} layers from layer {begin} on turn the state by {runs[begin]:.4f} of π"
    return DepthPlan(found.names, kept, "angular", scores, said)


def spans(found: Similarity, *, keep: int) -> DepthPlan:
    """Divide the layers into runs whose first residual, multiplied, best stands for the whole run.

    The least Σ E‖y_a + … + y_b − h_a y_a‖² over all divisions into `keep` runs within stages, exactly,
    by dynamic programming; the first layer of each run stays (with shared weights, as many iterations).
    The step h_a is then for a compensation with "steps" to fit.

    Raises:
        InputError: fewer layers would stay than there are stages.
    """
    stages = list(found.products)
    if keep < len(stages):
        raise InputError(
            f"'spans' leaves a layer in each of the {len(stages)} stages; keep at least as many, not "
            f"{keep}"
        )
    total = np.full((len(found.names), len(found.names)), np.inf)
    size, begin = 0.0, 0
    for stage in stages:
        products = found.products[stage]
        end = begin + len(products)
        # Stages differ in the size of their states, so their errors count relative to it.
        whole = float(products.sum()) or 1.0
        total[begin:end, begin:end] = span_errors(products) / whole
        size, begin = size + 1.0, end
    firsts, error = best_spans(total, keep)
    at = tuple(f + 1 for f in firsts)
    shared = any(", call " in name for name in found.names)
    begins = ", ".join(map(str, at))
    said = f"runs from layers {begins} on leave {error / size:.2%} of what the layers add"
    scores = (None,) * len(found.names)
    kept = _first(keep) if shared else at
    return DepthPlan(found.names, kept, "spans", scores, said, firsts=at)


def greedy(found: Oracle, *, keep: int) -> DepthPlan:
    """Remove the layer without which the loss is lowest, and again, until so many are left.

    Source: Song et al., SLEB, 2024.
    """
    T = len(found.names)
    stay = list(range(1, T + 1))
    gone: list[int] = []
    scores: list[float | None] = [None] * T
    while len(stay) > keep:
        losses = {t: found.without(*gone, t) for t in may_go(found.names, stay)}
        worst = min(losses, key=lambda t: losses[t])
        scores[worst - 1] = losses[worst]
        stay.remove(worst)
        gone.append(worst)
    order = ", ".join(map(str, gone)) or "none"
    said = f"without {order}, in this order, the loss is {found.without(*gone):.4f}"
    return DepthPlan(found.names, tuple(stay), "greedy", tuple(scores), said)


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


def check_threshold(threshold: float) -> None:
    """Raise InputError unless a threshold is 0 or more."""
    if not threshold >= 0:
        raise InputError(f"threshold must be 0 or more, not {threshold}")


def plan_depth(
    evidence: Any,
    criterion: str = "depth-curve",
    *,
    keep: int | None = None,
    threshold: float | None = None,
    **options: Any,
) -> DepthPlan:
    """Return the plan that a criterion makes of its evidence.

    Args:
        evidence: Statistics (of several stages a list), Similarity, DepthCurve, Oracle or names.
        criterion: a name in CRITERIA.
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
