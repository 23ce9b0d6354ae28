"""Where the residual blocks of a model are: the only file that knows model families."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from residua.calls import LastMap
from residua.convnet import ConvResNet
from residua.discovery import discover
from residua.errors import StackError
from residua.inputs import as_any_inputs
from residua.layers import ResidualStack, logits_of, weight_of
from residua.nets import MLP, ResNet
from residua.parts import Part
from residua.ports import Port
from residua.readout import Readout, readout

Net = ResNet | MLP | ConvResNet


@dataclass(frozen=True)
class OwnStack(ResidualStack):
    """The layers of a network of residua, and its head.

    Attributes:
        net: the module that owns the blocks; `model` itself or inside it.
        readout: the map from the last state to the logits.
    """

    net: Net
    readout: Readout

    @property
    def ends_at_head(self) -> bool:
        """Whether the last state is what the head reads; so in the last stage alone."""
        net = self.net
        last = net.in_stages()[-1] if isinstance(net, ConvResNet) else list(net.blocks)
        return len(last) > 0 and last[-1] is self.blocks[-1]

    def run(self, t: int, x: Tensor) -> Tensor:
        """Return x_t of x_{t−1} by layer t = 1…T alone, with its step size, past any hooks."""
        h = 1.0 if isinstance(self.net, ConvResNet) else self.net.steps[t - 1]
        block = self.blocks[t - 1]
        after: Tensor = block.forward(x) if h == 1.0 else block.forward(x, h)
        return after


@dataclass(frozen=True)
class FoundStack(ResidualStack):
    """The layers of any model, as they were found in a forward pass.

    Attributes:
        lasts: of every layer the linear map that puts out the last it adds to the state, and the norm
            behind it; None where there is none, or a relu follows.
        parts: of every layer that is a part of a block, how it stands there; else none.
        head: name of the linear map that puts out the logits, or None.
        named: whether the user named the blocks.
        sample: the inputs, of one sample, with which they were found.
    """

    lasts: tuple[LastMap | None, ...]
    parts: tuple[Part, ...]
    head: str | None
    named: bool
    sample: Any

    @property
    def each_layer(self) -> tuple[str, ...]:
        """The attributes that hold something for every layer."""
        return (*super().each_layer, "lasts", *(["parts"] if self.parts else []))


def find_stack(model: nn.Module, stage: str | None = None, *, images: bool = False) -> OwnStack:
    """Return the residual stack of a model that is, or contains, one network of residua.

    Args:
        model: the model.
        stage: which one, of a network with several; see :func:`find_stages`.
        images: whether states may have more dimensions than (batch, unit).

    Raises:
        StackError: there is no network, or more than one; or no such stage, several and none named, or
            its states have more dimensions.
    """
    whole = find_stages(model).stage(stage)
    if isinstance(whole.net, ConvResNet) and not images:
        raise StackError(
            f"the states of a {type(whole.net).__name__} are images, and this works on states "
            "(batch, unit); residua.trace, residua.accumulate and all that cuts depth take both"
        )
    return whole


def find_stages(model: nn.Module) -> OwnStack:
    """Return the layers of all stages of a model as one stack, in the order in which they run.

    Raises:
        StackError: the model holds no network of residua, or more than one.
    """
    found = [(name, m) for name, m in model.named_modules() if isinstance(m, Net)]
    if len(found) != 1:
        where = f": {', '.join(name or '(the model itself)' for name, _ in found)}" if found else ""
        raise StackError(
            f"{type(model).__name__} holds {len(found)} modules of the classes residua.ResNet, "
            f"residua.MLP or residua.ConvResNet{where}; pass a model with exactly one. Other "
            "models are for trace, accumulate, similarity, depth_curve, prune and attribute_gradient"
        )
    path, net = found[0]
    prefix = f"{path}." if path else ""
    names, stages, blocks = zip(*_layers(net), strict=True)
    residual = net.residual_head if isinstance(net, ResNet) else None
    head = readout(net.head, residual)
    return OwnStack(
        model=model,
        blocks=blocks,
        names=tuple(prefix + name for name in names),
        stages=tuple(prefix + stage for stage in stages),
        ports=(Port(),) * len(blocks),
        classes=head.classes,
        branch_is_residual=not isinstance(net, MLP),
        net=net,
        readout=head,
    )


def stack_of(model: nn.Module | ResidualStack, x: Any) -> ResidualStack:
    """Return the layers of any model: its stack, that of the network of residua in it, or what is found.

    Args:
        model: the model, or its layers as :func:`find_blocks` returned them.
        x: inputs, a tensor or named ones.

    Raises:
        StackError: no layers were found.
    """
    if isinstance(model, ResidualStack):
        return model
    return find_stages(model) if is_own(model) else find_blocks(model, x)


def is_own(model: nn.Module) -> bool:
    """Return whether a model is, or contains, a network of residua."""
    return any(isinstance(m, Net) for m in model.modules())


def find_blocks(
    model: nn.Module, x: Any, *, names: Sequence[str] | None = None, parts: bool = False
) -> FoundStack:
    """Return the residual blocks of any model as one stack, found by what they do in one forward pass.

    A block takes a state and gives one of the same shape that is, in the graph that autograd records,
    the state plus something; a norm or a relu may follow. Modules are not known by name, so it makes no
    difference which library the model is from.

    Args:
        model: any module; it is run once, in evaluation mode, on the first sample, and left as it was.
        x: inputs: a tensor, or a mapping of named ones, such as a tokenizer's.
        names: the blocks' names, or those of ModuleLists of them; default: they are found.
        parts: whether every residual inside a block is a layer for itself, of attention and of the MLP.

    Raises:
        StackError: no residual blocks were found, the modules named keep no state, or the residuals
            inside a block cannot be told apart.
        InputError: there is no module of a name; the inputs are no tensors, or hold NaN.
    """
    x = as_any_inputs(x, weight_of(model))
    more = x if isinstance(x, Mapping) else {}
    args = () if isinstance(x, Mapping) else (x[:1],)
    one = {k: v[:1] if isinstance(v, Tensor) and v.ndim else v for k, v in more.items()}
    found = discover(model, args, one, names, parts=parts)
    if parts and found.unsure:
        path, seen = next(iter(found.unsure.items()))
        raise StackError(
            f"the residuals inside {path} cannot be told apart: what is added to the state there is "
            f"not, each time, what one module puts out. Its modules are: {seen}. Leave parts out, for "
            "whole blocks, or have the block add the output of a module"
        )
    stages: list[list[Any]] = [list(stage) for stage in found.stages]
    if parts:
        stages = [[part for block in stage for part in block] for stage in found.parts]
    layers = [layer for stage in stages for layer in stage]
    heads = [stage[0].path.rpartition(".")[0] for stage in found.stages]
    of_stage = [
        f"{parent}, from {stage[0].path}" if heads.count(parent) > 1 else parent
        for parent, stage in zip(heads, found.stages, strict=True)
    ]
    of_stage = list(_numbered(of_stage, "run"))
    return FoundStack(
        model=model,
        blocks=tuple(layer.module for layer in layers),
        names=_numbered([layer.path for layer in layers]),
        stages=tuple(s for s, stage in zip(of_stage, stages, strict=True) for _ in stage),
        ports=tuple(layer.port for layer in layers),
        classes=logits_of(found.output, model).shape[-1],
        branch_is_residual=not any(block.after for stage in found.stages for block in stage),
        lasts=tuple(layer.last for layer in layers),
        parts=tuple(layer for layer in layers if isinstance(layer, Part)),
        head=found.head,
        named=names is not None,
        sample=one if more else x[:1],
    )


def _numbered(paths: Sequence[str], what: str = "call") -> tuple[str, ...]:
    """Return names, with the number of the call where one is called again."""
    seen: dict[str, int] = {}
    labels = []
    for path in paths:
        seen[path] = seen.get(path, 0) + 1
        labels.append(f"{path}, {what} {seen[path]}" if paths.count(path) > 1 else path)
    return tuple(labels)


def _layers(net: Net) -> list[tuple[str, str, nn.Module]]:
    """Return name, stage and module of every layer."""
    if isinstance(net, ConvResNet):
        return [
            (f"stages.{s}.blocks.{i}", f"stages.{s}", block)
            for s, blocks in enumerate(net.in_stages())
            for i, block in enumerate(blocks)
        ]
    names = [f"blocks.0, call {t + 1}" if net.shared else f"blocks.{t}" for t in range(net.depth)]
    blocks = [net.blocks[0 if net.shared else t] for t in range(net.depth)]
    return [(name, "blocks", block) for name, block in zip(names, blocks, strict=True)]
