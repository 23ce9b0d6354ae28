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
        elif kind == "Mul" and (normed := _normed(node)) is not None:
            todo.append((normed, after or "norm", added))
    return None


def _normed(node: Any) -> Any:
    """Return the node of x in x · rsqrt(mean(x²) + ε), times a parameter or not; None of others.

    So a root-mean-square norm is recorded where it is no operation of its own.
    """
    operands = [n for n, _ in node.next_functions]
    for one, other in (operands, operands[::-1]):
        if kind_of(same(one)) == "Rsqrt":
            square = same(one)
            for kind in ("Add", "Mean", "Pow"):
                square = same(square.next_functions[0][0])
                if not kind_of(square).startswith(kind):  # AddBackward0 and AddBackward1
                    return None
            return other if same(square.next_functions[0][0]) is same(other) else None
        if _is_parameter(one) and kind_of(same(other)) == "Mul":
            return _normed(same(other))
    return None


def norms_or_scales(node: Any) -> bool:
    """Return whether an operation norms what it is given, or multiplies it by a parameter."""
    kind = kind_of(node)
    if kind != "Mul":
        return _AFTER.get(kind) == "norm"
    return _normed(node) is not None or any(_is_parameter(n) for n, _ in node.next_functions)


def _is_parameter(node: Any) -> bool:
    """Return whether a node is a parameter, or one plus a number."""
    node = same(node)
    if kind_of(node).startswith("Add"):
        operands = [n for n, _ in node.next_functions if n is not None]
        node = operands[0] if len(operands) == 1 else None
    return kind_of(node) == "torch::autograd::AccumulateGrad"


def plain_sum(node: Any) -> bool:
    """Return whether an addition adds both as they are, none of them multiplied."""
    return getattr(node, "_saved_alpha", 1) == 1


def terms_of(end: Any, begin: Any) -> list[Any] | None:
    """Return the nodes of what is added to the state between two nodes, the last first.

    None where something else is done to the state than to add to it, besides a norm or relu at the end.
    """
    node, found = _before_norm(end), []
    while same(node) is not same(begin):
        split = _split(node, begin)
        if split is None:
            return None
        node, terms = split
        found += terms
    return found


def last_terms(end: Any, begin: Any) -> list[Any]:
    """Return the nodes of what is added to the state last, before a norm or relu at the end."""
    split = _split(_before_norm(end), begin)
    return [] if split is None else split[1]


def _split(node: Any, begin: Any) -> tuple[Any, list[Any]] | None:
    """Return the operand of an addition that leads to the state, and what is added to it."""
    node = same(node)
    if kind_of(node) != "Add" or not plain_sum(node):
        return None
    following = [n for n, _ in node.next_functions]
    leads = [n for n in following if reaches(n, begin)]
    if len(leads) != 1:
        return None
    others = [n for n in following if n is not leads[0] and n is not None]
    return leads[0], [term for other in others for term in _summands(other)]


def _before_norm(end: Any) -> Any:
    """Return the node that a relu or a norm at the end was given; without one, the end."""
    node = same(end, _AFTER)
    normed = _normed(node) if kind_of(node) == "Mul" else None
    return node if normed is None else same(normed)


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


def constant(end: Any, begin: Any) -> bool:
    """Return whether nothing of what is added to the state between two nodes is made of that state."""
    terms = terms_of(end, begin)
    return terms is not None and not any(_made_of(term, begin) for term in terms)


def _made_of(end: Any, begin: Any) -> bool:
    seen: set[Any] = set()
    todo = [end]
    while todo:
        node = todo.pop()
        if node is begin:
            return True
        if node is not None and node not in seen:
            seen.add(node)
            todo += [n for n, _ in node.next_functions]
    return False


def sums(end: Any) -> dict[tuple[Any, Any], Any]:
    """Return the additions that lead to a node, by the two nodes that each adds, in either order."""
    found = {}
    for node in upstream(end, set()):
        if kind_of(node) == "Add" and plain_sum(node):
            operands = [same(n) for n, _ in node.next_functions]
            if len(operands) == 2 and None not in operands:
                found[operands[0], operands[1]] = found[operands[1], operands[0]] = node
    return found
