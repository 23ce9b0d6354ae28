"""Jacobians of layers, in float64, and what they make of noise to first order."""

import copy
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from residua.errors import InputError
from residua.inputs import as_inputs
from residua.stack import OwnStack, find_stack


def in_float64(model: nn.Module) -> nn.Module:
    """Return a copy in float64 and evaluation mode."""
    return copy.deepcopy(model).double().eval()


def states_of(stack: OwnStack, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return x_t, t = 0…T, of a batch, and its logits, in float32 at least."""
    seen: list[Tensor] = []
    wide = torch.promote_types(stack.weight.dtype, torch.float32)

    def visit(t: int, before: Tensor, after: Tensor) -> None:
        if t == 1:
            seen.append(before.to(wide))
        seen.append(after.to(wide, copy=True))

    with stack.watch(visit):
        logits = stack.model(x)
    return torch.stack(seen), logits.to(wide)


def layer_jacobian(
    stack: OwnStack, t: int, x: Float[Tensor, "sample unit"]
) -> Float[Tensor, "sample unit unit"]:
    """Return ∂x_t/∂x_{t−1} at the states x = x_{t−1}."""

    def one(x: Tensor) -> Tensor:
        return stack.run(t, x[None].clone())[0]  # a block may work in place

    J: Tensor = torch.func.vmap(torch.func.jacfwd(one))(x)
    return J


@torch.no_grad()
def noise_covariances(
    model: nn.Module, x: Float[Tensor, "..."], sigma: float, *, layer_sigma: float = 0.0
) -> list[Float[Tensor, "unit unit"]]:
    """Return the covariance of x_t, t = 0…T, to first order, under noise of the input and the layers.

    C_0 = σ² A_0 A_0ᵀ with A_0 = ∂x_0/∂x, and C_t = A_t C_{t−1} A_tᵀ + σ_layer² I with
    A_t = ∂x_t/∂x_{t−1} at the undisturbed states; float64, on a copy of the model. Its trace is to be
    set beside the sampled one of :func:`noise`.

    Args:
        model: a model with a residual stack.
        x: one input, without the batch dimension.
        sigma: standard deviation of independent noise on every input dimension.
        layer_sigma: the same of noise added to x_t after every layer.

    Raises:
        StackError: no residual stack was found.
        InputError: a standard deviation is below 0.
    """
    for value in (sigma, layer_sigma):
        if not 0 <= value < math.inf:
            raise InputError(f"a standard deviation must be 0 or more, not {value}")
    stack = find_stack(in_float64(model))
    one = as_inputs(x[None], stack.weight)
    states, _ = states_of(stack, one)
    first = torch.func.jacrev(lambda x: _first_state(stack, x))(one).flatten(1)
    found = [sigma**2 * first @ first.T]
    noisy = layer_sigma**2 * torch.eye(len(first), dtype=first.dtype, device=first.device)
    for t in range(1, stack.depth + 1):
        A = layer_jacobian(stack, t, states[t - 1])[0]
        found.append(A @ found[-1] @ A.T + noisy)
    return found


def _first_state(stack: OwnStack, x: Tensor) -> Tensor:
    seen: list[Tensor] = []

    def first(x0: Tensor) -> Tensor:
        seen.append(x0[0])
        return x0

    with stack.change(lambda t, before, after: after, first=first):
        stack.model(x)
    return seen[0]
