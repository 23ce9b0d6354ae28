"""AdaptiveDepthCallback: removes layers while a Trainer of transformers trains a model."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from residua.depth.adaptive_config import AdaptiveConfig
from residua.depth.controller import Decision, DepthController
from residua.errors import InputError
from residua.model_store import repeated

_FILE = "residua_depth.pt"


class AdaptiveDepthCallback(TrainerCallback):
    """Ask a depth criterion after training epochs and remove the layers it names.

    As :class:`residua.AdaptiveDepth` for Lightning: after the evaluation at the end of an epoch the rule
    is asked, on training data and on the evaluation data set, which therefore must not be the test data.
    What was decided lies beside the Trainer's own files in every checkpoint. To go on from one::

        callback = rs.AdaptiveDepthCallback(config)
        callback.restore(model, checkpoint)           # gives the new model the checkpoint's layers
        Trainer(model, args, callbacks=[callback], …).train(resume_from_checkpoint=checkpoint)

    One process, on one device.

    Args:
        config: the rule, see :class:`residua.AdaptiveConfig`; of language models with
            `loss=rs.next_token`.

    Raises:
        InputError: the Trainer does not evaluate at the end of epochs, has several processes, or goes on
            from a checkpoint whose layers the model was not given.
    """

    def __init__(self, config: AdaptiveConfig | None = None):
        self.config = config or AdaptiveConfig()
        self.controller: DepthController | None = None
        self.restored = False

    @property
    def decisions(self) -> list[Decision]:
        """What was decided so far."""
        return self.controller.decisions if self.controller is not None else []

    def restore(self, model: nn.Module, checkpoint: str | Path) -> None:
        """Give a model, built as before the training, the layers of a checkpoint; weights come later.

        Raises:
            InputError: the checkpoint was not written with this callback, or is of another model.
        """
        path = Path(checkpoint) / _FILE
        if not path.is_file():
            raise InputError(
                f"{str(checkpoint)!r} holds no {_FILE}, so it was not written with an "
                "AdaptiveDepthCallback; pass one of its checkpoint-… folders"
            )
        self.controller = DepthController(model, config=self.config)
        self.controller.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self.restored = True

    def on_init_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Refuse a checkpoint with fewer layers, which the Trainer would load in part."""
        model = more["model"]
        own = set(model.state_dict()) - repeated(model)  # of weights used twice one is saved

        def look(module: nn.Module, weights: dict[str, Any], *rest: Any) -> None:
            missing = sorted(own - set(weights))
            if missing and not self.restored:
                raise InputError(
                    f"the checkpoint lacks {missing[0]}, as one does whose layers were removed; call "
                    "callback.restore(model, checkpoint) before the Trainer is made"
                )

        self._looking = model.register_load_state_dict_pre_hook(look)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Look whether the rule can be asked."""
        self._looking.remove()
        if args.world_size > 1 or args.n_gpu > 1:
            raise InputError(
                f"AdaptiveDepthCallback works in one process on one device, not in {args.world_size} on "
                f"{args.n_gpu}; use Lightning and residua.AdaptiveDepth for several"
            )
        if str(getattr(args.eval_strategy, "value", args.eval_strategy)) != "epoch":
            raise InputError(
                f"AdaptiveDepthCallback decides after the evaluation of an epoch; pass "
                f"eval_strategy='epoch' and an eval_dataset, not {args.eval_strategy!r}"
            )
        if state.global_step > 0 and not self.restored:
            raise InputError(
                "the training goes on from a checkpoint, and the model was not given its layers; call "
                "callback.restore(model, checkpoint) before the Trainer is made"
            )
        if self.controller is None:
            self.controller = DepthController(more["model"], config=self.config)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Ask the rule at the end of an epoch, apply its plan or undo the last."""
        if self.controller is None or state.epoch is None:
            return  # evaluated without training
        epoch = round(state.epoch)
        if abs(state.epoch - epoch) > 1e-6 or epoch < 1:
            return
        optimizer = more["optimizer"]
        self.controller.optimizers = [getattr(optimizer, "optimizer", optimizer)]
        train, held_out = (
            getattr(more[name], "base_dataloader", more[name])
            for name in ("train_dataloader", "eval_dataloader")
        )
        self.controller.step(epoch, round(args.num_train_epochs), train, held_out)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Write what was decided, and what undoing needs, into the checkpoint."""
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        if self.controller is not None and folder.is_dir():
            torch.save(self.controller.state_dict(), folder / _FILE)
