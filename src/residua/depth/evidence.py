"""What a criterion reads, gathered from training batches."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from residua.depth.criteria import criterion_named
from residua.depth.curve import depth_curve
from residua.depth.curve_records import DepthCurve
from residua.depth.oracle import Oracle, oracle
from residua.depth.similarity import Similarity, similarity
from residua.layers import ResidualStack
from residua.losses import Loss, cross_entropy
from residua.statistics import Statistics, accumulate
from residua.streaming import find_layers, first

SAMPLES = 8192  # of the training data, for a rule's evidence
ORACLE_SAMPLES = 2048  # an oracle runs the network once for each layer, or more often


def evidence(
    model: nn.Module | ResidualStack,
    criterion: str,
    fit_batches: Iterable[Any],
    held_out_batches: Iterable[Any],
    loss: Loss = cross_entropy,
) -> Any:
    """Return what a criterion reads, taken from training batches.

    Of "depth-curve" the heads are fitted on them and scored on the held-out ones. The loss is for the
    criteria that read one.
    """
    kind = criterion_named(criterion).evidence
    stack, _ = find_layers(model, fit_batches)
    if kind is Statistics:
        stages = dict.fromkeys(stack.stages)
        if len(stages) == 1:
            return accumulate(stack, first(fit_batches, SAMPLES))
        return [accumulate(stack, first(fit_batches, SAMPLES), stage=s) for s in stages]
    if kind is Similarity:
        return similarity(stack, first(fit_batches, SAMPLES))
    if kind is DepthCurve:
        return depth_curve(stack, first(fit_batches, SAMPLES), held_out_batches, loss=loss)
    if kind is Oracle:
        return oracle(stack, first(fit_batches, ORACLE_SAMPLES), loss=loss)
    return stack.names
