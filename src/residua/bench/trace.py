"""What it costs to look into a model: residua beside other tools, over the plain forward pass.

Each looks at several batches, as over a data set. Rounds are interleaved, so that a machine's changing
speed meets all alike; the median ratio counts. What replaces torch's functions, and so slows down all
others, comes after them, beside a plain forward pass of its own.
"""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from residua.bench.clock import seconds
from residua.bench.floor import floor_of
from residua.bench.held import held_bytes
from residua.bench.installed import missing, version_of
from residua.bench.tools import OURS, TOOLS, Look, Tool, forward
from residua.nets import ResNet
from residua.provenance import machine, versions
from residua.studies.transformer_tasks import VOCABULARY, WIDTH, gpt, vit

ROUNDS, BATCHES = 7, 8


@dataclass(frozen=True)
class Subject:
    """A model that is looked into, in words, and an input for it."""

    name: str
    said: str
    make: Callable[[], tuple[nn.Module, Any]]


def _dense(width: int, batch: int) -> tuple[nn.Module, Any]:
    inputs = min(784, width)
    net = ResNet(inputs, width, 10, weights="variable")
    return net.eval(), torch.randn(batch, inputs)


def subjects(*, quick: bool) -> list[Subject]:
    """Return the models; in the quick form narrow ones."""
    wide, batch = (128, 50) if quick else (1064, 500)
    few = 2 if quick else 16
    return [
        Subject(
            "dense",
            f"ResNet, 15 layers of {wide} units with weights of their own, {batch} samples",
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
    ]


def measure_all(
    *, quick: bool, command: str, done: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Return the costs of every tool on every model.

    Args:
        quick: small models, three rounds of two batches.
        command: as typed, for the results.
        done: is told when a model is done, which each is twice.
    """
    size = (3, 2) if quick else (ROUNDS, BATCHES)
    models: list[dict[str, Any]] = [{"name": s.name, "said": s.said} for s in subjects(quick=quick)]
    for patches in (False, True):
        tools = [t for t in TOOLS if t.patches == patches]
        for found, subject in zip(models, subjects(quick=quick), strict=True):
            measured = _measured(subject, tools, *size)
            found |= {k: found.get(k, {}) | of for k, of in measured.items()}
            done()
    return {
        "models": models,
        "tools": {t.name: version_of(t.package) for t in TOOLS if t.package},
        "quick": quick,
        "command": command,
        "versions": versions(),
        "machine": machine(),
    }


def _measured(
    subject: Subject, tools: Iterable[Tool], rounds: int, batches: int
) -> dict[str, dict[str, Any]]:
    """Return what tools cost on a model, what of them did not run, and the floor where ours is one."""
    torch.manual_seed(0)
    model, x = subject.make()
    looks, not_run = _prepared(tools, model, x)
    held = {name: held_bytes(look([x]), (model, x)) for name, look in looks.items()}
    calls = {name: partial(look, [x] * batches) for name, look in looks.items()}
    if not calls:
        return {"tools": {}, "not_run": not_run}
    plain = partial(forward(model, x), [x] * batches)
    times = [(seconds(plain), {n: seconds(c) for n, c in calls.items()}) for _ in range(rounds)]
    found: dict[str, dict[str, Any]] = {
        "tools": {
            name: {"ratios": sorted(t[name] / p for p, t in times), "bytes": held[name]}
            for name in calls
        },
        "not_run": not_run,
    }
    if OURS in calls:
        spent = [(p / batches, t[OURS] / batches) for p, t in times]
        alone = statistics.median(p for p, _ in spent)
        floor = floor_of(model, x, statistics.median(t - p for p, t in spent))
        found["floor"] = floor | {"forward_seconds": alone}
    return found


def _prepared(
    tools: Iterable[Tool], model: nn.Module, x: Any
) -> tuple[dict[str, Look], dict[str, str]]:
    """Return how all tools look that are there and take the model, and why the others do not."""
    looks: dict[str, Look] = {}
    not_run: dict[str, str] = {}
    for tool in tools:
        why = _why_not(tool, model, x, looks)
        if why:
            not_run[tool.name] = why
    return looks, not_run


def _why_not(tool: Tool, model: nn.Module, x: Any, looks: dict[str, Look]) -> str | None:
    """Add how a tool looks, or return why it does not."""
    why = missing(tool.package)
    if why:
        return why
    try:
        look = tool.prepare(model, x)
        if look is None:
            return "does not support this model"
        look([x])
    except Exception as error:  # whatever another tool raises is its answer
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:120]
    looks[tool.name] = look
    return None
