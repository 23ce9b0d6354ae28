"""The head of any model: what it reads after a cut, mapped to what it read before."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from residua.depth.fit_job import FoundJob
from residua.depth.last_fits import ROWS, reading
from residua.depth.least_squares import AffineHead, LeastSquares
from residua.errors import InputError
from residua.losses import sample_losses
from residua.padding import counted_weights
from residua.stack import FoundStack
from residua.streaming import labelled
from residua.untying import untie


@dataclass
class HeadReads:
    """What the head's linear map reads in a pass, and what becomes of its output."""

    stack: FoundStack

    @property
    def linear(self) -> nn.Linear:
        """The head's linear map."""
        assert self.stack.head is not None
        found = self.stack.model.get_submodule(self.stack.head)
        assert isinstance(found, nn.Linear)
        return found

    def of(self, x: Any) -> tuple[Float[Tensor, "row feature"], Tensor]:
        """Return what it reads, row by row, and the model's outputs."""
        read: list[Tensor] = []
        handle = self.linear.register_forward_pre_hook(reading(read), with_kwargs=True)
        try:
            outputs = self.stack.outputs(x)
        finally:
            handle.remove()
        return read[-1].flatten(0, -2), outputs


def fit_output(job: FoundJob, held_out: Iterable[Any]) -> float:
    """Fit a map d × d of what the head reads, to what it read in the uncut network; fold it in.

    The new head is K (h + A h + a) + c with A, a from least squares; the ridge, towards A = 0, is the
    one with the lowest held-out loss. A head that shares its weights with the embedding is untied.

    Returns:
        The ridge.

    Raises:
        InputError: the logits are not what one linear map puts out.
    """
    if job.whole.head is None or job.small.head is None:
        raise InputError(
            f"the logits of the {type(job.whole.model).__name__} are not what one nn.Linear puts out, "
            "so no head can be fitted; pass 'readers' or 'none'"
        )
    new, old = HeadReads(job.small), HeadReads(job.whole)
    fit: LeastSquares | None = None
    for x in job.inputs():
        (h, outputs), (wanted, _) = new.of(x), old.of(x)
        fit = fit or LeastSquares(h, wanted - h)
        fit.add(h, wanted - h, counted_weights(job.small, job.small.depth, x, outputs))
        if fit.samples >= ROWS:
            break
    assert fit is not None
    linear = new.linear
    normal = job.total(fit.result())
    solved = (normal if linear.bias is not None else normal.through_origin()).solve(
        job.options.ridges
    )
    heads = [folded(linear, found) for found in solved]
    losses = job.total(_losses(job, heads, new, held_out))
    best = int(losses.nan_to_num(torch.inf).argmin())
    if not bool(losses[best].isfinite()):
        raise InputError(
            "no head could be fitted: what it reads holds NaN or infinite values, or is too alike for "
            "the ridges; pass larger ridges, or more batches"
        )
    untie(job.small.model, linear)
    linear.weight.copy_(heads[best].weight)
    if linear.bias is not None:
        linear.bias.copy_(heads[best].bias)
    return job.options.ridges[best]


def folded(linear: nn.Linear, found: AffineHead) -> AffineHead:
    """Return the head K (h + A h + a) + c, given A and a."""
    K = linear.weight.double()
    bias = 0.0 if linear.bias is None else linear.bias.double()
    return AffineHead(K + K @ found.weight, bias + K @ found.bias)


def _losses(
    job: FoundJob, heads: list[AffineHead], new: HeadReads, held_out: Iterable[Any]
) -> Float[Tensor, "ridge"]:
    """Return the summed held-out loss of every candidate."""
    total = torch.zeros(len(heads), dtype=torch.float64)
    for x, labels in labelled(job.small.model, held_out, "held-out batches"):
        h, outputs = new.of(x)
        for i, head in enumerate(heads):
            z = (h @ head.weight.to(h).T + head.bias.to(h)).reshape(outputs.shape)
            total[i] += (
                sample_losses(job.options.loss, z.float(), labels.to(z.device)).double().sum().cpu()
            )
    return total
