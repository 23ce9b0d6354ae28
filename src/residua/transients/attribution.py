"""Which layers decide the class: every logit as the exact sum of what each layer added."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor, nn

from residua.errors import InputError
from residua.inputs import as_any_inputs
from residua.layers import ResidualStack, weight_of
from residua.losses import class_labels
from residua.readout import check_logits
from residua.stack import OwnStack, find_stack, stack_of
from residua.streaming import evaluating, stream
from residua.tracing import Trace, as_array, trace

Method = Literal["exact", "frozen norm", "gradient"]


@dataclass(frozen=True, eq=False)
class Attribution:
    """Logits as the sum of contributions: K x_0 of the input, K y_t of each layer, c of the bias.

    Attributes:
        parts: "input", "layer 1"…"layer T", "bias"; "remainder" in place of the bias with the method
            "gradient".
        contributions: (part, sample, class), of a language model (part, sample, position, class); their
            sum over parts is the logits.
        logits: the model's output.
        method: "exact" where the head is linear; "frozen norm" where a norm before it is held at its
            scale for the true x_T, so that the sum is exact and each part's own effect on that scale is
            left out; "gradient" see :func:`attribute_gradient`.
    """

    parts: tuple[str, ...]
    contributions: Float[Tensor, "part sample *place classes"]
    logits: Float[Tensor, "sample *place classes"]
    method: Method

    def margins(self, labels: Int[Tensor, "sample"]) -> Float[Tensor, "state sample"]:
        """Return over depth t = 0…T by how much the true class leads the best other, bias included.

        The logits are those that the head would give the state x_t.

        Raises:
            InputError: labels do not fit the samples or classes.
        """
        if self.logits.ndim != 2:
            raise InputError("a margin needs the logits of samples, and these are of their tokens")
        classes = self.logits.shape[1]
        if classes < 2:
            raise InputError("a margin needs at least two classes, and the head has one output")
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
        """Return labelled arrays with the dimensions part, sample (position) and class."""
        names = list(classes or map(str, range(self.logits.shape[-1])))
        dims = ("part", "sample", *(["position"] if self.logits.ndim == 3 else []), "class")
        return xr.Dataset(
            {
                "contribution": (dims, as_array(self.contributions)),
                "logits": (dims[1:], as_array(self.logits)),
            },
            coords={"part": list(self.parts), "class": names},
            attrs={"method": self.method},
        )


@torch.no_grad()
def attribute(model: nn.Module, x: Float[Tensor, "sample ..."]) -> Attribution:
    """Return each layer's share of every logit of a batch: K x_0 + Σ_t K y_t + c, exactly.

    The identity is checked on every call, to 1e-5 of the largest absolute logit in float32 and 1e-12
    in float64. A contribution says what a layer added to the logits in this forward pass, not what they
    would be without it: later layers answer to it. With a LayerNorm or RMSNorm before the linear head
    the norm's scale is frozen at the true x_T, and `method` says so.

    Args:
        model: a model with a residual stack and a head that is linear up to a norm.
        x: inputs, on the model's device.

    Raises:
        StackError: no residual stack was found, or the head is not applied to the last state itself,
            so that the identity does not hold.
        InputError: the head is not linear; the batch is empty, or holds NaN or infinite values.
    """
    stack = find_stack(model)
    readout = stack.readout
    readout.check_alone()
    if readout.linear is None:
        raise InputError(
            f"the head {type(readout.module).__name__} is not linear, so logits are no sum over layers; "
            "attribute_gradient(model, x) gives the first-order version, with what it leaves over"
        )
    found = trace(model, x)
    K, c = readout.map()
    steps = torch.cat([found.states[:1], found.residuals])
    shares = (steps @ K.T) * readout.scale(found.states[-1])[:, None]
    shares = torch.cat([shares, c.expand_as(found.logits)[None]])
    method: Method = "exact" if readout.norm is None else "frozen norm"
    return Attribution((*_layers(found.depth), "bias"), shares, found.logits, method)


def attribute_gradient(model: nn.Module | ResidualStack, x: Any) -> Attribution:
    """Return the first-order share of each layer in every logit, for any model: ∂logits/∂x_T · y_t.

    The gradient is taken at the true x_T. What it leaves over, logits − ∂logits/∂x_T · x_T, is the last
    part, "remainder": of a linear head its bias. Of other models than residua's the layers are those of
    the last stage, a language model's logits have a place in the text, and each layer takes a pass.

    Args:
        model: any model with residual layers, or what :func:`residua.find_blocks` returned of it.
        x: inputs, or named ones.

    Raises:
        StackError: no residual layers were found, or the head is not applied to the last state.
        InputError: the batch is empty, or holds NaN or infinite values.
    """
    module = model.model if isinstance(model, ResidualStack) else model
    x = as_any_inputs(x, weight_of(module))
    stack = stack_of(model, x)
    head: Any
    if isinstance(stack, OwnStack):
        readout = find_stack(module).readout
        readout.check_alone()
        head, found = readout.module, trace(module, x)
    else:
        stack = stack.stage(stack.stages[-1])
        head, found = partial(_from_last_state, stack, x), trace(stack, x)
    with evaluating(module), torch.no_grad():
        last = found.states[-1]
        steps = torch.cat([found.states[:1], found.residuals])
        shares = [torch.func.jvp(head, (last,), (step,))[1] for step in steps]
    total = torch.stack(shares)
    remainder = (found.logits - total.sum(0))[None]
    parts = (*_layers(found.depth), "remainder")
    return Attribution(parts, torch.cat([total, remainder]), found.logits, "gradient")


def _from_last_state(stack: ResidualStack, x: Any, last: Tensor) -> Tensor:
    """Return what a model makes of another state after its last layer."""
    with stack.change(lambda t, before, after: last if t == stack.depth else after):
        return stack.outputs(x)


@torch.no_grad()
def divide(model: nn.Module, found: Trace, steady: Float[Tensor, "sample unit"]) -> Attribution:
    """Return the logits as input, transient and steady parts: K x_0 + K Σ(y_t − y_∞) + T K y_∞ + c.

    Args:
        model: whose trace it is; its head must be linear.
        found: the trace of a batch.
        steady: y_∞, each sample's residual in the network run on until it has settled.

    Raises:
        StackError: the head is not one linear map, or does not give the trace's logits.
        InputError: `steady` has another shape than the residuals, or the trace is of another model.
    """
    stack = find_stack(model)
    head = stack.readout.head
    if steady.shape != found.residuals.shape[1:]:
        raise InputError(
            f"steady must be one residual a sample, of the shape "
            f"{tuple(found.residuals.shape[1:])}, not {tuple(steady.shape)}"
        )
    resting = found.depth * steady.to(found.states)
    steps = torch.stack([found.states[0], found.residuals.sum(0) - resting, resting])
    if found.states.shape[2] != head.in_features:
        raise InputError(
            f"the trace has {found.states.shape[2]} units and the head takes {head.in_features}; pass "
            "the model whose trace it is"
        )
    shares = torch.cat([steps @ head.weight.T, head(torch.zeros_like(resting))[None]])
    check_logits(shares.sum(0), found.logits, found.logits.dtype)
    return Attribution(("input", "transient", "steady", "bias"), shares, found.logits, "exact")


def _layers(depth: int) -> tuple[str, ...]:
    return ("input", *(f"layer {t}" for t in range(1, depth + 1)))


@dataclass(frozen=True, eq=False)
class ClassAttribution:
    """Mean contributions to every logit over the samples of each true class.

    Attributes:
        parts: "input", "layer 1"…"layer T", "bias".
        mean: (part, true class, class), float64; NaN for an absent class.
        count: samples of each true class.
        method: as in :class:`Attribution`.
    """

    parts: tuple[str, ...]
    mean: Float[np.ndarray, "part true classes"]
    count: Float[np.ndarray, "true"]
    method: Method

    @property
    def own(self) -> Float[np.ndarray, "part true"]:
        """What each part adds on average to the true class's logit, less its mean for the others."""
        classes = self.mean.shape[2]
        true = np.einsum("pcc->pc", self.mean)
        return np.asarray(true - (self.mean.sum(2) - true) / (classes - 1))

    @property
    def overall(self) -> Float[np.ndarray, "part classes"]:
        """The mean over all samples."""
        present = self.count > 0
        mean = np.einsum("t,ptc->pc", self.count[present], self.mean[:, present])
        return np.asarray(mean / self.count.sum())


class HeadStates:
    """Streams scale·K x_t, t = 0…T, of every batch: what each state would give, without the bias.

    Sums them by class; a subclass gets every batch by :meth:`take`.
    """

    needs = "attribution by class"

    def __init__(self, stack: OwnStack):
        if stack.readout.linear is None:
            raise InputError(
                f"the head {type(stack.readout.module).__name__} is not linear, so logits are no sum "
                "over layers; attribute_gradient(model, x) gives the first-order version of a batch"
            )
        self.stack, self.readout = stack, stack.readout
        K, c = self.readout.map()
        wide = torch.promote_types(K.dtype, torch.float32)
        self.K, self.c = K.to(wide), c.to(wide)
        self.count = torch.zeros(stack.classes, dtype=torch.float64, device=K.device)
        self.sums = torch.zeros(
            stack.depth + 1, stack.classes, stack.classes, dtype=torch.float64, device=K.device
        )

    def begin(self, labels: Tensor | None) -> None:
        """Start a batch."""
        self.labels = class_labels(labels, self.needs).to(self.K.device)
        self.parts: list[Tensor] = []

    def visit(self, t: int, before: Tensor, after: Tensor) -> None:
        """Project one state."""
        if t == 1:
            self.parts.append(before @ self.K.T)
        self.parts.append(after @ self.K.T)
        if t == self.stack.depth:
            self.scale = self.readout.scale(after)[:, None]

    def end(self, logits: Tensor) -> None:
        """Sum up the batch, if its last state gives its logits.

        Raises:
            StackError: it does not.
        """
        states = torch.stack(self.parts) * self.scale
        check_logits(states[-1] + self.c, logits, self.stack.weight.dtype)
        self.count += torch.bincount(self.labels, minlength=len(self.count))
        self.sums.index_add_(1, self.labels, states.double())
        self.take(states, self.labels)

    def take(self, states: Tensor, labels: Tensor) -> None:
        """Use one batch: states (T+1, sample, class). Here nothing more."""

    def attribution(self) -> ClassAttribution:
        """Return the mean contributions of all batches so far."""
        states = self.sums / self.count[:, None]  # NaN for an absent class
        steps = torch.cat([states[:1], states.diff(dim=0)])
        bias = self.c.double().expand_as(states[:1]) + 0 * states[:1]
        mean = torch.cat([steps, bias]).numpy(force=True)
        method: Method = "exact" if self.readout.norm is None else "frozen norm"
        parts = (*_layers(self.stack.depth), "bias")
        return ClassAttribution(parts, mean, self.count.numpy(force=True), method)


def attribute_classes(model: nn.Module, batches: Iterable[Any]) -> ClassAttribution:
    """Stream a data set and return the mean contribution of each layer to every logit, by true class.

    Args:
        model: a model with a residual stack and a head that is linear up to a norm.
        batches: yields (x, labels).

    Raises:
        StackError: no residual stack was found, or the head is not applied to the last state.
        InputError: no batch came, labels are missing or do not fit, or the head is not linear.
    """
    stack = find_stack(model)
    sums = HeadStates(stack)
    stream(stack, batches, sums)
    return sums.attribution()
