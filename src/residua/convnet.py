"""A pre-activation convolutional residual network in the style made for CIFAR."""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from residua.choices import Weights
from residua.errors import InputError
from residua.nets import check_shape

STAGES = 3


class Convolutions(nn.Module):
    """The two 3 × 3 convolutions of a block; blocks of a stage may share them."""

    def __init__(self, inputs: int, channels: int, stride: int):
        super().__init__()
        self.first = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        for conv in (self.first, self.second):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")


class ConvBlock(nn.Module):
    """One block: x + conv(relu(norm(conv(relu(norm(x)))))); norms are the block's own.

    Source: He, Zhang, Ren, Sun, Identity Mappings in Deep Residual Networks, 2016, figure 4 (e).
    """

    def __init__(self, convolutions: Convolutions):
        super().__init__()
        self.convolutions = convolutions
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(conv.in_channels) for conv in (convolutions.first, convolutions.second)
        )

    def branch(
        self, x: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch channels height_out width_out"]:
        """Return what the block adds."""
        x = self.convolutions.first(torch.relu(self.norms[0](x)))
        y: Tensor = self.convolutions.second(torch.relu(self.norms[1](x)))
        return y

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Return the next state."""
        return x + self.branch(x)


class Transition(ConvBlock):
    """A block that halves the image and takes more channels; its shortcut has no parameters.

    The shortcut takes every second pixel and appends channels of zeros.

    Source: He, Zhang, Ren, Sun, Deep Residual Learning, 2015, option A.
    """

    def forward(
        self, x: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch channels height_out width_out"]:
        """Return the first state of a stage."""
        y = self.branch(x)
        more = y.shape[1] - x.shape[1]
        return nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, more)) + y


class Stage(nn.Module):
    """A run of blocks whose states have one shape, behind a transition where the shape changes."""

    def __init__(self, inputs: int, channels: int, blocks: int, shared: bool):
        super().__init__()
        changes = inputs != channels
        self.transition = (
            Transition(Convolutions(inputs, channels, 2)) if changes else nn.Identity()
        )
        one = Convolutions(channels, channels, 1)
        self.blocks = nn.ModuleList(
            ConvBlock(one if shared else Convolutions(channels, channels, 1)) for _ in range(blocks)
        )

    def forward(
        self, x: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch channels height_out width_out"]:
        """Return the stage's last state."""
        x = self.transition(x)
        for block in self.blocks:
            x = block(x)
        return x


class ConvResNet(nn.Module):
    """A pre-activation residual network of 6n + 2 layers: three stages of n blocks of two convolutions.

    A stem (3 × 3 convolution), stages with `width`, 2 · `width` and 4 · `width` channels, the second
    and third begun by a block that halves the image; norm, relu, mean over the image, linear head.
    Only blocks that keep the shape are layers in the sense of this library.

    Args:
        channels: of the images; images (batch, height, width) have one.
        classes: number of classes.
        depth: 6n + 2: 8, 14, 20, … Default 20.
        width: channels of the first stage. Default 16.
        weights: "variable" (default), or "shared": the blocks of a stage that keep the shape have the
            same two convolutions, and norms of their own.
        blocks: shape-keeping blocks of each stage, for a network that was cut; by default n, n − 1 and
            n − 1. Takes the place of `depth`.

    Raises:
        InputError: an argument is out of range.

    Source: He, Zhang, Ren, Sun, Identity Mappings in Deep Residual Networks, 2016.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        depth: int = 20,
        width: int = 16,
        weights: Weights = "variable",
        blocks: Sequence[int] | None = None,
    ):
        super().__init__()
        if blocks is None:
            n, rest = divmod(depth - 2, 6)
            if n < 1 or rest:
                raise InputError(f"depth must be 6n + 2 (8, 14, 20, …), not {depth}")
            blocks = (n, n - 1, n - 1)
        _check(channels, classes, width, weights, blocks)
        self.channels, self.width = channels, width
        self.shared = weights == "shared"
        self.stem = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        nn.init.kaiming_normal_(self.stem.weight, mode="fan_out", nonlinearity="relu")
        widths = [width, width, 2 * width, 4 * width]
        self.stages = nn.ModuleList(
            Stage(widths[s], widths[s + 1], blocks[s], self.shared) for s in range(STAGES)
        )
        self.head = nn.Sequential(
            nn.BatchNorm2d(widths[-1]),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(widths[-1], classes),
        )

    def in_stages(self) -> list[list[ConvBlock]]:
        """Return the shape-keeping blocks of every stage."""
        return [list(cast(Stage, stage).blocks) for stage in self.stages]  # type: ignore[arg-type]

    @property
    def blocks(self) -> tuple[int, ...]:
        """How many shape-keeping blocks each stage has now."""
        return tuple(map(len, self.in_stages()))

    @property
    def depth(self) -> int:
        """Layers with weights on the longest way: 6n + 2, less two for each block that went."""
        return 2 + 2 * (sum(self.blocks) + STAGES - 1)

    def keep_layers(self, keep: Sequence[int]) -> None:
        """Keep the shape-keeping blocks named, from 1 over all stages, in place."""
        t = 0
        for stage, blocks in zip(self.stages, self.in_stages(), strict=True):
            numbered = [(t + i, block) for i, block in enumerate(blocks, 1)]
            cast(Stage, stage).blocks = nn.ModuleList(b for i, b in numbered if i in keep)
            t += len(blocks)

    @torch.no_grad()
    def scale_layer(self, t: int, factor: float) -> None:
        """Multiply what shape-keeping block t, from 1, adds, in place.

        Raises:
            InputError: the block shares its convolutions with others.
        """
        if self.shared:
            raise InputError(
                "the blocks of a stage share their convolutions, so one of them cannot take a longer "
                "step; pass the compensation 'affine', 'mean' or 'none'"
            )
        block = [block for blocks in self.in_stages() for block in blocks][t - 1]
        block.convolutions.second.weight *= factor

    @torch.no_grad()
    def add_constant(self, stage: str, t: int, m: Float[Tensor, "channels height width"]) -> None:
        """Add m, its mean over the image, to the state of a stage after t blocks, in place.

        Every norm that reads the state from there on subtracts as much more.
        """
        shift, begun = m.mean((1, 2)), False
        readers: list[ConvBlock] = []
        for s, blocks in enumerate(self.in_stages()):
            transition = self.stages[s].transition
            if begun and isinstance(transition, Transition):
                readers.append(transition)
            here = stage.endswith(f"stages.{s}")
            begun = begun or here
            readers += blocks[t:] if here else blocks if begun else []
        norms = [block.norms[0] for block in readers] + [self.head[0]]
        for norm in norms:
            # The shortcut of a transition appends channels, which the constant does not reach.
            mean = cast(Tensor, norm.running_mean)
            mean[: len(shift)] -= shift.to(mean)

    def extra_repr(self) -> str:
        """Show what `print(net)` cannot see."""
        return f"depth={self.depth}, {'shared' if self.shared else 'variable'} weights"

    def forward(self, x: Shaped[Tensor, "batch *image"]) -> Float[Tensor, "batch classes"]:
        """Return the logits of images (batch, channels, height, width) or (batch, height, width).

        Raises:
            InputError: images of another number of channels, or not floating-point.
        """
        if not x.is_floating_point():
            raise InputError(
                f"inputs must be floating-point, not {x.dtype}; convert them: x.float()"
            )
        if x.ndim == 3:
            x = x[:, None]
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise InputError(
                f"the network takes images (batch, {self.channels}, height, width) and was given the "
                f"shape {tuple(x.shape)}; pass data of the kind that it was trained on"
            )
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        logits: Tensor = self.head(x)
        return logits


def _check(channels: int, classes: int, width: int, weights: str, blocks: Sequence[int]) -> None:
    if channels < 1 or width < 1:
        raise InputError(f"channels and width must be at least 1, not {channels} and {width}")
    check_shape(classes, weights)
    if len(blocks) != STAGES or min(blocks) < 0 or not any(blocks):
        raise InputError(
            f"blocks must be {STAGES} counts, 0 or more, with at least one block in all, not {blocks}"
        )
