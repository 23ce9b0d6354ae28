"""A head that shares its weights with the embedding gets weights of its own."""

from collections.abc import Callable
from functools import partial

from torch import nn


def shares(model: nn.Module, module: nn.Module) -> bool:
    """Return whether another module of a model has the same weight."""
    weight = getattr(module, "weight", None)
    own = [m for m in model.modules() if any(p is weight for p in m.parameters(recurse=False))]
    return weight is not None and len(own) > 1


def untie(model: nn.Module, module: nn.Module) -> Callable[[], None] | None:
    """Give a module a weight of its own where it shares it, in place.

    A configuration that says that the two are one says so no more.

    Returns:
        What ties them again; None where they were not.
    """
    if not shares(model, module):
        return None
    weight = module.weight
    assert isinstance(weight, nn.Parameter)
    undo = [partial(setattr, module, "weight", weight)]
    module.weight = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
    configs = {id(c): c for m in model.modules() if (c := getattr(m, "config", None)) is not None}
    for config in configs.values():
        if getattr(config, "tie_word_embeddings", False):
            undo.append(partial(setattr, config, "tie_word_embeddings", True))
            config.tie_word_embeddings = False
    for part in model.modules():
        keys = getattr(part, "all_tied_weights_keys", None)  # what transformers does not save twice
        if keys:
            undo.append(partial(setattr, part, "all_tied_weights_keys", keys))
            part.all_tied_weights_keys = {}  # type: ignore[assignment]

    def tie() -> None:
        for step in undo:
            step()

    return tie
