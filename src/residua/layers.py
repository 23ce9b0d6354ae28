"""The residual layers of a model, and what watches and changes their states in a forward pass."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import compress
from numbers import Integral
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from residua.errors import StackError

Visit = Callable[[int, Tensor, Tensor], None]
Change = Callable[[int, Tensor, Tensor], Tensor]
Stack = TypeVar("Stack", bound="ResidualStack")


class Port(NamedTuple):
    """Where a state goes into a block and comes out: an argument, and the output or an item of it."""

    takes: int | str = 0
    gives: int | str | None = None

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Return the state that goes in."""
        found: Tensor = args[self.takes] if isinstance(self.takes, int) else kwargs[self.takes]
        return found

    def entered(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with another state."""
        if isinstance(self.takes, str):
            return args, kwargs | {self.takes: x}
        return (*args[: self.takes], x, *args[self.takes + 1 :]), kwargs

    def after(self, output: Any) -> Tensor:
        """Return the state that comes out."""
        found: Tensor = output if self.gives is None else output[self.gives]
        return found

    def left(self, output: Any, x: Tensor) -> Any:
        """Return the output with another state."""
        if self.gives is None:
            return x
        if isinstance(output, Mapping):
            return type(output)(**{**output, self.gives: x})
        items = list(output)
        items[self.gives] = x  # type: ignore[index]
        return type(output)(items)


@dataclass(frozen=True)
class ResidualStack:
    """The ordered blocks x_{t−1} → x_t of a model, t = 1…T.

    Attributes:
        model: what is called on a batch.
        blocks: the module of every layer; with shared weights the same module several times.
        names: one name a layer, as the user finds it in the model.
        stages: the stage of every layer; the states of a stage have one shape.
        ports: where the state goes into every block and comes out.
        classes: number of outputs of a sample, or of a token.
        branch_is_residual: whether y_t = x_t − x_{t−1} is what the block's branch put out. It is not so
            where there is no skip, nor where a relu or a norm follows the addition: there y_t is only
            the difference of two states.
    """

    model: nn.Module
    blocks: tuple[nn.Module, ...]
    names: tuple[str, ...]
    stages: tuple[str, ...]
    ports: tuple[Port, ...]
    classes: int
    branch_is_residual: bool

    @property
    def depth(self) -> int:
        """T, the number of layers."""
        return len(self.blocks)

    @property
    def weight(self) -> Tensor:
        """A floating-point parameter, for the device and precision that inputs must have."""
        return weight_of(self.model)

    def outputs(self, x: Any) -> Tensor:
        """Run the model on a tensor, or on named inputs, and return its logits.

        Raises:
            StackError: what it puts out is no tensor and holds none.
        """
        return outputs_of(self.model, x)

    def only(self: Stack, keep: Sequence[bool]) -> Stack:
        """Return the stack of some of the layers, which is what visits then see."""

        def chosen(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(compress(values, keep))

        return replace(
            self,
            blocks=chosen(self.blocks),
            names=chosen(self.names),
            stages=chosen(self.stages),
            ports=chosen(self.ports),
        )

    def stage(self: Stack, name: str | None) -> Stack:
        """Return the layers of one stage, or of the only one.

        Raises:
            StackError: there is no such stage, or there are several and none is named.
        """
        names = list(dict.fromkeys(self.stages))
        if name is None and len(names) > 1:
            raise StackError(
                f"{type(self.model).__name__} has {len(names)} stages whose states differ; pass one of "
                f"them where a stage can be named, such as trace(model, x, stage={names[0]!r}): "
                f"{', '.join(names)}"
            )
        if name is not None and name not in names:
            raise StackError(f"there is no stage {name!r}; the stages are {', '.join(names)}")
        return self if name is None else self.only([s == name for s in self.stages])

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

        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            nonlocal t, kept
            t += 1
            if t > self.depth:
                return None  # said below
            port = self.ports[t - 1]
            x = port.before(args, kwargs)
            changed = first is not None and t == 1
            if first is not None and changed:
                x = first(x)
            kept = x.clone() if copy else x
            return port.entered(args, kwargs, x) if changed else None

        def after(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            if t > self.depth:
                return None
            assert kept is not None
            port = self.ports[t - 1]
            new = after_layer(t, kept, port.after(output))
            return None if new is None else port.left(output, new)

        handles = []
        for block in dict.fromkeys(self.blocks):
            handles += [
                block.register_forward_pre_hook(before, with_kwargs=True),
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

    def works_in_place(self, x: Any) -> bool:
        """Return whether a layer overwrites the state it is given; runs the model once."""
        found = False
        t = 0
        state: Tensor | None = None
        version = 0

        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            nonlocal t, state, version
            t += 1
            state = self.ports[min(t, self.depth) - 1].before(args, kwargs)
            version = state._version

        def after(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            nonlocal found
            assert state is not None
            found |= state._version != version

        blocks = dict.fromkeys(self.blocks)
        handles = [b.register_forward_pre_hook(before, with_kwargs=True) for b in blocks]
        handles += [b.register_forward_hook(after) for b in blocks]
        try:
            # Tensors of inference mode have no version.
            with torch.inference_mode(False), torch.no_grad():
                own = {k: v.clone() for k, v in x.items()} if isinstance(x, Mapping) else x.clone()
                self.outputs(own)
        finally:
            for handle in handles:
                handle.remove()
        return found


def weight_of(model: nn.Module) -> Tensor:
    """Return a floating-point parameter, which tells device and precision; of none, those of torch."""
    return next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))


def rows(x: Tensor) -> Tensor:
    """Return states (row, unit): of sequences every token is a row, of images every pixel a unit."""
    return x.flatten(0, 1) if x.ndim == 3 else x.flatten(1)


def outputs_of(model: nn.Module, x: Any) -> Tensor:
    """Run a model on a tensor, or on named inputs, and return its logits.

    Raises:
        StackError: what it puts out is no tensor and holds none.
    """
    return logits_of(model(**x) if isinstance(x, Mapping) else model(x), model)


def logits_of(output: Any, model: nn.Module) -> Tensor:
    """Return the logits of what a model puts out: a tensor, its `logits`, or the first tensor in it.

    Raises:
        StackError: it holds no tensor.
    """
    if isinstance(output, Tensor):
        return output
    found = getattr(output, "logits", None)
    if isinstance(found, Tensor):
        return found
    items = list(output.values()) if isinstance(output, Mapping) else output
    items = items if isinstance(items, tuple | list) else []
    tensors = [item for item in items if isinstance(item, Tensor) and item.ndim > 0]
    if not tensors:
        raise StackError(
            f"the {type(model).__name__} puts out {type(output).__name__}, in which there is no tensor; "
            "wrap it in a module that returns its logits"
        )
    return tensors[0]
