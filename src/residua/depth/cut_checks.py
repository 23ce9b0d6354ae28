"""Whether a cut model is the uncut one with identities in place, and what its configuration says."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from residua.depth.lists import name_after
from residua.depth.plan import DepthPlan
from residua.errors import InputError, StackError
from residua.layers import outputs_of
from residua.stack import FoundStack, find_blocks
from residua.streaming import evaluating


def again(stack: FoundStack, plan: DepthPlan, smaller: nn.Module) -> FoundStack:
    """Return the layers of a cut model, found as those of the uncut one were.

    Raises:
        StackError: other layers are found than the plan keeps.
    """
    names, kept = None, [plan.names[t - 1] for t in plan.keep]
    if stack.parts:
        names = list(dict.fromkeys(part.block for part in stack.parts))
    elif stack.named:
        names = [name_after(stack.model, plan, name) for name in kept]
    found = find_blocks(smaller, stack.sample, names=names, parts=bool(stack.parts))
    if stack.parts:  # what is passed by adds zeros, which are no layer
        found = found.only([name in kept for name in found.names])
    if found.depth != len(plan.keep):
        raise StackError(
            f"in the cut {type(smaller).__name__} {found.depth} layers are found, "
            f"{', '.join(found.names)}, where the plan keeps {len(plan.keep)}; name the blocks: "
            "find_blocks(model, x, names=[…])"
        )
    return found


@torch.no_grad()
def check_same(stack: FoundStack, plan: DepthPlan, smaller: nn.Module) -> None:
    """Raise InputError unless a cut model is the uncut one with identities in place of what went."""

    def gated(t: int, before: Tensor, after: Tensor) -> Tensor:
        return after if t in plan.keep else before

    if not plan.removed or stack.weight.is_meta:
        return
    gone = ", ".join(plan.names[t - 1] for t in plan.removed)
    with evaluating(stack.model), evaluating(smaller):
        whole = stack.outputs(stack.sample).float()
        with stack.change(gated):
            expected = stack.outputs(stack.sample).float()
        try:
            found = outputs_of(smaller, stack.sample).float()
        except Exception as error:
            raise InputError(
                f"the {type(smaller).__name__} does not run without {gone} "
                f"({type(error).__name__}: {error}); let it stay, by plan.veto(…)"
            ) from error
    far = (found - expected).abs().max()
    # What the layers that go make of the outputs is the measure, down to rounding.
    wide = stack.weight.dtype in (torch.float32, torch.float64)
    effect, size = (whole - expected).abs().max(), expected.abs().max()
    if not far <= max(0.01 * effect, (1e-5 if wide else 0.05) * size):
        raise InputError(
            f"without {gone} the {type(smaller).__name__} is another than with identities in their "
            f"place (outputs differ by {far:.3g}), so layers that stay need more of them than the "
            "state; let them stay, by plan.veto(…)"
        )


@torch.no_grad()
def check_ordinary(stack: FoundStack, smaller: nn.Module) -> None:
    """Raise InputError where a model's configuration makes another model than the cut one.

    A model of transformers is made anew from it, on the weights of the cut one, and run on the sample.
    """
    config = getattr(smaller, "config", None)
    if not hasattr(smaller, "save_pretrained") or config is None or stack.weight.is_meta:
        return
    with torch.device("meta"):
        fresh = type(smaller)(copy.deepcopy(config))
    own = dict(smaller.state_dict())
    shapes = {name: tuple(v.shape) for name, v in own.items()}
    differs = [
        name for name, v in fresh.state_dict().items() if shapes.pop(name, None) != tuple(v.shape)
    ]
    differs += shapes
    if not differs:
        fresh.load_state_dict(own, assign=True)
        named = dict(smaller.named_buffers())
        for name, buffer in list(fresh.named_buffers()):
            if buffer.is_meta and name in named:
                path, _, last = name.rpartition(".")
                fresh.get_submodule(path)._buffers[last] = named[name]
        tie: Any = fresh.tie_weights
        tie()
        with evaluating(smaller), evaluating(fresh):
            told, found = (outputs_of(m, stack.sample).float() for m in (smaller, fresh))
        wide = stack.weight.dtype in (torch.float32, torch.float64)
        if (told - found).abs().max() > (1e-5 if wide else 0.05) * told.abs().max():
            differs = ["its outputs"]
    if differs:
        raise InputError(
            f"the configuration of a {type(smaller).__name__} cannot say that these layers are gone: "
            f"the model made from it differs in {differs[0]}, since a layer's place decides what it "
            "does; let others go, or parts of blocks: residua.find_blocks(model, x, parts=True)"
        )
