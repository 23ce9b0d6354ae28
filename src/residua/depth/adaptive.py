"""AdaptiveDepth: a Lightning callback that removes layers while a network trains."""

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import lightning as L
from torch import nn

from residua.depth.criteria import criterion_named, errors_spent, plan_depth
from residua.depth.curve import DepthCurve, depth_curve
from residua.depth.least_squares import AffineHead
from residua.depth.plan import DepthPlan
from residua.depth.surgery import cut, resize
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
    refits the head at the cut; one standard error in all, however often it is asked. Test data is
    never read.

    Args:
        criterion: "depth-curve" (default) or "paper".
        threshold: for "paper", default 0.01.
        window: shares of the epochs between which the rule is asked; default (0, 1) for "paper" and
            (0.25, 0.8) for "depth-curve".
        fit_samples: how many training samples fit the heads; default 8192.

    Raises:
        InputError: unknown criterion, threshold below 0, a window outside [0, 1] or one in which no
            epoch lies, fit_samples below 1, no validation batches, several processes, the callback
            added twice.

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
        if not threshold >= 0:
            raise InputError(f"threshold must be 0 or more, not {threshold}")
        if fit_samples < 1:
            raise InputError(f"fit_samples must be at least 1, not {fit_samples}")
        self.threshold = threshold
        self.window = WINDOWS[criterion] if window is None else window
        if len(self.window) != 2 or not 0 <= self.window[0] <= self.window[1] <= 1:
            raise InputError(f"window must be two ascending shares in [0, 1], not {window}")
        self.fit_samples = fit_samples
        self.decisions: list[Decision] = []
        self.depth = 0
        self.spent = 0.0  # standard errors of held-out loss given away so far

    @property
    def state_key(self) -> str:
        """Name the rule, so that a checkpoint made under another one is told apart."""
        return self._generate_state_key(
            criterion=self.criterion, threshold=self.threshold, window=self.window
        )

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Find the stack, and have a checkpoint's depth restored before its weights are."""
        self.depth = find_stack(pl_module).depth
        if stage == "fit":
            self.decisions, self.spent = [], 0.0
            self._check(trainer)
        self._load = pl_module.on_load_checkpoint

        def restore(checkpoint: dict[str, Any]) -> None:
            # Lightning loads the weights before it restores callbacks, and the weights of a cut
            # network fit only a cut network.
            state = checkpoint["callbacks"].get(self.state_key)
            if state is not None:
                resize(pl_module, state["depth"])
            self._load(checkpoint)

        pl_module.on_load_checkpoint = restore  # type: ignore[method-assign]

    def _check(self, trainer: L.Trainer) -> None:
        if trainer.world_size > 1:
            raise InputError(
                f"AdaptiveDepth works in one process, not in {trainer.world_size}; pass devices=1"
            )
        if sum(isinstance(c, AdaptiveDepth) for c in trainer.callbacks) > 1:  # type: ignore[attr-defined]
            raise InputError("AdaptiveDepth was added twice; pass one, or train twice")
        epochs = trainer.max_epochs or 0
        if not any(self._asked(epoch, epochs) for epoch in range(1, epochs + 1)):
            raise InputError(
                f"no epoch of {epochs} lies in the window {self.window}, so the rule would never be "
                "asked; pass max_epochs, or more of them, or another window"
            )

    def _asked(self, epoch: int, epochs: int) -> bool:
        return self.window[0] * epochs <= epoch <= self.window[1] * epochs

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave the module as it was, besides its depth."""
        pl_module.on_load_checkpoint = self._load  # type: ignore[method-assign]

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ask the rule and apply its plan."""
        epoch = trainer.current_epoch + 1
        if self._asked(epoch, trainer.max_epochs or 0):
            plan, head = self._plan(trainer, pl_module)
            self._apply(epoch, plan, head, trainer, pl_module)

    def _plan(
        self, trainer: L.Trainer, pl_module: nn.Module
    ) -> tuple[DepthPlan, AffineHead | None]:
        # Lightning loads validation data when it first validates, which may come later than this.
        trainer.fit_loop.epoch_loop.val_loop.setup_data()
        held_out: Iterable[Any] | None = trainer.val_dataloaders
        if held_out is None:
            raise InputError(
                "AdaptiveDepth decides on validation data; pass val_dataloaders to fit"
            )
        if self.rule.evidence == "statistics":
            statistics = accumulate(pl_module, held_out)
            return plan_depth(statistics, self.criterion, threshold=self.threshold), None
        curve = depth_curve(pl_module, self._training_batches(trainer), held_out)
        plan = plan_depth(curve, self.criterion, errors=1.0 - self.spent)
        if plan.removed:
            self.spent = min(1.0, self.spent + errors_spent(curve, plan))
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
            self.depth = len(plan.keep)
        decision = Decision(
            epoch, plan.depth, len(plan.keep), plan.criterion, plan.reason, plan.scores
        )
        self.decisions.append(decision)
        log.info("epoch %d, %s", epoch, plan)

    def state_dict(self) -> dict[str, Any]:
        """Return depth and decisions so far, as plain values."""
        decisions = [asdict(d) | {"scores": list(d.scores)} for d in self.decisions]
        return {"depth": self.depth, "spent": self.spent, "decisions": decisions}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a checkpoint's depth and decisions."""
        self.depth, self.spent = state["depth"], state["spent"]
        self.decisions = [
            Decision(**d | {"scores": tuple(d["scores"])}) for d in state["decisions"]
        ]


def _head_of(curve: DepthCurve, plan: DepthPlan) -> AffineHead | None:
    """Return the head fitted at the cut, or none where no layer goes."""
    return curve.heads[len(plan.keep)] if plan.removed else None
