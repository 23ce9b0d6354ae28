"""What every layer of a model did to one batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor, nn

from residua.inputs import as_any_inputs
from residua.layers import ResidualStack, weight_of
from residua.readout import Readout, check_logits
from residua.stack import OwnStack, stack_of
from residua.streaming import evaluating, refusing_too_large


@dataclass(frozen=True)
class Trace:
    """States and residuals of one batch; x_t = x_0 + y_1 + … + y_t.

    Attributes:
        states: x_t for t = 0…T.
        residuals: y_t = x_t − x_{t−1} for t = 1…T, what layer t really added.
        logits: the model's output.
        names: the module that made each layer.
        branch_is_residual: whether y_t is the block's branch output (not so without a skip).
    """

    states: Float[Tensor, "state batch *unit"]
    residuals: Float[Tensor, "layer batch *unit"]
    logits: Float[Tensor, "batch *classes"]
    names: tuple[str, ...]
    branch_is_residual: bool

    @property
    def depth(self) -> int:
        """T, the number of layers."""
        return len(self.names)

    def __repr__(self) -> str:
        shape = " × ".join(map(str, self.states.shape[1:]))
        return f"Trace({self.depth} layers, {self.names[0]} … {self.names[-1]}; states {shape})"

    def to_dataset(self, labels: Int[Tensor, "batch"] | None = None) -> xr.Dataset:
        """Return labelled arrays: state 0…T, layer 1…T, sample, class, unit.

        Sequences have token and unit, images channel, row and column.
        """
        dims = {3: ("unit",), 4: ("token", "unit"), 5: ("channel", "row", "column")}
        unit = dims.get(self.states.ndim, tuple(f"unit_{i}" for i in range(self.states.ndim - 2)))
        data = xr.Dataset(
            {
                "states": (("state", "sample", *unit), as_array(self.states)),
                "residuals": (("layer", "sample", *unit), as_array(self.residuals)),
                "logits": (
                    ("sample", *(["position"] if self.logits.ndim == 3 else []), "class"),
                    as_array(self.logits),
                ),
            },
            coords={
                "state": range(self.depth + 1),
                "layer": range(1, self.depth + 1),
                "block": ("layer", list(self.names)),
            },
            attrs={"branch_is_residual": int(self.branch_is_residual)},
        )
        if labels is not None:
            data = data.assign_coords(label=("sample", labels.numpy(force=True)))
        return data


def as_array(values: Tensor) -> np.ndarray:
    """Return a tensor as an array; numpy knows no bfloat16, so that becomes float32."""
    if values.dtype == torch.bfloat16:
        values = values.float()
    return np.asarray(values.numpy(force=True))


@torch.no_grad()
def trace(
    model: nn.Module | ResidualStack, x: Tensor | Mapping[str, Any], *, stage: str | None = None
) -> Trace:
    """Run one batch and return the state after, and the residual of, every layer.

    The model is put in evaluation mode for the pass and back afterwards.

    The identity K x_0 + Σ_t K y_t + c = logits is checked on every call, to 1e-5 of the largest
    absolute logit in float32 and 1e-12 in float64. With a norm before the linear head K carries the
    norm's scale at x_T; with a head that is not linear it is head(x_T) that must give the logits.
    Of a stage that is not the last, and of other models than residua's, there is no such check.

    Args:
        model: any model with residual layers, or what :func:`residua.find_blocks` returned of it.
        x: inputs, or a mapping of named ones, such as a tokenizer's.
        stage: which one to trace, of a model with several (a convolutional one has three, an encoder and
            decoder two).

    Raises:
        StackError: no residual stack was found, no such stage, or the identity does not hold.
        InputError: the batch is empty, or holds NaN or infinite values.
    """
    module = model.model if isinstance(model, ResidualStack) else model
    x = as_any_inputs(x, weight_of(module))
    stack = stack_of(model, x).stage(stage)
    states: list[Tensor] = []

    def visit(t: int, before: Tensor, after: Tensor) -> None:
        if t == 1:
            states.append(before.detach().clone())
        states.append(after.detach().clone())

    with evaluating(stack.model):
        with refusing_too_large(stack, x), stack.watch(visit):
            logits = stack.outputs(x)
        residuals = [after - before for before, after in pairwise(states)]
        if isinstance(stack, OwnStack) and stack.ends_at_head:
            _check_identity(stack.readout, states, residuals, logits)
    return Trace(
        torch.stack(states), torch.stack(residuals), logits, stack.names, stack.branch_is_residual
    )


def _check_identity(
    readout: Readout, states: Sequence[Tensor], residuals: Sequence[Tensor], logits: Tensor
) -> None:
    if readout.linear is None or readout.residual is not None:
        total = readout.logits(states[-1], states[-2])
    else:
        K, c = readout.map()
        parts = states[0] @ K.T + sum(y @ K.T for y in residuals)
        total = readout.scale(states[-1])[:, None] * parts + c
    check_logits(total, logits, logits.dtype)
