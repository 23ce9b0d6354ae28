"""What stands in the place of a part of a block that was taken out, and models with such on disk."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from residua.errors import InputError
from residua.parts import Part
from residua.ports import Branch


@dataclass(frozen=True)
class Skip:
    """How a module is passed by.

    Attributes:
        path: its name in the model.
        takes: the argument that has the state's shape; None where none has, of what is added.
        gives: the item of the output that takes part in the sum; None for the output itself.
        items: how many items the output has; None where it is a tensor.
        adds: whether the output is added to the state, and so is zero; else it is what was taken.
    """

    path: str
    takes: int | str | None = 0
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
        if skip.takes is None:
            x: Tensor = next(v for v in (*args, *kwargs.values()) if isinstance(v, Tensor))
            x = x.new_zeros(())  # broadcasts over the state
        else:
            x = args[skip.takes] if isinstance(skip.takes, int) else kwargs[skip.takes]
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
        InputError: the model has no module of a name; or its cache needs one that would go.
    """
    skips = list(skips)
    known = dict(model.named_modules())
    for skip in skips:
        if skip.path not in known:
            raise InputError(
                f"the {type(model).__name__} has no module {skip.path!r}, which is to be taken out; "
                "pass a model with the blocks that the parts were found in"
            )
    _check_caches(model, skips)
    for skip in skips:
        parent, _, name = skip.path.rpartition(".")
        setattr(model.get_submodule(parent), name, Skipped(skip))
    _renumber_caches(model)


def _check_caches(model: nn.Module, skips: Sequence[Skip]) -> None:
    """Raise InputError where a cache of transformers would not know how long a text is.

    It asks its first layer or, of several kinds, the first of each; these must stay.
    """
    numbered = {path: m for path, m in model.named_modules() if _number(m) is not None}
    gone = tuple(f"{skip.path}." for skip in skips)
    left = {_number(m) for path, m in numbered.items() if not f"{path}.".startswith(gone)}
    types = list(getattr(getattr(model, "config", None), "layer_types", None) or [])
    missing = [kind for kind in dict.fromkeys(types) if types.index(kind) not in left]
    if numbered and gone and (not left or (len(set(types)) > 1 and missing)):
        first = f"first {missing[0]}" if left else "last attention"
        raise InputError(
            f"the {first} of the {type(model).__name__} would go, and its cache tells from that one how "
            "long a text is; let it stay, by plan.veto(…)"
        )


def _renumber_caches(model: nn.Module) -> None:
    """Number the attentions that are left without gaps, as a cache of one kind of layers wants it."""
    found = [m for m in model.modules() if _number(m) is not None]
    left = sorted({n for m in found if (n := _number(m)) is not None})
    types = getattr(getattr(model, "config", None), "layer_types", None) or []
    if len(set(types)) <= 1:
        for module in found:
            setattr(module, "layer_idx", left.index(_number(module) or 0))  # noqa: B010


def _number(module: nn.Module) -> int | None:
    found = vars(module).get("layer_idx")
    return found if isinstance(found, int) else None


def skips_for(part: Part) -> list[Skip]:
    """Return what is to be passed by so that a part adds nothing: itself, and what serves it alone."""
    adds = isinstance(part.port, Branch)
    own = Skip(part.path, part.port.takes, part.port.gives, part.items, adds)
    return [own, *(Skip(i.path, i.takes, i.gives, i.items) for i in part.idle)]
