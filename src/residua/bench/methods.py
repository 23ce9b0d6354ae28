"""The methods that are compared: each names the layers that stay, given a trained model and a depth."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb
from typing import Any

import torch
from torch import Tensor

from residua.depth.criteria import plan_depth
from residua.depth.evidence import evidence
from residua.depth.plan import DepthPlan, lowest_go, share_weights
from residua.errors import InputError
from residua.layers import ResidualStack
from residua.losses import Loss
from residua.streaming import evaluating, labelled

MOST_BLOCKS = 12  # of an exhaustive search
RANDOM = 5  # draws


@dataclass(frozen=True)
class Given:
    """What a method may read: a trained model's layers, training and validation batches, a loss."""

    stack: ResidualStack
    fit: Iterable[Any]
    held_out: Iterable[Any]
    loss: Loss


@dataclass(frozen=True)
class Method:
    """A way of choosing layers.

    Attributes:
        source: where it is described.
        formula: what it takes away first, in the words of this page.
        plan: what is given, and how many layers stay → which.
    """

    source: str
    formula: str
    plan: Callable[[Given, int], DepthPlan]


def by_criterion(name: str, **options: Any) -> Callable[[Given, int], DepthPlan]:
    """Return the plan of one of residua's criteria."""

    def plan(given: Given, keep: int) -> DepthPlan:
        found = evidence(given.stack, name, given.fit, given.held_out, given.loss)
        return plan_depth(found, name, keep=keep, **options)

    return plan


def largest_residuals(stack: ResidualStack, batches: Iterable[Any]) -> list[float]:
    """Return max|y_t| over samples and units, of every layer."""
    most = torch.zeros(stack.depth)

    def visit(t: int, before: Tensor, after: Tensor) -> None:
        most[t - 1] = max(most[t - 1], (after - before).abs().max().cpu())

    with torch.no_grad(), evaluating(stack.model):
        for x, _ in labelled(stack.model, batches, "training batches"):
            with stack.watch(visit):
                stack.outputs(x)
    found: list[float] = most.tolist()
    return found


def epsilon(given: Given, keep: int) -> DepthPlan:
    """Take away the layers whose largest residual, over samples and units, is smallest."""
    names, scores = given.stack.names, largest_residuals(given.stack, given.fit)
    stay = lowest_go(names, scores, keep=keep)
    return DepthPlan(names, stay, "epsilon", tuple(scores), "the smallest max|y| go")


def nearest_cosine(given: Given, keep: int) -> DepthPlan:
    """Take away the run of layers whose two ends have the highest mean cosine."""
    found = evidence(given.stack, "angular", given.fit, given.held_out, given.loss)
    distance = {stage: 1 - cosine for stage, cosine in found.cosine.items()}
    plan = plan_depth(replace(found, angle=distance), "angular", keep=keep)
    return replace(
        plan, criterion="replaceme", reason="the run with the least cosine distance goes"
    )


def exhaustive(given: Given, keep: int) -> DepthPlan:
    """Take away the layers without which the loss on training samples is lowest, all sets tried.

    Raises:
        InputError: the model has more than 12 blocks.
    """
    names, T = given.stack.names, given.stack.depth
    if T > MOST_BLOCKS:
        raise InputError(f"{comb(T, keep)} sets of layers are too many; at most 12 blocks")
    tried = evidence(given.stack, "greedy", given.fit, given.held_out, given.loss)
    if share_weights(names):
        sets = [tuple(range(keep + 1, T + 1))]
    else:
        sets = list(combinations(range(1, T + 1), T - keep))
    gone = min(sets, key=lambda layers: tried.without(*layers))
    stay = tuple(t for t in range(1, T + 1) if t not in gone)
    said = f"of {len(sets)} sets the loss without these is lowest, {tried.without(*gone):.4f}"
    return DepthPlan(names, stay, "exhaustive", (None,) * T, said)


METHODS: dict[str, Method] = {
    "paper": Method(
        "Lagzi, arXiv 2101.03009",
        "the last layer, again and again (here to a depth that is given; its rule stops by itself)",
        by_criterion("last"),
    ),
    "block-influence": Method(
        "Men et al., ShortGPT, 2024, eq. 1; optipfair's criterion, too",
        "1 − E cos(x_{t−1}, x_t)",
        by_criterion("block-influence"),
    ),
    "angular": Method(
        "Gromov et al., The Unreasonable Ineffectiveness of the Deeper Layers, 2024",
        "the run of n layers with the least E arccos cos(x_ℓ, x_{ℓ+n}) / π",
        by_criterion("angular"),
    ),
    "replaceme": Method(
        "Shopkhoev et al., ReplaceMe, 2025",
        "the run of n layers with the least 1 − E cos(x_ℓ, x_{ℓ+n})",
        nearest_cosine,
    ),
    "residual-ratio": Method(
        "the norm of a branch beside the skip's, as in Veit et al., 2016",
        "E ‖y_t‖ / ‖x_{t−1}‖",
        by_criterion("residual-ratio"),
    ),
    "epsilon": Method(
        "Yu et al., Learning Strict Identity Mappings (ε-ResNet), 2018",
        "max over units and samples of |y_t|",
        epsilon,
    ),
    "magnitude": Method("common baseline", "mean |y_t|", by_criterion("magnitude")),
    "taylor": Method(
        "Molchanov et al., 2017, on the gates of layers",
        "|∂L/∂g_t| at g = 1",
        by_criterion("taylor"),
    ),
    "leave-one-out": Method(
        "common baseline", "L without layer t, less L", by_criterion("leave-one-out")
    ),
    "greedy": Method(
        "Song et al., SLEB, 2024",
        "the layer without which L is lowest, then the next, …",
        by_criterion("greedy"),
    ),
    **{
        f"random-{seed}": Method("common baseline", "drawn", by_criterion("random", seed=seed))
        for seed in range(RANDOM)
    },
    "exhaustive": Method(
        "the oracle", "the set without which L is lowest, of all sets", exhaustive
    ),
}
