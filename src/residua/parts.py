"""The residuals inside a block, each with the module that puts it out: of attention, of an MLP."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from residua.calls import Call, LastMap, last_of, put_out_by, residual
from residua.graph import last_terms, reaches, same, terms_of, upstream
from residua.ports import Branch, Port


@dataclass(frozen=True)
class Idle:
    """A module on the way to a part, where what it takes that has the state's shape is, and goes."""

    path: str
    takes: int | str
    gives: int | str | None
    items: int | None


@dataclass(frozen=True)
class Part:
    """One residual inside a block: of attention, of an MLP.

    Attributes:
        path: the name of the module that puts it out.
        module: that module.
        port: where the state goes in and comes out, or what the block adds itself.
        idle: modules whose output serves this residual alone, besides the module itself.
        last: what puts out the residual; None where that is no linear map.
        items: how many items the module's output has; None where it is a tensor.
        block: the name of the block it is in.
    """

    path: str
    module: nn.Module
    port: Port | Branch
    idle: tuple["Idle", ...]
    last: LastMap | None
    items: int | None = None
    block: str = ""


def parts_of(block: Call, calls: Sequence[Call], unsure: dict[str, str]) -> list[Part]:
    """Return the residuals in a block; where they cannot be told apart, none, and why not."""
    return [replace(part, block=block.path) for part in _parts(block, calls, unsure)]


def _parts(block: Call, calls: Sequence[Call], unsure: dict[str, str]) -> list[Part]:
    assert block.block is not None
    assert block.output is not None
    inside = calls[block.number + 1 : block.end]
    if isinstance(block.block.port, Branch):
        return [Part(block.path, block.module, block.block.port, (), block.block.last)]
    begin = block.begin
    chain = _chain(inside, begin, block.output[1])
    terms = terms_of(block.output[1], begin)
    found = [_part_of(term, block, inside) for term in terms or []]
    named = {part.path for part in found if part is not None}
    # Of a block without terms all parts were taken out.
    if len(chain) > 1 or (chain and terms and len(terms) == 1):
        return [_whole(call, inside) for call in chain]
    if terms is None or len(named) < len(found) or block.block.after:
        if terms is not None and len(terms) == 1:  # the block itself is the one residual
            return [_whole(block, inside)]
        unsure[block.path] = _seen(inside)
        return []
    parts = [part for part in found if part is not None]
    order = {c.path: c.number for c in reversed(inside)}
    parts.sort(key=lambda part: order[part.path])
    return [replace(part, idle=_idle(part, parts, block, inside)) for part in parts]


def _whole(call: Call, inside: Sequence[Call]) -> Part:
    """Return the part that a residual call is."""
    assert call.block is not None
    return Part(call.path, call.module, call.block.port, (), last_map(call, inside), call.items)


def _part_of(term: Any, block: Call, inside: Sequence[Call]) -> Part | None:
    """Return the part that puts out one thing added to the state; None where no one module does."""
    assert block.block is not None
    assert isinstance(block.block.port, Port)
    shape = block.block.shape
    by = _put_out_by(term, shape, inside)
    if by is None or by.output is None:
        return None
    port = Branch(block.module, block.block.port, by.output[0], _takes(by, shape))
    return Part(by.path, by.module, port, (), last_of(term, shape, inside), by.items)


def _takes(call: Call, shape: tuple[int, ...]) -> int | str | None:
    """Return which argument of a call has a shape."""
    return next((i for i, (_, size) in call.inputs.items() if size == shape), None)


def _put_out_by(term: Any, shape: tuple[int, ...], inside: Sequence[Call]) -> Call | None:
    """Return the outermost call that puts out what is added, in the state's shape."""
    for call in inside:
        if call.output and call.output[2] == shape and same(call.output[1]) is same(term):
            return call
    return None


def _chain(inside: Sequence[Call], begin: Any, end: Any) -> list[Call]:
    """Return the residual calls inside a block of which each takes the state that the last gave."""
    found: list[Call] = []
    node = same(begin)
    for call in inside:
        call.block = call.block or residual(call)
        if call.block is None or call.output is None:
            continue
        if same(call.begin) is node:
            found.append(call)
            node = same(call.output[1])
    return found if node is same(end) else []


def last_map(call: Call, calls: Sequence[Call]) -> LastMap | None:
    """Return the linear map that puts out the last residual added in a call, and the norm behind it."""
    block = call.block
    if block is None or call.output is None or block.after not in ("", "norm"):
        return None
    terms = last_terms(call.output[1], call.begin)
    last = last_of(terms[0], block.shape, calls) if terms else None
    if not block.after or last is None or last.norm is not None:
        return last if not block.after else None
    norm = put_out_by(call.output[1], block.shape, calls)
    return None if norm is None else LastMap(last.linear, norm.path)


def _idle(
    part: Part, parts: Sequence[Part], block: Call, inside: Sequence[Call]
) -> tuple[Idle, ...]:
    """Return the block's modules whose output serves one part alone."""
    assert block.block is not None
    stream = _stream(block)
    own = _output_of(part.path, inside)
    ahead = upstream(own, stream)
    others = [upstream(_output_of(p.path, inside), stream) for p in parts if p.path != part.path]
    found: dict[str, Idle] = {}
    for call in inside:
        direct = call.path.rpartition(".")[0] == block.path
        if not direct or not call.output or part.path.startswith(f"{call.path}."):
            continue
        node = call.output[1]
        alone = node in ahead and node is not own and not any(node in other for other in others)
        takes = _takes(call, block.block.shape)
        alone = alone and call.path != part.path and call.output[2] == block.block.shape
        if alone and takes is not None:
            found[call.path] = Idle(call.path, takes, call.output[0], call.items)
    return tuple(found.values())


def _output_of(path: str, inside: Sequence[Call]) -> Any:
    return next(c.output[1] for c in inside if c.path == path and c.output)


def _stream(block: Call) -> set[Any]:
    """Return the nodes of the state on its way through a block."""
    assert block.block is not None
    assert block.output is not None
    begin = block.begin
    node, found = block.output[1], {begin}
    while node is not None and node is not begin:
        found.add(node)
        following = [n for n, _ in node.next_functions]
        node = next((n for n in following if reaches(n, begin)), None)
    return found


def _seen(inside: Sequence[Call]) -> str:
    return ", ".join(dict.fromkeys(c.path for c in inside if c.output)) or "no modules"
