"""What the processes of a distributed training tell each other."""

import operator
from collections.abc import Callable
from functools import reduce
from typing import TypeVar

import torch.distributed as dist

T = TypeVar("T")
# A value of this process → those of all processes, in the order of their ranks.
Merge = Callable[[T], list[T]]


def alone(value: T) -> list[T]:
    """Return the value as that of the only process."""
    return [value]


def total(values: list[T]) -> T:
    """Return the sum of values that know how to add."""
    return reduce(operator.add, values)


def active() -> bool:
    """Return whether this is one of several processes that train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gathered(value: T) -> list[T]:
    """Return the value of every process; all of them must call this."""
    if not active():
        return [value]
    found: list[T | None] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found  # type: ignore[return-value]


def agreed(value: T) -> T:
    """Return the value of the first process; all of them must call this."""
    if not active():
        return value
    found = [value]
    dist.broadcast_object_list(found, src=0)
    return found[0]
