"""Any model whose blocks lack parts, on disk: its weights, and what is passed by. No pickle."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor, nn

from residua.errors import InputError, MissingExtraError
from residua.skipped import Skip, skip_modules, skips_of


def described(model: nn.Module) -> str:
    """Return class, configuration and skips of a model, as JSON.

    Raises:
        InputError: its configuration holds what is no plain value.
    """
    config: Any = getattr(model, "config", None)
    told = {
        "class": type(model).__name__,
        "config": config.to_dict() if hasattr(config, "to_dict") else None,
        "skips": [asdict(skip) for skip in skips_of(model)],
    }
    try:
        return json.dumps(told)
    except TypeError as error:
        raise InputError(
            f"the configuration of the {type(model).__name__} holds what is no plain value ({error}); "
            "take it out, or save the weights yourself"
        ) from error


def repeated(model: nn.Module) -> set[str]:
    """Return the names under which weights that are used twice appear again."""
    once = {name for name, _ in model.named_parameters()}
    return {name for name, _ in model.named_parameters(remove_duplicate=False)} - once


def restored(told: Mapping[str, Any], tensors: dict[str, Tensor], model: nn.Module | None) -> Any:
    """Return the model of a description and weights.

    Args:
        told: what :func:`described` wrote.
        tensors: weights by name.
        model: one with all parts, which is not changed otherwise; None for one of transformers' own
            classes, which is made from its configuration.

    Raises:
        InputError: a model is needed, or the one given is another.
    """
    found = _built(told) if model is None else model
    skip_modules(found, [Skip(**skip) for skip in told["skips"]])
    kinds = {t.dtype for t in tensors.values() if t.is_floating_point()}
    if len(kinds) == 1:
        found.to(kinds.pop())
    try:
        keys = found.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise InputError(
            f"the weights are not of the shapes of the {type(found).__name__}: "
            f"{str(error).splitlines()[-1].strip()}; pass a model made as the saved one was"
        ) from error
    missing = set(keys.missing_keys) - repeated(found)
    if keys.unexpected_keys or missing:
        other = (*keys.unexpected_keys, *sorted(missing))[0]
        raise InputError(
            f"the weights are of another {told['class']} than the {type(found).__name__} given, which "
            f"differs in {other!r}; pass a model made as the saved one was"
        )
    return found.eval()


def _built(told: Mapping[str, Any]) -> nn.Module:
    if told["config"] is None:
        raise InputError(
            f"the weights are of a {told['class']}, which residua cannot make; pass one with all parts "
            "as load(path, model=…)"
        )
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("transformers", "hf", f"loading a {told['class']}") from error
    kind = getattr(transformers, told["class"], None)
    if kind is None:
        raise InputError(
            f"transformers {transformers.__version__} has no class {told['class']!r}; pass a model with "
            "all parts as load(path, model=…)"
        )
    config = transformers.AutoConfig.for_model(**told["config"])
    model: nn.Module = kind(config)
    return model
