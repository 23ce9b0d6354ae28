"""The paper's two networks: a dense residual network, and the same network without the skip."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from residua.choices import Activation, Lift, Weights
from residua.errors import InputError

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "logistic": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
}
# The logistic function is positive, so a bias of 0 would add ½ to every unit in every layer. With −3
# a layer starts close to the identity, as one of the others does with bias 0.
_BIAS: dict[Activation, float] = {"logistic": -3.0, "tanh": 0.0, "relu": 0.0, "gelu": 0.0}
_GAIN = 0.3
WITHOUT_SKIP = (
    "the layers of an MLP have no skip, so none can take a longer step; pass the compensation 'readers' "
    "(variable weights), 'affine' or 'none'"
)


class ZeroPad(nn.Module):
    """Lift an input to N dimensions by zeros, so that unit i is input dimension i."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch units"]:
        """Return x with zeros appended."""
        return nn.functional.pad(x, (0, self.width - x.shape[1]))


class Layer(nn.Module):
    """One layer: x + h·f(W x + b) with the skip, f(W x + b) without it; h is the network's.

    W is drawn from Xavier's normal distribution with gain 0.3; b starts at −3 for the logistic
    function and at 0 for the others.
    """

    def __init__(self, width: int, activation: Activation, skip: bool):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.activation = activation
        self.skip = skip
        nn.init.xavier_normal_(self.linear.weight, gain=_GAIN if skip else 1.0)
        nn.init.constant_(self.linear.bias, _BIAS[activation] if skip else 0.0)

    def forward(
        self, x: Float[Tensor, "batch units"], h: float = 1.0
    ) -> Float[Tensor, "batch units"]:
        """Return the next state."""
        y = ACTIVATIONS[self.activation](self.linear(x))
        return torch.add(x, y, alpha=h) if self.skip else y

    def extra_repr(self) -> str:
        """Show what `print(net)` cannot see."""
        return f"{self.activation}, {'with' if self.skip else 'no'} skip"


class _Dense(nn.Module):
    """Lift, T layers of N units with one weight matrix or one each, linear head."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        depth: int,
        weights: Weights,
        activation: Activation,
        lift: Lift,
        skip: bool,
    ):
        super().__init__()
        inputs, width, classes = shape
        _check(inputs, width, classes, depth, weights, activation, lift)
        self.inputs = inputs
        self.steps: tuple[float, ...] = (1.0,) * depth
        self.shared = weights == "shared"
        self.activation = activation
        self.lift_name: Lift = lift
        self.lift = ZeroPad(width) if lift == "pad" else nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(
            Layer(width, activation, skip) for _ in range(1 if self.shared else depth)
        )
        self.head = nn.Linear(width, classes)
        self.residual_head: nn.Linear | None = None

    @property
    def depth(self) -> int:
        """T, the number of layers."""
        return len(self.steps)

    def block(self, t: int) -> Layer:
        """Return the block that maps state t to state t + 1, t = 0…T−1."""
        return cast(Layer, self.blocks[0 if self.shared else t])

    def advance(self, t: int, x: Float[Tensor, "batch units"]) -> Float[Tensor, "batch units"]:
        """Return state t + 1 of state t, t = 0…T−1."""
        block, h = self.blocks[0 if self.shared else t], self.steps[t]
        after: Tensor = block(x) if h == 1.0 else block(x, h)
        return after

    def keep_layers(self, keep: Sequence[int]) -> None:
        """Keep the layers 1 ≤ t ≤ T named, in place; with shared weights, so many iterations."""
        if not self.shared:
            self.blocks = nn.ModuleList(self.blocks[t - 1] for t in keep)
        self.steps = tuple(self.steps[t - 1] for t in keep)

    @torch.no_grad()
    def add_constant(self, stage: str, t: int, m: Float[Tensor, "units"]) -> None:
        """Add m to the state after t layers, in place, folded into what reads it from there on.

        Later biases grow by W m, that of the head by K m.

        Raises:
            InputError: weights are shared and a later layer would need a bias of its own.
        """
        if self.shared and t < self.depth:
            raise InputError(
                "a constant cannot be folded into layers that share their bias, except after the last; "
                "pass another compensation, such as 'steps'"
            )
        readers = [*(self.block(i).linear for i in range(t, self.depth)), self.head]
        if any(linear.bias is None for linear in readers):
            raise InputError(
                "a constant is folded into biases, and a layer or the head has none; pass another "
                "compensation, such as 'readers'"
            )
        for linear in readers:
            linear.bias.add_(linear.weight @ m.to(linear.weight))

    def extra_repr(self) -> str:
        """Show what `print(net)` cannot see."""
        steps = "" if set(self.steps) == {1.0} else f", h={_steps_in_words(self.steps)}"
        return f"depth={self.depth}, {'shared' if self.shared else 'variable'} weights{steps}"

    def forward(self, x: Shaped[Tensor, "batch ..."]) -> Float[Tensor, "batch classes"]:
        """Return the logits K x(T) + c; inputs are flattened.

        Raises:
            InputError: inputs of another size than the network's, or not floating-point.
        """
        if not x.is_floating_point():
            raise InputError(
                f"inputs must be floating-point, not {x.dtype}; convert them: x.float()"
            )
        x = x.flatten(1)
        if x.shape[1] != self.inputs:
            raise InputError(
                f"the network takes {self.inputs} input dimensions and was given {x.shape[1]}; pass "
                "data of the kind that it was trained on"
            )
        state = before = self.lift(x)  # (batch, units)
        for t in range(self.depth):
            before, state = state, self.advance(t, state)
        logits: Tensor = self.head(state)
        if self.residual_head is not None:
            logits = logits + self.residual_head(state - before)
        return logits


def _steps_in_words(steps: tuple[float, ...]) -> str:
    return f"{steps[0]:g}" if len(set(steps)) == 1 else ", ".join(f"{h:g}" for h in steps)


class ResNet(_Dense):
    """The paper's dense residual network: x(t) = x(t−1) + h_t·f(W_t x(t−1) + b_t), logits K x(T) + c.

    Args:
        inputs: number of input dimensions; inputs are flattened.
        width: N, units in every layer.
        classes: number of classes.
        depth: T, number of layers. Default 15, as in the paper.
        weights: "shared" (one W, b for all layers) or "variable" (one each). Default "shared".
        activation: "logistic" (default), "tanh", "relu" or "gelu".
        step_size: h, one for all layers or one each. Default 1, the paper's network.
        reads_residual: whether the head reads the last residual too, K x(T) + L y(T) + c with L at 0 to
            begin with. Default no; a network that was cut may need it.
        lift: "pad" (default; zeros appended, unit i is input dimension i) or "linear" (trained).

    Raises:
        InputError: an argument is out of range.

    Source: Lagzi, arXiv 2101.03009, section 2.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        classes: int,
        *,
        depth: int = 15,
        weights: Weights = "shared",
        activation: Activation = "logistic",
        step_size: float | Sequence[float] = 1.0,
        lift: Lift = "pad",
        reads_residual: bool = False,
    ):
        super().__init__((inputs, width, classes), depth, weights, activation, lift, True)
        steps = tuple(step_size) if isinstance(step_size, Sequence) else (step_size,) * depth
        if len(steps) != depth:
            raise InputError(f"step_size must be one number or {depth}, one a layer, not {steps}")
        if not all(0 < h < float("inf") for h in steps):
            raise InputError(f"step_size must be a positive number, not {_steps_in_words(steps)}")
        self.steps = steps
        if reads_residual:
            self.read_residual()

    @property
    def step_size(self) -> float:
        """h, where it is the same in all layers.

        Raises:
            InputError: it is not.
        """
        if len(set(self.steps)) > 1:
            raise InputError(
                f"the layers take steps of different sizes (h = {_steps_in_words(self.steps)}), so "
                "they are no one map; pass an uncut network, or the step size to use"
            )
        return self.steps[0]

    def scale_layer(self, t: int, factor: float) -> None:
        """Multiply what layer t = 1…T adds, in place."""
        steps = list(self.steps)
        steps[t - 1] *= factor
        self.steps = tuple(steps)

    def read_residual(self) -> None:
        """Let the head read the last residual too, with weights L of 0 to begin with."""
        weight = self.head.weight
        self.residual_head = nn.Linear(
            weight.shape[1], weight.shape[0], bias=False, device=weight.device, dtype=weight.dtype
        )
        nn.init.zeros_(self.residual_head.weight)


class MLP(_Dense):
    """The same network without the skip: x(t) = f(W_t x(t−1) + b_t), logits K x(T) + c.

    Arguments and errors as for :class:`ResNet`, which has a step size besides. W is drawn from
    Xavier's normal distribution with gain 1 and b starts at 0.

    Source: Lagzi, arXiv 2101.03009, section 2.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        classes: int,
        *,
        depth: int = 15,
        weights: Weights = "shared",
        activation: Activation = "logistic",
        lift: Lift = "pad",
    ):
        super().__init__((inputs, width, classes), depth, weights, activation, lift, False)

    def scale_layer(self, t: int, factor: float) -> None:
        """Refuse: without a skip a layer adds nothing.

        Raises:
            InputError: always.
        """
        raise InputError(WITHOUT_SKIP)


def check_shape(classes: int, weights: str) -> None:
    """Raise InputError unless these are a number of classes and a way to share weights."""
    if classes < 2:
        raise InputError(f"classes must be at least 2, not {classes}")
    if weights not in ("shared", "variable"):
        raise InputError(f"weights must be 'shared' or 'variable', not {weights!r}")


def _check(
    inputs: int, width: int, classes: int, depth: int, weights: str, activation: str, lift: str
) -> None:
    if depth < 1:
        raise InputError(f"depth must be at least 1, not {depth}")
    if width < 1 or inputs < 1:
        raise InputError(f"inputs and width must be at least 1, not {inputs} and {width}")
    check_shape(classes, weights)
    if activation not in ACTIVATIONS:
        raise InputError(f"activation must be one of {', '.join(ACTIVATIONS)}, not {activation!r}")
    if lift not in ("pad", "linear"):
        raise InputError(f"lift must be 'pad' or 'linear', not {lift!r}")
    if lift == "pad" and width < inputs:
        raise InputError(
            f"width {width} is smaller than the {inputs} input dimensions, so zero-padding cannot "
            f"lift them; pass a width of at least {inputs}, or lift='linear'"
        )
