"""What turns the last state into logits: a linear map, a norm and a linear map, or something else."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from residua.errors import StackError

_NORMS = (nn.LayerNorm, nn.RMSNorm)
_SILENT = (nn.Identity, nn.Dropout)  # change nothing in evaluation mode


@dataclass(frozen=True)
class Readout:
    """The head of a network, taken apart where it is linear up to a norm.

    Attributes:
        module: the head itself.
        linear: its linear map K x + c, or None where it is something else.
        norm: the LayerNorm or RMSNorm before that, or None.
        classes: number of logits.
        residual: L of a head K x_T + L y_T + c that reads the last residual too, or None.
    """

    module: nn.Module
    linear: nn.Linear | None
    norm: nn.LayerNorm | nn.RMSNorm | None
    classes: int
    residual: nn.Linear | None = None

    @property
    def head(self) -> nn.Linear:
        """The head where it is one linear map on the last state itself, and on nothing else.

        Raises:
            StackError: it is not.
        """
        if self.linear is None or self.norm is not None or self.residual is not None:
            raise StackError(
                f"this needs a head that is one linear map K x + c, and the network's is "
                f"{type(self.module).__name__}: {self.kind}"
            )
        return self.linear

    def gives(self, logits: Tensor, x: Float[Tensor, "batch *unit"]) -> bool:
        """Return whether logits are K x + c of this last state, and of nothing else."""
        if self.linear is None or self.norm is not None or self.residual is not None:
            return False
        found = self.linear(x.to(self.linear.weight.dtype)).to(logits.dtype)
        return found.shape == logits.shape and torch.allclose(found, logits, rtol=1e-3, atol=1e-5)

    @property
    def last_linear(self) -> nn.Linear:
        """The last linear map inside the head, which puts out the logits."""
        return [m for m in self.module.modules() if isinstance(m, nn.Linear)][-1]

    @property
    def kind(self) -> str:
        """The head in words."""
        if self.linear is None:
            return "not linear"
        if self.residual is not None:
            return "linear in the last state and the last residual"
        return "linear" if self.norm is None else f"{type(self.norm).__name__}, then linear"

    def check_alone(self) -> None:
        """Refuse a head that reads the last residual beside the last state.

        Raises:
            StackError: it does.
        """
        if self.residual is not None:
            raise StackError(
                "the head reads the last residual beside the last state (K x_T + L y_T + c), as a cut "
                "with the compensation 'affine-pair' leaves it, and this needs one that reads the state "
                "alone; cut with another compensation"
            )

    def logits(
        self, x: Float[Tensor, "batch *unit"], before: Float[Tensor, "batch *unit"]
    ) -> Float[Tensor, "batch classes"]:
        """Return the logits of a last state, given the state before the last layer."""
        z: Tensor = self.module(x)
        return z if self.residual is None else z + self.residual(x - before)

    def map(self) -> tuple[Float[Tensor, "classes unit"], Float[Tensor, "classes"]]:
        """Return K and c with logits = scale(x_T)·K x_T + c; a norm's weights and mean are in K.

        Raises:
            StackError: the head is not linear.
        """
        if self.linear is None:
            raise StackError(f"the head {type(self.module).__name__} is not linear")
        self.check_alone()
        K = self.linear.weight.detach()
        c = K.new_zeros(len(K)) if self.linear.bias is None else self.linear.bias.detach()
        if self.norm is None:
            return K, c
        shift = getattr(self.norm, "bias", None)
        if shift is not None:
            c = c + K @ shift.detach()
        if self.norm.weight is not None:
            K = K * self.norm.weight.detach()
        # Σ_i k_i (x_i − mean x) = Σ_i (k_i − mean k) x_i.
        return (K - K.mean(1, keepdim=True) if isinstance(self.norm, nn.LayerNorm) else K), c

    def scale(self, x: Float[Tensor, "batch unit"]) -> Float[Tensor, "batch"]:
        """Return by what the norm multiplies a state: 1 over its deviation or size; 1 without a norm."""
        if self.norm is None:
            return x.new_ones(len(x))
        eps = self.norm.eps if self.norm.eps is not None else torch.finfo(x.dtype).eps
        if isinstance(self.norm, nn.LayerNorm):
            return torch.rsqrt(x.var(1, correction=0) + eps)
        return torch.rsqrt(x.square().mean(1) + eps)


def readout(module: nn.Module, residual: nn.Linear | None = None) -> Readout:
    """Take a head apart.

    Raises:
        StackError: it holds no linear map that tells the number of classes.
    """
    parts = list(module) if isinstance(module, nn.Sequential) else [module]
    parts = [p for p in parts if not isinstance(p, _SILENT)]
    inside = [m for m in module.modules() if isinstance(m, nn.Linear)]
    if not inside:
        raise StackError(
            f"the head {type(module).__name__} holds no nn.Linear, so the number of classes cannot be "
            "told; end it with one"
        )
    classes = inside[-1].out_features
    match parts:
        case [nn.Linear() as linear]:
            return Readout(module, linear, None, classes, residual)
        case [nn.LayerNorm() | nn.RMSNorm() as norm, nn.Linear() as linear] if (
            norm.normalized_shape == (linear.in_features,)
        ):
            return Readout(module, linear, norm, classes)
    return Readout(module, None, None, classes)


def check_finite(logits: Tensor) -> None:
    """Refuse outputs that hold NaN or infinite values.

    Raises:
        StackError: they do.
    """
    if not bool(logits.isfinite().all()):
        raise StackError(
            "the model's outputs hold NaN or infinite values, so nothing can be said of its layers; "
            "train it with a lower learning rate, or in a higher precision"
        )


def check_logits(total: Tensor, logits: Tensor, dtype: torch.dtype) -> None:
    """Refuse logits that are not what the head gives for the last state, or are not finite.

    To 1e-5 of the largest absolute logit where the model computes in float32, 1e-12 in float64.

    Raises:
        StackError: they are not.
    """
    check_finite(logits)
    if total.shape != logits.shape:
        raise StackError(
            f"the head gives logits of the shape {tuple(total.shape)} and the model puts out "
            f"{tuple(logits.shape)}; the model must return what its head gives"
        )
    size, error = logits.abs().max(), (total - logits).abs().max()
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, 0.05)
    if not error <= tolerance * size:
        raise StackError(
            f"the layers' contributions K y_t add up to logits that are off by {error:.3g} (largest "
            f"logit {size:.3g}); the head must be applied to the last state itself, and its output "
            "returned as it is"
        )
