"""Fit what makes up for removed layers, in closed form, without training."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from residua.depth.compensation import Compensation, Kind, kind_named
from residua.depth.least_squares import AffineHead, LeastSquares
from residua.depth.plan import DepthPlan
from residua.depth.surgery import apply, check_plan
from residua.distributed import Merge, alone, total
from residua.errors import InputError
from residua.nets import ResNet
from residua.stack import ResidualStack, find_stages
from residua.streaming import (
    Loss,
    as_inputs,
    cross_entropy,
    evaluating,
    refusing_too_large,
    sample_losses,
    unpack,
)

STEP_SAMPLES = 2048  # a step size is one number
READER_SAMPLES = 16_384  # a reader is an N × N matrix, and each one takes a pass
READER_RIDGE = 1e-4


@dataclass(frozen=True)
class FitOptions:
    """How a compensation is fitted.

    Attributes:
        ridges: candidates, relative to the mean variance of a unit.
        loss: (outputs, targets) → the loss of each sample, which chooses the ridge; default
            cross-entropy, in nats.
        merge: what brings sums of several processes together; default one process alone.
    """

    ridges: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
    loss: Loss = cross_entropy
    merge: Merge[Any] = alone

    def __post_init__(self) -> None:
        if not len(self.ridges) or not min(self.ridges) > 0:
            raise InputError(f"ridges must be positive numbers, at least one, not {self.ridges}")


@torch.no_grad()
def compensate(
    model: nn.Module,
    plan: DepthPlan,
    fit_batches: Iterable[Any],
    held_out_batches: Iterable[Any],
    *,
    kind: str = "steps+weighted",
    options: FitOptions = FitOptions(),
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
            what it put out before, on the first 16,384 samples; of convolutional networks the norms are
            taken anew). For the head "affine" (least squares from what its linear map reads to the old
            logits),
            "affine-pair" (from that and the last residual), or "weighted" (as "affine", and the squared
            error of class c counts by p_c(1 − p_c), p the old probabilities, as in the second-order
            expansion of the divergence from them; one fit a class). Both with a plus:
            "steps+weighted" (default).
        options: ridges, loss, and where other processes see other batches.

    Raises:
        InputError: no such kind, one that the network or the plan has no place for, batches that can be
            read once only, do not fit, or lack labels; or the plan is for another model.
    """
    parts = kind_named(kind)
    stack = find_stages(model)
    check_plan(stack, plan)
    for batches in (fit_batches, held_out_batches):
        if iter(batches) is batches:
            raise InputError(
                "the batches are read several times, and an iterator gives them once; pass a list or a "
                "DataLoader"
            )
    small = find_stages(apply(replace(plan, refit_head=False), model))
    before = {name: v.clone() for name, v in small.net.state_dict().items()}
    job = _Job(stack, small, plan, fit_batches, options)
    with evaluating(model), evaluating(small.model):
        _BODY[parts.body](job)
        ridge = None
        if parts.head != "keep":
            ridge = _fit_head(job, held_out_batches, parts)
    after = small.net.state_dict()
    changed = {n: v for n, v in after.items() if n not in before or not torch.equal(v, before[n])}
    dense = isinstance(small.net, ResNet)
    return Compensation(
        kind,
        changed,
        small.net.steps if isinstance(small.net, ResNet) else None,
        dense and parts.head == "affine-pair",
        ridge,
    )


class _Job(NamedTuple):
    """The uncut and the cut stack, the plan, and what is fitted on."""

    whole: ResidualStack
    small: ResidualStack
    plan: DepthPlan
    batches: Iterable[Any]
    options: FitOptions

    def total(self, value: Any) -> Any:
        """Return the sum of a value over processes."""
        return total(self.options.merge(value))

    def inputs(self, samples: int | None = None) -> Iterator[Tensor]:
        """Yield the inputs of the batches, up to so many samples."""
        seen = 0
        for batch in self.batches:
            x, _ = unpack(batch, self.whole.classes)
            if not len(x):
                continue
            yield as_inputs(x, self.whole.weight)
            seen += len(x)
            if samples is not None and seen >= samples:
                return
        if not seen:
            raise InputError("the data loader gave no batch; pass one with at least one sample")


def _nothing(job: _Job) -> None:
    """Leave the layers that stay as they are."""


def _mean(job: _Job) -> None:
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


def _kept(job: _Job) -> list[tuple[int, str]]:
    return [(u, job.whole.stages[u - 1]) for u in job.plan.keep]


def _repeat(job: _Job) -> None:
    """Let every layer stand for those that follow it and go."""
    for i, (first, last) in enumerate(job.plan.spans(job.whole.stages), 1):
        if first < last:
            job.small.net.scale_layer(i, float(last - first + 1))


def _steps(job: _Job) -> None:
    """Fit the step of every layer from the first that stands for more than itself."""
    for i, (_, last) in enumerate(job.plan.spans(job.whole.stages), 1):
        if last > i:  # something went so far, so the states differ
            _fit_step(job, i, last)


def _fit_step(job: _Job, i: int, last: int) -> None:
    along = own = 0.0
    for x in job.inputs(STEP_SAMPLES):
        target = _state_after(job.whole, last, x)
        before, after = _around(job.small, i, x)
        y = (after - before).double()
        along += float((y * (target - before).double()).sum())
        own += float(y.square().sum())
    along, own = job.total(along), job.total(own)
    if along > 0 and own > 0:  # a layer that points elsewhere keeps its step
        job.small.net.scale_layer(i, along / own)


def _readers(job: _Job) -> None:
    """Fit steps, and what every layer makes of the cut network's states."""
    net = job.small.net
    if isinstance(net, ResNet):
        if net.shared:
            raise InputError(
                "the compensation 'readers' fits every layer for itself, and these share their weights; "
                "pass 'steps'"
            )
        for i, (first, last) in enumerate(job.plan.spans(job.whole.stages), 1):
            if first > i or job.plan.keep[i - 1] > i:
                _fit_reader(job, net, i)
            if last > i:
                _fit_step(job, i, last)
        return
    _steps(job)
    update_bn(job.inputs(), job.small.model)


def _fit_reader(job: _Job, net: ResNet, i: int) -> None:
    whole = job.whole.net
    assert isinstance(whole, ResNet)
    old, new = whole.block(job.plan.keep[i - 1] - 1).linear, net.block(i - 1).linear
    fit = None
    for x in job.inputs(READER_SAMPLES):
        z = _read(old, job.whole.model, x)[1]
        state = _read(new, job.small.model, x)[0]
        fit = fit or LeastSquares(state, z)
        fit.add(state, z)
    assert fit is not None
    found = job.total(fit.result()).solve([READER_RIDGE])[0]
    if bool(found.weight.isfinite().all()):
        new.weight.copy_(found.weight)
        new.bias.copy_(found.bias)


_BODY: dict[str, Callable[[_Job], None]] = {
    "none": _nothing,
    "mean": _mean,
    "repeat": _repeat,
    "steps": _steps,
    "readers": _readers,
}


def _state_after(stack: ResidualStack, t: int, x: Tensor) -> Tensor:
    return _around(stack, t, x)[1]


def _around(stack: ResidualStack, t: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the states before and after a layer."""
    found: list[Tensor] = []

    def visit(u: int, before: Tensor, after: Tensor) -> None:
        if u == t:
            found.extend((before, after.clone()))

    with refusing_too_large(stack, x), stack.watch(visit):
        stack.model(x)
    return found[0], found[1]


def _read(linear: nn.Linear, model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a linear map reads and gives in a pass."""
    found: list[Tensor] = []
    handle = linear.register_forward_hook(lambda _, inputs, out: found.extend((inputs[0], out)))
    try:
        model(x)
    finally:
        handle.remove()
    return found[0], found[1]


@dataclass
class _Features:
    """What the head of the cut network reads: the input of its linear map, and with a pair y_T."""

    small: ResidualStack
    linear: nn.Linear
    pair: bool

    def of(self, x: Tensor) -> Float[Tensor, "batch feature"]:
        """Return the features of a batch."""
        last: list[Tensor] = []

        def visit(t: int, before: Tensor, after: Tensor) -> None:
            if t == self.small.depth:
                last.append(after - before)

        with self.small.watch(visit):
            features = _read(self.linear, self.small.model, x)[0]
        return torch.cat([features, last[0]], 1) if self.pair else features


def _fit_head(job: _Job, held_out: Iterable[Any], parts: Kind) -> float:
    """Fit the head to the uncut network's logits and put it in; return the ridge chosen."""
    net = job.small.net
    linear = _last_linear(net)
    pair = parts.head == "affine-pair"
    if pair and not isinstance(net, ResNet):
        raise InputError(
            f"only a residua.ResNet can read its last residual, not a {type(net).__name__}; pass "
            "'affine'"
        )
    features = _Features(job.small, linear, pair)
    heads = _solve_head(job, features, parts.head == "weighted")
    losses = job.total(_losses(heads, features, job, held_out))
    best = int(losses.nan_to_num(torch.inf).argmin())
    if not bool(losses[best].isfinite()):
        raise InputError(
            "no head could be fitted: the states hold NaN or infinite values, or are too alike for the "
            "ridges; pass larger ridges, or more batches"
        )
    units = linear.in_features
    linear.weight.copy_(heads[best].weight[:, :units])
    if linear.bias is not None:
        linear.bias.copy_(heads[best].bias)
    if pair:
        assert isinstance(net, ResNet)
        net.read_residual()
        assert net.residual_head is not None
        net.residual_head.weight.copy_(heads[best].weight[:, units:])
    return job.options.ridges[best]


def _solve_head(job: _Job, features: _Features, weighted: bool) -> list[AffineHead]:
    """Return the least squares from the features to the old logits, one for each ridge."""
    fits: list[LeastSquares] = []
    for x in job.inputs():
        z, f = job.whole.model(x), features.of(x)
        if not weighted:
            fits = fits or [LeastSquares(f, z)]
            fits[0].add(f, z)
            continue
        p = z.softmax(1)
        fits = fits or [LeastSquares(f, z[:, :1]) for _ in range(z.shape[1])]
        for c, fit in enumerate(fits):
            fit.add(f, z[:, c : c + 1], p[:, c] * (1 - p[:, c]))
    ridges = job.options.ridges
    solved = zip(*(job.total(fit.result()).solve(ridges) for fit in fits), strict=True)
    return [
        AffineHead(torch.cat([h.weight for h in row]), torch.cat([h.bias for h in row]))
        for row in solved
    ]


def _losses(
    heads: list[AffineHead], features: _Features, job: _Job, held_out: Iterable[Any]
) -> Float[Tensor, "ridge"]:
    """Return the summed held-out loss of every candidate."""
    total = torch.zeros(len(heads), dtype=torch.float64)
    for batch in held_out:
        x, labels = unpack(batch, job.whole.classes)
        if labels is None:
            raise InputError("held-out batches must be (x, labels)")
        f = features.of(as_inputs(x, job.whole.weight))
        for i, head in enumerate(heads):
            z = f @ head.weight.to(f).T + head.bias.to(f)
            total[i] += sample_losses(job.options.loss, z, labels.to(z.device)).double().sum().cpu()
    return total


def _last_linear(net: nn.Module) -> nn.Linear:
    head = net.head
    found = [m for m in head.modules() if isinstance(m, nn.Linear)]  # type: ignore[union-attr]
    return found[-1]
