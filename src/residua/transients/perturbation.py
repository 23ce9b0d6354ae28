"""What a perturbation at a layer does to state, logits and decision: exact gains, sampled gains."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.linalg import eigh
from torch import Tensor, nn

from residua.errors import InputError
from residua.inputs import as_inputs
from residua.readout import check_finite, check_logits
from residua.stack import OwnStack, find_stack
from residua.streaming import evaluating, out_of_memory, refusing_too_large
from residua.tracing import as_array
from residua.transients.first_order import in_float64, layer_jacobian, states_of


@dataclass(frozen=True, eq=False)
class Gains:
    """To first order, what a small perturbation δ of x_t does, by state t = 0…T and sample; float64.

    Attributes:
        state: largest ‖δx_T‖ / ‖δ‖, the first singular value of ∂x_T/∂x_t.
        state_rms: root mean square of ‖δx_T‖ / ‖δ‖ over all directions, ‖∂x_T/∂x_t‖_F / √N.
        logits, logits_rms: the same of the logits.
        margin: largest change of the margin m (the decided logit less the next) per ‖δ‖, ‖∂m/∂x_t‖.
        distance: m / ‖∂m/∂x_t‖, the smallest ‖δ‖ that to first order changes the decision.
        worst: the direction of δ that moves x_T most, of norm 1; its sign means nothing.
    """

    state: Float[np.ndarray, "state sample"]
    state_rms: Float[np.ndarray, "state sample"]
    logits: Float[np.ndarray, "state sample"]
    logits_rms: Float[np.ndarray, "state sample"]
    margin: Float[np.ndarray, "state sample"]
    distance: Float[np.ndarray, "state sample"]
    worst: Float[np.ndarray, "state sample unit"]


@torch.no_grad()
def gains(model: nn.Module, x: Float[Tensor, "sample ..."]) -> Gains:
    """Return the exact first-order gain from every state to the last state, logits and decision.

    Products of the layers' Jacobians, in float64 on a copy of the model; the worst direction by singular
    value decomposition. Costs about N matrix-vector products a layer and sample: pass few samples. A
    batch that does not fit into memory is halved.

    Args:
        model: a model with a residual stack and any head.
        x: inputs, (sample, …).

    Raises:
        StackError: no residual stack was found.
        InputError: x is no batch of finite inputs.
    """
    stack = find_stack(in_float64(model))
    parts = _halving(lambda part: _gains(stack, part), as_inputs(x, stack.weight))
    return Gains(*(np.concatenate([p[i] for p in parts], 1) for i in range(7)))


def _halving(call: Callable[[Tensor], Any], x: Tensor) -> list[Any]:
    """Return call(x), or its values on as many parts of x as memory asks for."""
    try:
        return [call(x)]
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        if len(x) == 1:
            raise InputError(
                "memory is too small for this even with a single sample; use a smaller network or a "
                "machine with more of it"
            ) from error
    half = len(x) // 2
    return _halving(call, x[:half]) + _halving(call, x[half:])


def _gains(stack: OwnStack, x: Tensor) -> list[np.ndarray]:
    states, logits = states_of(stack, x)
    stack.readout.check_alone()
    head = stack.readout.module
    check_logits(head(states[-1]), logits, logits.dtype)
    rows = torch.func.vmap(torch.func.jacrev(lambda s: head(s[None])[0]))(states[-1])
    m, to_margin = _margin(logits, rows)
    n = states.shape[2]
    J = torch.eye(n, dtype=x.dtype, device=x.device).expand(len(x), n, n)
    found = [_at_state(J, rows, to_margin, m)]
    for t in range(stack.depth, 0, -1):
        A = layer_jacobian(stack, t, states[t - 1])
        J, rows, to_margin = J @ A, rows @ A, to_margin @ A
        found.append(_at_state(J, rows, to_margin, m))
    return [np.stack([f[i] for f in reversed(found)]) for i in range(7)]


def _margin(logits: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the margin and its gradient at x_T, (sample, 1, unit); NaN where there is one output."""
    if logits.shape[1] < 2:
        return torch.full_like(logits[:, 0], torch.nan), torch.full_like(rows[:, :1], torch.nan)
    best = logits.topk(2, dim=1)
    which = best.indices[:, :, None].expand(-1, -1, rows.shape[2])
    toward = rows.gather(1, which)  # (sample, 2, unit)
    return best.values[:, 0] - best.values[:, 1], toward[:, :1] - toward[:, 1:]


def _at_state(J: Tensor, rows: Tensor, to_margin: Tensor, m: Tensor) -> list[np.ndarray]:
    largest, worst = _first_singular(J)
    n = J.shape[2] ** 0.5
    size = torch.linalg.vector_norm(to_margin, dim=(1, 2))
    values = [
        largest,
        torch.linalg.matrix_norm(J) / n,
        torch.linalg.matrix_norm(rows, ord=2),
        torch.linalg.matrix_norm(rows) / n,
        size,
        m / size,
        worst,
    ]
    return [v.numpy(force=True) for v in values]


def _first_singular(J: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first singular value and right singular vector of each matrix.

    As the last eigenpair of JᵀJ: squaring costs small singular values their digits, not the first.
    """
    last = [J.shape[2] - 1] * 2
    grams = (J.mT @ J).numpy(force=True)
    pairs = [eigh(gram, subset_by_index=last) for gram in grams]
    values = np.sqrt(np.array([value[0] for value, _ in pairs]))
    vectors = np.stack([vector[:, 0] for _, vector in pairs])
    return torch.from_numpy(values), torch.from_numpy(vectors)


@dataclass(frozen=True, eq=False)
class SampledGains:
    """What random perturbations of one size do, by state t = 0…T, draw and sample.

    Attributes:
        size: ‖δ‖ of every perturbation.
        state: ‖δx_T‖ / ‖δ‖.
        logits: ‖δ logits‖ / ‖δ‖.
        flipped: whether the decision changed.
    """

    size: float
    state: Float[np.ndarray, "state draw sample"]
    logits: Float[np.ndarray, "state draw sample"]
    flipped: Bool[np.ndarray, "state draw sample"]


@torch.no_grad()
def sampled_gains(
    model: nn.Module,
    x: Float[Tensor, "sample ..."],
    *,
    size: float = 1.0,
    draws: int = 8,
    seed: int = 0,
    states: Sequence[int] | None = None,
) -> SampledGains:
    """Perturb every state in random directions and return what the rest of the network makes of it.

    Args:
        model: a model with a residual stack and any head.
        x: inputs, (sample, …).
        size: ‖δ‖, in units of the state.
        draws: directions a sample and state, even on the sphere.
        seed: of the directions; each state gets the same ones.
        states: those to perturb, 0…T; default all.

    Raises:
        StackError: no residual stack was found, or there is no such state.
        InputError: size is not above 0, draws are fewer than 1, or x is no batch of finite inputs.
    """
    if not 0 < size < float("inf") or draws < 1:
        raise InputError(f"size must be above 0 and draws at least 1, not {size} and {draws}")
    stack = find_stack(model)
    where = list(range(stack.depth + 1)) if states is None else list(states)
    if not where:
        raise InputError("states must name at least one state to perturb, 0…T")
    for t in where:
        stack.check_layer(t, first=0)
    x = as_inputs(x, stack.weight)
    generator = torch.Generator(stack.weight.device).manual_seed(seed)
    with evaluating(model), refusing_too_large(stack, x):
        clean, logits = states_of(stack, x)
        check_finite(logits)
        decision = logits.argmax(1)
        shape = (draws, *clean.shape[1:])
        delta = torch.randn(shape, generator=generator, dtype=clean.dtype, device=clean.device)
        delta *= size / torch.linalg.vector_norm(delta, dim=2, keepdim=True)
        found = []
        for t in where:
            for d in delta:
                end, out = _perturbed(stack, x, t, d)
                moved = torch.linalg.vector_norm(end - clean[-1], dim=1) / size
                answer = torch.linalg.vector_norm(out - logits, dim=1) / size
                found.append((moved, answer, out.argmax(1) != decision))
    each = (len(where), draws, len(x))
    return SampledGains(
        size,
        *(as_array(torch.stack([f[i] for f in found])).reshape(each) for i in range(3)),
    )


def _perturbed(stack: OwnStack, x: Tensor, t: int, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Return x_T and logits with delta added to x_t."""
    end: list[Tensor] = []

    def new(s: int, before: Tensor, after: Tensor) -> Tensor:
        after = (after + delta).to(after) if s == t else after
        if s == stack.depth:
            end.append(after)
        return after

    with stack.change(new, first=(lambda x0: (x0 + delta).to(x0)) if t == 0 else None):
        logits = stack.model(x)
    return end[0], logits
