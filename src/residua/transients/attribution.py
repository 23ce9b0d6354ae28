"""Which layers decide the class: every logit as the exact sum of what each layer added."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor, nn

from residua.errors import InputError
from residua.stack import ResidualStack, find_stack
from residua.streaming import stream
from residua.tracing import trace


@dataclass(frozen=True, eq=False)
class Attribution:
    """Logits as the sum of contributions: K x_0 of the input, K y_t of each layer, c of the bias.

    Attributes:
        parts: "input", "layer 1"…"layer T", "bias".
        contributions: (part, sample, class); their sum over parts is the logits.
        logits: the model's output.
    """

    parts: tuple[str, ...]
    contributions: Float[Tensor, "part sample classes"]
    logits: Float[Tensor, "sample classes"]

    def margins(self, labels: Int[Tensor, "sample"]) -> Float[Tensor, "state sample"]:
        """Return over depth t = 0…T by how much the true class leads the best other, bias included.

        The logits are those that the head would give the state x_t.

        Raises:
            InputError: labels do not fit the samples or classes.
        """
        classes = self.logits.shape[1]
        if labels.shape != self.logits.shape[:1] or not bool(
            ((labels >= 0) & (labels < classes)).all()
        ):
            raise InputError(
                f"labels must be whole numbers 0…{classes - 1}, one for each of the "
                f"{len(self.logits)} samples"
            )
        so_far = self.contributions[:-1].cumsum(0) + self.contributions[-1]
        where = labels.to(so_far.device)[None, :, None].expand(len(so_far), -1, 1)
        true = so_far.gather(2, where)[..., 0]
        return true - so_far.scatter(2, where, -torch.inf).amax(2)

    def to_dataset(self, classes: Sequence[str] | None = None) -> xr.Dataset:
        """Return labelled arrays with the dimensions part, sample and class."""
        names = list(classes or map(str, range(self.logits.shape[1])))
        dims = ("part", "sample", "class")
        return xr.Dataset(
            {
                "contribution": (dims, self.contributions.numpy(force=True)),
                "logits": (dims[1:], self.logits.numpy(force=True)),
            },
            coords={"part": list(self.parts), "class": names},
        )


@torch.no_grad()
def attribute(model: nn.Module, x: Float[Tensor, "sample ..."]) -> Attribution:
    """Return each layer's share of every logit of a batch: K x_0 + Σ_t K y_t + c, exactly.

    The identity is checked on every call, to 1e-5 of the largest absolute logit in float32 and 1e-12
    in float64. A contribution says what a layer added to the logits in this forward pass, not what they
    would be without it: later layers answer to it.

    Args:
        model: a model with a residual stack and a linear head.
        x: inputs, on the model's device.

    Raises:
        StackError: no residual stack was found, or the head is not applied to the last state itself,
            so that the identity does not hold.
        InputError: the batch is empty, or holds NaN or infinite values.
    """
    head = find_stack(model).head
    found = trace(model, x)
    steps = torch.cat([found.states[:1], found.residuals])
    bias = head.bias if head.bias is not None else torch.zeros_like(found.logits[0])
    shares = torch.cat([steps @ head.weight.T, bias.expand_as(found.logits)[None]])
    return Attribution(_parts(found.depth), shares, found.logits)


def _parts(depth: int) -> tuple[str, ...]:
    return ("input", *(f"layer {t}" for t in range(1, depth + 1)), "bias")


@dataclass(frozen=True, eq=False)
class ClassAttribution:
    """Mean contributions to every logit over the samples of each true class.

    Attributes:
        parts: "input", "layer 1"…"layer T", "bias".
        mean: (part, true class, class), float64.
        count: samples of each true class.
    """

    parts: tuple[str, ...]
    mean: Float[np.ndarray, "part true classes"]
    count: Float[np.ndarray, "true"]

    @property
    def own(self) -> Float[np.ndarray, "part true"]:
        """What each part adds on average to the true class's logit, less its mean for the others."""
        classes = self.mean.shape[2]
        true = np.einsum("pcc->pc", self.mean)
        return np.asarray(true - (self.mean.sum(2) - true) / (classes - 1))


class _Sums:
    """Streams Σ K y_t by class."""

    def __init__(self, stack: ResidualStack):
        head = stack.head
        self.classes, self.K = head.out_features, head.weight
        zeros = torch.zeros(stack.depth + 1, self.classes, head.in_features, dtype=torch.float64)
        self.sums = zeros.to(head.weight.device)
        self.count = torch.zeros(self.classes, dtype=torch.float64, device=head.weight.device)

    def begin(self, labels: Tensor | None) -> None:
        if labels is None:
            raise InputError("attribution by class needs labels; pass batches (x, labels)")
        self.labels = labels

    def visit(self, t: int, before: Tensor, after: Tensor) -> None:
        labels = self.labels.to(after.device)
        if t == 1:
            self.sums[0].index_add_(0, labels, before.double())
        self.sums[t].index_add_(0, labels, (after - before).double())

    def end(self, logits: Tensor) -> None:
        self.count += torch.bincount(self.labels.to(logits.device), minlength=self.classes)


def attribute_classes(model: nn.Module, batches: Iterable[Any]) -> ClassAttribution:
    """Stream a data set and return the mean contribution of each layer to every logit, by true class.

    K is linear, so the mean of K y_t is K times the mean of y_t: nothing is stored by sample.

    Args:
        model: a model with a residual stack and a linear head.
        batches: yields (x, labels).

    Raises:
        StackError: no residual stack was found.
        InputError: no batch came, or labels are missing or do not fit.
    """
    stack = find_stack(model)
    sums = _Sums(stack)
    stream(stack, batches, sums)
    present = sums.count.clamp(min=1)[:, None]
    head = stack.head
    shares = (sums.sums / present) @ head.weight.detach().double().T
    bias = torch.zeros(sums.classes) if head.bias is None else head.bias.detach()
    each = bias.double().to(shares).expand(1, sums.classes, sums.classes)
    mean = torch.cat([shares, each])
    return ClassAttribution(
        _parts(stack.depth), mean.numpy(force=True), sums.count.numpy(force=True)
    )
