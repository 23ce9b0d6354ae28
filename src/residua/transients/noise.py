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
from residua.stack import ResidualStack, find_stack, like
from residua.statistics import StatisticsConsumer
from residua.streaming import class_labels, evaluating, out_of_memory, unpack
from residua.transients.perturbation import in_float64, layer_jacobian, states_of
from residua.transients.separability import separability

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
        wrong = [s for s in self.strengths if not 0 <= s <= top or math.isinf(s)]
        if wrong or not self.strengths:
            span = "0…1, a share of the input" if top == 1 else "0 or more"
            raise InputError(
                f"strengths of {self.kind} noise must be {span}, at least one, not {wrong or '()'}"
            )
        if self.draws < 2:
            raise InputError(
                f"draws must be at least 2, so that the noise's covariance can be told, not {self.draws}"
            )


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
        agreement: share of decisions that are those without noise.
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

    @property
    def signal_to_noise(self) -> Float[np.ndarray, "strength state"]:
        """tr(between-class covariance) / tr(noise covariance) of x_t; infinite without noise.

        Raises:
            InputError: there were no labels.
        """
        if self.signal is None:
            raise InputError("signal-to-noise needs classes; pass batches (x, labels)")
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.signal / self.noise)

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
            measure.add(like(x, stack.weight), labels, k)
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
        self.right = 0
        self.samples = 0
        self.clean: StatisticsConsumer | None = None

    def add(self, x: Tensor, labels: Tensor | None, batch: int) -> None:
        """Add one batch, in parts that fit into memory."""
        if labels is not None and labels.is_floating_point():
            labels = None
        if not self.random:
            labels = class_labels(labels, "gradient-sign noise")
        if self.samples and (labels is None) != (self.clean is None):
            raise InputError("some batches have labels and others have none; pass one kind")
        try:
            self._add(x, labels, batch)
            return
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if len(x) < 2:
                raise InputError(
                    "memory is too small for a single sample; use a smaller network or fewer layers"
                ) from error
        half = len(x) // 2
        for part in (slice(half), slice(half, None)):
            self.add(x[part], None if labels is None else labels[part], batch)

    @torch.no_grad()
    def _add(self, x: Tensor, labels: Tensor | None, batch: int) -> None:
        states, logits = states_of(self.stack, x)
        decision = logits.argmax(1)
        found = [
            self._at(strength, x, labels, (states, decision), batch)
            for strength in self.config.strengths
        ]
        # Nothing is added before all is computed: memory may run out on the way.
        for k, (spread, moved, agreed, rate) in enumerate(found):
            self.spread[k] += spread
            self.moved[k] += moved
            self.agreed[k] += agreed
            if rate is not None:
                self.rate[:, k] += torch.stack([rate.sum(), rate.square().sum()])
        self.samples += len(x)
        if labels is not None:
            self.right += int((decision.cpu() == labels).sum())
            self.clean = self.clean or StatisticsConsumer(self.stack)
            self.clean.begin(labels)
            for t in range(1, len(states)):
                self.clean.visit(t, states[t - 1], states[t])
            self.clean.end(logits)

    def _at(
        self,
        strength: float,
        x: Tensor,
        labels: Tensor | None,
        clean: tuple[Tensor, Tensor],
        batch: int,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return Σ over samples of noise trace and displacement by state, of agreement; rates right."""
        states, decision = clean
        total = torch.zeros_like(states)
        moved = torch.zeros(len(states), dtype=torch.float64)
        agreed = torch.zeros((), dtype=torch.float64)
        rate = torch.zeros(len(x), dtype=torch.float64)
        draws = self.config.draws if self.random else 1
        for draw in range(draws):
            with self.disturb(x, labels, strength, (batch, draw)) as disturbed:
                noisy, logits = states_of(self.stack, disturbed)
            noisy -= states
            moved += noisy.square().sum((1, 2)).double().cpu()
            total += noisy
            chosen = logits.argmax(1)
            agreed += (chosen == decision).sum().cpu()
            if labels is not None:
                rate += (chosen.cpu() == labels).double()
        common = total.square().sum((1, 2)).double().cpu() / draws
        spread = (moved - common) / (draws - 1) if draws > 1 else torch.full_like(moved, torch.nan)
        return spread, moved / draws, agreed / draws, None if labels is None else rate / draws

    def result(self) -> Noise:
        n = self.samples
        signal = error = accuracy = None
        if self.clean is not None:
            states = self.clean.result().states
            several = (states.count > 0).sum() > 1
            signal = separability(states).between if several else np.zeros(len(self.spread[0]))
            mean, square = (self.rate / n).numpy()
            accuracy, error = mean, np.sqrt(np.maximum(square - mean**2, 0) / max(n - 1, 1))
        return Noise(
            self.config,
            n,
            (self.spread / n).numpy(),
            (self.moved / n).numpy(),
            (self.agreed / n).numpy(),
            signal,
            accuracy,
            error,
            None if self.clean is None else self.right / n,
        )


class Disturbance:
    """Draws one kind of noise: the same for the same seed, batch and draw, whatever the strength."""

    def __init__(self, stack: ResidualStack, config: NoiseConfig):
        self.stack, self.config = stack, config
        self.range = config.value_range

    @contextmanager
    def __call__(
        self, x: Tensor, labels: Tensor | None, strength: float, key: tuple[int, int]
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


@torch.enable_grad()
def loss_gradient(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of the summed cross-entropy with respect to the inputs."""
    x = x.detach().clone().requires_grad_()
    loss = nn.functional.cross_entropy(model(x), labels.to(x.device), reduction="sum")
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
    one = like(x, stack.weight)[None]
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
