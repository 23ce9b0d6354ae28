"""Steps and blocks of a cut convolutional network, fitted to the uncut network's states."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from residua.convnet import ConvBlock, ConvResNet, Transition
from residua.depth.fit_job import Job, read, states_around, step_of

SAMPLES = 2048  # images; each gives as many equations as it has pixels
RIDGE = 1e-4


class _Fit(NamedTuple):
    """A block to fit, and where its state is found: before (0) or after (1) a layer of either net."""

    block: ConvBlock
    side: int
    layer: int
    layer_uncut: int


def fit_steps(job: Job, net: ConvResNet) -> None:
    """Multiply what every block behind the first cut adds, to come nearest to the uncut states."""
    for fit in _fits(job, net):
        if fit.side == 1:
            states = (
                (
                    *states_around(job.small, fit.layer, x),
                    states_around(job.whole, fit.layer_uncut, x)[1],
                )
                for x in job.inputs(SAMPLES)
            )
            net.scale_layer(fit.layer, step_of(job, states))


def fit_blocks(job: Job, net: ConvResNet) -> None:
    """Fit the second convolution of every block and transition behind the first cut, in order.

    By least squares over images and pixels, so that the state after the block comes nearest to the
    uncut network's after the layers that the block stands for.
    """
    for fit in _fits(job, net):
        _fit(job, fit)


def _fits(job: Job, net: ConvResNet) -> list[_Fit]:
    found = []
    stages, blocks = net.stages, [b for stage in net.in_stages() for b in stage]
    for i, (first, last) in enumerate(job.plan.spans(job.whole.stages), 1):
        stage = job.small.stages[i - 1]
        transition = stages[int(stage.rsplit(".", 1)[-1])].transition
        if job.small.stages.index(stage) == i - 1 and isinstance(transition, Transition):
            found.append(_Fit(transition, 0, i, first))
        found.append(_Fit(blocks[i - 1], 1, i, last))
    cut = min(job.plan.removed, default=len(job.plan.names) + 1)
    return [fit for fit in found if fit.layer_uncut + fit.side > cut]


def _fit(job: Job, fit: _Fit) -> None:
    conv = fit.block.convolutions.second
    gram: Tensor | None = None
    for x in job.inputs(SAMPLES):
        states: list[Tensor] = []

        def visit(t: int, *around: Tensor, states: list[Tensor] = states) -> None:
            if t == fit.layer:
                states.append(around[fit.side].clone())

        with job.small.watch(visit):
            inputs, added = read(conv, job.small.model, x)
        wanted = states_around(job.whole, fit.layer_uncut, x)[fit.side] - states[0] + added
        features, targets = patches(conv, inputs), wanted.transpose(0, 1).flatten(1)
        if gram is None:
            gram = torch.zeros(len(features), len(features), dtype=torch.float64, device=x.device)
            cross = gram.new_zeros(len(features), len(targets))
        gram += features @ features.T
        cross += features @ targets.T
    gram, cross = job.total(gram), job.total(cross)
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    found = torch.linalg.solve(gram, cross).T.reshape(conv.weight.shape)
    if bool(found.isfinite().all()):
        conv.weight.copy_(found)


def patches(
    conv: nn.Conv2d, x: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, "feature pixel"]:
    """Return what a convolution multiplies with its weights, for every image and pixel."""
    columns = nn.functional.unfold(x, conv.kernel_size, padding=conv.padding, stride=conv.stride)  # type: ignore[arg-type]
    return columns.transpose(0, 1).flatten(1)
