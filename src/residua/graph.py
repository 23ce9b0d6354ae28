"""Walks in the graph that autograd records: what is a sum of what."""

from collections.abc import Collection
from typing import Any

# Operations that a sum passes through unchanged, some of them in order, and those that may follow it.
_IN_ORDER = {"View", "UnsafeView", "ReshapeAlias", "Alias", "Clone", "ToCopy", "NativeDropout"}
_IN_ORDER |= {"Squeeze", "Unsqueeze"}
_SAME = _IN_ORDER | {"Transpose", "Permute", "Expand", "AsStrided", "T"}
_AFTER = {"Relu": "relu", "NativeLayerNorm": "norm", "NativeBatchNorm": "norm"}
_AFTER |= {"NativeGroupNorm": "norm", "FusedRmsNorm": "norm", "MkldnnBatchNorm": "norm"}
_AFTER |= {"CudnnBatchNorm": "norm"}


def sum_of(end: Any, begin: Any) -> str | None:
    """Return what follows the additions between two nodes of the graph; None where there are none."""
    seen: set[tuple[Any, bool]] = set()
    todo = [(end, "", False)]
    while todo:
        node, after, added = todo.pop()
        if node is begin and added:
            return after
        if node is None or (node, added) in seen:
            continue
        seen.add((node, added))
        kind = kind_of(node)
        following = [n for n, _ in node.next_functions]
        if kind == "Add" and plain_sum(node):
            todo += [(n, after, True) for n in following]
        elif kind == "Sub":
            todo.append((following[0], after, True))
        elif kind in _SAME or kind in _AFTER:
            todo.append((following[0], after or _AFTER.get(kind, ""), added))
    return None


def plain_sum(node: Any) -> bool:
    """Return whether an addition adds both as they are, none of them multiplied."""
    return getattr(node, "_saved_alpha", 1) == 1


def terms_of(end: Any, begin: Any) -> list[Any] | None:
    """Return the nodes of what is added to the state between two nodes, the last first.

    None where something else is done to the state than to add to it, besides a norm or relu at the end.
    """
    node, found = same(end, _AFTER), []
    while same(node) is not same(begin):
        node = same(node)
        if kind_of(node) != "Add" or not plain_sum(node):
            return None
        following = [n for n, _ in node.next_functions]
        leads = [n for n in following if reaches(n, begin)]
        if len(leads) != 1:
            return None
        for other in following:
            if other is not leads[0] and other is not None:
                found += _summands(other)
        node = leads[0]
    return found


def reaches(end: Any, begin: Any) -> bool:
    """Return whether a node is another, or a sum of it and something."""
    return end is not None and (same(end) is same(begin) or sum_of(end, begin) is not None)


def _summands(node: Any) -> list[Any]:
    """Return what a node is the sum of, where attention and MLP were added up before the state."""
    if kind_of(same(node)) != "Add" or not plain_sum(same(node)):
        return [node]
    following = [n for n, _ in same(node).next_functions if n is not None]
    return [part for n in following for part in _summands(n)]


def same(node: Any, also: Collection[str] = ()) -> Any:
    """Return the node whose values a node passes on unchanged, if maybe at other places."""
    while node is not None and (kind_of(node) in _SAME or kind_of(node) in also):
        node = node.next_functions[0][0]
    return node


def in_order(node: Any) -> Any:
    """Return the node whose values a node passes on unchanged and in the same order."""
    while node is not None and kind_of(node) in _IN_ORDER:
        node = node.next_functions[0][0]
    return node


def kind_of(node: Any) -> str:
    """Return what a node does, as autograd calls it."""
    return str(node.name().removesuffix("0").removesuffix("Backward")) if node is not None else ""


def upstream(end: Any, stream: set[Any]) -> set[Any]:
    """Return the nodes that lead to one, as far back as those of a stream."""
    seen: set[Any] = set()
    todo = [end]
    while todo:
        node = todo.pop()
        if node is None or node in seen or node in stream:
            continue
        seen.add(node)
        todo += [n for n, _ in node.next_functions]
    return seen


def sums(end: Any) -> dict[tuple[Any, Any], Any]:
    """Return the additions that lead to a node, by the two nodes that each adds, in either order."""
    found = {}
    for node in upstream(end, set()):
        if kind_of(node) == "Add" and plain_sum(node):
            operands = [same(n) for n, _ in node.next_functions]
            if len(operands) == 2 and None not in operands:
                found[operands[0], operands[1]] = found[operands[1], operands[0]] = node
    return found
