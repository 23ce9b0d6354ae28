"""All that a removal changes, kept so that it can be undone, here or after a checkpoint."""

import copy
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from residua.errors import InputError
from residua.stack import find_stages
from residua.store import NetConfig, describe, restructure


def structure(model: nn.Module) -> dict[str, Any]:
    """Return a description of the layers of a network of residua, as plain values."""
    return asdict(describe(find_stages(model).net))


def take_structure(model: nn.Module, wanted: dict[str, Any]) -> None:
    """Give a network of residua the layers that were described, where it has others."""
    net, config = find_stages(model).net, NetConfig(**wanted)
    if describe(net) != config:
        restructure(net, config)


def snapshot(
    model: nn.Module, averages: Sequence[nn.Module], optimizers: Sequence[Optimizer]
) -> dict[str, Any]:
    """Return copies of weights, averages and optimizers' states, as plain values and tensors."""
    names: dict[torch.Tensor, str] = {p: n for n, p in model.named_parameters()}
    return {
        "model": _copied(model),
        "averages": [_copied(average) for average in averages],
        "groups": [
            [[names[p] for p in group["params"]] for group in optimizer.param_groups]
            for optimizer in optimizers
        ],
        "states": [
            {names[p]: copy.deepcopy(state) for p, state in optimizer.state.items()}
            for optimizer in optimizers
        ],
    }


def check_groups(kept: dict[str, Any], optimizers: Sequence[Optimizer]) -> None:
    """Raise InputError unless the optimizers have as many parameter groups as a snapshot kept."""
    now = [len(optimizer.param_groups) for optimizer in optimizers]
    before = [len(groups) for groups in kept["groups"]]
    if now != before:
        raise InputError(
            f"a removal is to be undone, and the optimizers have {now} parameter groups where they had "
            f"{before}; add parameter groups before the first removal, or pass tolerance=float('inf')"
        )


def put_back(
    kept: dict[str, Any],
    model: nn.Module,
    averages: Sequence[nn.Module],
    optimizers: Sequence[Optimizer],
) -> None:
    """Give model, averages and optimizers, whose layers are back, what a snapshot kept of them."""
    model.load_state_dict(kept["model"])
    for average, state in zip(averages, kept["averages"], strict=True):
        average.load_state_dict(state)
    named = dict(model.named_parameters())
    each = zip(optimizers, kept["groups"], kept["states"], strict=True)
    for optimizer, groups, states in each:
        optimizer.state.clear()
        for group, names in zip(optimizer.param_groups, groups, strict=True):
            group["params"] = [named[name] for name in names]
        for name, values in states.items():
            optimizer.state[named[name]] = copy.deepcopy(values)


def _copied(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: v.detach().clone() for name, v in module.state_dict().items()}
