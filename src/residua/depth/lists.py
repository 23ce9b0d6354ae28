"""Take blocks out of the lists of any model, and out of what its configuration says of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from residua.depth.plan import DepthPlan, share_weights
from residua.errors import InputError

# What transformers' configurations call the number of layers; of a decoder beside an encoder first.
_COUNTS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "depth", "num_blocks")
_ENCODER = ("encoder_layers", "num_encoder_layers")
_DECODER = ("decoder_layers", "num_decoder_layers")
# What a place in the list decides without being listed, so that a cut would change the other layers.
_BY_PLACE = ("scale_attn_by_inverse_layer_idx", "mlp_only_layers", "first_k_dense_replace")
_INDICES = ("layer_idx", "layer_id", "layer_index", "layer_number")


@dataclass(frozen=True)
class ListCut:
    """What stays of one list: its path, the list, and the places that stay, from 0."""

    path: str
    modules: nn.ModuleList | nn.Sequential
    stay: tuple[int, ...]

    @property
    def gone(self) -> set[int]:
        """The places that do not stay."""
        return set(range(len(self.modules))) - set(self.stay)


@dataclass(frozen=True)
class _Setting:
    """A value to set in a configuration, or one item of a list there."""

    config: Any
    name: str
    value: Any
    place: int | None = None

    def put(self) -> Callable[[], None]:
        """Set it; return what sets it back."""
        before = getattr(self.config, self.name)
        value = self.value
        if self.place is not None:
            old = getattr(self.config, self.name)
            value = type(old)(value if i == self.place else v for i, v in enumerate(old))
        setattr(self.config, self.name, value)
        return partial(setattr, self.config, self.name, before)


def removed_blocks(model: nn.Module, plan: DepthPlan) -> list[nn.Module]:
    """Return the modules that a plan takes out of a model's lists.

    Raises:
        InputError: the plan is for another model, or its layers cannot be taken out of lists.
    """
    return [list(cut.modules)[i] for cut in cuts_of(model, plan) for i in sorted(cut.gone)]


def name_after(model: nn.Module, plan: DepthPlan, name: str) -> str:
    """Return the name that a layer that stays will have."""
    parent, _, place = name.rpartition(".")
    for cut in cuts_of(model, plan):
        if cut.path == parent:
            return _joined(parent, cut.stay.index(int(place)))
    return name


def name_before(cuts: Sequence[ListCut], name: str) -> str:
    """Return the name that a parameter of a model once it is cut has now."""
    for cut in cuts:
        prefix = f"{cut.path}." if cut.path else ""
        place, _, rest = name.removeprefix(prefix).partition(".")
        if name.startswith(prefix) and place.isdigit() and int(place) < len(cut.stay):
            return f"{_joined(cut.path, cut.stay[int(place)])}.{rest}"
    return name


def _joined(path: str, place: int) -> str:
    return f"{path}.{place}" if path else str(place)


def shorten(model: nn.Module, plan: DepthPlan) -> Callable[[], None]:
    """Take the plan's layers out of a model's lists, in place; all or nothing.

    Places behind them are renumbered (`layer_idx`), and where a model has a configuration, as those of
    transformers have, its layer counts and lists with an entry a layer are shortened alike.

    Returns:
        What puts it all back, weights as they are then.

    Raises:
        InputError: the plan is for another model, a layer lies in no list or shares its module with one
            that stays, the others may need what it holds, or a configuration names no layer count.
    """
    cuts = cuts_of(model, plan)
    settings = [setting for cut in cuts for setting in _settings(model, cut)]
    undo: list[Callable[[], None]] = []
    for cut in cuts:
        undo.append(partial(_refill, cut.modules, list(cut.modules)))
        children = [list(cut.modules)[i] for i in cut.stay]
        for new, (old, child) in enumerate(zip(cut.stay, children, strict=True)):
            undo += _renumber(child, old, new)
        _refill(cut.modules, children)
    undo += [setting.put() for setting in settings]

    def put_back() -> None:
        for step in reversed(undo):
            step()

    return put_back


def _refill(modules: nn.ModuleList | nn.Sequential, children: list[nn.Module]) -> None:
    del modules[:]
    modules.extend(children)


def cuts_of(model: nn.Module, plan: DepthPlan) -> list[ListCut]:
    """Return what stays of every list of which layers go.

    Raises:
        InputError: the plan is for another model, or its layers cannot be taken out of lists.
    """
    known = dict(model.named_modules(remove_duplicate=False))
    missing = [name for name in plan.names if name.partition(", call ")[0] not in known]
    if missing:
        raise InputError(
            f"the plan is for a stack of {plan.depth} layers ({plan.names[0]} … {plan.names[-1]}), and "
            f"the {type(model).__name__} has no {missing[0]!r}; make a plan for this model"
        )
    if plan.removed and share_weights(plan.names):
        raise InputError(
            f"the layers of the {type(model).__name__} are calls of one module, so none can be taken "
            "out; how often it is called is its own to say"
        )
    gone: dict[str, set[int]] = {}
    for t in plan.removed:
        parent, _, place = plan.names[t - 1].rpartition(".")
        if not isinstance(known[parent], nn.ModuleList | nn.Sequential) or not place.isdigit():
            raise InputError(
                f"{plan.names[t - 1]} has no number in a ModuleList or Sequential, but a name in a "
                f"{type(known[parent]).__name__}, which calls it by that; put the blocks in a list"
            )
        gone.setdefault(parent, set()).add(int(place))
    return [_cut(known, parent, places) for parent, places in gone.items()]


def _cut(known: dict[str, nn.Module], path: str, gone: set[int]) -> ListCut:
    modules = known[path]
    assert isinstance(modules, nn.ModuleList | nn.Sequential)
    if list(modules._modules) != [str(i) for i in range(len(modules))]:
        raise InputError(
            f"the {type(modules).__name__} {path or 'of the model'} calls its modules "
            f"{', '.join(list(modules._modules)[:4])}, …, and only numbered ones can be taken out; put "
            "the blocks in a list"
        )
    stay = tuple(i for i in range(len(modules)) if i not in gone)
    others = {name for i in stay for name, _ in modules[i].named_parameters()}
    for i in sorted(gone):
        alone = [name for name, _ in modules[i].named_parameters() if name not in others]
        if stay and alone:
            raise InputError(
                f"{_joined(path, i)} holds {alone[0]}, which no layer that stays has and others may "
                "read; let it stay, by plan.veto(…)"
            )
    return ListCut(path, modules, stay)


def _renumber(block: nn.Module, old: int, new: int) -> list[Callable[[], None]]:
    """Give the parts of a block that know its place the new one; return what gives them the old."""
    undo: list[Callable[[], None]] = []
    for module in block.modules():
        for name in _INDICES:
            if vars(module).get(name) == old:
                setattr(module, name, new)
                undo.append(partial(setattr, module, name, old))
    return undo


def _settings(model: nn.Module, cut: ListCut) -> Iterator[_Setting]:
    """Yield what changes in the configurations of the modules around a list."""
    configs = {id(c): c for c in _configs(model, cut.path)}
    counted = False  # a list with an entry a layer alone would leave the count behind
    for config in configs.values():
        fixed = next((name for name in _BY_PLACE if getattr(config, name, None)), None)
        if fixed is not None:
            raise InputError(
                f"the configuration of the {type(model).__name__} has {fixed}={getattr(config, fixed)}, "
                "by which a layer's place decides what it does, so no layer can be taken out; leave "
                "parts of blocks out instead, by residua.find_blocks(model, x, parts=True)"
            )
        counts = _count(config, cut, whole=config is getattr(model, "config", None))
        counted = counted or bool(counts)
        yield from (*counts, *_per_layer(config, cut))
    if configs and not counted:
        raise InputError(
            f"the configuration of the {type(model).__name__} names no count of {len(cut.modules)} "
            f"layers ({', '.join(_names_of_counts(cut.path))}, depths), so it cannot be shortened with "
            f"{cut.path}; cut a copy whose `config` is removed, and save its weights yourself"
        )


def _configs(model: nn.Module, path: str) -> Iterator[Any]:
    """Yield the configurations from the model down to a list."""
    module = model
    for part in ["", *path.split(".")]:
        module = getattr(module, part) if part else module
        config = getattr(module, "config", None)
        if hasattr(config, "to_dict"):
            yield config


def _names_of_counts(path: str) -> tuple[str, ...]:
    decoder = "decoder" in path.split(".")
    encoder = "encoder" in path.split(".")
    return (*(_DECODER if decoder else ()), *(_ENCODER if encoder else ()), *_COUNTS)


def _count(config: Any, cut: ListCut, *, whole: bool) -> list[_Setting]:
    """Return the new layer count, or depth of a stage."""
    stage = [int(part) for part in cut.path.split(".") if part.isdigit()]
    depths = getattr(config, "depths", None)
    if depths is not None and stage and stage[0] < len(depths):
        if depths[stage[0]] != len(cut.modules):
            return []
        return [_Setting(config, "depths", len(cut.stay), stage[0])]
    names = [
        name
        for name in _names_of_counts(cut.path)
        if getattr(config, name, None) == len(cut.modules)
    ]
    # That of encoder and decoder together has a count for each, and the specific one comes first.
    both = whole and getattr(config, "is_encoder_decoder", False)
    return [_Setting(config, name, len(cut.stay)) for name in (names[:1] if both else names)]


def _per_layer(config: Any, cut: ListCut) -> list[_Setting]:
    """Return the lists with an entry a layer, shortened."""
    found = []
    for name, value in config.to_dict().items():
        many = isinstance(value, list | tuple) and len(value) == len(cut.modules)
        if many and "layer" in name and getattr(config, name, None) is not None:
            found.append(_Setting(config, name, _chosen(value, cut.stay)))
    return found


def _chosen(values: Sequence[Any], stay: Sequence[int]) -> Any:
    return type(values)(values[i] for i in stay)  # type: ignore[call-arg]
