"""Networks on disk: safetensors, with the network's description in the header. No pickle."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from residua.choices import Activation, Lift, Net, Weights
from residua.errors import InputError
from residua.nets import MLP, ResNet

_KEY = "residua"


@dataclass(frozen=True)
class NetConfig:
    """All that builds a network: `net` is "resnet" or "mlp", the rest as in :class:`ResNet`."""

    net: Net
    inputs: int
    width: int
    classes: int
    depth: int = 15
    weights: Weights = "shared"
    activation: Activation = "logistic"
    step_size: float = 1.0
    lift: Lift = "pad"


def build(config: NetConfig) -> ResNet | MLP:
    """Return a freshly initialised network.

    Raises:
        InputError: an argument is out of range.
    """
    options = asdict(config)
    kind = options.pop("net")
    if kind == "resnet":
        return ResNet(**options)
    if kind != "mlp":
        raise InputError(f"net must be 'resnet' or 'mlp', not {kind!r}")
    if options.pop("step_size") != 1.0:
        raise InputError(f"an MLP has no skip and no step size; got {config.step_size}")
    return MLP(**options)


def describe(net: ResNet | MLP) -> NetConfig:
    """Return the description from which :func:`build` makes a network of the same shape.

    Raises:
        InputError: its head was replaced by one that :func:`build` does not make.
    """
    if not isinstance(net.head, nn.Linear):
        raise InputError(
            f"a head of the kind {type(net.head).__name__} cannot be described; only networks with "
            "their own linear head are saved"
        )
    return NetConfig(
        net="resnet" if isinstance(net, ResNet) else "mlp",
        inputs=net.inputs,
        width=net.head.in_features,
        classes=net.head.out_features,
        depth=net.depth,
        weights="shared" if net.shared else "variable",
        activation=net.activation,
        step_size=net.step_size if isinstance(net, ResNet) else 1.0,
        lift=net.lift_name,
    )


def save(net: ResNet | MLP, path: str | Path) -> None:
    """Write a network, whatever its depth now, to one safetensors file that :func:`load` reads.

    Raises:
        InputError: the file exists already or its folder does not, or the network is no ResNet or MLP
            of residua, or has another head than theirs.
    """
    path = Path(path)
    if not isinstance(net, ResNet | MLP):
        raise InputError(
            f"only a residua.ResNet or residua.MLP can be saved, not {type(net).__name__}"
        )
    if not path.parent.is_dir():
        raise InputError(f"no such folder: {str(path.parent)!r}; make it first")
    if path.exists():
        raise InputError(f"{str(path)!r} exists already; pass a new path")
    header = json.dumps(asdict(describe(net)))
    tensors = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
    save_file(tensors, path, metadata={_KEY: header})


def load(path: str | Path) -> ResNet | MLP:
    """Read a network that :func:`save` wrote; nothing in the file is executed.

    Raises:
        InputError: there is no such file, it is truncated or damaged, or residua did not write it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"no such file: {str(path)!r}; pass a model.safetensors that residua wrote"
        )
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{str(path)!r} is truncated or no safetensors file ({error}); pass an intact one"
        ) from error
    if header is None:
        raise InputError(f"{str(path)!r} was not written by residua; pass a file of residua.save")
    try:
        net = build(NetConfig(**json.loads(header)))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"the description in {str(path)!r} is damaged ({header[:80]!r}); pass an intact file"
        ) from error
    try:
        net.to(tensors["head.weight"].dtype).load_state_dict(tensors)
    except (RuntimeError, KeyError) as error:
        raise InputError(
            f"the weights in {str(path)!r} are of another network than its description ({header})"
        ) from error
    return net
