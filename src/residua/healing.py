"""Train any model for a number of steps, on labels and on a larger model's outputs; on Lightning."""

import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from itertools import count
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from residua.checkpoints import refuse_foreign
from residua.depth.plan import DepthPlan
from residua.errors import InputError, StoppedError
from residua.inputs import as_any_inputs, check_labels, split_batch
from residua.layers import weight_of
from residua.losses import Loss, cross_entropy, sample_losses
from residua.progress import quietly
from residua.running import renew_running_statistics
from residua.stack import FoundStack
from residua.streaming import evaluating, refuse_iterators
from residua.teaching import Paired, distance, divergence, outputs_and_states, paired
from residua.trainers import brought_back, make_trainer
from residua.training_bar import StepBar

HEALING = "healing.ckpt"


@dataclass(frozen=True)
class HealConfig:
    """How a model is trained after a cut.

    Attributes:
        steps: optimizer steps, one batch each.
        lr: highest learning rate of AdamW, reached after a tenth of the steps and lowered to a hundredth
            of it along a cosine.
        weight_decay: AdamW's, of the parameters with two dimensions or more.
        clip: largest gradient norm.
        teaching: the teacher's share of the loss, the labels' is the rest; without a teacher 0.
        states: by how much the distance of states to the teacher's counts beside it.
        loss: (outputs, targets) → the loss of each sample, or token; default cross-entropy.
        precision: Lightning's, such as "32-true", "bf16-mixed".
        accelerator: Lightning's, such as "cpu", "gpu", "auto".
        seed: of dropout, in each step drawn anew from it.

    Raises:
        InputError: steps is below 1, lr or clip not positive, teaching outside [0, 1].
    """

    steps: int
    lr: float = 5e-4
    weight_decay: float = 0.01
    clip: float = 1.0
    teaching: float = 0.5
    states: float = 3.0
    loss: Loss = cross_entropy
    precision: str = "32-true"
    accelerator: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.steps, int) or self.steps < 1:
            raise InputError(f"steps must be a whole number of at least 1, not {self.steps}")
        if not (0 < self.lr < float("inf") and self.clip > 0):
            raise InputError(f"lr and clip must be positive numbers, not {self.lr} and {self.clip}")
        if not 0 <= self.weight_decay < float("inf"):
            raise InputError(f"weight_decay must be 0 or more, not {self.weight_decay}")
        if not 0 <= self.teaching <= 1:
            raise InputError(f"teaching must be in [0, 1], not {self.teaching}")
        if not 0 <= self.states < float("inf"):
            raise InputError(f"states must be 0 or more, not {self.states}")


def heal(
    model: nn.Module,
    batches: Iterable[Any],
    config: HealConfig,
    *,
    teacher: nn.Module | FoundStack | None = None,
    plan: DepthPlan | None = None,
    folder: Path | None = None,
    progress: bool = False,
) -> None:
    """Train a cut model, in place, for a few steps on labels and on the uncut model's outputs.

    The loss of a batch is (1 − s)·E loss(outputs, labels) + s·E KL(teacher's probabilities ‖ its own)
    + r·E(x_t − the teacher's)² / var(the teacher's), over samples or tokens, s = `teaching`,
    r = `states`; the last term where both have residual layers, with the last state of each or, where
    the plan of the cut is given, the mean over the layers that stayed, each beside the last of those it
    stands for. The model is left in evaluation mode, on the device it was on. Batch norms begin with
    running statistics taken anew, by which it computes what it did before (:mod:`residua.running`).

    Args:
        model: any model; what :func:`residua.prune` or :func:`residua.apply` returned, say.
        batches: training batches (x, labels), or mappings of named inputs with `labels`; begun anew
            when they end.
        config: how long, how fast.
        teacher: the uncut model, or what :func:`residua.find_blocks` returned of it; it is not changed.
        plan: by which the model was cut from the teacher.
        folder: where a checkpoint is kept, from which the same call goes on when it was stopped.
        progress: show a bar with the remaining time.

    Raises:
        InputError: batches can be read only once, are empty or do not fit; training diverged; the plan
            is for another teacher; the machine lacks the accelerator or precision.
        StackError: a plan is given, and the layers it keeps are not found in the model.
        StoppedError: a signal ended the training early.

    Source: Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015; Romero et al.,
    FitNets, 2015 (states).
    """
    refuse_iterators(batches)
    if not any(p.requires_grad for p in model.parameters()):
        raise InputError(
            f"no parameter of the {type(model).__name__} requires a gradient, so nothing can be trained"
        )
    if plan is not None and teacher is None:
        raise InputError("a plan says which states of the teacher are meant; pass teacher, too")
    last = folder / HEALING if folder is not None else None
    module = _Healing(model, config, teacher, plan)
    begun = _begun(last, module.made_of) if last is not None and last.exists() else 0
    trainer = _trainer(config, folder, progress=progress)
    # Also where a checkpoint replaces it: what draws the batches is to be where it was the first time.
    renew_running_statistics(model, batches)
    endless = DataLoader(_Endless(batches, begun), batch_size=None)
    model.train()
    models = (model, *module.teacher)
    try:
        # SystemExit is Lightning's answer to Ctrl-C.
        with quietly(), suppress(SystemExit), evaluating(*module.teacher), brought_back(*models):
            trainer.fit(module, endless, ckpt_path=last if begun else None, weights_only=True)
    finally:
        model.eval()
    if trainer.global_step < config.steps:
        where = f"; the same call goes on from {str(last)!r}" if last is not None else ""
        raise StoppedError(
            f"training was stopped after {trainer.global_step} of {config.steps} steps{where}"
        )
    if last is not None:
        last.unlink(missing_ok=True)  # what is done is not gone on with


def _trainer(config: HealConfig, folder: Path | None, *, progress: bool) -> L.Trainer:
    """Return a trainer of so many steps, which keeps a checkpoint in the folder."""
    callbacks: list[Any] = [StepBar()] if progress else []
    if folder is not None:
        name = Path(HEALING).stem
        callbacks.append(
            ModelCheckpoint(
                folder, filename=name, every_n_train_steps=25, enable_version_counter=False
            )
        )
    with quietly():
        return make_trainer(
            config.accelerator,
            config.precision,
            max_steps=config.steps,
            max_epochs=-1,
            callbacks=callbacks,
            gradient_clip_val=config.clip,
            logger=False,
            enable_checkpointing=folder is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
        )


def _begun(path: Path, made_of: dict[str, str]) -> int:
    """Return after how many steps a checkpoint was written; refuse one of another training."""
    refuse_foreign(path, made_of)
    found = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    return int(found["global_step"])


class _Endless(IterableDataset[Any]):
    """Batches over and over, from a place in them on."""

    def __init__(self, batches: Iterable[Any], begun: int):
        self.batches, self.begun = batches, begun

    def __iter__(self) -> Iterator[Any]:
        skip = self.begun
        for epoch in count():
            seen = 0
            sampler: Any = getattr(self.batches, "sampler", None)
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)
            for batch in self.batches:
                seen += 1
                if skip:
                    skip -= 1
                    continue
                yield batch
            if not seen:
                raise InputError("the batches to train on are none; pass at least one")


class _Healing(L.LightningModule):
    """A model, its loss, and AdamW with warm-up and cosine."""

    def __init__(
        self,
        model: nn.Module,
        config: HealConfig,
        teacher: nn.Module | FoundStack | None,
        plan: DepthPlan | None,
    ):
        super().__init__()
        self.model, self.config, self.plan = model, config, plan
        self.made_of = {
            "training": _said(config),
            "model": _checksum(model),
            "plan": "" if plan is None else plan.to_json(),
        }
        # Tuples, so that the teacher is neither trained nor saved.
        self.given = () if teacher is None else (teacher,)
        self.teacher = tuple(g.model if isinstance(g, FoundStack) else g for g in self.given)
        self.paired: Paired | None = None
        self.looked = False

    def on_fit_start(self) -> None:
        """Bring the teacher to where the training is."""
        for teacher in self.teacher:
            teacher.to(self.device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write down what the checkpoint is of."""
        checkpoint["made_of"] = self.made_of

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return the loss of one batch."""
        torch.manual_seed((self.config.seed << 24) + self.global_step)
        x, labels = split_batch(batch, None)
        if labels is None:
            raise InputError("training batches must be (x, labels), or mappings with `labels`")
        x = as_any_inputs(x, weight_of(self.model))
        self._pair(x)
        pairs = self.paired.pairs if self.paired is not None else ()
        stack = self.paired.own if self.paired is not None else None
        outputs, states = outputs_and_states(self.model, stack, {i for i, _ in pairs}, x)
        targets = check_labels(labels, outputs.shape[-1]).to(outputs.device)
        loss = sample_losses(self.config.loss, outputs, targets).mean()
        for teacher in self.teacher:
            stack = self.paired.whole if self.paired is not None else None
            with torch.no_grad():
                told, wanted = outputs_and_states(teacher, stack, {t for _, t in pairs}, x)
            share = self.config.teaching
            counted = targets >= 0 if targets.ndim == 2 and outputs.ndim == 3 else ...
            loss = (1 - share) * loss + share * divergence(told[counted], outputs[counted])
            loss = loss + self.config.states * distance(states, wanted, pairs)
        if not bool(loss.isfinite()):
            raise InputError(
                f"training diverged: the loss is {float(loss)} after {self.global_step} steps; pass a "
                f"lower lr (it is {self.config.lr:g})"
            )
        return loss

    def _pair(self, x: Any) -> None:
        """Find the layers of model and teacher, with the first batch."""
        for given in self.given if self.config.states and not self.looked else ():
            self.paired, self.looked = paired(self.model, given, self.plan, x), True

    def configure_optimizers(self) -> Any:
        """Return AdamW and its schedule."""
        config = self.config
        matrices = [p for p in self.model.parameters() if p.requires_grad and p.ndim > 1]
        others = [p for p in self.model.parameters() if p.requires_grad and p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=config.lr)
        warm = max(config.steps // 10, 1)

        def share(step: int) -> float:
            if step < warm:
                return (step + 1) / warm
            turn = torch.pi * (step - warm) / max(config.steps - warm, 1)
            return 0.01 + 0.99 * (1 + float(torch.tensor(turn).cos())) / 2

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _said(config: HealConfig) -> str:
    """Return a configuration in words, the same in another process, where functions lie elsewhere."""
    of = {f.name: getattr(config, f.name) for f in fields(config)}
    name = getattr(config.loss, "__qualname__", type(config.loss).__qualname__)
    of["loss"] = f"{config.loss.__module__}.{name}"
    return ", ".join(f"{k}={v}" for k, v in of.items())


def _checksum(model: nn.Module) -> str:
    """Return class and a checksum of the weights that the training starts with."""
    sums = [
        zlib.crc32(v.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        for v in model.state_dict().values()
        if v.numel()
    ]
    return f"{type(model).__name__} {zlib.crc32(repr(sums).encode()):08x}"
