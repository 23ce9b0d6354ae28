"""Find the residual blocks of any model by what they do in one forward pass, not by their names.

A block is a call of a module that takes a state, gives one of the same shape, and whose output is, in
the graph that autograd records, the state plus something; a norm or a relu may follow the addition.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from residua.errors import InputError, StackError
from residua.layers import Port

# Operations that a sum passes through unchanged, and those that may follow an addition.
_SAME = {"View", "UnsafeView", "ReshapeAlias", "Alias", "Clone", "ToCopy", "Transpose", "Permute"}
_SAME |= {"Squeeze", "Unsqueeze", "Expand", "AsStrided", "T", "NativeDropout"}
_AFTER = {"Relu": "relu", "NativeLayerNorm": "norm", "NativeBatchNorm": "norm"}
_AFTER |= {"NativeGroupNorm": "norm", "FusedRmsNorm": "norm", "MkldnnBatchNorm": "norm"}
_AFTER |= {"CudnnBatchNorm": "norm"}


@dataclass(frozen=True)
class Block:
    """One call of a residual block.

    Attributes:
        path: the module's name in the model.
        module: the module.
        port: where the state goes in and comes out.
        shape: of the state.
        after: what follows the addition: "" (then y is what the block's branch put out), "relu", "norm".
    """

    path: str
    module: nn.Module
    port: Port
    shape: tuple[int, ...]
    after: str


@dataclass
class _Call:
    """What was seen of one call: where tensors came from and went."""

    path: str
    module: nn.Module
    number: int
    inputs: dict[int | str, tuple[Any, tuple[int, ...]]]
    output: tuple[int | str | None, Any, tuple[int, ...]] | None = None
    block: Block | None = None

    @property
    def parent(self) -> str:
        return self.path.rpartition(".")[0]


def discover(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], names: Sequence[str] | None
) -> tuple[list[list[Block]], Any]:
    """Return the residual blocks of a model, stage by stage, and its output, from one forward pass.

    A stage is a run of blocks, each of which takes the state that the one before gave.

    Args:
        model: any module; it is run once in evaluation mode and left as it was.
        args, kwargs: what it is called with; one sample is enough.
        names: the blocks' names, or those of ModuleLists of them; None: they are found.

    Raises:
        StackError: no blocks were found, or the modules named do not keep the shape of a state.
        InputError: there is no module of a name.
    """
    calls, output = _observe(model, args, kwargs)
    if names is not None:
        return _named(model, calls, names), output
    for call in calls:
        call.block = _residual(call)
    chosen = sorted(_outermost(model, calls), key=lambda run: run[0].number)
    if not chosen:
        raise StackError(_said(model, calls))
    return [[call.block for call in run if call.block] for run in chosen], output


@contextmanager
def _observed(model: nn.Module) -> Iterator[None]:
    """Run a model in evaluation mode with a graph of all its parameters, and leave it as it was."""
    training = [m for m in model.modules() if m.training]
    frozen = [p for p in model.parameters() if p.is_floating_point() and not p.requires_grad]
    model.eval()
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
        for module in training:
            module.training = True


def _observe(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[list[_Call], Any]:
    """Return every call of a module inside the model, as they begin, and the model's output."""
    calls: list[_Call] = []
    open_calls: list[_Call] = []
    handles = []

    def watch(path: str, module: nn.Module) -> None:
        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
            states = {i: (a.grad_fn, tuple(a.shape)) for i, a in given if _is_state(a)}
            call = _Call(path, module, len(calls), states)
            calls.append(call)
            open_calls.append(call)

        def after(_: nn.Module, args: Any, output: Any) -> None:
            open_calls.pop().output = _state_of(output)

        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(after))

    for path, module in model.named_modules():
        if path:
            watch(path, module)
    try:
        with _observed(model):
            own = {k: _with_node(v) for k, v in kwargs.items()}
            output = model(*map(_with_node, args), **own)
    finally:
        for handle in handles:
            handle.remove()
    return calls, output


def _with_node(value: Any) -> Any:
    """Return a floating-point input with a place in the graph; a leaf has none."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.detach().clone().requires_grad_().clone()
    return value


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


def _residual(call: _Call) -> Block | None:
    """Return the block that a call is, if its output is one of its inputs plus something."""
    if call.output is None or call.output[1] is None:
        return None
    gives, end, shape = call.output
    for takes, (node, size) in call.inputs.items():
        if size == shape and node is not None:
            after = _sum_of(end, node)
            if after is not None:
                return Block(call.path, call.module, Port(takes, gives), shape, after)
    return None


def _sum_of(end: Any, begin: Any) -> str | None:
    """Return what follows the additions between two nodes of the graph; None where there are none."""
    seen, todo = set(), [(end, "", False)]
    while todo:
        node, after, added = todo.pop()
        if node is begin and added:
            return after
        if node is None or (id(node), added) in seen:
            continue
        seen.add((id(node), added))
        kind = node.name().removesuffix("0").removesuffix("Backward")
        following = [n for n, _ in node.next_functions]
        if kind == "Add":
            todo += [(n, after, True) for n in following]
        elif kind == "Sub":
            todo.append((following[0], after, True))
        elif kind in _SAME or kind in _AFTER:
            todo.append((following[0], after or _AFTER.get(kind, ""), added))
    return None


def _runs(calls: Sequence[_Call]) -> list[list[_Call]]:
    """Return the runs of residual calls of one parent's children, each taking what the last gave."""
    runs: list[list[_Call]] = []
    for call in calls:
        if call.block is None:
            continue
        last = runs[-1][-1] if runs else None
        if last is not None and _follows(last, call):
            runs[-1].append(call)
        else:
            runs.append([call])
    return runs


def _follows(last: _Call, call: _Call) -> bool:
    assert last.output is not None
    assert last.block is not None
    assert call.block is not None
    node, shape = call.inputs[call.block.port.takes]
    return node is last.output[1] and shape == last.block.shape


def _outermost(model: nn.Module, calls: Sequence[_Call]) -> Iterator[list[_Call]]:
    """Yield the runs that are stacks: from outside inwards, the first inside which there is none."""
    by_parent: dict[str, list[_Call]] = {}
    for call in calls:
        by_parent.setdefault(call.parent, []).append(call)
    runs = {parent: found for parent, group in by_parent.items() if (found := _runs(group))}
    gone: set[str] = set()
    for parent in sorted(runs, key=lambda p: (p.count(".") if p else -1, _first(runs[p]))):
        if any(_inside(parent, path) for path in gone):
            continue
        listed = isinstance(model.get_submodule(parent), nn.ModuleList | nn.Sequential)
        for run in runs[parent]:
            paths = {call.path for call in run}
            inner = [r for p, rs in runs.items() if any(_inside(p, q) for q in paths) for r in rs]
            lone = len(run) == 1 and not listed
            if not any(map(_clear, inner)) and not lone:
                gone |= paths
                yield run


def _first(runs: list[list[_Call]]) -> int:
    return runs[0][0].number


def _inside(path: str, outer: str) -> bool:
    return path == outer or path.startswith(f"{outer}.")


def _clear(run: list[_Call]) -> bool:
    """Return whether a run is a stack beyond doubt: one class, and some of one structure."""
    modules = [call.module for call in run]
    structures = {tuple((n, p.shape) for n, p in m.named_parameters()) for m in modules}
    return len(run) > 1 and len(set(map(type, modules))) == 1 and len(structures) < len(run)


def _named(model: nn.Module, calls: Sequence[_Call], names: Sequence[str]) -> list[list[Block]]:
    """Return the blocks named, in stages, whether a sum is seen in them or not."""
    if not names:
        raise InputError("names is empty; leave it out to have the blocks found, or name some")
    wanted: list[str] = []
    known = dict(model.named_modules())
    for name in names:
        if name not in known:
            raise InputError(
                f"{type(model).__name__} has no module {name!r}; pass names of named_modules()"
            )
        listed = isinstance(known[name], nn.ModuleList)
        wanted += (
            [f"{name}.{child}" for child, _ in known[name].named_children()] if listed else [name]
        )
    stages: list[list[Block]] = []
    last: _Call | None = None
    for call in calls:
        if call.path not in wanted:
            continue
        call.block = _residual(call) or _keeps_shape(call)
        if last is not None and last.block is not None and _follows(last, call):
            stages[-1].append(call.block)
        else:
            stages.append([call.block])
        last = call
    missing = set(wanted) - {block.path for stage in stages for block in stage}
    if missing:
        raise StackError(
            f"the modules {', '.join(sorted(missing))} were not called in the forward pass; name those "
            "that are"
        )
    return stages


def _keeps_shape(call: _Call) -> Block:
    if call.output is not None:
        gives, _, shape = call.output
        for takes, (_, size) in call.inputs.items():
            if size == shape:
                return Block(call.path, call.module, Port(takes, gives), shape, "unknown")
    taken = ", ".join(str(size) for _, size in call.inputs.values()) or "no tensor"
    given = "none" if call.output is None else str(call.output[2])
    raise StackError(
        f"{call.path} ({type(call.module).__name__}) takes {taken} and gives {given}, so it keeps no "
        "state; name modules whose output has the shape of an input"
    )


def _said(model: nn.Module, calls: Sequence[_Call]) -> str:
    """Say what was seen where no blocks were found."""
    kept = [
        c.path for c in calls if c.output and any(s == c.output[2] for _, s in c.inputs.values())
    ]
    shown = ", ".join(list(dict.fromkeys(kept))[:8]) or "none"
    return (
        f"no residual blocks were found in {type(model).__name__}: no module's output is the state that "
        f"it was given plus something. Modules that keep the shape of what they are given: {shown}. If "
        "blocks are among them, name them: residua.find_blocks(model, x, names=[…])"
    )
