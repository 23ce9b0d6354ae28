"""Adaptive depth in training, whatever the loop: ask a rule, cut, watch the loss, undo."""

import copy
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from residua.depth.compensation import Compensation
from residua.depth.criteria import check_threshold, criterion_named, errors_spent, plan_depth
from residua.depth.curve import CurveFit, fit_curve
from residua.depth.fitting import FitOptions, compensate
from residua.depth.least_squares import RIDGES
from residua.depth.plan import DepthPlan
from residua.depth.similarity import similarity
from residua.depth.surgery import apply, cut, layout
from residua.distributed import agreed, gathered, total
from residua.errors import InputError
from residua.stack import find_stack, find_stages
from residua.statistics import accumulate
from residua.store import NetConfig, describe, restructure
from residua.streaming import Loss, cross_entropy, held_out_loss

log = logging.getLogger(__name__)

# Shares of the training between which a rule is asked. The paper asks after every epoch. A depth curve
# means nothing before the network has learnt; longer steps change nothing when they are taken early, and
# what goes early costs no time.
WINDOWS = {"paper": (0.0, 1.0), "depth-curve": (0.25, 0.8), "spans": (0.1, 0.2)}


@dataclass(frozen=True)
class AdaptiveConfig:
    """Which layers go while a network trains, and when.

    Attributes:
        criterion: "spans" (default): the fewest layers that, with longer steps, lose no more than
            `tolerance`; "depth-curve": the fewest whose head, refitted in closed form, is within one
            standard error of the best, one in all; or "paper", unchanged.
        threshold: of "paper"; default 0.01.
        tolerance: the share by which the held-out loss may rise through a removal and one epoch of
            training after it; beyond that the removal is undone. Default 0.05 for "spans"; for the
            others none, so that what they remove stays removed.
        keep: fewest layers that may stay. Default 1.
        window: shares of the training between which the rule is asked; default (0, 1) for "paper",
            (0.25, 0.8) for "depth-curve" and (0.1, 0.2) for "spans", of short trainings after the first
            epoch.
        fit_samples: how many training samples the rule's fits use. Default 8192.
        loss: (outputs, targets) → the loss of each held-out sample; default cross-entropy, in nats.

    Raises:
        InputError: unknown criterion, a threshold or tolerance below 0, a window outside [0, 1], keep
            or fit_samples below 1.
    """

    criterion: str = "spans"
    threshold: float = 0.01
    tolerance: float | None = None
    keep: int = 1
    window: tuple[float, float] | None = None
    fit_samples: int = 8192
    loss: Loss = cross_entropy

    def __post_init__(self) -> None:
        criterion_named(self.criterion)
        if self.criterion not in WINDOWS:
            raise InputError(
                f"the criterion {self.criterion!r} is for trained networks; in training pass one of "
                f"{', '.join(WINDOWS)}"
            )
        check_threshold(self.threshold)
        if self.tolerance is not None and not self.tolerance >= 0:
            raise InputError(f"tolerance must be 0 or more, not {self.tolerance}")
        if self.keep < 1:
            raise InputError(f"keep must be at least 1, not {self.keep}: a network needs a layer")
        if self.fit_samples < 1:
            raise InputError(f"fit_samples must be at least 1, not {self.fit_samples}")
        if len(self.asked) != 2 or not 0 <= self.asked[0] <= self.asked[1] <= 1:
            raise InputError(f"window must be two ascending shares in [0, 1], not {self.window}")

    @property
    def asked(self) -> tuple[float, float]:
        """The window, given or by default."""
        return WINDOWS[self.criterion] if self.window is None else self.window

    @property
    def guard(self) -> float | None:
        """The tolerance that removals are held to, given or by default."""
        usual = 0.05 if self.criterion == "spans" else None
        return usual if self.tolerance is None else self.tolerance


@dataclass(frozen=True)
class Decision:
    """One decision after one epoch (from 1), with the figures it rests on."""

    epoch: int
    depth_before: int
    depth_after: int
    criterion: str
    reason: str
    scores: tuple[float | None, ...]


class DepthController:
    """Removes layers of a network in training; :class:`residua.AdaptiveDepth` is one for Lightning.

    In a loop of one's own::

        depth = rs.DepthController(model, [optimizer])
        for epoch in range(1, epochs + 1):
            ...                                                   # train
            depth.step(epoch, epochs, train_batches, held_out)    # once an epoch

    and `depth.state_dict()` beside those of model and optimizer; when they are read back, its
    `load_state_dict` comes first and gives the model the depth it had.

    Args:
        model: with residual layers; not wrapped in DistributedDataParallel, which is to be wrapped anew
            where `step` returns a decision that changes the depth.
        optimizers: that train it.
        averages: modules whose weights are averages of the model's (EMA); they are cut alike.
        config: the rule.

    Raises:
        StackError: no residual layers were found.
        InputError: an optimizer trains parameters that are not the model's.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer] = (),
        *,
        averages: Sequence[nn.Module] = (),
        config: AdaptiveConfig | None = None,
    ):
        self.model = model
        self.optimizers = list(optimizers)
        self.averages = list(averages)
        self.config = config or AdaptiveConfig()
        self.decisions: list[Decision] = []
        self.spent = 0.0  # standard errors of held-out loss given away so far
        self.before: dict[str, Any] | None = None  # all that undoing the last removal needs
        self._put_back: list[Callable[[], None]] = []  # the layers themselves, compiled or not
        self.stopped = False  # a removal was undone: no other is tried
        self.depth = find_stages(model).depth
        own = set(model.parameters())
        for optimizer in self.optimizers:
            if not all(p in own for group in optimizer.param_groups for p in group["params"]):
                raise InputError(
                    f"the {type(optimizer).__name__} trains parameters that are not the model's; pass "
                    "the module that holds all of them"
                )

    def asks(self, epoch: int, epochs: int) -> bool:
        """Return whether the rule is asked after an epoch (from 1)."""
        first, last = self.config.asked
        if self.config.window is None and self.config.criterion == "spans":
            last = max(last, 1 / epochs)
        return first * epochs <= epoch <= last * epochs

    def step(
        self,
        epoch: int,
        epochs: int,
        train_batches: Iterable[Any],
        held_out_batches: Iterable[Any],
    ) -> Decision | None:
        """Undo the last removal where it cost too much; ask the rule, and apply its plan.

        In a distributed training every process calls this with its own batches; figures are merged and
        the first process decides for all.

        Args:
            epoch: that just ended, from 1.
            epochs: in all.
            train_batches: (x, labels); the first `fit_samples` samples are used.
            held_out_batches: (x, labels), validation data; never test data.

        Returns:
            What was decided; None where the rule was not asked and nothing was undone.

        Raises:
            InputError: a removal would leave a parameter group empty, say; the model is then unchanged.
        """
        if self.before is not None:
            undone = self._judge(epoch, held_out_batches)
            if undone is not None:
                return undone
        if self.stopped or not self.asks(epoch, epochs):
            return None
        fit = self._kept(train_batches)
        plan, compensation = agreed(self._plan(fit, held_out_batches))
        if plan.removed:
            self._apply(plan, compensation, held_out_batches)
        decision = Decision(
            epoch, plan.depth, len(plan.keep), plan.criterion, plan.reason, plan.scores
        )
        return self._note(decision)

    def _note(self, decision: Decision) -> Decision:
        self.decisions.append(decision)
        self.depth = decision.depth_after
        log.info("epoch %d: %s", decision.epoch, decision.reason)
        return decision

    def _kept(self, batches: Iterable[Any]) -> list[Any]:
        kept, seen = [], 0
        for batch in batches:
            kept.append(batch)
            seen += len(batch[0] if isinstance(batch, tuple | list) else batch)
            if seen >= self.config.fit_samples:
                break
        if not kept:
            raise InputError("the training loader gave no batch; pass one with at least one sample")
        return kept

    def _plan(
        self, fit: list[Any], held_out: Iterable[Any]
    ) -> tuple[DepthPlan, Compensation | None]:
        config = self.config
        if config.criterion == "paper":
            statistics = total(gathered(accumulate(self.model, held_out)))
            return plan_depth(statistics, "paper", threshold=config.threshold), None
        if config.criterion == "depth-curve":
            return self._plan_by_curve(fit, held_out)
        return self._plan_by_spans(fit, held_out)

    def _plan_by_curve(
        self, fit: list[Any], held_out: Iterable[Any]
    ) -> tuple[DepthPlan, Compensation | None]:
        how = CurveFit("logits", "states", RIDGES, self.config.loss, gathered)
        curve = fit_curve(find_stack(self.model), (fit, held_out, None), how)
        plan = plan_depth(curve, "depth-curve", errors=1.0 - self.spent)
        if len(plan.keep) < self.config.keep:
            plan = plan_depth(curve, "depth-curve", keep=self.config.keep)
        if plan.removed:
            self.spent = min(1.0, self.spent + errors_spent(curve, plan))
        return plan, curve.compensation(len(plan.keep)) if plan.removed else None

    def _plan_by_spans(
        self, fit: list[Any], held_out: Iterable[Any]
    ) -> tuple[DepthPlan, Compensation | None]:
        """Return the fewest layers whose loss is within the tolerance, found by halving."""
        found = total(gathered(similarity(self.model, fit)))
        T = len(found.names)
        before = self._loss(self.model, held_out)
        bound = before * (1 + (self.config.guard or 0.0))
        options = FitOptions(merge=gathered)
        best: tuple[DepthPlan, Compensation | None] = (plan_depth(found, "spans", keep=T), None)
        loss = before
        few, enough = max(self.config.keep, len(found.products)) - 1, T
        while enough - few > 1:
            keep = (few + enough) // 2
            plan = agreed(plan_depth(found, "spans", keep=keep))
            fitted = compensate(self.model, plan, fit, held_out, kind="steps", options=options)
            fitted = agreed(fitted)
            reached = self._loss(apply(plan, self.model, compensation=fitted), held_out)
            if reached <= bound:
                enough, best, loss = keep, (plan, fitted), reached
            else:
                few = keep
        said = f"held-out loss {before:.4f} with {T} layers, {loss:.4f} with {enough}"
        return replace(best[0], reason=f"{said}; {best[0].reason}"), best[1]

    def _loss(self, model: nn.Module, held_out: Iterable[Any]) -> float:
        parts = gathered(held_out_loss(model, held_out, self.config.loss))
        return sum(p[0] for p in parts) / sum(p[1] for p in parts)

    def _apply(
        self, plan: DepthPlan, compensation: Compensation | None, held_out: Iterable[Any]
    ) -> None:
        kept = None
        if self.config.guard is not None:
            kept = self._snapshot(self._loss(self.model, held_out))
            self._put_back = [layout(module) for module in (self.model, *self.averages)]
        cut(self.model, plan, compensation=compensation, optimizers=self.optimizers)
        for average in self.averages:
            named = replace(plan, names=find_stages(average).names)
            cut(average, named, compensation=compensation)
        self.before = kept

    def _judge(self, epoch: int, held_out: Iterable[Any]) -> Decision | None:
        """Undo the last removal if the loss is beyond the tolerance, one epoch after it."""
        assert self.before is not None
        assert self.config.guard is not None
        before, allowed = self.before["loss"], self.before["loss"] * (1 + self.config.guard)
        now = self._loss(self.model, held_out)
        if now <= allowed:
            self.before, self._put_back = None, []
            return None
        depth = self.depth
        self._restore(self.before)
        self.before, self.stopped = None, True
        T = find_stages(self.model).depth
        said = (
            f"the removal is undone: held-out loss {now:.4f} an epoch after it, {before:.4f} before, at "
            f"most {allowed:.4f} allowed"
        )
        return self._note(Decision(epoch, depth, T, self.config.criterion, said, (None,) * T))

    def _snapshot(self, loss: float) -> dict[str, Any]:
        """Return copies of all that a removal changes, as plain values and tensors."""
        names: dict[torch.Tensor, str] = {p: n for n, p in self.model.named_parameters()}
        groups, states = [], []
        for optimizer in self.optimizers:
            groups.append([[names[p] for p in g["params"]] for g in optimizer.param_groups])
            states.append(
                {names[p]: copy.deepcopy(s) for p, s in optimizer.state.items() if p in names}
            )
        return {
            "loss": loss,
            "structure": _structure(self.model),
            "model": _copied(self.model),
            "averages": [_copied(average) for average in self.averages],
            "groups": groups,
            "states": states,
        }

    def _restore(self, before: dict[str, Any]) -> None:
        for put_back in self._put_back:
            put_back()
        for module in (self.model, *self.averages):
            take_structure(module, before["structure"])  # after a resume the layers are new ones
        self._put_back = []
        self.model.load_state_dict(before["model"])
        for average, state in zip(self.averages, before["averages"], strict=True):
            average.load_state_dict(state)
        named = dict(self.model.named_parameters())
        for optimizer, groups, state in zip(
            self.optimizers, before["groups"], before["states"], strict=True
        ):
            optimizer.state.clear()
            for group, names in zip(optimizer.param_groups, groups, strict=True):
                group["params"] = [named[name] for name in names]
            for name, values in state.items():
                optimizer.state[named[name]] = copy.deepcopy(values)

    def state_dict(self) -> dict[str, Any]:
        """Return structure and decisions so far, and what undoing needs, as plain values and tensors."""
        decisions = [asdict(d) | {"scores": list(d.scores)} for d in self.decisions]
        return {
            "structure": _structure(self.model),
            "decisions": decisions,
            "spent": self.spent,
            "stopped": self.stopped,
            "before": self.before,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a checkpoint's decisions, and give the model the layers it had.

        Its weights, and the optimizers' states, are for their own `load_state_dict`, afterwards; with
        layers of other sizes the parameters are new ones, so build the optimizers after this.
        """
        self.take_structure(state)
        self.spent, self.stopped = state["spent"], state["stopped"]
        self.before = state["before"]
        self.decisions = [
            Decision(**d | {"scores": tuple(d["scores"])}) for d in state["decisions"]
        ]

    def take_structure(self, state: dict[str, Any]) -> None:
        """Give model and averages the layers of a checkpoint, where they have others."""
        for module in (self.model, *self.averages):
            take_structure(module, state["structure"])
        self.depth = find_stages(self.model).depth


def _structure(model: nn.Module) -> dict[str, Any]:
    return asdict(describe(find_stages(model).net))


def take_structure(model: nn.Module, structure: dict[str, Any]) -> None:
    """Give a model the layers that were described, where it has others."""
    net = find_stages(model).net
    wanted = NetConfig(**structure)
    if describe(net) != wanted:
        restructure(net, wanted)


def _copied(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: v.detach().clone() for name, v in module.state_dict().items()}
