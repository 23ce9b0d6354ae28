"""What E2 and E4 ask of a trained network: its error, and what each of its layers does on test data."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from residua import runs
from residua.data import DataSplits, balanced, loader
from residua.dynamics.features import shares
from residua.dynamics.prolonged import SATURATED
from residua.dynamics.residual_map import residual_map
from residua.nets import ResNet
from residua.provenance import machine, versions
from residua.statistics import accumulate
from residua.studies.map_checks import against_eq3, signs, symmetric_share
from residua.tracing import trace
from residua.training import evaluate
from residua.transients.first_order import in_float64

BATCH = 500
FEW, PUSHED = 200, 20  # samples for eq. 3, and for pushes of single units


def seen(run: runs.Run, data: DataSplits) -> dict[str, Any]:
    """Return a network's test error, and by layer the spread, change and saturation of its residuals."""
    net = run.net.eval()
    assert isinstance(net, ResNet)
    found = accumulate(net, loader(data.test, BATCH))
    return {
        "seed": run.config.train.seed,
        "data": run.summary["data"],
        "weights": run.config.weights,
        "test_error": 100 * (1 - evaluate(net, data.test)),
        "samples": found.samples,
        "units": found.residuals.mean.shape[2],
        "settle_distance": found.settle_distance.tolist(),
        "relative_settle_distance": found.relative_settle_distance.tolist(),
        "spread": found.spread.tolist(),
        "relative_spread": found.relative_spread.tolist(),
        **saturated(net, data),
        "class_share": shares(found.residuals).between,
        "weight_change": weight_change(net),
        "versions": versions(),
        "machine": machine(),
    }


def saturated(net: ResNet, data: DataSplits) -> dict[str, list[float]]:
    """Return by layer the share of residuals within 0.01 of 1, and of 0."""
    ones = zeros = torch.zeros(())
    for x, _ in loader(data.test, BATCH):
        y = trace(net, x).residuals.flatten(1)
        ones, zeros = ones + (y > 1 - SATURATED).sum(1), zeros + (y < SATURATED).sum(1)
    total = len(data.test) * net.head.in_features
    return {"at_one": (ones / total).tolist(), "at_zero": (zeros / total).tolist()}


def weight_change(net: ResNet) -> list[float]:
    """Return ‖W_t − W_{t−1}‖ / ‖W_t‖ (Frobenius), t = 2…T: √2 of unrelated matrices, 0 of one."""
    W = [net.block(t).linear.weight.detach() for t in range(net.depth)]
    return [float((b - a).norm() / b.norm()) for a, b in pairwise(W)]


def of_one_matrix(run: runs.Run, data: DataSplits) -> dict[str, Any]:
    """Return what C2 and C3 ask of a network with shared weights."""
    net = in_float64(run.net.eval())
    assert isinstance(net, ResNet)
    some = balanced(data.test, FEW)
    x: Tensor = some.x.double().flatten(1)
    return {
        "eq3": against_eq3(net, x, some.y),
        "signs": signs(net, x[:PUSHED], seed=run.config.train.seed),
        "symmetric_share": symmetric_share(residual_map(net).W),
    }
