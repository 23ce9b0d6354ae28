"""The tools that keep what happens inside a model, each called as its documentation says."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from residua.bench.installed import version_of
from residua.statistics import accumulate
from residua.streaming import find_layers
from residua.tracing import trace

Call = Callable[[], Any]


@dataclass(frozen=True)
class Tool:
    """One way of looking into a forward pass.

    Attributes:
        name: in tables.
        package: what has to be installed; none for torch and residua.
        keeps: what it keeps, in words.
        formula: how many numbers these are, with B samples (or tokens), N units, T layers.
        prepare: model and input → the call that is timed, or None where it does not support the model.
    """

    name: str
    package: str | None
    keeps: str
    formula: str
    prepare: Callable[[nn.Module, Any], Call | None]

    @property
    def version(self) -> str | None:
        """Version of its package; None where that is not installed."""
        return version_of(self.package)


def _forward(model: nn.Module, x: Any) -> Call:
    @torch.no_grad()
    def call() -> None:
        model(x)

    return call


def _layers(model: nn.Module, x: Any) -> Any:
    """Return the layers of a model, found once: what a user does before many calls."""
    return find_layers(model, [x])[0]


def _accumulate(model: nn.Module, x: Any) -> Call:
    return partial(accumulate, _layers(model, x), [x])


def _trace(model: nn.Module, x: Any) -> Call:
    return partial(trace, _layers(model, x), x)


def _torchlens(model: nn.Module, x: Any) -> Call:
    import torchlens

    def call() -> Any:
        with torch.no_grad():
            return torchlens.log_forward_pass(model, x, layers_to_save="all")

    return call


def _captum(model: nn.Module, x: Any) -> Call:
    from captum.attr import LayerActivation

    blocks = list(dict.fromkeys(_layers(model, x).blocks))
    tool = LayerActivation(model, blocks)

    def call() -> Any:
        with torch.no_grad():
            return tool.attribute(x)

    return call


def _transformer_lens(model: nn.Module, x: Any) -> Call | None:
    run: Any = getattr(model, "run_with_cache", None)
    if run is None:
        return None

    def call() -> Any:
        with torch.no_grad():
            return run(x)

    return call


def _nnsight(model: nn.Module, x: Any) -> Call:
    from nnsight import NNsight

    names = list(dict.fromkeys(_layers(model, x).names))
    seen = NNsight(model)

    def call() -> Any:
        with torch.no_grad(), seen.trace(x):
            outs = [_at(seen, name).output.save() for name in names]
        return outs

    return call


def _at(seen: Any, name: str) -> Any:
    for part in name.split("."):
        seen = seen[int(part)] if part.isdigit() else getattr(seen, part)
    return seen


TOOLS = (
    Tool("plain forward pass", None, "nothing", "0", _forward),
    Tool(
        "residua.accumulate",
        None,
        "means, squares and distances of all states and residuals, streamed",
        "O(T N), whatever B",
        _accumulate,
    ),
    Tool("residua.trace", None, "all states and residuals", "(2 T + 1) B N", _trace),
    Tool("torchlens", "torchlens", "the output of every operation", "> 2 T B N", _torchlens),
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
