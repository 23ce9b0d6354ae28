"""What a perturbation at a layer does to the output: exact gains, sampled gains, lesions and swaps."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.linalg import eigh
from torch import Tensor, nn

from residua.errors import InputError
from residua.readout import check_finite, check_logits
from residua.stack import Change, ResidualStack, find_stack
from residua.streaming import (
    Loss,
    as_inputs,
    cross_entropy,
    evaluating,
    out_of_memory,
    refusing_too_large,
    sample_losses,
    unpack,
)
from residua.tracing import as_array


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


def in_float64(model: nn.Module) -> nn.Module:
    """Return a copy in float64 and evaluation mode."""
    return copy.deepcopy(model).double().eval()


def layer_jacobians(
    stack: ResidualStack, states: Float[Tensor, "state sample unit"]
) -> Iterator[Float[Tensor, "sample unit unit"]]:
    """Yield ∂x_t/∂x_{t−1} of every sample for t = T…1, from the last layer to the first."""
    for t in range(stack.depth, 0, -1):
        yield layer_jacobian(stack, t, states[t - 1])


def layer_jacobian(
    stack: ResidualStack, t: int, x: Float[Tensor, "sample unit"]
) -> Float[Tensor, "sample unit unit"]:
    """Return ∂x_t/∂x_{t−1} at the states x = x_{t−1}."""
    block = stack.blocks[t - 1]

    def one(x: Tensor) -> Tensor:
        after: Tensor = block(x[None].clone())[0]  # a block may work in place
        return after

    J: Tensor = torch.func.vmap(torch.func.jacfwd(one))(x)
    return J


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


def states_of(stack: ResidualStack, x: Tensor) -> tuple[Tensor, Tensor]:
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


def _gains(stack: ResidualStack, x: Tensor) -> list[np.ndarray]:
    states, logits = states_of(stack, x)
    head = stack.readout.module
    check_logits(head(states[-1]), logits, logits.dtype)
    rows = torch.func.vmap(torch.func.jacrev(lambda s: head(s[None])[0]))(states[-1])
    m, to_margin = _margin(logits, rows)
    n = states.shape[2]
    J = torch.eye(n, dtype=x.dtype, device=x.device).expand(len(x), n, n)
    found = [_at_state(J, rows, to_margin, m)]
    for A in layer_jacobians(stack, states):
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


def _perturbed(stack: ResidualStack, x: Tensor, t: int, delta: Tensor) -> tuple[Tensor, Tensor]:
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


@dataclass(frozen=True, eq=False)
class Changed:
    """Loss and accuracy of a network with one layer changed, beside the network as it is.

    Attributes:
        names: what was changed.
        loss: mean over samples.
        accuracy: share of samples classified right; NaN where targets are no classes.
        more: mean loss less that of the network as it is.
        more_error: standard error of `more`, paired by sample.
        base_loss, base_accuracy: of the network as it is.
        samples: number of them.
    """

    names: tuple[str, ...]
    loss: Float[np.ndarray, "change"]
    accuracy: Float[np.ndarray, "change"]
    more: Float[np.ndarray, "change"]
    more_error: Float[np.ndarray, "change"]
    base_loss: float
    base_accuracy: float
    samples: int


def lesions(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    scale: float = 0.0,
    layers: Sequence[int] | None = None,
    loss: Loss = cross_entropy,
) -> Changed:
    """Multiply the residual of one layer at a time, x_{t−1} + scale·y_t, and return what it costs.

    Args:
        model: a model with a residual stack and any head.
        batches: yields (x, labels), or (x, targets) for a loss of your own.
        scale: 0 takes the layer out.
        layers: which, 1…T; default all.
        loss: (outputs, targets) → the loss of each sample; default cross-entropy, in nats.

    Raises:
        StackError: no residual stack was found, or there is no such layer.
        InputError: no batch came, or the targets do not fit the loss.

    Source: Veit, Wilber, Belongie, NeurIPS 2016.
    """
    if not -float("inf") < scale < float("inf"):
        raise InputError(f"scale must be a finite number, not {scale}")
    stack = find_stack(model)
    where = list(range(1, stack.depth + 1)) if layers is None else list(layers)

    def scaled(t: int) -> Change:
        stack.check_layer(t)
        return lambda s, before, after: before + scale * (after - before) if s == t else after

    return _changed(stack, batches, {f"layer {t}": scaled(t) for t in where}, loss)


def swaps(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    pairs: Sequence[tuple[int, int]] | None = None,
    loss: Loss = cross_entropy,
) -> Changed:
    """Let two layers change places, one pair at a time, and return what it costs.

    With shared weights nothing changes.

    Args:
        model: a model with a residual stack and any head.
        batches: yields (x, labels), or (x, targets) for a loss of your own.
        pairs: of layers, 1…T; default all neighbours.
        loss: (outputs, targets) → the loss of each sample; default cross-entropy, in nats.

    Raises:
        StackError: no residual stack was found, or there is no such layer.
        InputError: no batch came, or the targets do not fit the loss.
    """
    stack = find_stack(model)
    where = [(t, t + 1) for t in range(1, stack.depth)] if pairs is None else list(pairs)

    def swapped(t: int, u: int) -> Change:
        stack.check_layer(t)
        stack.check_layer(u)
        other = {t: u, u: t}
        # forward() alone, so that the hooks do not count it as a layer.
        return lambda s, before, after: (
            stack.blocks[other[s] - 1].forward(before.clone()) if s in other else after
        )

    return _changed(stack, batches, {f"{t} and {u}": swapped(t, u) for t, u in where}, loss)


@torch.no_grad()
def _changed(
    stack: ResidualStack, batches: Iterable[Any], changes: Mapping[str, Change], loss: Loss
) -> Changed:
    sums = torch.zeros(4, len(changes) + 1, dtype=torch.float64)
    samples = 0
    with evaluating(stack.model):
        for batch in batches:
            x, targets = unpack(batch, stack.classes)
            if targets is None:
                raise InputError("a loss needs labels or targets; pass batches (x, labels)")
            if not len(x):
                continue
            x = as_inputs(x, stack.weight)
            targets = targets.to(x.device)
            with refusing_too_large(stack, x):
                outputs = stack.model(x)
                check_finite(outputs)
                base = _scores(outputs, targets, loss)
            sums[:2, 0] += torch.stack([v.sum() for v in base])
            for k, new in enumerate(changes.values(), 1):
                with refusing_too_large(stack, x), stack.change(new):
                    found = _scores(stack.model(x), targets, loss)
                more = found[0] - base[0]
                parts = (*found, more, more.square())
                sums[:, k] += torch.stack([v.sum() for v in parts])
            samples += len(x)
    if not samples:
        raise InputError("the data loader gave no batch; pass one with at least one sample")
    mean = (sums / samples).numpy()
    error = np.sqrt(np.maximum(mean[3] - mean[2] ** 2, 0) / max(samples - 1, 1))
    return Changed(
        tuple(changes),
        mean[0, 1:],
        mean[1, 1:],
        mean[2, 1:],
        error[1:],
        float(mean[0, 0]),
        float(mean[1, 0]),
        samples,
    )


def _scores(outputs: Tensor, targets: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """Return loss and rightness of each sample, float64 on the CPU."""
    each = sample_losses(loss, outputs, targets)
    if targets.is_floating_point():
        right = torch.full((len(outputs),), torch.nan)
    else:
        right = outputs.argmax(1) == targets
    return each.double().cpu(), right.double().cpu()
