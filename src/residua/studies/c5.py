"""C5: what the steady residuals share, and whether they follow the training data, against nulls."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from residua.dynamics.features import coupling, covariance, mantel, permuted, shares
from residua.dynamics.prolonged import Prolonged, prolong
from residua.dynamics.residual_map import residual_map
from residua.nets import ResNet
from residua.store import build, describe


def features(
    net: ResNet,
    steady: Prolonged,
    train_x: Tensor,
    batches: Callable[[], Iterable[Any]],
    *,
    seed: int,
) -> dict[str, Any]:
    """Return C5's statistics of a network, and of the same with permuted W and untrained.

    Over pairs of input dimensions that vary in the training data: does the steady co-activity (mean of
    y_i y_j over samples), and the coupling ½(w_ij + w_ji), follow the training covariance? And how
    much of the steady residuals is common to all inputs, differs by class, and by sample?

    Args:
        net: zero-padded, with shared weights.
        steady: the network prolonged.
        train_x: training inputs.
        batches: gives the samples anew, on which `steady` was taken, for the nulls.
        seed: of the nulls and relabellings.
    """
    x = train_x.flatten(1)
    active = (x.var(0) > 0).nonzero()[:, 0]
    target = covariance(x[:, active])

    def inside(matrix: Tensor) -> Tensor:
        return matrix[active][:, active]

    def judge(model: ResNet, ends: Prolonged) -> dict[str, Any]:
        coupled = inside(coupling(residual_map(model).W))
        together = inside(ends.coactivity)
        return {
            "coactivity": asdict(mantel(together, target, seed=seed)),
            # Ranks also order pairs that rest at 1e-9 and 1e-12; products themselves do not see them.
            "coactivity, linear": asdict(mantel(together, target, ranks=False, seed=seed)),
            "coupling": asdict(mantel(coupled, target, seed=seed)),
            "shares": asdict(shares(ends.moments)),
        }

    layers = int(steady.layers[-1])
    found = {"trained": judge(net, steady)}
    for name, null in (("permuted W", _permuted(net, seed)), ("untrained", _untrained(net, seed))):
        found[name] = judge(null, prolong(null, batches(), layers, at=[layers]))
    return found


@torch.no_grad()
def _permuted(net: ResNet, seed: int) -> ResNet:
    found = deepcopy(net)
    weight = found.block(0).linear.weight
    weight.copy_(permuted(weight, seed))
    return found


def _untrained(net: ResNet, seed: int) -> ResNet:
    torch.manual_seed(seed)
    found = build(describe(net))
    assert isinstance(found, ResNet)
    return found.eval()
