"""The only file that edits a model: remove layers, fold a compensation in, all or nothing."""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar, overload

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from residua.depth.compensation import Compensation
from residua.depth.cut_checks import check_ordinary, check_same
from residua.depth.folding import check_fit, check_named, fold, fold_named
from residua.depth.lists import cuts_of, name_before, removed_blocks, shorten
from residua.depth.plan import DepthPlan
from residua.errors import InputError
from residua.layers import ResidualStack
from residua.parts import Part
from residua.skipped import skip_modules, skips_for
from residua.stack import FoundStack, find_stages, is_own

Model = TypeVar("Model", bound=nn.Module)
_REFIT = "the plan refits the head; pass the compensation fitted for this plan"


@overload
def apply(
    plan: DepthPlan, model: FoundStack, *, compensation: Compensation | None = None
) -> nn.Module: ...


@overload
def apply(plan: DepthPlan, model: Model, *, compensation: Compensation | None = None) -> Model: ...


def apply(
    plan: DepthPlan, model: nn.Module | FoundStack, *, compensation: Compensation | None = None
) -> nn.Module:
    """Return a copy of the model with the plan's layers removed.

    Arguments and errors as for :func:`cut`; the model given is not touched. What
    :func:`residua.find_blocks` returned is taken, too: its copy is held to the model with identities in
    place of the layers that go, on the sample with which they were found. Where its layers are parts of
    blocks, these are passed by, and :func:`residua.save` keeps such a model.

    Raises:
        InputError: as :func:`cut`, or layers that stay need more of those that go than the state.
    """
    if not isinstance(model, FoundStack):
        smaller = _copied(model)
        cut(smaller, plan, compensation=compensation)
        return smaller
    check_plan(model, plan)
    if plan.refit_head and plan.removed and compensation is None:
        raise InputError(_REFIT)
    smaller = _copied(model.model)
    if model.parts:
        leave_out(smaller, [model.parts[t - 1] for t in plan.removed])
    else:
        cut(smaller, replace(plan, refit_head=False))
    check_same(model, plan, smaller)
    if not model.parts:
        check_ordinary(model, smaller)
    if compensation is not None:
        check_named(smaller, plan, compensation, lambda name: name)
        fold_named(smaller, compensation, [])
    return smaller


def cut(
    model: nn.Module,
    plan: DepthPlan,
    *,
    compensation: Compensation | None = None,
    optimizers: Iterable[Optimizer] = (),
) -> Callable[[], None]:
    """Remove the plan's layers from a model, in place, and from its optimizers.

    With variable weights the modules, their parameters and their optimizer state are gone and the
    state keys renumbered. With shared weights there is one iteration less for each removed layer.

    Args:
        model: the model the plan was made for, or another with the same layers.
        plan: which layers stay.
        compensation: what is folded into those that stay, and into the head; the optimizer state of
            the weights it replaces starts anew.
        optimizers: those that train the model. A head that reads the last residual too brings a new
            parameter; it joins the group of the head. So does that of a head which shared its weights
            with an embedding, and is untied by a compensation that changes it.

    Returns:
        What puts the layers back in their places; weights, and optimizers, are not its business.

    Raises:
        InputError: the plan names other layers than the model has, a compensation is missing or does
            not fit, layers in the middle would go though weights are shared, or a parameter group would
            be left empty. The model is then unchanged.
    """
    check_cut(model, plan, compensation)
    optimizers = list(optimizers)
    gone = _gone(model, _leaving(model, plan))
    _check_groups(plan, gone, optimizers)
    fresh: set[nn.Parameter] = set()
    if is_own(model):
        net = find_stages(model).net
        put_back = _layout(net)
        net.keep_layers(plan.keep)
        fresh = set() if compensation is None else fold(net, compensation, optimizers)
    else:
        undo = [shorten(model, plan)]
        if compensation is not None:
            fresh, more = fold_named(model, compensation, optimizers)
            undo += more
        put_back = partial(_all_back, undo)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["params"] = [p for p in group["params"] if p not in gone]
        for parameter in gone:
            optimizer.state.pop(parameter, None)
        for parameter in fresh:
            _forget(optimizer, parameter)
    return put_back


def _all_back(undo: list[Callable[[], None]]) -> None:
    for step in reversed(undo):
        step()


def _copied(model: Model) -> Model:
    try:
        return copy.deepcopy(model)
    except RuntimeError as error:
        if "deepcopy protocol" not in str(error):
            raise
        raise InputError(
            f"the {type(model).__name__} cannot be copied, since it keeps a tensor that is still to be "
            "differentiated; keep it detached, such as self.last_loss = loss.detach()"
        ) from error


def _layout(model: nn.Module) -> Callable[[], None]:
    """Return what puts every submodule back in its place; weights are not its business."""
    kept = {m: {**m.__dict__, "_modules": dict(m._modules)} for m in model.modules()}

    def put_back() -> None:
        for module, attributes in kept.items():
            module.__dict__.clear()
            module.__dict__.update(attributes)

    return put_back


def _forget(optimizer: Optimizer, parameter: nn.Parameter) -> None:
    """Let a parameter's state start anew."""
    momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
    if isinstance(optimizer, torch.optim.SGD) and momentum is not None:
        momentum.zero_()  # the fused one takes no momentum of some parameters alone
    else:
        optimizer.state.pop(parameter, None)


def check_cut(model: nn.Module, plan: DepthPlan, compensation: Compensation | None) -> None:
    """Raise InputError unless plan and compensation are for this model."""
    if not is_own(model):
        _refuse_sharded(model)
        removed_blocks(model, plan)
        if plan.refit_head and plan.removed and compensation is None:
            raise InputError(_REFIT)
        if compensation is not None:
            cuts = cuts_of(model, plan)
            check_named(model, plan, compensation, lambda name: name_before(cuts, name))
        return
    stack = find_stages(model)
    check_plan(stack, plan)
    if plan.refit_head and plan.removed and compensation is None:
        raise InputError(_REFIT)
    if compensation is not None:
        check_fit(stack.net, plan, compensation)


def _refuse_sharded(model: nn.Module) -> None:
    """Refuse a model whose parameters lie in parts on several processes."""
    wrapped = any(type(m).__name__ == "FullyShardedDataParallel" for m in model.modules())
    if wrapped or any(isinstance(p, DTensor) for p in model.parameters()):
        raise InputError(
            f"the parameters of the {type(model).__name__} are sharded (FSDP, DTensor), so no layer can "
            "be taken out of it; cut the model before it is sharded, and shard the smaller one"
        )


def check_plan(stack: ResidualStack, plan: DepthPlan) -> None:
    """Raise InputError unless a plan was made for these layers."""
    if plan.names != stack.names:
        raise InputError(
            f"the plan is for a stack of {plan.depth} layers ({plan.names[0]} … {plan.names[-1]}) "
            f"and the model has {stack.depth} ({stack.names[0]} … {stack.names[-1]}); make a plan "
            "for this model"
        )


def _leaving(model: nn.Module, plan: DepthPlan) -> list[nn.Module]:
    """Return the modules that go."""
    if not is_own(model):
        return removed_blocks(model, plan)
    blocks = find_stages(model).blocks
    kept = {id(blocks[t - 1]) for t in plan.keep}
    return [blocks[t - 1] for t in plan.removed if id(blocks[t - 1]) not in kept]


def _gone(model: nn.Module, leaving: list[nn.Module]) -> set[nn.Parameter]:
    """Return the parameters that go; what a layer that stays or the head uses too, stays."""
    inside = {
        name
        for name, module in model.named_modules(remove_duplicate=False)
        if any(module is block for block in leaving)
    }
    going: set[nn.Parameter] = set()
    staying: set[nn.Parameter] = set()
    for name, parameter in model.named_parameters(remove_duplicate=False):
        within = any(name.startswith(f"{path}.") for path in inside)
        (going if within else staying).add(parameter)
    return going - staying


def _check_groups(plan: DepthPlan, gone: set[nn.Parameter], optimizers: list[Optimizer]) -> None:
    for optimizer in optimizers:
        for i, group in enumerate(optimizer.param_groups):
            if group["params"] and gone.issuperset(group["params"]):
                raise InputError(
                    f"removing the layers {plan.removed} would leave parameter group {i} of "
                    f"{type(optimizer).__name__} empty; put the layers in one group with others"
                )


def leave_out(model: nn.Module, parts: Sequence[Part]) -> None:
    """Take parts of blocks out of a model, in place; numbers of caches follow.

    Raises:
        InputError: the model has no module of a part's name.
    """
    skip_modules(model, [skip for part in parts for skip in skips_for(part)])
