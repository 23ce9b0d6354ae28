"""Any model whose blocks lack parts, on disk: its weights, and what is passed by. No pickle."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor, nn

from residua.errors import InputError, MissingExtraError
from residua.skipped import Skip, skip_modules, skips_of
from residua.untying import untie


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
    skips = [Skip(**skip) for skip in told["skips"]]
    _check_weights(told, tensors, found, skips)
    skip_modules(found, skips)
    for name in sorted(repeated(found) & set(tensors)):  # what was untied has weights of its own
        untie(found, found.get_submodule(name.rpartition(".")[0]))
    named = dict(found.named_parameters(remove_duplicate=False)) | dict(found.named_buffers())
    for name, tensor in tensors.items():
        named[name].data = named[name].data.to(tensor.dtype)
    found.load_state_dict(tensors, strict=False)
    return found.eval()


def _check_weights(
    told: Mapping[str, Any], tensors: Mapping[str, Tensor], model: nn.Module, skips: list[Skip]
) -> None:
    """Raise InputError unless the weights are those of a model without what is passed by."""
    wanted = {
        name: tuple(v.shape)
        for name, v in model.state_dict().items()
        if not any(name.startswith(f"{skip.path}.") for skip in skips)
    }
    given = {name: tuple(v.shape) for name, v in tensors.items()}
    differ = [n for n, shape in given.items() if wanted.get(n) != shape]
    differ += [n for n in wanted if n not in given and n not in repeated(model)]
    if differ:
        name = differ[0]
        raise InputError(
            f"the weights are of another {told['class']} than the {type(model).__name__} given: "
            f"{name!r} has the shape {given.get(name)} in the file and {wanted.get(name)} in the model; "
            "pass one made as the saved one was"
        )


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
