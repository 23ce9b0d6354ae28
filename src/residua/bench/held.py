"""How much memory a result holds: the bytes of all tensors and arrays that can be reached from it."""

import gc
from types import FrameType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from torch import Tensor, nn

_NOT_ITS_OWN = (type, ModuleType, FrameType, FunctionType, MethodType, nn.Module)


def held_bytes(found: Any, given: Any = ()) -> int:
    """Return the bytes of tensors and arrays that an object keeps alive, each storage once.

    Args:
        found: the object.
        given: what was there before, such as the model and its input; what these hold does not count.
    """
    before = _storages(given)
    return sum(size for key, size in _storages(found).items() if key not in before)


def _storages(found: Any) -> dict[int, int]:
    seen: set[int] = set()
    sizes: dict[int, int] = {}
    left = [found]
    if isinstance(found, tuple):
        for model in (part for part in found if isinstance(part, nn.Module)):
            left += [*model.parameters(), *model.buffers()]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Tensor):
            storage = one.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
        elif isinstance(one, np.ndarray):
            base = one if one.base is None else one.base
            sizes[id(base)] = getattr(base, "nbytes", one.nbytes)
        elif not isinstance(one, _NOT_ITS_OWN):
            left += gc.get_referents(one)
            left += list(getattr(one, "__dict__", {}).values())
    return sizes
