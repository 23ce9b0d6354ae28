"""Criteria: from figures to a plan. They take numbers and never touch a model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from residua.depth.curve import DepthCurve
from residua.depth.plan import DepthPlan
from residua.errors import InputError
from residua.statistics import Statistics


def paper(statistics: Statistics, *, threshold: float = 0.01) -> DepthPlan:
    """Remove the last layer if its residual differs from the one before by less than a threshold.

    s_T = mean over units and samples of abs(y_T − y_{T−1}) < threshold removes layer T.

    Source: Lagzi, arXiv 2101.03009, adaptive depth.
    """
    if not threshold >= 0:
        raise InputError(f"threshold must be 0 or more, not {threshold}")
    T = statistics.depth
    distances = statistics.settle_distance
    keep, relation = T, "there is no layer to compare with"
    if T > 1:
        keep = T - int(distances[-1] < threshold)
        sign = "<" if keep < T else "≥"
        relation = f"settle distance of layer {T}: {distances[-1]:.4f} {sign} {threshold:g}"
    scores = (None, *map(float, distances))
    return DepthPlan(statistics.names, _first(keep), "paper", scores, relation)


def one_standard_error(curve: DepthCurve, *, errors: float = 1.0) -> DepthPlan:
    """Keep the fewest layers whose held-out loss is within one standard error of the best.

    The smallest t ≥ 1 with loss_t ≤ min_u loss_u + errors · se over u ≥ 1, se the standard error
    of the best loss over held-out samples; the head is refitted at t. At least one layer stays, so the
    input itself (t = 0) is no candidate.

    Args:
        curve: with a state for every layer.
        errors: how many standard errors; default 1. Who asks again and again while a network trains
            passes what is left of it (:func:`errors_spent`), or gives away one each time.

    Raises:
        InputError: errors is below 0.

    Source: Breiman, Friedman, Olshen, Stone, Classification and Regression Trees, 1984, 3.4.3.
    """
    if not errors >= 0:
        raise InputError(f"errors must be 0 or more, not {errors}")
    best = _best(curve)
    bound = curve.loss[best] + errors * curve.loss_error[best]
    keep = 1 + int(np.flatnonzero(curve.loss[1:] <= bound)[0])
    allowed = "one standard error" if errors == 1 else f"{errors:.2g} standard errors"
    reason = (
        f"held-out loss {curve.loss[keep]:.4f} after layer {keep}, within {allowed} of the best, "
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


@dataclass(frozen=True)
class Criterion:
    """A rule and the evidence it reads: streamed statistics, or a depth curve."""

    rule: Callable[..., DepthPlan]
    evidence: Literal["statistics", "curve"]


CRITERIA = {
    "paper": Criterion(paper, "statistics"),
    "depth-curve": Criterion(one_standard_error, "curve"),
}


def criterion_named(name: str) -> Criterion:
    """Return a criterion by name, or raise InputError naming those there are."""
    if name not in CRITERIA:
        raise InputError(f"unknown criterion {name!r}; pass one of {', '.join(CRITERIA)}")
    return CRITERIA[name]


def plan_depth(
    evidence: Statistics | DepthCurve, criterion: str = "depth-curve", **options: float
) -> DepthPlan:
    """Return the plan that a criterion makes of its evidence.

    Args:
        evidence: Statistics for "paper", a DepthCurve for "depth-curve".
        criterion: a name in CRITERIA.
        options: the criterion's own, such as threshold=0.01 for "paper".

    Raises:
        InputError: unknown criterion, or evidence of the other kind.
    """
    found = criterion_named(criterion)
    wanted = Statistics if found.evidence == "statistics" else DepthCurve
    if not isinstance(evidence, wanted):
        raise InputError(
            f"the criterion {criterion!r} reads {wanted.__name__}, not {type(evidence).__name__}; "
            f"pass what residua.{'accumulate' if wanted is Statistics else 'depth_curve'} returns"
        )
    return found.rule(evidence, **options)
