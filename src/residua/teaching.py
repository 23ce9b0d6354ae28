"""What a cut model learns of the uncut one: its outputs, and the states after its layers."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from residua.calls import without_reentrant
from residua.depth.cut_checks import again
from residua.depth.plan import DepthPlan
from residua.depth.surgery import check_plan
from residua.errors import StackError
from residua.layers import ResidualStack, outputs_of
from residua.padding import counted_rows
from residua.stack import FoundStack, stack_of


@dataclass(frozen=True)
class Paired:
    """The layers of two models, and which of them are to end in the same state.

    Attributes:
        own, whole: the layers of the model that learns, and of its teacher.
        pairs: layers (from 1) of the one and of the other.
    """

    own: ResidualStack
    whole: ResidualStack
    pairs: tuple[tuple[int, int], ...]


def paired(
    model: nn.Module, teacher: nn.Module | FoundStack, plan: DepthPlan | None, x: Any
) -> Paired | None:
    """Return which layers of a model are to end in the states of its teacher's.

    Without a plan the last of each; None where layers are not found.

    Raises:
        InputError: the plan is for another teacher.
        StackError: there is a plan, and the layers that it keeps are not found.
    """
    try:
        whole = stack_of(teacher, x)
        if plan is None:
            own = stack_of(model, x)
            return Paired(own, whole, ((own.depth, whole.depth),))
    except StackError:
        if plan is not None:
            raise
        return None
    check_plan(whole, plan)
    own = again(whole, plan, model) if isinstance(whole, FoundStack) else stack_of(model, x)
    if own.depth != len(plan.keep):
        raise StackError(
            f"the plan keeps {len(plan.keep)} layers, and the {type(model).__name__} has {own.depth}; "
            "pass the model that was cut by it"
        )
    spans = plan.spans(whole.stages)
    return Paired(own, whole, tuple(enumerate((last for _, last in spans), 1)))


def outputs_and_states(
    model: nn.Module, stack: ResidualStack | None, layers: set[int], x: Any
) -> tuple[Tensor, dict[int, Tensor]]:
    """Return a model's outputs and the states after some of its layers, in float32."""
    if stack is None:
        return outputs_of(model, x).float(), {}
    states: dict[int, Tensor] = {}

    def visit(t: int, before: Tensor, after: Tensor) -> None:
        if t in layers and stack is not None:
            counted = counted_rows(stack, t, x, after)
            states[t] = after.float() if counted is None else after[counted].float()

    with without_reentrant(), stack.watch(visit, copy=False):
        return stack.outputs(x).float(), states


def distance(
    own: dict[int, Tensor], whole: dict[int, Tensor], pairs: tuple[tuple[int, int], ...]
) -> Tensor | float:
    """Return the mean over pairs of layers of E(x − x*)² / var(x*), for states of one shape."""
    each = [(own[i], whole[t]) for i, t in pairs if own[i].shape == whole[t].shape]
    if not each:
        return 0.0
    return torch.stack([(x - to).square().mean() / to.var() for x, to in each]).mean()


def divergence(told: Tensor, outputs: Tensor) -> Tensor:
    """Return the mean over samples, or tokens, of the divergence between two models' probabilities."""
    theirs, own = (z.flatten(0, -2).log_softmax(1) for z in (told, outputs))
    return nn.functional.kl_div(own, theirs, reduction="batchmean", log_target=True)
