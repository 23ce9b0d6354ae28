"""Fit what makes up for removed layers, in closed form, without training."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from residua.depth.body_fits import BODIES
from residua.depth.compensation import Compensation, kind_named
from residua.depth.fit_job import FitOptions, Job
from residua.depth.head_fit import fit_head
from residua.depth.plan import DepthPlan
from residua.depth.surgery import apply, check_plan
from residua.nets import ResNet
from residua.stack import find_stages
from residua.streaming import evaluating, refuse_iterators


@torch.no_grad()
def compensate(
    model: nn.Module,
    plan: DepthPlan,
    fit_batches: Iterable[Any],
    held_out_batches: Iterable[Any],
    *,
    kind: str = "steps+weighted",
    options: FitOptions | None = None,
) -> Compensation:
    """Fit what makes up for the layers that a plan removes; the model is not touched.

    Args:
        model: the uncut model.
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
            "steps+weighted" (default).
        options: ridges, loss, and where other processes see other batches.

    Raises:
        InputError: no such kind, one that the network or the plan has no place for, batches that can be
            read once only, do not fit, or lack labels; or the plan is for another model.
    """
    parts = kind_named(kind)
    stack = find_stages(model)
    check_plan(stack, plan)
    refuse_iterators(fit_batches, held_out_batches)
    small = find_stages(apply(replace(plan, refit_head=False), model))
    before = {name: v.clone() for name, v in small.net.state_dict().items()}
    job = Job(stack, small, plan, fit_batches, options or FitOptions())
    with evaluating(model), evaluating(small.model):
        BODIES[parts.body](job)
        ridge = fit_head(job, held_out_batches, parts.head) if parts.head != "keep" else None
    after = small.net.state_dict()
    changed = {n: v for n, v in after.items() if n not in before or not torch.equal(v, before[n])}
    steps = small.net.steps if isinstance(small.net, ResNet) else None
    pair = parts.head == "affine-pair"
    return Compensation(kind, changed, steps, pair, ridge, plan.keep)
