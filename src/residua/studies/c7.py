"""C7: is the class decided by the sum of the residuals over their transients, or by steady values?

Criterion, written before the results: over networks that settle, the accuracy of the head from the
transient parts less that from the steady parts, the other parts at their mean over training samples,
paired by seed: C7 holds where its 95 % interval is above 0, and is reversed where it is below 0.
"""

from itertools import islice

import torch
from torch import Tensor

from residua.analysis import LAYERS
from residua.data import DataSplits, balanced
from residua.dynamics.residual_map import first_pre_activation, residual_map
from residua.layers import like
from residua.nets import ResNet
from residua.sources import Split
from residua.tracing import trace
from residua.transients.attribution import Attribution, divide
from residua.transients.decisions import Decisions

SAMPLES = 1000


def windows(found: Decisions) -> dict[str, list[float]]:
    """Return the accuracy from windows of layers: with the other parts at 0, and at their mean."""
    depth = int(found.bounds[-1])
    third, two = (int(min(found.bounds, key=lambda b: abs(b - k * depth / 3))) for k in (1, 2))
    named = {
        "input": (-1, 0),
        "first third": (0, third),
        "middle third": (third, two),
        "last third": (two, depth),
        "last residual": (int(found.bounds[-2]), depth),
        "all residuals": (0, depth),
        "whole": (-1, depth),
    }
    return {
        name: [100 * found.window(a, b, others=fill) for fill in ("zero", "mean")]
        for name, (a, b) in named.items()
        if a < b
    }


def parts(net: ResNet, data: DataSplits) -> dict[str, list[float]]:
    """Return the accuracy from input, transient and steady parts of a network that settles.

    Each with the other parts at 0, and at their mean over training samples.
    """
    test, train = balanced(data.test, SAMPLES), balanced(data.train, SAMPLES)
    here, there = _divided(net, test.x), _divided(net, train.x)
    return {
        name: [_accuracy(here, k, fill, test) for fill in (None, there)]
        for k, name in enumerate(here.parts[:-1])
    }


@torch.no_grad()
def _divided(net: ResNet, x: Tensor) -> Attribution:
    x = like(x, net.head.weight)
    residuals, z = residual_map(net), first_pre_activation(net, x)
    last = next(islice(residuals.iterate(z), LAYERS - 1, None))
    return divide(net, trace(net, x), residuals.step_size * residuals.residual(last))


def _accuracy(here: Attribution, k: int, others: Attribution | None, split: Split) -> float:
    """Return the accuracy from part k and the bias; `others` gives the other parts' means."""
    logits = here.contributions[k] + here.contributions[-1]
    if others is not None:
        mean = others.contributions[:-1].mean(1)
        logits = logits + mean.sum(0) - mean[k]
    return 100 * float((logits.argmax(1) == split.y).double().mean())
