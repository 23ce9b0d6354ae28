"""Where the residual blocks of a model are: the only file that knows model families."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from residua.errors import StackError
from residua.nets import MLP, ResNet

Visit = Callable[[int, Tensor, Tensor], None]


@dataclass(frozen=True)
class ResidualStack:
    """The ordered blocks x_{t−1} → x_t of a model, t = 1…T, and its head.

    Attributes:
        model: what is called on a batch and returns logits.
        net: the module that owns the blocks; `model` itself or inside it.
        blocks: the module of every layer; with shared weights the same module T times.
        names: one name a layer, as the user finds it in the model.
        head: the linear map from the last state to the logits, K x + c.
        branch_is_residual: whether y_t = x_t − x_{t−1} is what the block's branch put out. It is not
            so in an MLP, which has no skip: there y_t is only the difference of two states.
    """

    model: nn.Module
    net: ResNet | MLP
    blocks: tuple[nn.Module, ...]
    names: tuple[str, ...]
    head: nn.Linear
    branch_is_residual: bool

    @property
    def depth(self) -> int:
        """T, the number of layers."""
        return len(self.blocks)

    @property
    def shared(self) -> bool:
        """Whether one module makes all layers, so that only layers at the end can go."""
        return self.net.shared

    @contextmanager
    def watch(self, visit: Visit) -> Iterator[None]:
        """Call visit(t, x_{t−1}, x_t) for each layer t = 1…T of the forward pass run inside.

        Raises:
            StackError: the forward pass ran another number of layers than the stack has.
        """
        t = 0

        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            nonlocal t
            t += 1
            visit(t, inputs[0], output)

        handles = [block.register_forward_hook(hook) for block in dict.fromkeys(self.blocks)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        if t != self.depth:
            raise StackError(
                f"the forward pass ran {t} layers where the model has {self.depth}; watch exactly "
                "one call of the model at a time"
            )


def find_stack(model: nn.Module) -> ResidualStack:
    """Return the residual stack of a model that is, or contains, one ResNet or MLP of residua.

    Raises:
        StackError: there is none, or more than one.
    """
    found = [(name, m) for name, m in model.named_modules() if isinstance(m, ResNet | MLP)]
    if len(found) != 1:
        where = f": {', '.join(name or '(the model itself)' for name, _ in found)}" if found else ""
        raise StackError(
            f"{type(model).__name__} holds {len(found)} modules of the class residua.ResNet or "
            f"residua.MLP{where}; pass a model with exactly one"
        )
    path, net = found[0]
    prefix = f"{path}." if path else ""
    names = tuple(
        f"{prefix}blocks.0, call {t}" if net.shared else f"{prefix}blocks.{t - 1}"
        for t in range(1, net.depth + 1)
    )
    blocks = tuple(net.block(t) for t in range(net.depth))
    return ResidualStack(model, net, blocks, names, net.head, isinstance(net, ResNet))


def like(x: Tensor, weight: Tensor) -> Tensor:
    """Return x on the weight's device and, where x is floating point, in its precision."""
    return x.to(weight.device, weight.dtype if x.is_floating_point() else None)
