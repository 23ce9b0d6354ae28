"""What the layers that stay take over from those that go: means, longer steps, refitted readers."""

from collections.abc import Callable

from torch import Tensor

from residua.convnet import ConvResNet
from residua.depth.compensation import Body
from residua.depth.conv_fits import fit_blocks, fit_steps
from residua.depth.dense_fits import Along
from residua.depth.fit_job import Job
from residua.errors import InputError
from residua.nets import MLP, WITHOUT_SKIP, ResNet
from residua.stack import Net
from residua.streaming import refusing_too_large


def nothing(job: Job) -> None:
    """Leave the layers that stay as they are."""


def usual_body(net: Net) -> Body:
    """Return the compensation of the layers that is used where none is named."""
    if not net.shared:
        return "readers"
    if isinstance(net, ResNet):
        return "steps"
    return "mean" if isinstance(net, ConvResNet) else "none"


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
        earlier = sum(job.whole.stages[u - 1] == stage and u < t for u in job.plan.keep)
        job.small.net.add_constant(stage, earlier, job.total(summed) / samples)


def repeat(job: Job) -> None:
    """Let every layer stand for those that follow it and go."""
    for i, (first, last) in enumerate(job.plan.spans(job.whole.stages), 1):
        if first < last:
            job.small.net.scale_layer(i, float(last - first + 1))


def steps(job: Job) -> None:
    """Fit the step of every layer from the first that stands for more than itself."""
    net = job.small.net
    if isinstance(net, ConvResNet):
        fit_steps(job, net)
        return
    if isinstance(net, MLP):
        raise InputError(WITHOUT_SKIP)
    Along(job, net).fit(readers=False)


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
    else:
        Along(job, net).fit(readers=True)


BODIES: dict[Body, Callable[[Job], None]] = {
    "none": nothing,
    "mean": mean,
    "repeat": repeat,
    "steps": steps,
    "readers": readers,
}
