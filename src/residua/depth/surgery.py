"""The only file that edits a model: remove layers, replace the head, all or nothing."""

import copy
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import Optimizer

from residua.depth.curve import AffineHead
from residua.depth.plan import DepthPlan
from residua.errors import InputError
from residua.stack import ResidualStack, find_stack


def apply(plan: DepthPlan, model: nn.Module, *, head: AffineHead | None = None) -> nn.Module:
    """Return a copy of the model with the plan's layers removed.

    Arguments and errors as for :func:`cut`; the model given is not touched.
    """
    smaller = copy.deepcopy(model)
    cut(smaller, plan, head=head)
    return smaller


def cut(
    model: nn.Module,
    plan: DepthPlan,
    *,
    head: AffineHead | None = None,
    optimizers: Iterable[Optimizer] = (),
) -> None:
    """Remove the plan's layers from a model, in place, and from its optimizers.

    With variable weights the modules, their parameters and their optimizer state are gone and the
    state keys renumbered. With shared weights there is one iteration less for each removed layer.

    Args:
        model: the model the plan was made for, or another with the same layers.
        plan: which layers stay.
        head: replaces the head's weight and bias; its optimizer state starts anew.
        optimizers: those that train the model.

    Raises:
        InputError: the plan names other layers than the model has, a head is missing or does not fit,
            layers in the middle would go though weights are shared, or a parameter group would be left
            empty. The model is then unchanged.
    """
    stack = find_stack(model)
    optimizers = list(optimizers)
    gone = _check(stack, plan, head, optimizers)
    net = stack.net
    if not net.shared:
        net.blocks = nn.ModuleList(stack.blocks[t - 1] for t in plan.keep)
    net.depth = len(plan.keep)
    fresh = set()
    if head is not None:
        with torch.no_grad():
            net.head.weight.copy_(head.weight)
            net.head.bias.copy_(head.bias)
        fresh = set(net.head.parameters())
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["params"] = [p for p in group["params"] if p not in gone]
        for parameter in gone | fresh:
            optimizer.state.pop(parameter, None)


def resize(model: nn.Module, depth: int) -> None:
    """Give a stack as many layers as a checkpoint has, in place, before its weights are loaded.

    Raises:
        InputError: depth is below 1.
    """
    if depth < 1:
        raise InputError(f"depth must be at least 1, not {depth}")
    net = find_stack(model).net
    if not net.shared:
        blocks = list(net.blocks)[:depth]
        blocks += [copy.deepcopy(blocks[0]) for _ in range(depth - len(blocks))]
        net.blocks = nn.ModuleList(blocks)
    net.depth = depth


def _check(
    stack: ResidualStack, plan: DepthPlan, head: AffineHead | None, optimizers: list[Optimizer]
) -> set[nn.Parameter]:
    """Refuse what cannot be done as a whole; return the parameters that go."""
    if plan.names != stack.names:
        raise InputError(
            f"the plan is for a stack of {plan.depth} layers ({plan.names[0]} … {plan.names[-1]}) "
            f"and the model has {stack.depth} ({stack.names[0]} … {stack.names[-1]}); make a plan "
            "for this model"
        )
    if stack.shared and plan.keep != tuple(range(1, len(plan.keep) + 1)):
        raise InputError(
            f"the layers share their weights, so only layers at the end can go, and the plan keeps "
            f"{plan.keep}; keep 1…k"
        )
    if plan.refit_head and head is None:
        raise InputError("the plan refits the head; pass the fitted head of the last kept layer")
    if head is not None and head.weight.shape != stack.readout.head.weight.shape:
        raise InputError(
            f"the head has the shape {tuple(head.weight.shape)} where the model's has "
            f"{tuple(stack.readout.head.weight.shape)}; pass a head fitted on this model"
        )
    kept = {p for t in plan.keep for p in stack.blocks[t - 1].parameters()}
    gone = {p for t in plan.removed for p in stack.blocks[t - 1].parameters()} - kept
    for optimizer in optimizers:
        for i, group in enumerate(optimizer.param_groups):
            if group["params"] and gone.issuperset(group["params"]):
                raise InputError(
                    f"removing the layers {plan.removed} would leave parameter group {i} of "
                    f"{type(optimizer).__name__} empty; put the layers in one group with others"
                )
    return gone
