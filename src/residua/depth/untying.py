"""A head that shares its weights with the embedding gets weights of its own."""

from typing import Any

from torch import nn


def shares(model: nn.Module, module: nn.Module) -> bool:
    """Return whether another module of a model has the same weight."""
    weight = getattr(module, "weight", None)
    own = [m for m in model.modules() if any(p is weight for p in m.parameters(recurse=False))]
    return weight is not None and len(own) > 1


def untie(model: nn.Module, module: nn.Module) -> bool:
    """Give a module a weight of its own where it shares it, in place; return whether it did.

    A configuration that says that the two are one says so no more.
    """
    if not shares(model, module):
        return False
    weight = module.weight
    assert isinstance(weight, nn.Parameter)
    module.weight = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
    for part in model.modules():
        config: Any = getattr(part, "config", None)
        if getattr(config, "tie_word_embeddings", False):
            config.tie_word_embeddings = False
        if getattr(part, "all_tied_weights_keys", None):
            part.all_tied_weights_keys = {}  # type: ignore[assignment]  # what transformers leaves out of a saved model
    return True
