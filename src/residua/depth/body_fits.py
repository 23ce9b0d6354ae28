"""What the layers that stay take over from those that go: means, longer steps, refitted readers."""

from collections.abc import Callable

from torch import Tensor

from residua.convnet import ConvResNet
from residua.depth.compensation import Body
from residua.depth.conv_fits import fit_blocks
from residua.depth.fit_job import Job, states_around
from residua.depth.least_squares import LeastSquares
from residua.errors import InputError
from residua.nets import MLP, ResNet
from residua.stack import Net
from residua.streaming import refusing_too_large

STEP_SAMPLES = 2048  # a step size is one number
READER_SAMPLES = 16_384  # a reader is an N × N matrix, and each one takes a pass
READER_RIDGE = 1e-4


def nothing(job: Job) -> None:
    """Leave the layers that stay as they are."""


def usual_body(net: Net) -> Body:
    """Return the compensation of the layers that is used where none is named."""
    if not net.shared:
        return "readers"
    usual: dict[type, Body] = {ResNet: "steps", ConvResNet: "mean", MLP: "none"}
    return usual[type(net)]


def mean(job: Job) -> None:
    """Add the mean of every residual that goes, folded into what reads the state from there on."""
    sums: dict[int, Tensor] = {}
    count = 0

    def visit(t: int, before: Tensor, after: Tensor) -> None:
        if t in job.plan.removed:
            y = (after - before).double().sum(0)
            sums[t] = sums[t] + y if t in sums else y

    for x in job.inputs():
        with refusing_too_large(job.whole, x), job.whole.watch(visit):
            job.whole.model(x)
        count += len(x)
    samples = job.total(count)
    for t, summed in sums.items():
        stage = job.whole.stages[t - 1]
        earlier = sum(s == stage and u < t for u, s in _kept(job))
        job.small.net.add_constant(stage, earlier, job.total(summed) / samples)


def _kept(job: Job) -> list[tuple[int, str]]:
    return [(u, job.whole.stages[u - 1]) for u in job.plan.keep]


def repeat(job: Job) -> None:
    """Let every layer stand for those that follow it and go."""
    for i, (first, last) in enumerate(job.plan.spans(job.whole.stages), 1):
        if first < last:
            job.small.net.scale_layer(i, float(last - first + 1))


def steps(job: Job) -> None:
    """Fit the step of every layer from the first that stands for more than itself."""
    for i, (_, last) in enumerate(job.plan.spans(job.whole.stages), 1):
        if last > i:  # something went so far, so the states differ
            _fit_step(job, i, last)


def _fit_step(job: Job, i: int, last: int) -> None:
    along = own = 0.0
    for x in job.inputs(STEP_SAMPLES):
        target = states_around(job.whole, last, x)[1]
        before, after = states_around(job.small, i, x)
        y = (after - before).double()
        along += float((y * (target - before).double()).sum())
        own += float(y.square().sum())
    along, own = job.total(along), job.total(own)
    if along > 0 and own > 0:  # a layer that points elsewhere keeps its step
        job.small.net.scale_layer(i, along / own)


def readers(job: Job) -> None:
    """Fit steps, and what every layer makes of the cut network's states."""
    net = job.small.net
    if net.shared:
        raise InputError(
            "the compensation 'readers' fits every layer for itself, and these share their weights; "
            "pass 'steps' (ResNet), 'mean' (ConvResNet) or 'affine'"
        )
    if isinstance(net, ConvResNet):
        fit_blocks(job, net)
        return
    for i, (first, last) in enumerate(job.plan.spans(job.whole.stages), 1):
        if first > i or job.plan.keep[i - 1] > i:
            _fit_reader(job, net, i)
        if last > i and isinstance(net, ResNet):
            _fit_step(job, i, last)


def _fit_reader(job: Job, net: ResNet | MLP, i: int) -> None:
    t = job.plan.keep[i - 1]
    assert not isinstance(job.whole.net, ConvResNet)
    old, new = job.whole.net.block(t - 1).linear, net.block(i - 1).linear
    fit = None
    for x in job.inputs(READER_SAMPLES):
        z = old(states_around(job.whole, t, x)[0])
        state = states_around(job.small, i, x)[0]
        fit = fit or LeastSquares(state, z)
        fit.add(state, z)
    assert fit is not None
    found = job.total(fit.result()).solve([READER_RIDGE])[0]
    if bool(found.weight.isfinite().all()):
        new.weight.copy_(found.weight)
        new.bias.copy_(found.bias)


BODIES: dict[Body, Callable[[Job], None]] = {
    "none": nothing,
    "mean": mean,
    "repeat": repeat,
    "steps": steps,
    "readers": readers,
}
