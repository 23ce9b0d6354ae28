"""Find the residual blocks of any model by what they do in one forward pass, not by their names.

A block is a call of a module that takes a state, gives one of the same shape, and whose output is, in
the graph that autograd records, the state plus something; a norm or a relu may follow the addition.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from residua.calls import Block, Call, last_of, linear_of, observe, residual
from residua.errors import InputError, StackError
from residua.graph import constant, same, sums
from residua.layers import logits_of
from residua.parts import Part, last_map, parts_of
from residua.ports import Branch, Port


@dataclass(frozen=True)
class Found:
    """What one forward pass showed.

    Attributes:
        stages: the blocks, stage by stage; a stage is a run of blocks, each of which takes the state
            that the one before gave.
        parts: of every block the residuals in it, as far as they could be told apart.
        unsure: of blocks whose residuals could not, what was seen.
        head: name of the linear map that puts out the logits, or None.
        output: what the model put out.
    """

    stages: list[list[Block]]
    parts: list[list[list[Part]]]
    unsure: dict[str, str]
    head: str | None
    output: Any


def discover(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    names: Sequence[str] | None,
    *,
    parts: bool,
) -> Found:
    """Return the residual blocks of a model, and what is in them, from one forward pass.

    Args:
        model: any module; it is run once in evaluation mode and left as it was.
        args, kwargs: what it is called with; one sample is enough.
        names: the blocks' names, or those of ModuleLists of them; None: they are found.
        parts: whether to look for the residuals inside blocks.

    Raises:
        StackError: no blocks were found, or the modules named do not keep the shape of a state.
        InputError: there is no module of a name.
    """
    calls, output = observe(model, args, kwargs)
    if names is not None:
        runs = _named(model, calls, names)
    else:
        for call in calls:
            call.block = residual(call)
            if _adds_a_constant(call):
                call.block = None
        runs = sorted(_outermost(model, calls), key=lambda run: run[0].number)
        runs = runs or _added_outside(model, calls, logits_of(output, model).grad_fn)
        if not runs:
            raise StackError(_said(model, calls))
    unsure: dict[str, str] = {}
    inner = [[parts_of(call, calls, unsure) for call in run] for run in runs] if parts else []
    stages = [[_with_last(call, calls) for call in run] for run in runs]
    logits = logits_of(output, model)
    head = linear_of(logits.grad_fn, tuple(logits.shape), calls)
    return Found(stages, inner, unsure, head, output)


def _adds_a_constant(call: Call) -> bool:
    """Return whether a call adds the same to every state, as an encoding of positions does."""
    if call.block is None or call.output is None:
        return False
    return constant(call.output[1], call.begin)


def _with_last(call: Call, calls: Sequence[Call]) -> Block:
    assert call.block is not None
    if isinstance(call.block.port, Branch):
        return call.block
    return replace(call.block, last=last_map(call, calls[call.number + 1 : call.end]))


def _added_outside(model: nn.Module, calls: Sequence[Call], end: Any) -> list[list[Call]]:
    """Return runs of modules that stand in lists and whose output is added to what they took."""
    added = sums(end)
    found = []
    for call in calls:
        listed = isinstance(model.get_submodule(call.parent), nn.ModuleList | nn.Sequential)
        if not listed or call.output is None:
            continue
        gives, node, shape = call.output
        for takes, (begin, size) in call.inputs.items():
            total = added.get((same(begin), same(node)))
            if size == shape and total is not None:
                last = last_of(node, shape, calls[call.number + 1 : call.end])
                port = Branch(call.module, Port(takes), gives, takes)
                call.block = Block(call.path, call.module, port, shape, "", last)
                call.output = (gives, total, shape)  # the sum is what the next one takes
                found.append(call)
                break
    return _runs(found)


def _runs(calls: Sequence[Call]) -> list[list[Call]]:
    """Return the runs of residual calls of one parent's children, each taking what the last gave."""
    runs: list[list[Call]] = []
    for call in calls:
        if call.block is None:
            continue
        last = runs[-1][-1] if runs else None
        if last is not None and _follows(last, call):
            runs[-1].append(call)
        else:
            runs.append([call])
    return runs


def _follows(last: Call, call: Call) -> bool:
    assert last.output is not None
    assert last.block is not None
    node, shape = call.given
    return same(node) is same(last.output[1]) and shape == last.block.shape


def _outermost(model: nn.Module, calls: Sequence[Call]) -> Iterator[list[Call]]:
    """Yield the runs that are stacks: from outside inwards, the first inside which there is none."""
    by_parent: dict[str, list[Call]] = {}
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


def _first(runs: list[list[Call]]) -> int:
    return runs[0][0].number


def _inside(path: str, outer: str) -> bool:
    return path == outer or path.startswith(f"{outer}.")


def _clear(run: list[Call]) -> bool:
    """Return whether a run is a stack beyond doubt: one class, and some of one structure."""
    modules = [call.module for call in run]
    structures = {tuple((n, p.shape) for n, p in m.named_parameters()) for m in modules}
    return len(run) > 1 and len(set(map(type, modules))) == 1 and len(structures) < len(run)


def _named(model: nn.Module, calls: Sequence[Call], names: Sequence[str]) -> list[list[Call]]:
    """Return the calls of the blocks named, in stages, whether a sum is seen in them or not."""
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
    stages: list[list[Call]] = []
    last: Call | None = None
    for call in calls:
        if call.path not in wanted:
            continue
        call.block = residual(call) or _keeps_shape(call)
        if last is not None and last.block is not None and _follows(last, call):
            stages[-1].append(call)
        else:
            stages.append([call])
        last = call
    missing = set(wanted) - {call.path for stage in stages for call in stage}
    if missing:
        raise StackError(
            f"the modules {', '.join(sorted(missing))} were not called in the forward pass; name those "
            "that are"
        )
    return stages


def _keeps_shape(call: Call) -> Block:
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


def _said(model: nn.Module, calls: Sequence[Call]) -> str:
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
