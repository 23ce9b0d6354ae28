"""The layers of a model in training and of its averages: what they are now, cut, put back, resumed."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn
from torch.optim import Optimizer

from residua.depth.compensation import Compensation
from residua.depth.plan import DepthPlan
from residua.depth.snapshot import structure, take_structure
from residua.depth.surgery import check_cut, cut
from residua.errors import InputError, StackError
from residua.inputs import as_any_inputs, inputs_of
from residua.layers import ResidualStack, weight_of
from residua.stack import find_blocks, find_stack, find_stages, is_own
from residua.untying import shares, untie

Undo = Callable[[], None]


class OwnLayers:
    """The layers of a network of residua."""

    def __init__(self, model: nn.Module, averages: Sequence[nn.Module]):
        self.model, self.averages = model, averages

    @property
    def depth(self) -> int:
        """How many layers there are now."""
        return find_stages(self.model).depth

    def stack(self, batch: Any) -> ResidualStack:
        """Return the layers."""
        return find_stages(self.model)

    def structure(self) -> dict[str, Any]:
        """Return the network's description."""
        return structure(self.model)

    def take(self, wanted: dict[str, Any]) -> Undo:
        """Give network and averages the layers that were described, where they have others."""
        for module in (self.model, *self.averages):
            take_structure(module, wanted)
        return lambda: None  # they can be made anew at any time

    def cut(
        self,
        plan: DepthPlan,
        compensation: Compensation | None,
        averages: Sequence[nn.Module],
        optimizers: Sequence[Optimizer],
    ) -> Undo:
        """Cut network and averages, all or none."""
        self.averages = averages
        named = [replace(plan, names=find_stages(average).names) for average in averages]
        each = list(zip(averages, named, strict=True))
        for average, own in each:
            check_cut(average, own, compensation)
        undo = [cut(self.model, plan, compensation=compensation, optimizers=optimizers)]
        undo += [cut(average, own, compensation=compensation) for average, own in each]
        return partial(_all_of, undo)


class FoundLayers:
    """The layers of any other model: names of all it had, and which of them stay."""

    def __init__(
        self, model: nn.Module, averages: Sequence[nn.Module], blocks: Sequence[str] | None
    ):
        self.model, self.averages, self.blocks = model, averages, blocks
        self.all: tuple[str, ...] | None = None
        self.keep: tuple[int, ...] = ()
        self.untied: tuple[str, ...] = ()  # heads that shared their weights with an embedding

    @property
    def depth(self) -> int:
        """How many layers there are now.

        Raises:
            StackError: none were found yet.
        """
        if self.all is None:
            raise StackError(
                "the layers of the model are found with the first batch; ask after that"
            )
        return len(self.keep)

    def stack(self, batch: Any) -> ResidualStack:
        """Return the layers, found with a batch."""
        x = as_any_inputs(inputs_of(batch), weight_of(self.model))
        listed = (
            self.all is not None and self.blocks is not None and set(self.blocks) <= set(self.all)
        )
        found = find_blocks(self.model, x, names=self._names() if listed else self.blocks)
        if self.all is None:
            self.all, self.keep = found.names, tuple(range(1, found.depth + 1))
        if found.depth != len(self.keep):
            raise StackError(
                f"{found.depth} layers are found in the {type(self.model).__name__}, and "
                f"{len(self.keep)} were left; name the lists of its blocks: AdaptiveConfig(blocks=(…))"
            )
        return found

    def structure(self) -> dict[str, Any]:
        """Return names of all layers, and numbers of those that stay."""
        return {
            "layers": list(self.all or ()),
            "keep": list(self.keep),
            "untied": list(self.untied),
        }

    def take(self, wanted: dict[str, Any]) -> Undo:
        """Cut model and averages down to the layers that were described.

        Raises:
            InputError: the model has other layers, or lacks some.
        """
        layers, keep = tuple(wanted["layers"]), tuple(wanted["keep"])
        if not layers and self.all is not None and len(self.keep) < len(self.all):
            raise InputError(
                f"the checkpoint was written before layers went, and the {type(self.model).__name__} "
                f"has {len(self.keep)} of {len(self.all)} now; build the model as before training, and "
                "load the checkpoint into that"
            )
        if not layers or (self.all == layers and self.keep == keep):
            return lambda: None
        now, held = self.all, self.keep
        if now is None:
            now, held = layers, tuple(range(1, len(layers) + 1))
            known = dict(self.model.named_modules())
            if sum(name in known for name in layers) == len(keep) < len(layers):
                self.all, self.keep = layers, keep  # made from the checkpoint's own configuration
                return self._untie(wanted["untied"])
        if now != layers or not set(keep) <= set(held):
            raise InputError(
                f"the checkpoint has the layers {keep} of {len(layers)} ({layers[0]} … {layers[-1]}), "
                f"and the model {held} of {len(now)}; build the model as before training"
            )
        places = tuple(held.index(t) + 1 for t in keep)
        before = self.all, self.keep
        self.all, self.keep = now, held
        try:
            plan = DepthPlan(self._names(), places, "resumed", (None,) * len(held), "")
            undo = self.cut(plan, None, self.averages, ())
        except InputError:
            self.all, self.keep = before
            raise
        tie = self._untie(wanted["untied"])
        return partial(_all_of, [tie, undo])

    def _untie(self, paths: Sequence[str]) -> Undo:
        """Give heads weights of their own, in the model and its averages, as in a checkpoint."""
        undo = []
        for path in (p for p in paths if p not in self.untied):
            for module in (self.model, *self.averages):
                named = dict(module.named_modules())
                found = named.get(path, named.get(f"module.{path}"))
                tie = untie(module, found) if found is not None else None
                undo += [] if tie is None else [tie]
        self.untied = tuple(paths)
        return partial(_all_of, undo)

    def _names(self) -> tuple[str, ...]:
        """Return the names that the layers have now."""
        assert self.all is not None
        known = dict(self.model.named_modules())
        if len(self.keep) == len(self.all):
            return self.all
        gone = [name for name in self.all if name not in known]
        return tuple(name for name in self.all if name not in gone)

    def cut(
        self,
        plan: DepthPlan,
        compensation: Compensation | None,
        averages: Sequence[nn.Module],
        optimizers: Sequence[Optimizer],
    ) -> Undo:
        """Cut model and averages, all or none."""
        self.averages = averages
        inner = [_inner(average, plan) for average in averages]
        for average in inner:
            check_cut(average, plan, compensation)
        tied = self._tied(compensation)
        undo = [cut(self.model, plan, compensation=compensation, optimizers=optimizers)]
        undo += [cut(average, plan, compensation=compensation) for average in inner]
        before = self.keep, self.untied
        self.untied = (*self.untied, *tied)
        self.keep = tuple(self.keep[t - 1] for t in plan.keep)

        def put_back() -> None:
            _all_of(undo)
            self.keep, self.untied = before

        return put_back

    def _tied(self, compensation: Compensation | None) -> list[str]:
        """Return the modules that a compensation unties."""
        names = () if compensation is None else compensation.weights
        known = dict(self.model.named_modules())
        paths = dict.fromkeys(name.rpartition(".")[0] for name in names)
        return [p for p in paths if p in known and shares(self.model, known[p])]


TrainedLayers = OwnLayers | FoundLayers


def layers_of(
    model: nn.Module, averages: Sequence[nn.Module], blocks: Sequence[str] | None, *, images: bool
) -> TrainedLayers:
    """Return the layers of a model; of one of residua's networks they are known already.

    Args:
        model: the model.
        averages: its averages.
        blocks: their names, of other models; None for those that are found.
        images: whether states may be images.

    Raises:
        StackError: the network has several stages where the rule works on one.
    """
    if not is_own(model):
        return FoundLayers(model, averages, blocks)
    # A network that the rule cannot work on is refused now, not after an epoch.
    find_stages(model) if images else find_stack(model)
    return OwnLayers(model, averages)


def _all_of(steps: Sequence[Undo]) -> None:
    for step in steps:
        step()


def _inner(average: nn.Module, plan: DepthPlan) -> nn.Module:
    """Return what has the model's names in an average, which may be wrapped."""
    known = dict(average.named_modules())
    inner = getattr(average, "module", None)
    return inner if plan.names[0] not in known and isinstance(inner, nn.Module) else average
