"""The residual layers of a model, and what watches and changes their states in a forward pass."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress
from numbers import Integral
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from residua.errors import StackError
from residua.passes import Pass
from residua.ports import Branch, Port

Visit = Callable[[int, Tensor, Tensor], None]
Change = Callable[[int, Tensor, Tensor], Tensor]
Stack = TypeVar("Stack", bound="ResidualStack")


@dataclass(frozen=True)
class ResidualStack:
    """The ordered blocks x_{t−1} → x_t of a model, t = 1…T.

    Attributes:
        model: what is called on a batch.
        blocks: the module of every layer; with shared weights the same module several times.
        names: one name a layer, as the user finds it in the model.
        stages: the stage of every layer; the states of a stage have one shape.
        ports: where the state goes into every block and comes out; of parts of blocks whose output is
            added to the state outside of them, a :class:`Branch`.
        classes: number of outputs of a sample, or of a token.
        branch_is_residual: whether y_t = x_t − x_{t−1} is what the block's branch put out. It is not so
            where there is no skip, nor where a relu or a norm follows the addition: there y_t is only
            the difference of two states.
    """

    model: nn.Module
    blocks: tuple[nn.Module, ...]
    names: tuple[str, ...]
    stages: tuple[str, ...]
    ports: tuple[Port | Branch, ...]
    classes: int
    branch_is_residual: bool

    @property
    def each_layer(self) -> tuple[str, ...]:
        """The attributes that hold something for every layer."""
        return ("blocks", "names", "stages", "ports")

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

        chosen: dict[str, Any] = {
            name: tuple(compress(getattr(self, name), keep)) for name in self.each_layer
        }
        return replace(self, **chosen)

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
        by_stage = list(zip(self.blocks, self.stages, strict=True))
        own = {block for block, stage in by_stage if stage == name}
        if name is not None and any(b in own for b, stage in by_stage if stage != name):
            raise StackError(
                f"the blocks of the stage {name!r} are run in another stage, too, so it cannot be "
                "watched alone; residua.similarity shows all stages"
            )
        return self if name is None else self.only([s == name for s in self.stages])

    def check_layer(self, t: int, first: int = 1) -> None:
        """Raise StackError unless t is one of the layers (or states, with first = 0)."""
        if not isinstance(t, Integral) or not first <= t <= self.depth:
            what = ", ".join(f"{t} ({name})" for t, name in enumerate(self.names, 1))
            zero = "0 (the lifted input), " if first == 0 else ""
            raise StackError(f"there is no layer {t}; the layers are {zero}{what}")

    @contextmanager
    def watch(self, visit: Visit, *, copy: bool = True) -> Iterator[Pass]:
        """Call visit(t, x_{t−1}, x_t) for each layer t = 1…T of the forward pass run inside.

        Args:
            visit: called after every layer.
            copy: keep x_{t−1} as it was before the layer ran, which a layer that works in place would
                overwrite.

        Yields:
            What knows, after the forward pass, whether a layer has done so: `overwritten`.

        Raises:
            StackError: the forward pass ran another number of layers than the stack has.
        """
        with self._hooks(lambda t, before, after: visit(t, before, after), copy=copy) as run:
            yield run

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

    def _outer(self) -> dict[nn.Module, Port]:
        """Return the blocks around parts, and where the state goes into them."""
        return {p.outer: p.enters for p in self.ports if isinstance(p, Branch)}

    @contextmanager
    def _hooks(
        self,
        after_layer: Callable[[int, Tensor, Tensor], Tensor | None],
        *,
        first: Callable[[Tensor], Tensor] | None = None,
        copy: bool,
    ) -> Iterator[Pass]:
        run = Pass(self.ports, after_layer, first, copy)
        handles = []
        for block, port in dict(zip(self.blocks, self.ports, strict=True)).items():
            if isinstance(port, Branch):
                handles.append(block.register_forward_hook(run.added))
                continue
            handles += [
                block.register_forward_pre_hook(run.before, with_kwargs=True),
                block.register_forward_hook(run.after),
            ]
        for outer, enters in self._outer().items():
            entered = partial(run.entered, enters)
            handles.append(outer.register_forward_pre_hook(entered, with_kwargs=True))
        try:
            yield run
        finally:
            for handle in handles:
                handle.remove()
        if run.t != self.depth:
            raise StackError(
                f"the forward pass ran {run.t} layers where the model has {self.depth}; watch exactly "
                "one call of the model at a time"
            )


def weight_of(model: nn.Module) -> Tensor:
    """Return a floating-point parameter, which tells device and precision; of none, those of torch."""
    return next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))


def like(x: Tensor, weight: Tensor) -> Tensor:
    """Return x on the weight's device and, where x is floating point, in its precision."""
    return x.to(weight.device, weight.dtype if x.is_floating_point() else None)


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
