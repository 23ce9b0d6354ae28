"""How noise travels: disturbed inputs and layers, signal-to-noise by layer, accuracy by strength."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

from residua.errors import InputError
from residua.readout import check_finite
from residua.stack import ResidualStack, find_stack
from residua.statistics import Statistics, StatisticsConsumer
from residua.streaming import as_inputs, class_labels, evaluating, out_of_memory, unpack
from residua.transients.perturbation import in_float64, layer_jacobian, states_of
from residua.transients.separability import rounding, separability

Kind = Literal["gaussian", "uniform", "salt-and-pepper", "occlusion", "layers", "gradient-sign"]
_SHARES = ("salt-and-pepper", "occlusion")


@dataclass(frozen=True)
class NoiseConfig:
    """What disturbs a network.

    Attributes:
        kind: "gaussian": independent, of standard deviation `strength`, on every input dimension;
            "uniform": the same, uniform on ±√3·strength;
            "salt-and-pepper": a share `strength` of the input dimensions is set to the ends of
            `value_range`, half of them each;
            "occlusion": a square (of images; of other inputs a run of dimensions) that covers a share
            `strength` is set to 0, the mean of standardised inputs, at a random place;
            "layers": Gaussian of standard deviation `strength`, added to x_t after every layer;
            "gradient-sign": strength·sign(∂loss/∂x), the worst input change in that range to first
            order (Goodfellow, Shlens, Szegedy 2015); it needs labels and is not random.
        strengths: one or several, 0 or more; shares at most 1.
        draws: of the noise, for every sample; at least 2, so that its covariance can be told.
        seed: of the draws; all strengths use the same ones.
        value_range: lowest and highest input; default those of the first batch.
    """

    kind: Kind = "gaussian"
    strengths: tuple[float, ...] = (0.1, 0.2, 0.5, 1.0)
    draws: int = 4
    seed: int = 0
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(
                f"the kind of noise must be one of {', '.join(get_args(Kind))}, not {self.kind!r}"
            )
        top = 1.0 if self.kind in _SHARES else math.inf
        if not isinstance(self.strengths, tuple | list):
            raise InputError(f"strengths must be several, such as (0.5,), not {self.strengths!r}")
        wrong = [s for s in self.strengths if not _number(s) or not 0 <= s <= top or math.isinf(s)]
        if wrong or not self.strengths:
            span = "0…1, a share of the input" if top == 1 else "0 or more"
            raise InputError(
                f"strengths of {self.kind} noise must be {span}, at least one, not {wrong or '()'}"
            )
        if not isinstance(self.seed, int) or self.seed < 0:
            raise InputError(f"seed must be a whole number, 0 or more, not {self.seed!r}")
        ends = self.value_range
        if ends is not None and not (len(ends) == 2 and -math.inf < ends[0] < ends[1] < math.inf):
            raise InputError(f"value_range must be (lowest, highest), finite, not {ends!r}")
        if not isinstance(self.draws, int) or self.draws < 2:
            raise InputError(
                f"draws must be at least 2, so that the noise's covariance can be told, not {self.draws}"
            )


def _number(value: object) -> bool:
    return isinstance(value, int | float)


@dataclass(frozen=True, eq=False)
class Noise:
    """What a kind of noise does at every layer and to the decision, by strength.

    Attributes:
        config: what was done.
        samples: number of them.
        noise: trace of the noise's covariance of x_t, mean over samples; unbiased over draws; NaN for
            "gradient-sign", which is not random.
        displacement: mean of ‖noisy x_t − clean x_t‖².
        signal: trace of the between-class covariance of the clean x_t; None without labels.
        accuracy: share classified right, mean over draws; None without labels.
        accuracy_error: its standard error over samples, each with all its draws.
        clean_accuracy: without noise; None without labels.
        agreement: share of decisions that are those without noise; NaN for a head of one output.
        size: mean of ‖x_t‖² without noise.
        eps: of the precision in which the states were computed.
    """

    config: NoiseConfig
    samples: int
    noise: Float[np.ndarray, "strength state"]
    displacement: Float[np.ndarray, "strength state"]
    agreement: Float[np.ndarray, "strength"]
    signal: Float[np.ndarray, "state"] | None
    accuracy: Float[np.ndarray, "strength"] | None
    accuracy_error: Float[np.ndarray, "strength"] | None
    clean_accuracy: float | None
    size: Float[np.ndarray, "state"]
    eps: float

    @property
    def signal_to_noise(self) -> Float[np.ndarray, "strength state"]:
        """tr(between-class covariance) / tr(noise covariance) of x_t; infinite without noise.

        NaN where the state varies by no more than rounding.

        Raises:
            InputError: there were no labels.
        """
        if self.signal is None:
            raise InputError("signal-to-noise needs classes; pass batches (x, labels)")
        with np.errstate(divide="ignore", invalid="ignore"):
            found = self.signal / self.noise
        known = self.signal + self.noise > rounding(self.size, self.eps)
        return np.where(known, found, np.nan)

    def to_dataset(self) -> xr.Dataset:
        """Return labelled arrays with the dimensions strength and state."""
        by_state = ("strength", "state")
        found: dict[str, Any] = {
            "noise": (by_state, self.noise),
            "displacement": (by_state, self.displacement),
            "agreement": ("strength", self.agreement),
        }
        if self.signal is not None:
            found |= {
                "signal": ("state", self.signal),
                "signal_to_noise": (by_state, self.signal_to_noise),
                "accuracy": ("strength", self.accuracy),
                "accuracy_error": ("strength", self.accuracy_error),
            }
        coords = {"strength": list(self.config.strengths), "state": range(self.noise.shape[1])}
        attrs = {"kind": self.config.kind, "draws": self.config.draws, "seed": self.config.seed}
        return xr.Dataset(found, coords, attrs)


def noise(model: nn.Module, batches: Iterable[Any], config: NoiseConfig | None = None) -> Noise:
    """Disturb a network and return how the noise travels through its layers and what it costs.

    Args:
        model: a model with a residual stack.
        batches: yields x or (x, labels); a batch that does not fit into memory is taken in halves.
        config: kind, strengths, draws; default Gaussian.

    Raises:
        StackError: no residual stack was found.
        InputError: no batch came, labels are needed and missing, or a batch does not fit even singly.
    """
    stack = find_stack(model)
    measure = _Measure(stack, config or NoiseConfig())
    with evaluating(model):
        for k, batch in enumerate(batches):
            x, labels = unpack(batch, stack.classes)
            if len(x):
                measure.add(as_inputs(x, stack.weight), labels, (k, 0))
    if not measure.samples:
        raise InputError("the data loader gave no batch; pass one with at least one sample")
    return measure.result()


class _Measure:
    """Sums up what noise does, batch by batch."""

    def __init__(self, stack: ResidualStack, config: NoiseConfig):
        self.stack, self.config = stack, config
        self.disturb = Disturbance(stack, config)
        self.random = config.kind != "gradient-sign"
        shape = (len(config.strengths), stack.depth + 1)
        self.spread = torch.zeros(shape, dtype=torch.float64)
        self.moved = torch.zeros(shape, dtype=torch.float64)
        self.agreed = torch.zeros(len(config.strengths), dtype=torch.float64)
        self.rate = torch.zeros(2, len(config.strengths), dtype=torch.float64)
        self.size = torch.zeros(stack.depth + 1, dtype=torch.float64)
        self.right = 0
        self.samples = 0
        self.clean: Statistics | None = None

    def add(self, x: Tensor, labels: Tensor | None, key: tuple[int, int]) -> None:
        """Add one batch, in parts that fit into memory; the key is the batch and its first sample."""
        if labels is not None and labels.is_floating_point():
            labels = None
        if not self.random:
            labels = class_labels(labels, "gradient-sign noise")
        if self.samples and (labels is None) != (self.clean is None):
            raise InputError("some batches have labels and others have none; pass one kind")
        try:
            self._add(x, None if labels is None else labels.to(x.device), key)
            return
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if len(x) < 2:
                raise InputError(
                    "memory is too small for a single sample; use a smaller network or fewer layers"
                ) from error
        half = len(x) // 2
        for first, part in ((0, slice(half)), (half, slice(half, None))):
            of = None if labels is None else labels[part]
            self.add(x[part], of, (key[0], key[1] + first))

    @torch.no_grad()
    def _add(self, x: Tensor, labels: Tensor | None, key: tuple[int, int]) -> None:
        states, logits = states_of(self.stack, x)
        check_finite(logits)
        decision = logits.argmax(1)
        size = states.square().sum((1, 2), dtype=torch.float64).cpu()
        found = [
            self._at(strength, x, labels, (states, decision), key)
            for strength in self.config.strengths
        ]
        clean = None if labels is None else self._clean(states, logits, labels)
        # Nothing is added before all is computed: memory may run out on the way.
        for k, (spread, moved, agreed, rate) in enumerate(found):
            self.spread[k] += spread
            self.moved[k] += moved
            self.agreed[k] += agreed
            if rate is not None:
                self.rate[:, k] += torch.stack([rate.sum(), rate.square().sum()])
        self.samples += len(x)
        self.size += size
        if labels is not None and clean is not None:
            self.right += int((decision == labels).sum())
            self.clean = clean if self.clean is None else self.clean + clean

    def _clean(self, states: Tensor, logits: Tensor, labels: Tensor) -> Statistics:
        consumer = StatisticsConsumer(self.stack)
        consumer.begin(labels)
        for t in range(1, len(states)):
            consumer.visit(t, states[t - 1], states[t])
        consumer.end(logits)
        return consumer.result()

    def _at(
        self,
        strength: float,
        x: Tensor,
        labels: Tensor | None,
        clean: tuple[Tensor, Tensor],
        key: tuple[int, int],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return Σ over samples of noise trace and displacement by state, of agreement; rates right."""
        states, decision = clean
        total = torch.zeros_like(states)
        moved = torch.zeros(len(states), dtype=torch.float64)
        agreed = torch.zeros((), dtype=torch.float64)
        rate = torch.zeros(len(x), dtype=torch.float64)
        draws = self.config.draws if self.random else 1
        for draw in range(draws):
            with self.disturb(x, labels, strength, (draw, *key)) as disturbed:
                noisy, logits = states_of(self.stack, disturbed)
            noisy -= states
            moved += noisy.square().sum((1, 2), dtype=torch.float64).cpu()
            total += noisy
            chosen = logits.argmax(1)
            agreed += (chosen == decision).sum().cpu()
            if labels is not None:
                rate += (chosen == labels).double().cpu()
        common = total.square().sum((1, 2), dtype=torch.float64).cpu() / draws
        spread = (moved - common) / (draws - 1) if draws > 1 else torch.full_like(moved, torch.nan)
        return spread, moved / draws, agreed / draws, None if labels is None else rate / draws

    def result(self) -> Noise:
        n = self.samples
        signal = error = accuracy = None
        if self.clean is not None:
            states = self.clean.states
            several = (states.count > 0).sum() > 1
            signal = separability(states).between if several else np.zeros(len(self.spread[0]))
            mean, square = (self.rate / n).numpy()
            accuracy, error = mean, np.sqrt(np.maximum(square - mean**2, 0) / max(n - 1, 1))
        return Noise(
            self.config,
            n,
            (self.spread / n).numpy(),
            (self.moved / n).numpy(),
            (self.agreed / n if self.stack.classes > 1 else self.agreed * torch.nan).numpy(),
            signal,
            accuracy,
            error,
            None if self.clean is None else self.right / n,
            (self.size / n).numpy(),
            torch.finfo(self.stack.weight.dtype).eps,
        )


class Disturbance:
    """Draws one kind of noise: the same for the same seed, batch and draw, whatever the strength."""

    def __init__(self, stack: ResidualStack, config: NoiseConfig):
        self.stack, self.config = stack, config
        self.range = config.value_range

    @contextmanager
    def __call__(
        self, x: Tensor, labels: Tensor | None, strength: float, key: tuple[int, ...]
    ) -> Iterator[Tensor]:
        """Give the input on which to run the model; inside, its layers are disturbed where asked."""
        kind = self.config.kind
        words = np.random.SeedSequence((self.config.seed, *key)).generate_state(1, np.uint64)
        generator = torch.Generator(x.device).manual_seed(int(words[0] >> 1))
        if self.range is None:
            self.range = (float(x.min()), float(x.max()))
        if kind == "layers":

            def new(t: int, before: Tensor, after: Tensor) -> Tensor:
                return after + strength * torch.empty_like(after).normal_(generator=generator)

            with self.stack.change(new):
                yield x
        elif kind == "gradient-sign":
            assert labels is not None
            yield x + strength * loss_gradient(self.stack.model, x, labels).sign()
        else:
            yield _INPUTS[kind](x, strength, generator, self.range)


def loss_gradient(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of the summed cross-entropy with respect to the inputs."""
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        where = labels.to(x.device).clone()
        loss = nn.functional.cross_entropy(model(x), where, reduction="sum")
        return torch.autograd.grad(loss, x)[0]


Range = tuple[float, float]


def _gaussian(x: Tensor, strength: float, generator: torch.Generator, span: Range) -> Tensor:
    return x + strength * torch.empty_like(x).normal_(generator=generator)


def _uniform(x: Tensor, strength: float, generator: torch.Generator, span: Range) -> Tensor:
    return x + strength * math.sqrt(3) * torch.empty_like(x).uniform_(-1, 1, generator=generator)


def _salt_and_pepper(x: Tensor, strength: float, generator: torch.Generator, span: Range) -> Tensor:
    u = torch.empty_like(x).uniform_(generator=generator)
    low, high = (torch.full_like(x, v) for v in span)
    return torch.where(u < strength / 2, low, torch.where(u >= 1 - strength / 2, high, x))


def _occlusion(x: Tensor, strength: float, generator: torch.Generator, span: Range) -> Tensor:
    """Set a square of the last two dimensions, or a run of the last one, to 0."""
    sides = x.shape[-2:] if x.ndim > 2 else x.shape[-1:]
    hidden = torch.ones(len(x), *sides, dtype=torch.bool, device=x.device)
    for axis, size in enumerate(sides, 1):
        length = round(size * strength ** (1 / len(sides)))
        u = torch.rand(len(x), generator=generator, device=x.device)
        start = (u * (size - length + 1)).long()[:, None]
        where = torch.arange(size, device=x.device)
        inside = (where >= start) & (where < start + length)  # (sample, size)
        hidden &= inside.view(len(x), *(size if a == axis else 1 for a in range(1, hidden.ndim)))
    return x.masked_fill(hidden.view(len(x), *(1,) * (x.ndim - hidden.ndim), *sides), 0.0)


_INPUTS: dict[str, Callable[[Tensor, float, torch.Generator, Range], Tensor]] = {
    "gaussian": _gaussian,
    "uniform": _uniform,
    "salt-and-pepper": _salt_and_pepper,
    "occlusion": _occlusion,
}


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


def _first_state(stack: ResidualStack, x: Tensor) -> Tensor:
    seen: list[Tensor] = []

    def first(x0: Tensor) -> Tensor:
        seen.append(x0[0])
        return x0

    with stack.change(lambda t, before, after: after, first=first):
        stack.model(x)
    return seen[0]
