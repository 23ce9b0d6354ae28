"""The tools that keep what happens inside a model, each called as its documentation says."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from residua.statistics import accumulate
from residua.streaming import find_layers
from residua.tracing import trace

Look = Callable[[Sequence[Any]], Any]


@dataclass(frozen=True)
class Tool:
    """One way of looking into forward passes.

    Attributes:
        name: in tables.
        package: what has to be installed; none for torch and residua.
        keeps: what it keeps, in words.
        formula: how many numbers these are, with B samples (or tokens), N units, T layers.
        prepare: model and a batch → what is timed: it is given batches, and returns what it holds of the
            last, or of all; None where it does not support the model.
        patches: whether it replaces torch's functions by its own, for all that runs afterwards.
    """

    name: str
    package: str | None
    keeps: str
    formula: str
    prepare: Callable[[nn.Module, Any], Look | None]
    patches: bool = False


def _each(look: Callable[[Any], Any]) -> Look:
    """Look at every batch by itself, without gradients."""

    @torch.no_grad()
    def call(batches: Sequence[Any]) -> Any:
        kept = None
        for x in batches:
            kept = look(x)
        return kept

    return call


def forward(model: nn.Module, x: Any) -> Look:
    """Return the plain forward pass, which keeps nothing."""

    def look(x: Any) -> None:
        model(x)

    return _each(look)


def _layers(model: nn.Module, x: Any) -> Any:
    """Return the layers of a model, found once: what a user does before many calls."""
    return find_layers(model, [x])[0]


def _accumulate(model: nn.Module, x: Any) -> Look:
    return partial(accumulate, _layers(model, x))


def _trace(model: nn.Module, x: Any) -> Look:
    return _each(partial(trace, _layers(model, x)))


def _torchlens(model: nn.Module, x: Any) -> Look:
    import torchlens

    return _each(partial(torchlens.trace, model))


def _captum(model: nn.Module, x: Any) -> Look:
    from captum.attr import LayerActivation

    blocks = list(dict.fromkeys(_layers(model, x).blocks))
    return _each(LayerActivation(model, blocks).attribute)


def _transformer_lens(model: nn.Module, x: Any) -> Look | None:
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    if not hasattr(model, "config"):
        return None
    # It takes the model's modules apart.
    bridge = build_bridge_from_module(deepcopy(model), type(model).__name__, hf_config=model.config)
    return _each(bridge.run_with_cache)


def _nnsight(model: nn.Module, x: Any) -> Look:
    import nnsight

    seen = nnsight.NNsight(model)
    blocks = [_at(seen, name) for name in dict.fromkeys(_layers(model, x).names)]

    def look(x: Any) -> Any:
        with seen.trace(x):
            outs = nnsight.save([block.output for block in blocks])
        return outs

    return _each(look)


def _at(seen: Any, name: str) -> Any:
    for part in name.split("."):
        seen = seen[int(part)] if part.isdigit() else getattr(seen, part)
    return seen


OURS = "residua.accumulate"
TOOLS = (
    Tool(
        OURS,
        None,
        "means, squares and distances of all states and residuals, streamed",
        "O(T N), whatever B",
        _accumulate,
    ),
    Tool("residua.trace", None, "all states and residuals", "(2 T + 1) B N", _trace),
    Tool("torchlens", "torchlens", "the output of every operation", "> 2 T B N", _torchlens, True),
    Tool("captum LayerActivation", "captum", "the output of every block", "T B N", _captum),
    Tool(
        "TransformerLens",
        "transformer-lens",
        "all its hook points: patterns, queries, …",
        "> T B N",
        _transformer_lens,
    ),
    Tool("nnsight", "nnsight", "the output of every block", "T B N", _nnsight),
)
