"""What stands in the place of a part of a block that was taken out, and models with such on disk."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from residua.errors import InputError
from residua.parts import Part
from residua.ports import Branch, Port


@dataclass(frozen=True)
class Skip:
    """How a module is passed by.

    Attributes:
        path: its name in the model.
        takes: the argument that has the state's shape.
        gives: the item of the output that takes part in the sum; None for the output itself.
        items: how many items the output has; None where it is a tensor.
        adds: whether the output is added to the state, and so is zero; else it is what was taken.
    """

    path: str
    takes: int | str = 0
    gives: int | str | None = None
    items: int | None = None
    adds: bool = False


class Skipped(nn.Module):
    """Passes a state on, or adds nothing to it, where a part of a block was taken out."""

    def __init__(self, skip: Skip):
        super().__init__()
        self.skip = skip

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the state, or zeros like it, in the form of the part's output."""
        skip = self.skip
        x: Tensor = Port(skip.takes).before(args, kwargs)
        x = torch.zeros_like(x) if skip.adds else x
        if skip.gives is None or not isinstance(skip.gives, int) or skip.items is None:
            return x
        return tuple(x if i == skip.gives else None for i in range(skip.items))

    def extra_repr(self) -> str:
        """Say what was here."""
        return f"in place of {self.skip.path}"


def skips_of(model: nn.Module) -> list[Skip]:
    """Return what was taken out of a model's blocks, by the names that it has now."""
    named = model.named_modules()
    return [replace(m.skip, path=path) for path, m in named if isinstance(m, Skipped)]


def skip_modules(model: nn.Module, skips: Iterable[Skip]) -> None:
    """Take modules out of a model, in place, and number the caches of those that stay.

    Raises:
        InputError: the model has no module of a name; see :func:`renumber_caches` for caches.
    """
    skips = list(skips)
    known = dict(model.named_modules())
    for skip in skips:
        if skip.path not in known:
            raise InputError(
                f"the {type(model).__name__} has no module {skip.path!r}, which is to be taken out; "
                "pass a model with the blocks that the parts were found in"
            )
    for skip in skips:
        parent, _, name = skip.path.rpartition(".")
        setattr(model.get_submodule(parent), name, Skipped(skip))
    renumber_caches(model)


def renumber_caches(model: nn.Module) -> None:
    """Number the attentions that are left without gaps, as the caches of transformers want it.

    Raises:
        InputError: there are several kinds of them, and the first of a kind is gone.
    """
    found = [m for m in model.modules() if isinstance(vars(m).get("layer_idx"), int)]
    left = sorted({m.layer_idx for m in found})  # type: ignore[type-var]
    types = list(getattr(getattr(model, "config", None), "layer_types", None) or [])
    if left and len(set(types)) > 1:
        missing = [types.index(kind) for kind in set(types) if types.index(kind) not in left]
        if missing:
            raise InputError(
                f"the first {types[missing[0]]} of the {type(model).__name__} would go, and its cache "
                "tells from that one how long a text is; let it stay, by plan.veto(…)"
            )
        return
    for module in found:
        setattr(module, "layer_idx", left.index(module.layer_idx))  # noqa: B010


def skips_for(part: Part) -> list[Skip]:
    """Return what is to be passed by so that a part adds nothing: itself, and what serves it alone."""
    port = part.port.part if isinstance(part.port, Branch) else part.port
    adds = isinstance(part.port, Branch)
    own = Skip(part.path, port.takes, port.gives, part.items, adds)
    return [own, *(Skip(i.path, i.takes, i.gives, i.items) for i in part.idle)]
