"""A head that shares its weights with the embedding gets weights of its own."""

from collections.abc import Callable
from functools import partial

from torch import nn


def shares(model: nn.Module, module: nn.Module) -> bool:
    """Return whether another module of a model has a parameter of this one."""
    return bool(_shared(model, module))


def _shared(model: nn.Module, module: nn.Module) -> list[str]:
    """Return the names in a module of what others have, too."""
    others = {id(p) for m in model.modules() if m is not module for p in m._parameters.values()}
    return [n for n, p in module._parameters.items() if p is not None and id(p) in others]


def untie(model: nn.Module, module: nn.Module) -> Callable[[], None] | None:
    """Give a module parameters of its own where it shares them, in place.

    A configuration that says that a head and an embedding are one says so no more.

    Returns:
        What ties them again; None where they were not.
    """
    names = _shared(model, module)
    if not names:
        return None
    path = next(path for path, m in model.named_modules() if m is module)
    undo: list[Callable[[], None]] = []
    for name in names:
        old = module.get_parameter(name)
        undo.append(partial(setattr, module, name, old))
        setattr(module, name, nn.Parameter(old.detach().clone(), old.requires_grad))
    configs = {id(c): c for m in model.modules() if (c := getattr(m, "config", None)) is not None}
    for config in configs.values():
        if getattr(config, "tie_word_embeddings", False):
            undo.append(partial(setattr, config, "tie_word_embeddings", True))
            config.tie_word_embeddings = False
    for part in model.modules():
        # What transformers does not save twice.
        keys: dict[str, str] = getattr(part, "all_tied_weights_keys", None) or {}
        left = {a: b for a, b in keys.items() if not {a, b} & {f"{path}.{n}" for n in names}}
        if left != keys:
            undo.append(partial(setattr, part, "all_tied_weights_keys", keys))
            setattr(part, "all_tied_weights_keys", left)  # noqa: B010

    def tie() -> None:
        for step in reversed(undo):
            step()

    return tie
