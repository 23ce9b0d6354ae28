"""How noise travels: disturbed inputs and layers, signal-to-noise by layer, accuracy by strength."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

from residua.errors import InputError
from residua.inputs import as_inputs, unpack
from residua.losses import class_labels
from residua.readout import check_finite
from residua.stack import OwnStack, find_stack
from residua.statistics import Statistics, StatisticsConsumer
from residua.streaming import evaluating, out_of_memory
from residua.transients.disturbance import Disturbance, NoiseConfig
from residua.transients.first_order import states_of
from residua.transients.separability import rounding, separability


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

    def __init__(self, stack: OwnStack, config: NoiseConfig):
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
