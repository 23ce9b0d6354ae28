"""Networks on disk: safetensors, with the network's description in the header. No pickle."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from residua.atomic import written_whole
from residua.choices import Activation, Lift, Net, Weights
from residua.convnet import ConvResNet
from residua.errors import DamagedError, InputError
from residua.model_store import described, repeated, restored
from residua.nets import MLP, ResNet
from residua.readout import readout
from residua.stored import INTACT, check_readable

_KEY, _ANY = "residua", "residua of any model"


Network = ResNet | MLP | ConvResNet


@dataclass(frozen=True)
class NetConfig:
    """All that builds a network.

    Attributes:
        net: "resnet", "mlp" or "conv".
        inputs: input dimensions; of "conv" the channels of the images.
        width, classes, depth, weights: as in :class:`ResNet` and :class:`ConvResNet`; there `depth` is
            6n + 2.
        activation, step_size, lift, reads_residual: as in :class:`ResNet`; not for "conv".
        blocks: of "conv", shape-keeping blocks of each stage in place of `depth`.
    """

    net: Net
    inputs: int
    width: int
    classes: int
    depth: int = 15
    weights: Weights = "shared"
    activation: Activation = "logistic"
    step_size: float | list[float] = 1.0
    lift: Lift = "pad"
    reads_residual: bool = False
    blocks: list[int] | None = None


def build(config: NetConfig) -> Network:
    """Return a freshly initialised network.

    Raises:
        InputError: an argument is out of range.
    """
    options = asdict(config)
    kind = options.pop("net")
    if kind == "conv":
        return ConvResNet(
            config.inputs,
            config.classes,
            depth=config.depth,
            width=config.width,
            weights=config.weights,
            blocks=config.blocks,
        )
    if options.pop("blocks") is not None:
        raise InputError(f"only a network 'conv' has blocks in stages, not {kind!r}")
    if kind == "resnet":
        return ResNet(**options)
    if kind != "mlp":
        raise InputError(f"net must be 'resnet', 'mlp' or 'conv', not {kind!r}")
    if options.pop("step_size") != 1.0 or options.pop("reads_residual"):
        raise InputError(f"an MLP has no skip and no step size; got {config.step_size}")
    return MLP(**options)


def describe(net: Network) -> NetConfig:
    """Return the description from which :func:`build` makes a network of the same shape.

    Raises:
        InputError: its head was replaced by one that :func:`build` does not make.
    """
    weights: Weights = "shared" if net.shared else "variable"
    if isinstance(net, ConvResNet):
        classes = readout(net.head).classes
        blocks = list(net.blocks)
        return NetConfig("conv", net.channels, net.width, classes, weights=weights, blocks=blocks)
    if not isinstance(net.head, nn.Linear):
        raise InputError(
            f"a head of the kind {type(net.head).__name__} cannot be described; only networks with "
            "their own linear head are saved"
        )
    steps = list(net.steps)
    return NetConfig(
        net="resnet" if isinstance(net, ResNet) else "mlp",
        inputs=net.inputs,
        width=net.head.in_features,
        classes=net.head.out_features,
        depth=net.depth,
        weights=weights,
        activation=net.activation,
        step_size=steps[0] if len(set(steps)) == 1 else steps,
        lift=net.lift_name,
        reads_residual=net.residual_head is not None,
    )


def restructure(net: Network, config: NetConfig) -> None:
    """Give a network the layers of another of its kind, in place, before that one's weights are loaded.

    Parameters of the same name and size stay, so that an optimizer goes on with them; others are new, on
    the device and in the precision of those before.

    Raises:
        InputError: it is of another kind.
    """
    fresh = build(config)
    if type(fresh) is not type(net):
        raise InputError(
            f"a {type(net).__name__} cannot take the layers of a {type(fresh).__name__}; pass what "
            "was stored of the same network"
        )
    fresh.to(next(net.parameters())).train(net.training)
    # Its hooks and its place in a larger model stay; modules, parameters and sizes are the other's.
    hooks = {k: v for k, v in net.__dict__.items() if "hook" in k}
    old = dict(net.named_parameters(remove_duplicate=False))
    net.__dict__.update(fresh.__dict__ | hooks)
    for path, module in net.named_modules(remove_duplicate=False):
        for name, new in module._parameters.items():
            kept = old.get(f"{path}.{name}" if path else name)
            if kept is not None and new is not None and kept.shape == new.shape:
                module._parameters[name] = kept


def save(net: nn.Module, path: str | Path) -> None:
    """Write a network, whatever its depth now, to one safetensors file that :func:`load` reads.

    Other models than residua's are for this where parts of their blocks were taken out, which the
    formats of their own do not know; cut by whole blocks they are ordinary models, for `save_pretrained`
    or torch.save of their `state_dict`. Weights that several layers share are written once.

    Raises:
        InputError: the file exists already or its folder does not, or the network has another head than
            residua's have.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"no such folder: {str(path.parent)!r}; make it first")
    if path.exists():
        raise InputError(f"{str(path)!r} exists already; pass a new path")
    if isinstance(net, Network):
        header = {_KEY: json.dumps(asdict(describe(net)))}
    else:
        header = {_ANY: described(net)}
    state = net.state_dict()
    tensors = {name: state[name].contiguous() for name in state if name not in repeated(net)}
    with written_whole(path) as part:
        save_file(tensors, part, metadata=header)


def load(path: str | Path, model: nn.Module | None = None) -> Any:
    """Read a network that :func:`save` wrote; nothing in the file is executed.

    Args:
        path: the file.
        model: of other models than residua's and transformers', one with all its parts, made as the
            saved one was; it is changed into the saved one.

    Raises:
        InputError: there is no such file, it is truncated or damaged, residua did not write it, or a
            model is needed or does not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"no such file: {str(path)!r}; pass a model.safetensors that residua wrote"
        )
    return read_network(path, model)


def read_network(path: Path, model: nn.Module | None = None, remedy: str = INTACT) -> Any:
    """Read a network as :func:`load` does.

    Args:
        path: the file.
        model: as of :func:`load`.
        remedy: what to do where the file is damaged; ends the error.

    Raises:
        DamagedError: it is missing, truncated or damaged.
        InputError: residua did not write it, or a model is needed or does not fit.
    """
    told, tensors = _opened(path, remedy)
    header = told.get(_ANY, told.get(_KEY))
    if header is None:
        raise InputError(f"{str(path)!r} was not written by residua; pass a file of residua.save")
    try:
        description = json.loads(header)
        config = None if _ANY in told else NetConfig(**description)
        net = None if config is None else build(config)
    except (ValueError, TypeError) as error:
        raise DamagedError(
            f"the description in {str(path)!r} is damaged ({header[:80]!r}); {remedy}"
        ) from error
    if net is None:
        return restored(description, tensors, model)
    try:
        dtype = next(t.dtype for n, t in tensors.items() if n.startswith("head."))
        found = net.to(dtype).load_state_dict(tensors, strict=False)
        if found.unexpected_keys or set(found.missing_keys) != repeated(net):
            raise KeyError(*found)
    except (RuntimeError, KeyError, StopIteration) as error:
        raise InputError(
            f"the weights in {str(path)!r} are of another network than its description ({header})"
        ) from error
    return net


def _opened(path: Path, remedy: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return header and weights of a safetensors file."""
    check_readable(path, remedy)
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DamagedError(
            f"{str(path)!r} is truncated or no safetensors file ({error}); {remedy}"
        ) from error
