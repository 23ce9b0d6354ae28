"""How long a model takes for a batch, beside another."""

import time

import torch
from torch import nn

from residua.errors import InputError
from residua.inputs import Inputs
from residua.layers import outputs_of, weight_of
from residua.streaming import evaluating


@torch.no_grad()
def latencies(models: list[nn.Module], x: Inputs, *, rounds: int = 20) -> list[float]:
    """Return the median seconds that each model takes for a batch, in rounds of one after the other.

    Args:
        models: on one device.
        x: a batch, or named inputs, on their device.
        rounds: of measurements, after two that do not count.

    Raises:
        InputError: rounds is below 1.
    """
    if rounds < 1:
        raise InputError(f"rounds must be at least 1, not {rounds}")
    taken: list[list[float]] = [[] for _ in models]
    for i in range(rounds + 2):
        for model, seconds in zip(models, taken, strict=True):
            with evaluating(model):
                _wait(model)
                begin = time.perf_counter()
                outputs_of(model, x)
                _wait(model)
                if i >= 2:
                    seconds.append(time.perf_counter() - begin)
    return [float(torch.tensor(seconds).median()) for seconds in taken]


def _wait(model: nn.Module) -> None:
    device = weight_of(model).device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
