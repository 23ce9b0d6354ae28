"""Where the residual blocks of a model are: the only file that knows model families."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from residua.errors import StackError
from residua.nets import MLP, ResNet
from residua.readout import Readout, readout

Visit = Callable[[int, Tensor, Tensor], None]
Change = Callable[[int, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ResidualStack:
    """The ordered blocks x_{t−1} → x_t of a model, t = 1…T, and its head.

    Attributes:
        model: what is called on a batch and returns logits.
        net: the module that owns the blocks; `model` itself or inside it.
        blocks: the module of every layer; with shared weights the same module T times.
        names: one name a layer, as the user finds it in the model.
        readout: the map from the last state to the logits.
        branch_is_residual: whether y_t = x_t − x_{t−1} is what the block's branch put out. It is not
            so in an MLP, which has no skip: there y_t is only the difference of two states.
    """

    model: nn.Module
    net: ResNet | MLP
    blocks: tuple[nn.Module, ...]
    names: tuple[str, ...]
    readout: Readout
    branch_is_residual: bool

    @property
    def depth(self) -> int:
        """T, the number of layers."""
        return len(self.blocks)

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.readout.classes

    @property
    def weight(self) -> Tensor:
        """A parameter, for the device and precision that inputs must have."""
        return next(self.net.parameters())

    @property
    def shared(self) -> bool:
        """Whether one module makes all layers, so that only layers at the end can go."""
        return self.net.shared

    def check_layer(self, t: int, first: int = 1) -> None:
        """Raise StackError unless t is one of the layers (or states, with first = 0)."""
        if not isinstance(t, Integral) or not first <= t <= self.depth:
            what = ", ".join(f"{t} ({name})" for t, name in enumerate(self.names, 1))
            zero = "0 (the lifted input), " if first == 0 else ""
            raise StackError(f"there is no layer {t}; the layers are {zero}{what}")

    @contextmanager
    def watch(self, visit: Visit, *, copy: bool = True) -> Iterator[None]:
        """Call visit(t, x_{t−1}, x_t) for each layer t = 1…T of the forward pass run inside.

        Args:
            visit: called after every layer.
            copy: keep x_{t−1} as it was before the layer ran, which a layer that works in place would
                overwrite; see :meth:`works_in_place`.

        Raises:
            StackError: the forward pass ran another number of layers than the stack has.
        """
        with self._hooks(lambda t, before, after: visit(t, before, after), copy=copy):
            yield

    @contextmanager
    def change(
        self, new: Change, *, first: Callable[[Tensor], Tensor] | None = None
    ) -> Iterator[None]:
        """Go on from new(t, x_{t−1}, x_t) in place of x_t after each layer of the pass run inside.

        Args:
            new: gives the state to go on with after layer t = 1…T.
            first: gives the state to begin with in place of x_0.

        Raises:
            StackError: as :meth:`watch`.
        """
        with self._hooks(new, first=first, copy=True):
            yield

    @contextmanager
    def _hooks(
        self,
        after_layer: Callable[[int, Tensor, Tensor], Tensor | None],
        *,
        first: Callable[[Tensor], Tensor] | None = None,
        copy: bool,
    ) -> Iterator[None]:
        t = 0
        kept: Tensor | None = None

        def before(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
            nonlocal t, kept
            t += 1
            x = first(inputs[0]) if first is not None and t == 1 else inputs[0]
            kept = x.clone() if copy else x
            return (x, *inputs[1:])

        def after(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
            assert kept is not None
            return after_layer(t, kept, output)

        handles = []
        for block in dict.fromkeys(self.blocks):
            handles += [
                block.register_forward_pre_hook(before),
                block.register_forward_hook(after),
            ]
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

    def works_in_place(self, x: Tensor) -> bool:
        """Return whether a layer overwrites the state it is given; runs the model once."""
        found = False
        version = 0

        def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            nonlocal version
            version = inputs[0]._version

        def after(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            nonlocal found
            found |= inputs[0]._version != version

        handles = [b.register_forward_pre_hook(before) for b in dict.fromkeys(self.blocks)]
        handles += [b.register_forward_hook(after) for b in dict.fromkeys(self.blocks)]
        try:
            # Tensors of inference mode have no version.
            with torch.inference_mode(False), torch.no_grad():
                self.model(x.clone())
        finally:
            for handle in handles:
                handle.remove()
        return found


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
    blocks = tuple(net.blocks[0 if net.shared else t] for t in range(net.depth))
    return ResidualStack(model, net, blocks, names, readout(net.head), isinstance(net, ResNet))


def like(x: Tensor, weight: Tensor) -> Tensor:
    """Return x on the weight's device and, where x is floating point, in its precision."""
    return x.to(weight.device, weight.dtype if x.is_floating_point() else None)
