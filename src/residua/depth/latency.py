"""How long a model takes for a batch, beside another."""

import time

import torch
from torch import Tensor, nn

from residua.errors import InputError
from residua.streaming import evaluating


@torch.no_grad()
def latencies(models: list[nn.Module], x: Tensor, *, rounds: int = 20) -> list[float]:
    """Return the median seconds that each model takes for a batch, in rounds of one after the other.

    Args:
        models: on one device.
        x: a batch, on their device.
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
                _wait(x)
                begin = time.perf_counter()
                model(x)
                _wait(x)
                if i >= 2:
                    seconds.append(time.perf_counter() - begin)
    return [float(torch.tensor(seconds).median()) for seconds in taken]


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
