"""What streamed statistics must do for a layer: passes over its numbers, bytes, and their floor."""

import statistics
from typing import Any

import torch
from torch import Tensor, nn

from residua.bench.clock import seconds
from residua.statistics import PART
from residua.streaming import find_layers
from residua.tracing import trace

# Of every residual, in residua.statistics: arrays of the batch's size that are read, and written.
PASSES = {
    "y = x_t − x_{t−1}": (2, 1),
    "d = y − origin": (1, 1),
    "Σ d": (1, 0),
    "D = D + d": (2, 1),
    "D², Σ D²": (2, 1),
    "d², Σ d²": (2, 1),
    "|y|, Σ |y|": (2, 1),
    "|y_t − y_{t−1}|, Σ": (4, 2),
}
ROUNDS, SUMS = 9, 20


def floor_of(model: nn.Module, x: Any, extra: float) -> dict[str, Any]:
    """Return bytes, the machine's rate on such arrays, the time they need, and what was measured.

    Args:
        model: that was looked into.
        x: one batch.
        extra: seconds a batch that streaming took beyond the forward pass.
    """
    found = trace(find_layers(model, [x])[0], x)
    T, numbers = len(found.residuals), found.residuals[0].numel()
    read, written = (sum(p[i] for p in PASSES.values()) for i in (0, 1))
    size = found.residuals.element_size() * numbers
    rate = _rate(found.states[0].reshape(-1)[:PART])
    return {
        "layers": T,
        "numbers": numbers,
        "bytes": T * (read + written) * size,
        "bytes_a_second": rate,
        "floor_seconds": T * (read + written) * size / rate,
        "extra_seconds": extra,
    }


def _rate(x: Tensor) -> float:
    """Return how many bytes a second sums of two arrays read and write, the same again and again."""
    other, out = torch.ones_like(x), torch.empty_like(x)

    def sums() -> None:
        for _ in range(SUMS):
            torch.add(x, other, out=out)

    spent = [seconds(sums) for _ in range(ROUNDS)]
    return 3 * SUMS * x.numel() * x.element_size() / statistics.median(spent)
