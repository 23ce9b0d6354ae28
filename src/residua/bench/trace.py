"""What it costs to look into a model: residua beside other tools, over the plain forward pass.

Rounds are interleaved, so that a machine's changing speed meets all alike; the median ratio counts.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from residua.bench.clock import seconds
from residua.bench.held import held_bytes
from residua.bench.tools import TOOLS, Call, Tool
from residua.nets import ResNet
from residua.provenance import machine, versions
from residua.studies.transformer_tasks import VOCABULARY, WIDTH, gpt, vit

ROUNDS = 9


@dataclass(frozen=True)
class Subject:
    """A model that is looked into, in words, and an input for it."""

    name: str
    said: str
    make: Callable[[], tuple[nn.Module, Any]]


def _dense(width: int, batch: int) -> tuple[nn.Module, Any]:
    return ResNet(min(784, width), width, 10).eval(), torch.randn(batch, min(784, width))


def _hooked(width: int, batch: int) -> tuple[nn.Module, Any]:
    """Return TransformerLens's own transformer."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    config = HookedTransformerConfig(
        n_layers=8, d_model=width, n_ctx=WIDTH, d_head=width // 4, n_heads=4, act_fn="gelu",
        d_vocab=VOCABULARY, device="cpu",
    )  # fmt: skip
    return HookedTransformer(config).eval(), torch.randint(VOCABULARY, (batch, WIDTH))


def subjects(*, quick: bool) -> list[Subject]:
    """Return the models; in the quick form narrow ones."""
    wide, batch = (128, 50) if quick else (1064, 500)
    few = 2 if quick else 16
    return [
        Subject(
            "dense",
            f"ResNet, 15 layers of {wide} units, {batch} samples",
            lambda: _dense(wide, batch),
        ),
        Subject(
            "gpt",
            f"GPT-2 of transformers, 8 blocks of width 128, {few} windows of {WIDTH} tokens",
            lambda: (gpt(8).eval(), torch.randint(VOCABULARY, (few, WIDTH))),
        ),
        Subject(
            "vit",
            f"ViT of transformers, 8 blocks of width 64, {4 * few} images",
            lambda: (vit(8).eval(), torch.randn(4 * few, 1, 28, 28)),
        ),
        Subject(
            "hooked",
            f"TransformerLens's transformer, 8 blocks of width 128, {few} windows of {WIDTH} tokens",
            lambda: _hooked(128, few),
        ),
    ]


def measure_all(
    *, quick: bool, command: str, done: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Return the costs of every tool on every model.

    Args:
        quick: small models and three rounds.
        command: as typed, for the results.
        done: is told when a model is done.
    """
    found = []
    for subject in subjects(quick=quick):
        found.append(_measured(subject, 3 if quick else ROUNDS))
        done()
    return {
        "models": found,
        "tools": {t.name: t.version for t in TOOLS if t.package},
        "quick": quick,
        "command": command,
        "versions": versions(),
        "machine": machine(),
    }


def _measured(subject: Subject, rounds: int) -> dict[str, Any]:
    torch.manual_seed(0)
    try:
        model, x = subject.make()
    except ImportError as error:
        return {"name": subject.name, "said": subject.said, "missing": str(error), "tools": {}}
    calls, missing = _prepared(model, x)
    held = {name: held_bytes(call(), (model, x)) for name, call in calls.items()}
    times = [{name: seconds(call) for name, call in calls.items()} for _ in range(rounds)]
    plain = TOOLS[0].name
    return {
        "name": subject.name,
        "said": subject.said,
        "forward_seconds": statistics.median(t[plain] for t in times),
        "tools": {
            name: {"ratios": sorted(t[name] / t[plain] for t in times), "bytes": held[name]}
            for name in calls
        },
        "not_run": missing,
    }


def _prepared(model: nn.Module, x: Any) -> tuple[dict[str, Call], dict[str, str]]:
    """Return the calls of all tools that are there and take the model, and why the others do not."""
    calls: dict[str, Call] = {}
    missing: dict[str, str] = {}
    for tool in TOOLS:
        why = _why_not(tool, model, x, calls)
        if why:
            missing[tool.name] = why
    return calls, missing


def _why_not(tool: Tool, model: nn.Module, x: Any, calls: dict[str, Call]) -> str | None:
    """Add a tool's call, or return why there is none."""
    if tool.version is None:
        return "not installed"
    try:
        call = tool.prepare(model, x)
        if call is None:
            return "does not support this model"
        call()
    except Exception as error:  # whatever another tool raises is its answer
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:120]
    calls[tool.name] = call
    return None
