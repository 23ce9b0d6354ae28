"""What the residuals of a network with shared weights obey: an exact map, and eq. 2 and 3 beside it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from residua.choices import Activation
from residua.errors import InputError, MissingExtraError
from residua.nets import ACTIVATIONS, MLP, ResNet
from residua.stack import find_stack

_INVERSE = {"logistic": torch.logit, "tanh": torch.atanh}
_FINEST = 2.3e-14  # relative tolerance of scipy's solvers
_RANGE = {"logistic": (0.0, 1.0), "tanh": (-1.0, 1.0)}


@dataclass(frozen=True, eq=False)
class ResidualMap:
    """z(t+1) = z(t) + h W y(t) with y = f(z): exact for x(t) = x(t−1) + h·f(W x(t−1) + b).

    z(t) = W x(t−1) + b is what layer t takes f of; the bias enters through z(1) alone. For the
    logistic function y(t+1) = σ(logit y(t) + h W y(t)). Iterating z rather than y loses nothing where
    y saturates.

    Attributes:
        W: weights (unit, unit); its precision and device are those of all results.
        step_size: h. Default 1, the paper's network.
        activation: f. Default "logistic".

    Raises:
        InputError: W is not square or not finite, or h is not a positive number.

    Source: Lagzi, arXiv 2101.03009, eq. 2 and 3, of which this is the discrete form.
    """

    W: Tensor
    step_size: float = 1.0
    activation: Activation = "logistic"

    def __post_init__(self) -> None:
        check_weights(self.W)
        if not 0 < self.step_size < float("inf"):
            raise InputError(f"step_size must be a positive number, not {self.step_size}")
        if self.activation not in ACTIVATIONS:
            raise InputError(
                f"activation must be one of {', '.join(ACTIVATIONS)}, not {self.activation!r}"
            )

    @property
    def units(self) -> int:
        """N."""
        return len(self.W)

    def residual(self, z: Float[Tensor, "*batch unit"]) -> Float[Tensor, "*batch unit"]:
        """Return y = f(z)."""
        return ACTIVATIONS[self.activation](z)

    def pre_activation(self, y: Float[Tensor, "*batch unit"]) -> Float[Tensor, "*batch unit"]:
        """Return z with f(z) = y; infinite where y is at an end of its range.

        Raises:
            InputError: f cannot be inverted, or y is outside the range of f.
        """
        if self.activation not in _INVERSE:
            raise InputError(
                f"{self.activation} residuals do not determine z; iterate z with step() instead"
            )
        low, high = _RANGE[self.activation]
        if not bool(((y >= low) & (y <= high)).all()):
            raise InputError(
                f"residuals of a {self.activation} network lie in [{low:g}, {high:g}], and these span "
                f"[{y.min():.4g}, {y.max():.4g}]; pass y, not z, without NaN"
            )
        return _INVERSE[self.activation](y)

    def __call__(self, y: Float[Tensor, "*batch unit"]) -> Float[Tensor, "*batch unit"]:
        """Return the next layer's y; 0 and 1 (for tanh −1 and 1) stay as they are."""
        return self.residual(self.pre_activation(y) + self.step_size * (y @ self.W.T))

    def step(self, z: Float[Tensor, "*batch unit"]) -> Float[Tensor, "*batch unit"]:
        """Return the next layer's z."""
        return z + self.step_size * self.velocity(z)

    def velocity(self, z: Float[Tensor, "*batch unit"]) -> Float[Tensor, "*batch unit"]:
        """Return ż = W f(z), the continuous-time reading (eq. 2 is ẏ = f′(z) ż).

        Raises:
            InputError: z is of another precision than W.
        """
        if z.dtype != self.W.dtype:
            raise InputError(
                f"the map is of {self.W.dtype} and was given {z.dtype}; convert one of them, the map by "
                "residua.residual_map(W.double())"
            )
        return self.residual(z) @ self.W.T

    def iterate(self, z: Float[Tensor, "*batch unit"]) -> Iterator[Float[Tensor, "*batch unit"]]:
        """Yield z of this layer, of the next, and so on without end, keeping one at a time."""
        while True:
            yield z
            z = self.step(z)

    def trajectory(
        self, z: Float[Tensor, "*batch unit"], layers: int
    ) -> Float[Tensor, "layers *batch unit"]:
        """Return y(1)…y(T) for T = layers, from z = z(1)."""
        if layers < 1:
            raise InputError(f"layers must be at least 1, not {layers}")
        return torch.stack(
            [self.residual(s) for s, _ in zip(self.iterate(z), range(layers), strict=False)]
        )

    def flow(
        self,
        z: Float[Tensor, "*batch unit"],
        times: Float[Tensor, "times"],
        *,
        tolerance: float = 1e-8,
    ) -> Float[Tensor, "times *batch unit"]:
        """Integrate ż = W f(z) from z at times[0] and return y = f(z) at the times.

        Layer t of the network stands at time h·(t − 1). By the pair of Dormand and Prince of order 5(4):
        scipy's RK45 in float64 on the processor, torchdiffeq's dopri5 on other devices and where a
        gradient is asked for. scipy's is several times as fast on small systems (docs/benchmarks.md).

        Args:
            z: where to begin.
            times: ascending or descending.
            tolerance: relative and absolute, of a step in z.

        Raises:
            InputError: z is not finite, times are not in order, the tolerance is not between 0 and 1, or
                z grows beyond all bounds before the last time.
            MissingExtraError: torchdiffeq is needed and not installed.
        """
        steps = times.diff()
        if not len(times) or not bool((steps > 0).all() or (steps < 0).all()):
            raise InputError(
                f"times must ascend or descend, and be one or more, not {times.tolist()}"
            )
        if not bool(z.isfinite().all()):
            raise InputError("z must be finite; of y at an end of its range it is not")
        if not 0 < tolerance < 1:
            raise InputError(f"tolerance must be between 0 and 1, not {tolerance}")
        self.velocity(z)  # refuses another precision than W's
        if len(times) == 1:
            return self.residual(z)[None]
        asked = any(v.requires_grad for v in (z, times, self.W)) and torch.is_grad_enabled()
        if z.device.type != "cpu" or asked:
            return self.residual(self._differentiable_flow(z, times, tolerance))
        return self.residual(self._scipy_flow(z, times, tolerance))

    def _scipy_flow(self, z: Tensor, times: Tensor, tolerance: float) -> Tensor:
        exact = replace(self, W=self.W.detach().double())

        def velocity(time: float, state: np.ndarray) -> np.ndarray:
            if not np.isfinite(state).all():  # scipy would go on with ever smaller steps
                raise _unbounded(time)
            return exact.velocity(torch.from_numpy(state).view(z.shape)).flatten().numpy()

        at = times.detach().double().numpy()
        with np.errstate(over="ignore", invalid="ignore"):  # velocity tells
            found = solve_ivp(
                velocity,
                (at[0], at[-1]),
                z.detach().double().flatten().numpy(),
                "RK45",
                at,
                rtol=max(tolerance, _FINEST),
                atol=tolerance,
            )
        if not found.success:
            raise _unbounded(float(at[len(found.t) - 1]))
        return torch.from_numpy(found.y.T.copy()).view(len(times), *z.shape).to(z)

    def _differentiable_flow(self, z: Tensor, times: Tensor, tolerance: float) -> Tensor:
        try:
            from torchdiffeq import odeint
        except ImportError as error:
            raise MissingExtraError(
                "torchdiffeq", "dynamics", "ResidualMap.flow with gradients or beyond the processor"
            ) from error
        try:
            found: Tensor = odeint(
                lambda _, state: self.velocity(state), z, times, rtol=tolerance, atol=tolerance
            )
        except AssertionError as error:  # its steps became too small
            raise _unbounded(float(times[-1])) from error
        return found


def _unbounded(time: float) -> InputError:
    return InputError(f"eq. 3 grows beyond all bounds by time {time:.4g}; pass earlier times")


def residual_map(
    source: nn.Module | Tensor | np.ndarray,
    *,
    step_size: float | None = None,
    activation: Activation | None = None,
    layer: int | None = None,
) -> ResidualMap:
    """Return the residual map of a weight matrix or of a network.

    Args:
        source: W (unit, unit), or a model that holds one residua.ResNet.
        step_size: h; default 1, or the network's.
        activation: f; default "logistic", or the network's.
        layer: t from 1. With it the map is that of block t, frozen and repeated, which is all that is
            defined for variable weights.

    Raises:
        InputError: W is not square or not finite; the model has no skip, or variable weights and no
            layer is named, or no such layer.
    """
    if not isinstance(source, nn.Module):
        W = torch.as_tensor(source)
        return ResidualMap(W, 1.0 if step_size is None else step_size, activation or "logistic")
    stack = find_stack(source)
    if not stack.branch_is_residual:
        raise InputError("an MLP has no skip, so its layers have no residual map; pass a ResNet")
    net = stack.net
    assert isinstance(net, ResNet)  # find_stack has refused images, and what has no skip is an MLP
    if layer is None and not net.shared:
        raise InputError(
            f"the network has {stack.depth} different weight matrices, and no one map for its "
            f"residuals; pass layer=1…{stack.depth} (--layer) for the frozen map of one block"
        )
    if layer is not None and not 1 <= layer <= stack.depth:
        raise InputError(f"the network has layers 1…{stack.depth}, not {layer}")
    weight = net.block((layer or 1) - 1).linear.weight.detach()
    h = net.step_size if step_size is None else step_size
    return ResidualMap(weight, h, activation or net.activation)


@torch.no_grad()
def first_pre_activation(
    model: nn.Module, x: Float[Tensor, "batch ..."], *, layer: int = 1
) -> Float[Tensor, "batch unit"]:
    """Return z(t) = W_t x(t−1) + b_t of layer t for inputs x; at t = 1 the residual map starts.

    Raises:
        InputError: inputs of another size than the network's, or no such layer.
    """
    stack = find_stack(model)
    net = stack.net
    assert isinstance(net, ResNet | MLP)  # find_stack has refused images
    if x.flatten(1).shape[1] != net.inputs:
        raise InputError(
            f"the network takes {net.inputs} input dimensions and was given {x.flatten(1).shape[1]}"
        )
    if not 1 <= layer <= stack.depth:
        raise InputError(f"the network has layers 1…{stack.depth}, not {layer}")
    state = net.lift(x.flatten(1))
    for t in range(layer - 1):
        state = net.advance(t, state)
    z: Tensor = net.block(layer - 1).linear(state)
    return z


def check_weights(W: Tensor) -> None:
    """Raise InputError unless W is a square matrix of finite floating-point numbers."""
    if not isinstance(W, Tensor):
        raise InputError(f"W must be a tensor, not {type(W).__name__}; torch.from_numpy makes one")
    if W.ndim != 2 or W.shape[0] != W.shape[1] or not len(W):
        raise InputError(f"W must be a square matrix, not of shape {tuple(W.shape)}")
    if not W.is_floating_point():
        raise InputError(f"W must hold floating-point numbers, not {W.dtype}; convert it first")
    if not bool(W.isfinite().all()):
        bad = int((~W.isfinite()).sum())
        raise InputError(f"W holds {bad} NaN or infinite entries; pass finite weights")


def check_points(y: Tensor, units: int, what: str = "points") -> None:
    """Raise InputError unless y is a tensor of shape (point, units)."""
    if not isinstance(y, Tensor) or y.ndim != 2 or y.shape[1] != units:
        given = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise InputError(f"{what} must be a tensor of shape (number, {units}), not {given}")
