"""Batch norms whose running statistics are taken anew, without changing what a model computes."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from residua.inputs import as_any_inputs, split_batch
from residua.layers import outputs_of, weight_of
from residua.streaming import evaluating, first

SAMPLES = 2048  # that the statistics are taken of


@torch.no_grad()
def renew_running_statistics(model: nn.Module, batches: Iterable[Any]) -> None:
    """Set each batch norm's running mean m and variance v to those of what it is given, in place.

    A cut changes what the norms behind it are given, and in training they use the statistics of the
    batch: what was fitted to the old ones is lost with the first step. With γ′ = γ √((v′ + ε) / (v + ε))
    and β′ = β + γ (m′ − m) / √(v + ε) the model computes in evaluation what it did before, and in
    training about the same. Norms stay as they are whose γ and β are not there, frozen or another
    module's, too, or whose statistics are none or those of their beginning; so does a unit that is
    constant.

    Args:
        model: any model.
        batches: training batches, of which the first 2048 samples are read.
    """
    norms = _norms(model)
    if not norms:
        return
    sums: dict[_BatchNorm, list[Tensor]] = {norm: [] for norm in norms}

    def look(norm: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        assert isinstance(norm, _BatchNorm)
        given = args[0] if args else next(iter(kwargs.values()))
        units = given.double().movedim(1, -1).flatten(0, -2)
        count = torch.full_like(units[0], len(units))
        sums[norm].append(torch.stack([count, units.sum(0), units.square().sum(0)]))

    hooks = [norm.register_forward_pre_hook(look, with_kwargs=True) for norm in norms]
    weight = weight_of(model)
    try:
        with evaluating(model):
            for batch in first(batches, SAMPLES):
                outputs_of(model, as_any_inputs(split_batch(batch, None)[0], weight))
    finally:
        for hook in hooks:
            hook.remove()
    for norm, seen in sums.items():
        if seen:
            n, total, squares = torch.stack(seen).sum(0)
            mean = total / n
            # The variance that torch keeps, with n − 1.
            _renew(norm, mean, (squares - n * mean**2) / (n - 1).clamp(min=1))


def _norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms that may be changed."""
    owners = Counter(
        id(p) for m in model.modules() for p in m._parameters.values() if p is not None
    )
    return [
        m
        for m in model.modules()
        if isinstance(m, _BatchNorm)
        and m.num_batches_tracked is not None
        and int(m.num_batches_tracked) > 0
        and all(
            p is not None and p.requires_grad and owners[id(p)] == 1 for p in (m.weight, m.bias)
        )
    ]


def _renew(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    # What rounding leaves of the variance of a constant tells nothing.
    known = variance > 1e-6 * (mean**2 + norm.eps)
    mean = torch.where(known, mean, norm.running_mean.double())
    variance = torch.where(known, variance, norm.running_var.double())
    old = (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.weight * (mean - norm.running_mean.double()) / old
    norm.bias.add_(shift.to(norm.bias.dtype))
    norm.weight.mul_(((variance + norm.eps).sqrt() / old).to(norm.weight.dtype))
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
