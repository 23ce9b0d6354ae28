"""Fit what makes up for removed layers, in closed form, without training."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from residua.depth import last_fits
from residua.depth.body_fits import BODIES, usual_body
from residua.depth.compensation import Compensation, kind_named
from residua.depth.cut_checks import again
from residua.depth.fit_job import FitOptions, FoundJob, Job
from residua.depth.head_fit import fit_head
from residua.depth.output_fit import fit_output
from residua.depth.plan import DepthPlan
from residua.depth.surgery import apply, check_plan
from residua.errors import InputError
from residua.layers import ResidualStack
from residua.losses import Loss, cross_entropy
from residua.nets import ResNet
from residua.stack import FoundStack, find_stages
from residua.streaming import evaluating, find_layers, refuse_iterators

USUAL_OF_FOUND = ("readers+affine", "readers", "affine")


@torch.no_grad()
def compensate(
    model: nn.Module | ResidualStack,
    plan: DepthPlan,
    fit_batches: Iterable[Any],
    held_out_batches: Iterable[Any],
    *,
    kind: str | None = None,
    options: FitOptions | None = None,
) -> Compensation:
    """Fit what makes up for the layers that a plan removes; the model is not touched.

    Args:
        model: the uncut model, any, or what :func:`residua.find_blocks` returned of it.
        plan: which layers stay.
        fit_batches: training batches, read several times: a list or a DataLoader.
        held_out_batches: validation batches (x, labels); they choose the ridge. Never test data.
        kind: for the layers "none", "mean" (the removed residuals' means are added, folded into what
            reads the state), "repeat" (a layer's step is multiplied by the number of layers it stands
            for), "steps" (by least squares: h = E⟨y, x_b − x⟩ / E⟨y, y⟩, so that the cut network's state
            x + h·y comes nearest to the uncut network's x_b after the layers it stands for) or "readers"
            (as "steps", and every layer that stays is fitted to put out, from the cut network's states,
            what it put out before; on the first 65,536 samples; in a convolutional network the second
            convolution of every block, so that the state comes nearest to the uncut network's, on the
            first 2,048). For the head "affine" (least squares from what its linear map reads to the old
            logits), "affine-pair" (from that and the last residual), or "weighted" (as "affine", and the
            squared error of class c counts by p_c(1 − p_c), p the old probabilities, as in the
            second-order expansion of the divergence from them; one fit a class). Both with a plus:
            "steps+weighted". Default: as for :func:`residua.prune`. Of other models than residua's:
            "readers" (the last linear map of every layer that stays, of attention or MLP, so that the
            state comes nearest to the uncut model's after the layers it stands for), "affine" (least
            squares from what the head reads to what it read in the uncut model, folded into the head;
            one that shares its weights with the embedding is untied), or both.
        options: ridges, loss, and where other processes see other batches.

    Raises:
        InputError: no such kind, one that the network or the plan has no place for, batches that can be
            read once only, do not fit, or lack labels; or the plan is for another model.
    """
    refuse_iterators(fit_batches, held_out_batches)
    how = options or FitOptions()
    stack, _ = find_layers(model, fit_batches)
    kind = usual_compensation(stack, how.loss) if kind is None else kind
    parts = kind_named(kind)
    check_plan(stack, plan)
    plan = replace(plan, refit_head=False)
    if isinstance(stack, FoundStack):
        return _compensate_found(stack, plan, (fit_batches, held_out_batches), kind, how)
    own = find_stages(stack.model)
    small = find_stages(apply(plan, own.model))
    before = {name: v.clone() for name, v in small.net.state_dict().items()}
    job = Job(own, small, plan, fit_batches, how)
    with evaluating(own.model), evaluating(small.model):
        BODIES[parts.body](job)
        ridge = fit_head(job, held_out_batches, parts.head) if parts.head != "keep" else None
    changed = _changed(before, small.net)
    steps = small.net.steps if isinstance(small.net, ResNet) else None
    pair = parts.head == "affine-pair"
    return Compensation(kind, changed, steps, pair, ridge, plan.keep)


def _compensate_found(
    stack: FoundStack,
    plan: DepthPlan,
    batches: tuple[Iterable[Any], Iterable[Any]],
    kind: str,
    options: FitOptions,
) -> Compensation:
    """Fit what can be fitted in any model."""
    parts = kind_named(kind)
    if parts.body not in last_fits.BODIES or parts.head not in ("keep", "affine"):
        raise InputError(
            f"the compensation {kind!r} is for networks of residua; for a {type(stack.model).__name__} "
            f"pass one of {', '.join(USUAL_OF_FOUND)}, none"
        )
    small = again(stack, plan, apply(plan, stack))
    before = {name: v.clone() for name, v in small.model.state_dict().items()}
    job = FoundJob(stack, small, plan, batches[0], options)
    with evaluating(stack.model), evaluating(small.model):
        last_fits.BODIES[parts.body](job)
        ridge = fit_output(job, batches[1]) if parts.head == "affine" else None
    return Compensation(kind, _changed(before, small.model), None, False, ridge, plan.keep)


def _changed(before: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    after = model.state_dict()
    return {n: v for n, v in after.items() if n not in before or not torch.equal(v, before[n])}


def usual_compensation(stack: ResidualStack, loss: Loss = cross_entropy) -> str:
    """Return the compensation that is used where none is named."""
    if isinstance(stack, FoundStack):
        # What has a place to be folded into.
        parts = ["readers" if any(stack.lasts) else "", "affine" if stack.head else ""]
        return "+".join(filter(None, parts)) or "none"
    body = usual_body(find_stages(stack.model).net)
    # The weights are those of a divergence between probabilities.
    probable = loss is cross_entropy and body in ("steps", "readers")
    return f"{body}+{'weighted' if probable else 'affine'}"


def kind_in_training(stack: ResidualStack) -> str:
    """Return the compensation that is used while a model trains; its head is trained on anyway."""
    if isinstance(stack, FoundStack):
        return "readers" if any(stack.lasts) else "none"
    body = usual_body(find_stages(stack.model).net)
    return f"{body}+affine" if body == "readers" else body
