"""Criteria that make the plan themselves, from figures."""

import numpy as np

from residua.depth.curve_records import DepthCurve
from residua.depth.oracle import Oracle
from residua.depth.plan import DepthPlan, may_go, share_weights
from residua.depth.similarity import Similarity
from residua.depth.spans import best_spans, span_errors
from residua.errors import InputError
from residua.statistics import Statistics


def check_threshold(threshold: float) -> None:
    """Raise InputError unless a threshold is 0 or more."""
    if not threshold >= 0:
        raise InputError(f"threshold must be 0 or more, not {threshold}")


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
    error = float(curve.loss_error[best])
    return 0.0 if gap <= 0 else gap / error if error > 0 else float("inf")


def _best(curve: DepthCurve) -> int:
    return 1 + int(np.argmin(curve.loss[1:]))


def _first(keep: int) -> tuple[int, ...]:
    return tuple(range(1, keep + 1))


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
    if share_weights(found.names):
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
    if not all(np.isfinite(products).all() for products in found.products.values()):
        raise InputError("the residuals hold NaN or infinite values, so no layers can be compared")
    total = np.full((len(found.names), len(found.names)), np.inf)
    begin = 0
    for stage in stages:
        products = found.products[stage]
        end = begin + len(products)
        # Stages differ in the size of their states, so their errors count relative to it.
        whole = float(products.sum()) or 1.0
        total[begin:end, begin:end] = span_errors(products) / whole
        begin = end
    firsts, error = best_spans(total, keep)
    at = tuple(f + 1 for f in firsts)
    begins = ", ".join(map(str, at))
    said = f"runs from layers {begins} on leave {error / len(stages):.2%} of what the layers add"
    scores = (None,) * len(found.names)
    kept = _first(keep) if share_weights(found.names) else at
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
