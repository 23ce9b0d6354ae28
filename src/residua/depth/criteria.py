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


def one_standard_error(curve: DepthCurve) -> DepthPlan:
    """Keep the fewest layers whose held-out loss is within one standard error of the best.

    The smallest t ≥ 1 with loss_t ≤ min_u loss_u + se over u ≥ 1, where se is the standard error of the
    best loss over held-out samples; the head is refitted at t. At least one layer stays, so the input
    itself (t = 0) is no candidate.

    Source: Breiman, Friedman, Olshen, Stone, Classification and Regression Trees, 1984, 3.4.3.
    """
    best = 1 + int(np.argmin(curve.loss[1:]))
    bound = curve.loss[best] + curve.loss_error[best]
    keep = 1 + int(np.flatnonzero(curve.loss[1:] <= bound)[0])
    reason = (
        f"held-out loss {curve.loss[keep]:.4f} after layer {keep}, within one standard error "
        f"({curve.loss_error[best]:.4f}) of the best, {curve.loss[best]:.4f} after layer {best}"
    )
    scores = tuple(map(float, curve.loss[1:]))
    return DepthPlan(curve.names, _first(keep), "depth-curve", scores, reason, refit_head=True)


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
