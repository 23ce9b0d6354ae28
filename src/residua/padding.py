"""Which rows of a batch's states count: those of tokens, not those of padding."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

from residua.errors import InputError
from residua.layers import ResidualStack


def counted_rows(
    stack: ResidualStack, t: int, x: Any, state: Tensor
) -> Bool[Tensor, "sample token"] | None:
    """Return which tokens of the state after layer t count; None where all do.

    Args:
        stack: the layers.
        t: from 1.
        x: inputs; named ones may hold an `attention_mask`, or a `decoder_attention_mask` for the layers
            of a decoder that has an encoder beside it.
        state: (sample, token, unit); states of other shapes have no padding.

    Raises:
        InputError: no token counts.
    """
    if not isinstance(x, Mapping) or state.ndim != 3:
        return None
    encodes = stack.blocks[t - 1] in _encoder(stack.model)
    mask = x.get("attention_mask" if encodes else "decoder_attention_mask")
    if not isinstance(mask, Tensor) or mask.shape != state.shape[:2]:
        return None
    counted = mask > 0
    if not bool(counted.any()):
        raise InputError("a batch is padding alone, by its attention mask; leave it out")
    return counted


def counted_weights(
    stack: ResidualStack, t: int, x: Any, state: Tensor
) -> Float[Tensor, "row"] | None:
    """Return 1 for each row of the state that counts, and 0 for padding; None where all count."""
    counted = counted_rows(stack, t, x, state)
    return None if counted is None else counted.flatten().to(state.dtype)


def _encoder(model: nn.Module) -> set[nn.Module]:
    """Return the modules whose states are of the inputs; all where no decoder has states of its own."""
    for module in model.modules():
        if getattr(getattr(module, "config", None), "is_encoder_decoder", False):
            get_encoder: Any = getattr(module, "get_encoder", None)
            return set(get_encoder().modules()) if get_encoder is not None else set()
    return set(model.modules())
