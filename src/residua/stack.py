"""Where the residual blocks of a model are: the only file that knows model families."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import compress
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from residua.convnet import ConvResNet
from residua.errors import StackError
from residua.nets import MLP, ResNet
from residua.readout import Readout, readout

Net = ResNet | MLP | ConvResNet
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
        stages: the stage of every layer; the states of a stage have one shape.
        readout: the map from the last state to the logits.
        branch_is_residual: whether y_t = x_t − x_{t−1} is what the block's branch put out. It is not
            so in an MLP, which has no skip: there y_t is only the difference of two states.
    """

    model: nn.Module
    net: Net
    blocks: tuple[nn.Module, ...]
    names: tuple[str, ...]
    stages: tuple[str, ...]
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
    def ends_at_head(self) -> bool:
        """Whether the last state is what the head reads; so in the last stage alone."""
        net = self.net
        last = net.in_stages()[-1] if isinstance(net, ConvResNet) else list(net.blocks)
        return len(last) > 0 and last[-1] is self.blocks[-1]

    def only(self, keep: Sequence[bool]) -> "ResidualStack":
        """Return the stack of some of the layers, which is what visits then see."""

        def chosen(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(compress(values, keep))

        return replace(
            self,
            blocks=chosen(self.blocks),
            names=chosen(self.names),
            stages=chosen(self.stages),
        )

    def run(self, t: int, x: Tensor) -> Tensor:
        """Return x_t of x_{t−1} by layer t = 1…T alone, with its step size, past any hooks."""
        h = 1.0 if isinstance(self.net, ConvResNet) else self.net.steps[t - 1]
        block = self.blocks[t - 1]
        after: Tensor = block.forward(x) if h == 1.0 else block.forward(x, h)
        return after

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


def find_stack(
    model: nn.Module, stage: str | None = None, *, images: bool = False
) -> ResidualStack:
    """Return the residual stack of a model that is, or contains, one network of residua.

    Args:
        model: the model.
        stage: which one, of a network with several; see :func:`find_stages`.
        images: whether states may have more dimensions than (batch, unit).

    Raises:
        StackError: there is no network, or more than one; or no such stage, several and none named, or
            its states have more dimensions.
    """
    whole = find_stages(model)
    names = list(dict.fromkeys(whole.stages))
    if stage is None and len(names) > 1:
        raise StackError(
            f"{type(whole.net).__name__} has {len(names)} stages whose states differ in shape; pass one "
            f"of them where a stage can be named, such as trace(model, x, stage={names[0]!r}): "
            f"{', '.join(names)}"
        )
    if stage is not None and stage not in names:
        raise StackError(f"there is no stage {stage!r}; the stages are {', '.join(names)}")
    if isinstance(whole.net, ConvResNet) and not images:
        raise StackError(
            f"the states of a {type(whole.net).__name__} are images, and this works on states "
            "(batch, unit); residua.trace, residua.accumulate and all that cuts depth take both"
        )
    return whole if stage is None else whole.only([s == stage for s in whole.stages])


def find_stages(model: nn.Module) -> ResidualStack:
    """Return the layers of all stages of a model as one stack, in the order in which they run.

    Raises:
        StackError: the model holds no network of residua, or more than one.
    """
    found = [(name, m) for name, m in model.named_modules() if isinstance(m, Net)]
    if len(found) != 1:
        where = f": {', '.join(name or '(the model itself)' for name, _ in found)}" if found else ""
        raise StackError(
            f"{type(model).__name__} holds {len(found)} modules of the classes residua.ResNet, "
            f"residua.MLP or residua.ConvResNet{where}; pass a model with exactly one"
        )
    path, net = found[0]
    prefix = f"{path}." if path else ""
    names, stages, blocks = zip(*_layers(net), strict=True)
    return ResidualStack(
        model,
        net,
        blocks,
        tuple(prefix + name for name in names),
        tuple(prefix + stage for stage in stages),
        readout(net.head, net.residual_head if isinstance(net, ResNet) else None),
        not isinstance(net, MLP),
    )


def _layers(net: Net) -> list[tuple[str, str, nn.Module]]:
    """Return name, stage and module of every layer."""
    if isinstance(net, ConvResNet):
        return [
            (f"stages.{s}.blocks.{i}", f"stages.{s}", block)
            for s, blocks in enumerate(net.in_stages())
            for i, block in enumerate(blocks)
        ]
    names = [f"blocks.0, call {t + 1}" if net.shared else f"blocks.{t}" for t in range(net.depth)]
    blocks = [net.blocks[0 if net.shared else t] for t in range(net.depth)]
    return [(name, "blocks", block) for name, block in zip(names, blocks, strict=True)]


def like(x: Tensor, weight: Tensor) -> Tensor:
    """Return x on the weight's device and, where x is floating point, in its precision."""
    return x.to(weight.device, weight.dtype if x.is_floating_point() else None)
