"""Criteria that score every layer from figures; what scores lowest matters least."""

from collections.abc import Sequence

import numpy as np
import torch

from residua.depth.oracle import Oracle
from residua.depth.similarity import Similarity
from residua.statistics import Statistics

Scores = list[float]


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
