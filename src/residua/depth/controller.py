"""Adaptive depth in training, whatever the loop: ask a rule, cut, watch the loss, undo."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn
from torch.optim import Optimizer

from residua.depth.adaptive_config import AdaptiveConfig
from residua.depth.compensation import Compensation
from residua.depth.criteria import plan_depth
from residua.depth.curve import curve_of
from residua.depth.curve_records import CurveFit
from residua.depth.fit_job import FitOptions
from residua.depth.fitting import compensate, kind_in_training
from residua.depth.least_squares import RIDGES
from residua.depth.plan import DepthPlan
from residua.depth.planners import errors_spent
from residua.depth.similarity import similarity
from residua.depth.snapshot import check_groups, put_back, snapshot
from residua.depth.surgery import apply
from residua.depth.trained_layers import FoundLayers, layers_of
from residua.distributed import agreed, gathered, total
from residua.errors import InputError
from residua.layers import ResidualStack
from residua.stack import FoundStack
from residua.statistics import accumulate
from residua.streaming import HeldOut, first, held_out_figures

log = logging.getLogger(__name__)


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
        model: any with residual layers; not wrapped in DistributedDataParallel, which is to be wrapped
            anew where `step` returns a decision that changes the depth.
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
        self._put_back: Callable[[], None] | None = None  # the layers themselves, compiled or not
        self.stopped = False  # a removal was undone: no other is tried
        images = self.config.criterion == "spans"
        self.layers = layers_of(model, self.averages, self.config.blocks, images=images)
        self._check_optimizers("pass the module that holds all of them")

    def _check_optimizers(self, said: str) -> None:
        own = set(self.model.parameters())
        for optimizer in self.optimizers:
            if not all(p in own for group in optimizer.param_groups for p in group["params"]):
                raise InputError(
                    f"the {type(optimizer).__name__} trains parameters that are not the model's; {said}"
                )

    @property
    def depth(self) -> int:
        """How many residual layers the model has now."""
        return self.layers.depth

    def asks(self, epoch: int, epochs: int) -> bool:
        """Return whether the rule is asked after an epoch (from 1)."""
        begin, end = (share * epochs for share in self.config.asked)
        if self.config.window is None and self.config.criterion == "spans":
            end = max(end, 1.0)
        return begin - 1e-9 <= epoch <= end + 1e-9

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
        fit = first(train_batches, self.config.fit_samples)
        if not fit:
            raise InputError("the training loader gave no batch; pass one with at least one sample")
        stack = self.layers.stack(fit[0])
        guarded = self.config.guard is not None
        before = self._figures(self.model, held_out_batches) if guarded else None
        plan, compensation = agreed(self._plan(stack, fit, held_out_batches, before))
        if plan.removed:
            if isinstance(stack, FoundStack):
                apply(replace(plan, refit_head=False), stack)  # refuses what would go wrong
            self._apply(plan, compensation, before)
        decision = Decision(
            epoch, plan.depth, len(plan.keep), plan.criterion, plan.reason, plan.scores
        )
        return self._note(decision)

    def _note(self, decision: Decision) -> Decision:
        self.decisions.append(decision)
        log.info("epoch %d: %s", decision.epoch, decision.reason)
        return decision

    def _plan(
        self,
        stack: ResidualStack,
        fit: list[Any],
        held_out: Iterable[Any],
        before: HeldOut | None,
    ) -> tuple[DepthPlan, Compensation | None]:
        config = self.config
        if config.criterion == "paper":
            statistics = total(gathered(accumulate(stack, held_out)))
            plan = plan_depth(statistics, "paper", threshold=config.threshold)
            if len(plan.keep) < min(config.keep, plan.depth):
                said = f"{plan.reason}, but {config.keep} layers are to stay"
                plan = replace(plan, keep=tuple(range(1, plan.depth + 1)), reason=said)
            return plan, None
        if config.criterion == "depth-curve":
            return self._plan_by_curve(stack, fit, held_out)
        assert before is not None  # of this rule there always is a guard
        return self._plan_by_spans(stack, fit, held_out, before)

    def _plan_by_curve(
        self, stack: ResidualStack, fit: list[Any], held_out: Iterable[Any]
    ) -> tuple[DepthPlan, Compensation | None]:
        how = CurveFit("logits", "states", RIDGES, self.config.loss, gathered)
        curve = curve_of(stack, (fit, held_out, None), how)
        plan = plan_depth(curve, "depth-curve", errors=1.0 - self.spent)
        fewest = min(self.config.keep, plan.depth)
        if len(plan.keep) < fewest:
            plan = plan_depth(curve, "depth-curve", keep=fewest)
        if plan.removed:
            self.spent = min(1.0, self.spent + errors_spent(curve, plan))
        return plan, curve.compensation(len(plan.keep)) if plan.removed else None

    def _plan_by_spans(
        self, stack: ResidualStack, fit: list[Any], held_out: Iterable[Any], before: HeldOut
    ) -> tuple[DepthPlan, Compensation | None]:
        """Return the fewest layers whose loss is within the tolerance, found by halving.

        All that decides is merged, so every process comes to the same.
        """
        found = total(gathered(similarity(stack, fit)))
        T = len(found.names)
        allowed = self._allowed(before)
        kind, options = kind_in_training(stack), FitOptions(loss=self.config.loss, merge=gathered)
        best: tuple[DepthPlan, Compensation | None] = (plan_depth(found, "spans", keep=T), None)
        loss = before.loss
        fewest = max(self.config.keep, len(found.products))
        few, enough = fewest - 1, T
        while enough - few > 1:
            keep = (few + enough) // 2
            plan = plan_depth(found, "spans", keep=keep)
            fitted = compensate(stack, plan, fit, held_out, kind=kind, options=options)
            of: Any = stack if isinstance(stack, FoundStack) else self.model
            small = apply(plan, of, compensation=fitted)
            reached = self._figures(small, held_out).loss
            if reached <= allowed:
                enough, best, loss = keep, (plan, fitted), reached
            else:
                few = keep
        plan, made = best
        said = f"held-out loss {before.loss:.4f} with {T} layers"
        if plan.removed:
            said += f", {loss:.4f} with {enough}; {plan.reason}"
        else:
            said += f", above {allowed:.4f} with fewer" if fewest < T else ", and no fewer may stay"
        return replace(plan, reason=said), made

    def _figures(self, model: nn.Module, held_out: Iterable[Any]) -> HeldOut:
        return total(gathered(held_out_figures(model, held_out, self.config.loss)))

    def _allowed(self, before: HeldOut) -> float:
        """Return the highest held-out loss that a removal may lead to."""
        assert self.config.guard is not None
        return before.loss + max(before.loss * self.config.guard, self.config.ignored)

    def _apply(
        self, plan: DepthPlan, compensation: Compensation | None, before: HeldOut | None
    ) -> None:
        """Cut model and averages, all or none."""
        kept = None
        if before is not None:
            figures = {"loss": before.loss, "allowed": self._allowed(before)}
            kept = {
                **figures,
                "structure": self.layers.structure(),
                **snapshot(self.model, self.averages, self.optimizers),
            }
        undo = self.layers.cut(plan, compensation, self.averages, self.optimizers)
        self.before, self._put_back = kept, undo if kept is not None else None

    def _judge(self, epoch: int, held_out: Iterable[Any]) -> Decision | None:
        """Undo the last removal if the loss is beyond the tolerance, one epoch after it."""
        assert self.before is not None
        before, allowed = self.before["loss"], self.before["allowed"]
        now = self._figures(self.model, held_out).loss
        if now <= allowed:
            self.before, self._put_back = None, None
            return None
        check_groups(self.before, self.optimizers)
        depth = self.depth
        if self._put_back is not None:
            self._put_back()
        self.layers.take(self.before["structure"])  # after a resume others are made
        put_back(self.before, self.model, self.averages, self.optimizers)
        self.before, self._put_back, self.stopped = None, None, True
        T = self.depth
        said = (
            f"the removal is undone: held-out loss {now:.4f} an epoch after it, {before:.4f} before, at "
            f"most {allowed:.4f} allowed"
        )
        return self._note(Decision(epoch, depth, T, self.config.criterion, said, (None,) * T))

    def state_dict(self) -> dict[str, Any]:
        """Return structure and decisions so far, and what undoing needs, as plain values and tensors."""
        decisions = [asdict(d) | {"scores": list(d.scores)} for d in self.decisions]
        return {
            "structure": self.layers.structure(),
            "decisions": decisions,
            "spent": self.spent,
            "stopped": self.stopped,
            "before": self.before,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a checkpoint's decisions, and give the model the layers it had.

        Its weights, and the optimizers' states, are for their own `load_state_dict`, afterwards.

        Raises:
            InputError: an optimizer trains layers that are gone now.
        """
        self.take_structure(state)
        self._check_optimizers(
            "its layers are those of the checkpoint now. Build the optimizer after this, and set "
            "`optimizers` to it"
        )
        self.spent, self.stopped = state["spent"], state["stopped"]
        self.before = state["before"]
        self.decisions = [
            Decision(**d | {"scores": tuple(d["scores"])}) for d in state["decisions"]
        ]

    def take_structure(self, state: dict[str, Any]) -> None:
        """Give model and averages the layers of a checkpoint, where they have others."""
        wanted, before = state["structure"], state["before"]
        if isinstance(self.layers, FoundLayers) and self.layers.structure() == wanted:
            return
        if isinstance(self.layers, FoundLayers) and before is not None and self._put_back is None:
            self.layers.averages = self.averages
            self.layers.take(before["structure"])
        undo = self.layers.take(wanted)
        if before is not None and self._put_back is None:
            self._put_back = undo
