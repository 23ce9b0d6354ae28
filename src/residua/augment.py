"""What is done to the inputs of a training step: shifts and flips, dropout, noise."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from residua.train_config import TrainConfig


def disturb(x: Tensor, config: TrainConfig, key: tuple[int, int]) -> Tensor:
    """Shift and flip images, set a share to 0, add noise; the draw depends on the key alone."""
    if config.input_dropout == 0 and config.input_noise == 0 and config.augment == "none":
        return x
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
    generator = torch.Generator(x.device).manual_seed(seed)
    if config.augment == "crop-flip":
        x = _crop_flip(x, generator)
    if config.input_dropout > 0:
        share = 1 - config.input_dropout
        x = x * torch.empty_like(x).bernoulli_(share, generator=generator) / share
    if config.input_noise > 0:
        x = x + config.input_noise * torch.empty_like(x).normal_(generator=generator)
    return x


def _crop_flip(
    x: Float[Tensor, "batch *channels height width"], generator: torch.Generator, pixels: int = 4
) -> Float[Tensor, "batch *channels height width"]:
    """Shift each image by up to so many pixels each way and flip half of them."""
    n, height, width = len(x), x.shape[-2], x.shape[-1]

    def drawn(high: int) -> Tensor:
        return torch.randint(high, (n, 1), generator=generator, device=x.device)

    padded = nn.functional.pad(x, (pixels,) * 4)
    rows = drawn(2 * pixels + 1) + torch.arange(height, device=x.device)
    columns = drawn(2 * pixels + 1) + torch.arange(width, device=x.device)
    columns = torch.where(drawn(2) == 1, columns.flip(1), columns)
    sample = torch.arange(n, device=x.device)[:, None, None]
    where = (rows[:, :, None], columns[:, None, :])
    if x.ndim == 3:
        return padded[sample, *where]
    return padded.movedim(1, -1)[sample, *where].movedim(-1, 1)
