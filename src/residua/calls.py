"""What is seen of a model's modules in one forward pass: every call, and where its tensors came from."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from residua.errors import InputError
from residua.graph import in_order, norms_or_scales, sum_of
from residua.ports import Branch, Port


@dataclass(frozen=True)
class LastMap:
    """The linear map that puts out the last thing added to a state.

    Attributes:
        linear: its name.
        norm: name of the module that norms or scales its output, or the sum; None where there is none.
    """

    linear: str
    norm: str | None = None


@dataclass(frozen=True)
class Block:
    """One call of a residual block.

    Attributes:
        path: the module's name in the model.
        module: the module.
        port: where the state goes in and comes out.
        shape: of the state.
        after: what follows the addition: "" (then y is what the block's branch put out), "relu", "norm".
        last: what puts out the last thing added to the state; None where that is no linear map.
    """

    path: str
    module: nn.Module
    port: Port | Branch
    shape: tuple[int, ...]
    after: str
    last: LastMap | None = None


@dataclass
class Call:
    """What was seen of one call: where tensors came from and went."""

    path: str
    module: nn.Module
    number: int
    inputs: dict[int | str, tuple[Any, tuple[int, ...]]]
    end: int = -1  # the number of the first call after it
    output: tuple[int | str | None, Any, tuple[int, ...]] | None = None
    items: int | None = None  # of an output that is a tuple or list
    block: Block | None = None

    @property
    def begin(self) -> Any:
        """The node of the state that goes in, of a block."""
        return self.given[0]

    @property
    def given(self) -> tuple[Any, tuple[int, ...]]:
        """The node and shape of the state that goes in, of a block."""
        assert self.block is not None
        port = self.block.port
        return self.inputs[(port.enters if isinstance(port, Branch) else port).takes]

    @property
    def parent(self) -> str:
        """The name of the module that holds the one called."""
        return self.path.rpartition(".")[0]


class _Run:
    """Stands for a reentrant checkpoint, which would run its function without a graph."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        """Run the function."""
        return function(*args)


@contextmanager
def without_reentrant() -> Iterator[None]:
    """Run reentrant checkpoints as plain calls, whose graph and states can be seen."""
    checkpoint = torch.utils.checkpoint.CheckpointFunction
    torch.utils.checkpoint.CheckpointFunction = _Run  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        torch.utils.checkpoint.CheckpointFunction = checkpoint  # type: ignore[misc]


@contextmanager
def _observed(model: nn.Module) -> Iterator[None]:
    """Run a model in evaluation mode with a graph of all its parameters, and leave it as it was."""
    training = [m for m in model.modules() if m.training]
    frozen = [p for p in model.parameters() if p.is_floating_point() and not p.requires_grad]
    model.eval()
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        # What is compiled would have one node for a whole block.
        stance = torch.compiler.set_stance("force_eager")
        with torch.inference_mode(False), torch.enable_grad(), stance, without_reentrant():
            yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
        for module in training:
            module.training = True


def observe(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[list[Call], Any]:
    """Return every call of a module inside the model, as they begin, and the model's output."""
    calls: list[Call] = []
    open_calls: list[Call] = []
    handles = []

    def watch(path: str, module: nn.Module) -> None:
        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            args = tuple(_with_node(a) if _lacks_node(a) else a for a in args)
            kwargs = {k: _with_node(v) if _lacks_node(v) else v for k, v in kwargs.items()}
            given: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
            states = {i: (a.grad_fn, tuple(a.shape)) for i, a in given if _is_state(a)}
            call = Call(path, module, len(calls), states)
            calls.append(call)
            open_calls.append(call)
            return args, kwargs

        def after(_: nn.Module, args: Any, output: Any) -> None:
            call = open_calls.pop()
            call.output, call.end = _state_of(output), len(calls)
            call.items = len(output) if isinstance(output, tuple | list) else None

        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(after))

    for path, module in model.named_modules():
        if path:
            watch(path, module)
    try:
        with _observed(model):
            own = {k: _with_node(v) for k, v in kwargs.items()}
            output = _run(model, tuple(map(_with_node, args)), own)
    finally:
        for handle in handles:
            handle.remove()
    return calls, output


def _run(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a model, or raise InputError that says what it was given."""
    try:
        return model(*args, **kwargs)
    except Exception as error:
        given = [(f"{i}", v) for i, v in enumerate(args)] + list(kwargs.items())
        kinds = [f"{n}: {v.dtype} {tuple(v.shape)}" for n, v in given if isinstance(v, Tensor)]
        raise InputError(
            f"the {type(model).__name__} does not run on its inputs ({', '.join(kinds) or 'none'}): "
            f"{type(error).__name__}: {error}"
        ) from error


def _with_node(value: Any) -> Any:
    """Return a floating-point input with a place in the graph; a leaf has none."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.detach().clone().requires_grad_().clone()
    return value


def _lacks_node(value: Any) -> bool:
    """Return whether a state has no place in the graph: zeros, say, or a parameter."""
    return _is_state(value) and value.grad_fn is None


def _is_state(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 1


def _state_of(output: Any) -> tuple[int | str | None, Any, tuple[int, ...]] | None:
    """Return where in an output the first state is, its node in the graph, and its shape."""
    if _is_state(output):
        return None, output.grad_fn, tuple(output.shape)
    items: list[tuple[int | str, Any]] = []
    if isinstance(output, Mapping):
        items = list(output.items())
    elif isinstance(output, tuple | list):
        items = list(enumerate(output))
    for key, value in items:
        if _is_state(value):
            return key, value.grad_fn, tuple(value.shape)
    return None


def residual(call: Call) -> Block | None:
    """Return the block that a call is, if its output is one of its inputs plus something."""
    if call.output is None or call.output[1] is None:
        return None
    gives, end, shape = call.output
    for takes, (node, size) in call.inputs.items():
        if size == shape and node is not None:
            after = sum_of(end, node)
            if after is not None:
                return Block(call.path, call.module, Port(takes, gives), shape, after)
    return None


def linear_of(node: Any, shape: tuple[int, ...], calls: Sequence[Call]) -> str | None:
    """Return the linear map that put out a node's values as they are, in this shape."""
    node = in_order(node)
    for call in calls:
        if call.output is None or not is_linear(call.module) or len(shape) > 3:
            continue
        if call.output[2] == shape and in_order(call.output[1]) is node:
            return call.path
    return None


def last_of(node: Any, shape: tuple[int, ...], calls: Sequence[Call]) -> LastMap | None:
    """Return the linear map that put out a node's values, as they are or normed or scaled."""
    linear = linear_of(node, shape, calls)
    if linear is not None:
        return LastMap(linear)
    norm = put_out_by(node, shape, calls)
    for given, size in () if norm is None else norm.inputs.values():
        linear = linear_of(given, shape, calls) if size == shape else None
        if norm is not None and linear is not None:
            return LastMap(linear, norm.path)
    return None


def put_out_by(node: Any, shape: tuple[int, ...], calls: Sequence[Call]) -> Call | None:
    """Return the call of a norm or scale, without modules inside, that put out a node's values."""
    for call in calls:
        if next(call.module.children(), None) is not None or is_linear(call.module):
            continue
        alike = call.output is not None and call.output[0] is None and call.output[2] == shape
        if alike and call.output and in_order(call.output[1]) is in_order(node):
            return call if norms_or_scales(in_order(node)) else None
    return None


def is_linear(module: nn.Module) -> bool:
    """Return whether a module is a linear map with a weight of its own: nn.Linear, or GPT-2's Conv1D."""
    kind = isinstance(module, nn.Linear) or (
        type(module).__name__ == "Conv1D" and hasattr(module, "nf")
    )
    return kind and module._parameters.get("weight") is not None  # not so of a parametrised one
