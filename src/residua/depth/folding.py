"""A compensation folded into a cut model: whether it fits, and the optimizers' part in it."""

import copy
from collections.abc import Callable

import torch
from torch import nn
from torch.optim import Optimizer

from residua.depth.compensation import Compensation
from residua.depth.plan import DepthPlan
from residua.errors import InputError
from residua.nets import ResNet
from residua.store import Network
from residua.untying import untie


def check_named(
    model: nn.Module,
    plan: DepthPlan,
    compensation: Compensation,
    name_now: Callable[[str], str],
) -> None:
    """Raise InputError where a compensation's weights are not those of a model other than residua's."""
    _check_keep(plan, compensation)
    if compensation.steps is not None or compensation.reads_residual:
        raise InputError(
            f"step sizes and heads that read the last residual are for residua's networks, not for a "
            f"{type(model).__name__}; pass a compensation fitted on this model"
        )
    named = model.named_parameters(remove_duplicate=False)
    shapes = {name: tuple(v.shape) for name, v in named}
    for name, value in compensation.weights.items():
        now = shapes.get(name_now(name))
        if now != tuple(value.shape):
            raise InputError(
                f"the compensation has {name!r} of the shape {tuple(value.shape)} where the cut model's "
                f"has {now}; pass one fitted on this model with this plan"
            )


def _check_keep(plan: DepthPlan, compensation: Compensation) -> None:
    if compensation.keep not in (None, plan.keep):
        raise InputError(
            f"the compensation was fitted for a plan that keeps the layers {compensation.keep}, and "
            f"this one keeps {plan.keep}; fit one for this plan"
        )


def check_fit(net: Network, plan: DepthPlan, compensation: Compensation) -> None:
    """Raise InputError where weights or steps are not those of the network once it is cut."""
    # Cutting a copy without memory of its own tells names and shapes.
    with torch.device("meta"):
        small = copy.deepcopy(net).to("meta")
    small.keep_layers(plan.keep)
    if compensation.reads_residual and isinstance(small, ResNet):
        small.read_residual()
    _check_keep(plan, compensation)
    shapes = {name: tuple(v.shape) for name, v in small.state_dict().items()}
    for name, value in compensation.weights.items():
        if shapes.get(name) != tuple(value.shape):
            raise InputError(
                f"the compensation has {name!r} of the shape {tuple(value.shape)} where the cut model's "
                f"has {shapes.get(name)}; pass one fitted on this model with this plan"
            )
    if compensation.steps is not None and len(compensation.steps) != len(plan.keep):
        raise InputError(
            f"the compensation has {len(compensation.steps)} step sizes and the plan keeps "
            f"{len(plan.keep)} layers; pass one fitted with this plan"
        )


def fold(
    net: Network, compensation: Compensation, optimizers: list[Optimizer]
) -> set[nn.Parameter]:
    """Take over weights and steps; return the parameters that are new."""
    if isinstance(net, ResNet):
        if compensation.steps is not None:
            net.steps = compensation.steps
        if compensation.reads_residual and net.residual_head is None:
            net.read_residual()
            assert net.residual_head is not None
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    if any(p is net.head.weight for p in group["params"]):
                        group["params"].append(net.residual_head.weight)
    own = net.state_dict(keep_vars=True)
    with torch.no_grad():
        for name, value in compensation.weights.items():
            own[name].copy_(value)
    return {p for n in compensation.weights if isinstance(p := own[n], nn.Parameter)}


def fold_named(
    model: nn.Module, compensation: Compensation, optimizers: list[Optimizer]
) -> tuple[set[nn.Parameter], list[Callable[[], None]]]:
    """Take over the weights of any model.

    Returns:
        The parameters whose optimizer state starts anew, and what ties again the weights that are shared
        no more.
    """
    fresh, undo = set(), []
    with torch.no_grad():
        for name, value in compensation.weights.items():
            path, _, last = name.rpartition(".")
            module = model.get_submodule(path)
            shared = dict(module._parameters)
            tie = untie(model, module)
            parameter = module.get_parameter(last)
            if tie is not None:
                undo.append(tie)
                _join(optimizers, shared, module)
            parameter.copy_(value)
            fresh.add(parameter)
    return fresh, undo


def _join(
    optimizers: list[Optimizer], shared: dict[str, nn.Parameter | None], module: nn.Module
) -> None:
    """Let parameters of a module that are its own now join the groups of those that were shared."""
    for name, old in shared.items():
        new = module._parameters[name]
        for group in (g for optimizer in optimizers for g in optimizer.param_groups):
            if new is not old and any(p is old for p in group["params"]):
                group["params"].append(new)
