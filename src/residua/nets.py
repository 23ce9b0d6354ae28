"""The paper's two networks: a dense residual network, and the same network without the skip."""

from collections.abc import Callable
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


class ZeroPad(nn.Module):
    """Lift an input to N dimensions by zeros, so that unit i is input dimension i."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch units"]:
        """Return x with zeros appended."""
        return nn.functional.pad(x, (0, self.width - x.shape[1]))


class Layer(nn.Module):
    """One layer: x + h·f(W x + b) with the skip, f(W x + b) without it.

    W is drawn from Xavier's normal distribution with gain 0.3; b starts at −3 for the logistic
    function and at 0 for the others.
    """

    def __init__(self, width: int, activation: Activation, step: float | None):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.activation = activation
        self.step = step
        nn.init.xavier_normal_(self.linear.weight, gain=_GAIN if step is not None else 1.0)
        nn.init.constant_(self.linear.bias, _BIAS[activation] if step is not None else 0.0)

    def forward(self, x: Float[Tensor, "batch units"]) -> Float[Tensor, "batch units"]:
        """Return the next state."""
        y = ACTIVATIONS[self.activation](self.linear(x))
        if self.step is None:
            return y
        return x + y if self.step == 1.0 else x + self.step * y

    def extra_repr(self) -> str:
        """Show what `print(net)` cannot see."""
        skip = "no skip" if self.step is None else f"h={self.step:g}"
        return f"{self.activation}, {skip}"


class _Dense(nn.Module):
    """Lift, T layers of N units with one weight matrix or one each, linear head."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        depth: int,
        weights: Weights,
        activation: Activation,
        lift: Lift,
        step: float | None,
    ):
        super().__init__()
        inputs, width, classes = shape
        _check(inputs, width, classes, depth, weights, activation, lift)
        self.inputs = inputs
        self.depth = depth
        self.shared = weights == "shared"
        self.activation = activation
        self.lift_name: Lift = lift
        self.lift = ZeroPad(width) if lift == "pad" else nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(
            Layer(width, activation, step) for _ in range(1 if self.shared else depth)
        )
        self.head = nn.Linear(width, classes)

    def block(self, t: int) -> Layer:
        """Return the block that maps state t to state t + 1, t = 0…T−1."""
        return cast(Layer, self.blocks[0 if self.shared else t])

    def extra_repr(self) -> str:
        """Show what `print(net)` cannot see."""
        return f"depth={self.depth}, {'shared' if self.shared else 'variable'} weights"

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
        state = self.lift(x)  # (batch, units)
        for t in range(self.depth):
            state = self.blocks[0 if self.shared else t](state)
        logits: Tensor = self.head(state)
        return logits


class ResNet(_Dense):
    """The paper's dense residual network: x(t) = x(t−1) + h·f(W_t x(t−1) + b_t), logits K x(T) + c.

    Args:
        inputs: number of input dimensions; inputs are flattened.
        width: N, units in every layer.
        classes: number of classes.
        depth: T, number of layers. Default 15, as in the paper.
        weights: "shared" (one W, b for all layers) or "variable" (one each). Default "shared".
        activation: "logistic" (default), "tanh", "relu" or "gelu".
        step_size: h. Default 1, the paper's network.
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
        step_size: float = 1.0,
        lift: Lift = "pad",
    ):
        if not 0 < step_size < float("inf"):
            raise InputError(f"step_size must be a positive number, not {step_size}")
        super().__init__((inputs, width, classes), depth, weights, activation, lift, step_size)
        self.step_size = step_size


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
        super().__init__((inputs, width, classes), depth, weights, activation, lift, None)


def _check(
    inputs: int, width: int, classes: int, depth: int, weights: str, activation: str, lift: str
) -> None:
    if depth < 1:
        raise InputError(f"depth must be at least 1, not {depth}")
    if width < 1 or inputs < 1:
        raise InputError(f"inputs and width must be at least 1, not {inputs} and {width}")
    if classes < 2:
        raise InputError(f"classes must be at least 2, not {classes}")
    if weights not in ("shared", "variable"):
        raise InputError(f"weights must be 'shared' or 'variable', not {weights!r}")
    if activation not in ACTIVATIONS:
        raise InputError(f"activation must be one of {', '.join(ACTIVATIONS)}, not {activation!r}")
    if lift not in ("pad", "linear"):
        raise InputError(f"lift must be 'pad' or 'linear', not {lift!r}")
    if lift == "pad" and width < inputs:
        raise InputError(
            f"width {width} is smaller than the {inputs} input dimensions, so zero-padding cannot "
            f"lift them; pass a width of at least {inputs}, or lift='linear'"
        )
