"""The head of a cut network, fitted to the uncut one's logits by least squares."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from residua.depth.compensation import Head
from residua.depth.fit_job import Job, read
from residua.depth.least_squares import AffineHead, LeastSquares
from residua.errors import InputError
from residua.inputs import as_inputs, unpack
from residua.losses import sample_losses
from residua.nets import ResNet
from residua.stack import OwnStack


@dataclass
class _Features:
    """What the head of the cut network reads: the input of its linear map, and with a pair y_T.

    Where the head reads y_T already and no pair is fitted, L y_T stays as it is.
    """

    small: OwnStack
    linear: nn.Linear
    pair: bool

    def of(
        self, x: Tensor
    ) -> tuple[Float[Tensor, "batch feature"], Float[Tensor, "batch classes"] | float]:
        """Return the features of a batch, and the part of the logits that is not fitted."""
        last: list[Tensor] = []

        def visit(t: int, before: Tensor, after: Tensor) -> None:
            if t == self.small.depth:
                last.append(after - before)

        with self.small.watch(visit):
            features = read(self.linear, self.small.model, x)[0]
        if self.pair:
            return torch.cat([features, last[0]], 1), 0.0
        fixed = self.small.readout.residual
        return features, 0.0 if fixed is None else fixed(last[0])


def fit_head(job: Job, held_out: Iterable[Any], kind: Head) -> float:
    """Fit the head to the uncut network's logits and put it in; return the ridge chosen."""
    net = job.small.net
    linear = job.small.readout.last_linear
    pair = kind == "affine-pair"
    if pair and not isinstance(net, ResNet):
        raise InputError(
            f"only a residua.ResNet can read its last residual, not a {type(net).__name__}; pass "
            "'affine'"
        )
    _refuse_more_after(job)
    features = _Features(job.small, linear, pair)
    heads = _solve_head(job, features, kind == "weighted")
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


def _refuse_more_after(job: Job) -> None:
    """Refuse a model that makes something else of what its network puts out."""
    found: list[Tensor] = []
    handle = job.whole.net.register_forward_hook(lambda _, inputs, out: found.append(out))
    try:
        put_out = job.whole.model(next(iter(job.inputs(1))))
    finally:
        handle.remove()
    same = found[0].shape == put_out.shape
    if not (same and torch.allclose(found[0], put_out, equal_nan=True)):
        raise InputError(
            f"the {type(job.whole.model).__name__} changes what its {type(job.whole.net).__name__} puts "
            "out, so no head can be fitted to its outputs; pass a compensation of the layers alone, "
            "such as 'steps' or 'readers'"
        )


def _solve_head(job: Job, features: _Features, weighted: bool) -> list[AffineHead]:
    """Return the least squares from the features to the old logits, one for each ridge."""
    fits: list[LeastSquares] = []
    for x in job.inputs():
        z, (f, fixed) = job.whole.model(x), features.of(x)
        target = z - fixed
        if not weighted:
            fits = fits or [LeastSquares(f, target)]
            fits[0].add(f, target)
            continue
        p = z.softmax(1)
        weights = (p * (1 - p)).clamp_min(torch.finfo(p.dtype).eps)  # 0 where p rounds to 0 or 1
        fits = fits or [LeastSquares(f, target[:, :1]) for _ in range(z.shape[1])]
        for c, fit in enumerate(fits):
            fit.add(f, target[:, c : c + 1], weights[:, c])
    ridges = job.options.ridges
    normals = [job.total(fit.result()) for fit in fits]
    if features.linear.bias is None:
        normals = [normal.through_origin() for normal in normals]
    solved = zip(*(normal.solve(ridges) for normal in normals), strict=True)
    return [
        AffineHead(torch.cat([h.weight for h in row]), torch.cat([h.bias for h in row]))
        for row in solved
    ]


def _losses(
    heads: list[AffineHead], features: _Features, job: Job, held_out: Iterable[Any]
) -> Float[Tensor, "ridge"]:
    """Return the summed held-out loss of every candidate."""
    total = torch.zeros(len(heads), dtype=torch.float64)
    for batch in held_out:
        x, labels = unpack(batch, job.whole.classes)
        if labels is None:
            raise InputError("held-out batches must be (x, labels)")
        f, fixed = features.of(as_inputs(x, job.whole.weight))
        for i, head in enumerate(heads):
            z = f @ head.weight.to(f).T + head.bias.to(f) + fixed
            total[i] += sample_losses(job.options.loss, z, labels.to(z.device)).double().sum().cpu()
    return total
