"""AdaptiveDepth: a Lightning callback that removes layers while a network trains."""

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import lightning as L
from torch import nn

from residua.depth.criteria import criterion_named, plan_depth
from residua.depth.curve import AffineHead, DepthCurve, depth_curve
from residua.depth.plan import DepthPlan
from residua.depth.surgery import cut
from residua.errors import InputError
from residua.stack import find_stack
from residua.statistics import accumulate

log = logging.getLogger(__name__)

# Shares of the epochs between which a rule is asked. The paper asks after every epoch. A depth curve
# means nothing before the network has learnt, and a cut network should train on for a while.
WINDOWS = {"paper": (0.0, 1.0), "depth-curve": (0.25, 0.8)}


@dataclass(frozen=True)
class Decision:
    """One decision after one epoch (from 1), with the figures it rests on."""

    epoch: int
    depth_before: int
    depth_after: int
    criterion: str
    reason: str
    scores: tuple[float | None, ...]


class AdaptiveDepth(L.Callback):
    """Ask a depth criterion after training epochs and remove the layers it names.

    The rule "paper" is exactly the paper's: after every epoch, if the residuals of the last two
    layers differ by less than `threshold`, the last layer goes; its figure is taken on the
    validation batches. "depth-curve" fits a head in closed form on every state (training batches),
    keeps the fewest layers whose validation loss is within one standard error of the best, and
    refits the head at the cut. Test data is never read.

    Args:
        criterion: "depth-curve" (default) or "paper".
        threshold: for "paper", default 0.01.
        window: shares of the epochs between which the rule is asked; default (0, 1) for "paper" and
            (0.25, 0.8) for "depth-curve".
        fit_samples: how many training samples fit the heads; default 8192.

    Raises:
        InputError: unknown criterion, threshold below 0, a window outside [0, 1], no validation
            batches, several processes.

    Source: Lagzi, arXiv 2101.03009, adaptive depth.
    """

    def __init__(
        self,
        criterion: str = "depth-curve",
        *,
        threshold: float = 0.01,
        window: tuple[float, float] | None = None,
        fit_samples: int = 8192,
    ):
        self.rule = criterion_named(criterion)
        self.criterion = criterion
        if threshold < 0:
            raise InputError(f"threshold must be 0 or more, not {threshold}")
        self.threshold = threshold
        self.window = WINDOWS[criterion] if window is None else window
        if not 0 <= self.window[0] <= self.window[1] <= 1:
            raise InputError(f"window must be two ascending shares in [0, 1], not {window}")
        self.fit_samples = fit_samples
        self.decisions: list[Decision] = []
        self.plans: list[DepthPlan] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Find the stack, and have a checkpoint's depth restored before its weights are."""
        if stage != "fit":
            return
        find_stack(pl_module)
        if trainer.world_size > 1:
            raise InputError(
                f"AdaptiveDepth works in one process, not in {trainer.world_size}; pass devices=1"
            )
        load = pl_module.on_load_checkpoint

        def restore(checkpoint: dict[str, Any]) -> None:
            # Lightning loads the weights before it restores callbacks, and the weights of a cut
            # network fit only a cut network.
            state = checkpoint["callbacks"].get(self.state_key)
            if state is not None:
                self._restore(pl_module, state)
            load(checkpoint)

        pl_module.on_load_checkpoint = restore  # type: ignore[method-assign]

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ask the rule and apply its plan."""
        epoch = trainer.current_epoch + 1
        epochs = trainer.max_epochs or 0
        first, last = (share * epochs for share in self.window)
        if epoch >= first and (epochs < 1 or epoch <= last):
            plan, head = self._plan(trainer, pl_module)
            self._apply(epoch, plan, head, trainer, pl_module)

    def _plan(
        self, trainer: L.Trainer, pl_module: nn.Module
    ) -> tuple[DepthPlan, AffineHead | None]:
        held_out: Iterable[Any] | None = trainer.val_dataloaders
        if held_out is None:
            raise InputError(
                "AdaptiveDepth decides on validation data; pass val_dataloaders to fit"
            )
        if self.rule.evidence == "statistics":
            statistics = accumulate(pl_module, held_out)
            return plan_depth(statistics, self.criterion, threshold=self.threshold), None
        curve = depth_curve(pl_module, self._training_batches(trainer), held_out)
        plan = plan_depth(curve, self.criterion)
        return plan, _head_of(curve, plan)

    def _training_batches(self, trainer: L.Trainer) -> Iterable[Any]:
        batches = trainer.train_dataloader
        assert batches is not None
        count = -(-self.fit_samples // (batches.batch_size or 1))
        return islice(iter(batches), count)

    def _apply(
        self,
        epoch: int,
        plan: DepthPlan,
        head: AffineHead | None,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
    ) -> None:
        if plan.removed:
            cut(pl_module, plan, head=head, optimizers=trainer.optimizers)
            self.plans.append(plan)
        decision = Decision(
            epoch, plan.depth, len(plan.keep), plan.criterion, plan.reason, plan.scores
        )
        self.decisions.append(decision)
        log.info("epoch %d, %s", epoch, plan)

    def state_dict(self) -> dict[str, Any]:
        """Return the decisions and plans so far, as plain values."""
        return {
            "decisions": [asdict(d) | {"scores": list(d.scores)} for d in self.decisions],
            "plans": [plan.to_json() for plan in self.plans],
        }

    def _restore(self, pl_module: nn.Module, state: dict[str, Any]) -> None:
        """Cut the fresh model as the checkpoint's was; the weights come from the checkpoint."""
        self.decisions = [
            Decision(**d | {"scores": tuple(d["scores"])}) for d in state["decisions"]
        ]
        self.plans = [DepthPlan.from_json(text) for text in state["plans"]]
        for plan in self.plans:
            cut(pl_module, plan, head=_current_head(pl_module) if plan.refit_head else None)


def _head_of(curve: DepthCurve, plan: DepthPlan) -> AffineHead | None:
    """Return the head fitted at the cut, or none where no layer goes."""
    return curve.heads[len(plan.keep)] if plan.removed else None


def _current_head(model: nn.Module) -> AffineHead:
    head = find_stack(model).head
    return AffineHead(head.weight.detach().clone(), head.bias.detach().clone())
