"""AdaptiveDepth: a Lightning callback that removes layers while a network trains."""

from collections.abc import Iterable
from dataclasses import replace
from types import MethodType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

from residua.depth.adaptive_config import AdaptiveConfig
from residua.depth.controller import Decision, DepthController
from residua.errors import InputError
from residua.stack import find_stages, is_own


class AdaptiveDepth(L.Callback):
    """Ask a depth criterion after training epochs and remove the layers it names.

    The rule "paper" is exactly the paper's: after every epoch, if the residuals of the last two
    layers differ by less than `threshold`, the last layer goes; its figure is taken on the
    validation batches. "spans" (default) lets the layers that stay take longer steps and keeps the
    fewest that lose no more than `tolerance`; "depth-curve" fits a head in closed form on every state.
    A removal after which the held-out loss is above its tolerance an epoch later is undone. Test data
    is never read.

    Works on one device and with DDP (figures are merged over processes, the first decides, the model is
    wrapped anew), with gradient accumulation, mixed precision, Lightning's weight averaging (cut
    alike), and with blocks compiled one by one; checkpoints resume across changes of depth.

    Args:
        criterion: "spans" (default), "depth-curve" or "paper".
        config: more of it, see :class:`residua.AdaptiveConfig`; `criterion` and `threshold` take its
            place where they are given.
        threshold: for "paper", default 0.01.

    Raises:
        InputError: the configuration is out of range; a window in which no epoch lies, no validation
            batches, a strategy that splits parameters, the callback added twice.

    Source: Lagzi, arXiv 2101.03009, adaptive depth.
    """

    def __init__(
        self,
        criterion: str | None = None,
        *,
        threshold: float | None = None,
        config: AdaptiveConfig | None = None,
    ):
        given = {"criterion": criterion, "threshold": threshold}
        self.config = replace(
            config or AdaptiveConfig(),
            **{k: v for k, v in given.items() if v is not None},  # type: ignore[arg-type]
        )
        self.controller: DepthController | None = None
        c = self.config
        self._key = self._generate_state_key(  # Lightning asks for it in every step, several times
            criterion=c.criterion,
            threshold=c.threshold,
            tolerance=c.guard,
            keep=c.keep,
            window=c.asked,
            negligible=c.ignored,
        )

    @property
    def decisions(self) -> list[Decision]:
        """What was decided so far."""
        return self.controller.decisions if self.controller is not None else []

    @property
    def state_key(self) -> str:
        """Name the rule, so that a checkpoint made under another one is told apart."""
        return self._key

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Find the stack, and have a checkpoint's depth restored before its weights are."""
        if type(pl_module).forward is L.LightningModule.forward:  # no forward of its own
            if not is_own(pl_module):
                raise InputError(
                    f"the {type(pl_module).__name__} has no forward, by which its layers could be "
                    "found; give it one that takes a batch's inputs and returns the logits"
                )
            pl_module.forward = MethodType(_through_its_network, pl_module)  # type: ignore[method-assign]
        if (
            stage == "fit" or self.controller is None or self.controller.model is not pl_module
        ):  # another model's layers are not this one's
            self.controller = DepthController(pl_module, config=self.config)
        if stage == "fit":
            self._check(trainer)
        # After a call that failed Lightning does not tear down, and what was put on is still there.
        load = pl_module.on_load_checkpoint
        self._load = load = getattr(load, "put_on", load)

        def restore(checkpoint: dict[str, Any]) -> None:
            # Lightning loads the weights before it restores callbacks, and the weights of a cut
            # network fit only a cut network.
            state = checkpoint["callbacks"].get(self.state_key)
            if state is not None and self.controller is not None:
                self.controller.averages = _averages(trainer)
                self.controller.take_structure(state)
            load(checkpoint)

        restore.put_on = load  # type: ignore[attr-defined]
        pl_module.on_load_checkpoint = restore  # type: ignore[method-assign]

    def _check(self, trainer: L.Trainer) -> None:
        if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            raise InputError(
                f"AdaptiveDepth works on one device or with DDP, not with "
                f"{type(trainer.strategy).__name__}, which splits or keeps parameters of its own; pass "
                "strategy='ddp'"
            )
        if sum(isinstance(c, AdaptiveDepth) for c in trainer.callbacks) > 1:  # type: ignore[attr-defined]
            raise InputError("AdaptiveDepth was added twice; pass one, or train twice")
        epochs = trainer.max_epochs or 0
        assert self.controller is not None
        if not any(self.controller.asks(epoch, epochs) for epoch in range(1, epochs + 1)):
            raise InputError(
                f"no epoch of {epochs} lies in the window {self.config.asked}, so the rule would never "
                "be asked; pass max_epochs, or more of them, or another window"
            )

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave the module as it was, besides its depth."""
        pl_module.on_load_checkpoint = self._load  # type: ignore[method-assign]
        if getattr(pl_module.forward, "__func__", None) is _through_its_network:
            del pl_module.forward

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ask the rule, apply its plan or undo the last, and wrap a distributed model anew."""
        assert self.controller is not None
        self.controller.optimizers = trainer.optimizers
        self.controller.averages = _averages(trainer)
        # Lightning loads validation data when it first validates, which may come later than this.
        trainer.fit_loop.epoch_loop.val_loop.setup_data()
        held_out: Iterable[Any] | None = trainer.val_dataloaders
        if held_out is None:
            raise InputError(
                "AdaptiveDepth decides on validation data; pass val_dataloaders to fit"
            )
        if isinstance(held_out, list | tuple) and len(held_out) == 1:
            held_out = held_out[0]  # Lightning takes a list of one, too
        batches = trainer.train_dataloader
        assert batches is not None
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs or 0
        decision = self.controller.step(epoch, epochs, batches, held_out)
        changed = decision is not None and decision.depth_before != decision.depth_after
        if changed and isinstance(trainer.strategy, DDPStrategy):
            # The reducer of a wrapped model knows the parameters of its first day.
            trainer.strategy.model = pl_module
            trainer.strategy.configure_ddp()

    def state_dict(self) -> dict[str, Any]:
        """Return structure and decisions so far, as plain values and tensors."""
        return self.controller.state_dict() if self.controller is not None else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a checkpoint's depth and decisions."""
        if self.controller is not None and state:
            self.controller.load_state_dict(state)


def _through_its_network(module: L.LightningModule, x: Tensor) -> Tensor:
    """Be the forward of a module that has none: that of the network in it."""
    logits: Tensor = find_stages(module).net(x)
    return logits


def _averages(trainer: L.Trainer) -> list[Any]:
    """Return the averaged models that Lightning keeps beside the one it trains."""
    found = [c._average_model for c in trainer.callbacks if isinstance(c, WeightAveraging)]  # type: ignore[attr-defined]
    return [model for model in found if model is not None]
