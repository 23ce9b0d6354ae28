"""Cut a finished run: prune its network, heal it, measure it, write a run folder."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from residua.analysis import analyse
from residua.data import DataSplits, loader
from residua.depth.plan import DepthPlan
from residua.depth.pruning import Advance, Measured, PruneConfig, PruneReport, measure, prune
from residua.errors import InputError, StoppedError
from residua.folder import locked, make_folder, merge_logs, refuse_existing
from residua.folder_kinds import PRUNED
from residua.provenance import machine, versions
from residua.runs import Run, data_of, write
from residua.stack import find_stages
from residua.stored import read_json, write_json, write_text
from residua.train_config import TrainConfig
from residua.training import evaluate, fit

_PLAN = "plan.json"
BATCH = 500


@dataclass(frozen=True)
class Pruned:
    """What a cut came to.

    Attributes:
        run: the new run folder, readable like any other.
        report: what went, and the held-out figures before and after.
        healed: held-out figures after healing; None without.
        stages: of every layer of the uncut network.
    """

    run: Run
    report: PruneReport
    healed: Measured | None
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Healing:
    """Short training of the cut network on labels and on the uncut network's outputs.

    As the uncut network was trained, but on inputs as they are: what makes a long training general
    (dropout of inputs, noise, shifts and flips) only costs a short one.

    Attributes:
        epochs: passes over the training split; 0 for none.
        lr: the cycle's highest learning rate; default a tenth of the run's own.

    Raises:
        InputError: epochs is below 0, or lr not positive.
    """

    epochs: int = 0
    lr: float | None = None

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise InputError(f"heal must be 0 epochs or more, not {self.epochs}")
        if self.lr is not None and not 0 < self.lr < float("inf"):
            raise InputError(f"heal-lr must be a positive number, not {self.lr}")

    def training(self, config: TrainConfig) -> TrainConfig:
        """Return how the cut network is trained, given how the uncut one was."""
        lr = config.lr / 10 if self.lr is None else self.lr
        whole = {"input_dropout": 0.0, "input_noise": 0.0, "augment": "none"}
        return replace(config, epochs=self.epochs, lr=lr, **whole)  # type: ignore[arg-type]


def prune_run(
    run: Run,
    folder: Path,
    config: PruneConfig,
    command: str,
    *,
    data: DataSplits | None = None,
    healing: Healing = Healing(),
    advance: Advance = lambda share: None,
    progress: bool = True,
) -> Pruned:
    """Cut the network of a finished run and write the cut one into a new run folder.

    Heads, steps and layers are fitted on the training split; the validation split decides; the test
    split is looked at once, at the end. A healing that was stopped goes on from its last epoch when the
    same is asked for again.

    Raises:
        InputError: the folder holds something else, the aim cannot be reached, or the data do not fit.
        StoppedError: a signal ended the healing.
    """
    found = data_of(run) if data is None else data
    settings = {
        "run": str(run.folder.resolve()),
        "aim": {k: v for k, v in asdict(config).items() if k != "loss"},
        "heal": asdict(healing),
    }
    _claim(folder, settings)
    train, val = loader(found.train, BATCH), loader(found.val, BATCH)
    small, report = prune(run.net, train, val, _begun(folder, config), advance)
    make_folder(folder)
    with locked(folder):
        write_json(folder / PRUNED, settings)
        write_text(folder / _PLAN, report.plan.to_json() + "\n")
        healed = None
        if healing.epochs:
            healed = _heal(small, run, found, folder, healing, progress)
        new = _write(small, run, found, folder, command, report, healed)
        return Pruned(new, report, healed, find_stages(run.net).stages)


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder with anything but a stopped healing of the same cut."""
    path = folder / PRUNED
    if not path.exists() or (folder / "summary.json").exists():
        refuse_existing(folder)
        return
    if read_json(path) != settings:
        raise InputError(
            f"{str(folder)!r} holds an unfinished cut with other settings; pass a new folder, or the "
            "settings in its prune.json"
        )


def _begun(folder: Path, config: PruneConfig) -> PruneConfig:
    """Return the aim of a healing that was stopped: as many layers, however fast they are today."""
    path = folder / _PLAN
    if not path.exists():
        return config
    plan = DepthPlan.from_json(path.read_text("utf-8"))
    kept = {name: getattr(config, name) for name in ("criterion", "compensation", "loss")}
    return PruneConfig(len(plan.keep), **kept)


def _heal(
    small: nn.Module,
    run: Run,
    data: DataSplits,
    folder: Path,
    healing: Healing,
    progress: bool,
) -> Measured:
    config = healing.training(run.config.train)
    small.train()  # Lightning trains modules in the mode in which they are
    try:
        fit(small, data, config, folder, teacher=run.net, progress=progress)
    except StoppedError as stop:
        raise StoppedError(f"{stop}; the same command goes on where it was stopped") from stop
    small.cpu()
    merge_logs(folder)
    return measure(small, loader(data.val, BATCH))


def _write(
    small: Any,
    run: Run,
    data: DataSplits,
    folder: Path,
    command: str,
    report: PruneReport,
    healed: Measured | None,
) -> Run:
    analysis = analyse(small, data, "val")
    analysis["depth_after_epoch"] = ("epoch", [find_stages(small).depth])
    analysis = analysis.assign_coords(epoch=[run.summary["epochs"]])
    summary = run.summary | {
        "test_error": 100 * (1 - evaluate(small, data.test)),
        "val_error": 100 * (1 - evaluate(small, data.val)),
        "test_error_uncut": run.summary["test_error"],
        "depth_initial": run.net.depth,
        "depth_final": small.depth,
        "adaptive": f"pruned by {report.plan.criterion}",
        "decisions": [],
        "pruned": {
            "from": run.folder.name,
            "removed": [report.plan.names[t - 1] for t in report.plan.removed],
            "reason": report.plan.reason,
            "compensation": report.compensation.kind if report.compensation else "none",
            "ridge": report.compensation.ridge if report.compensation else None,
            "steps": list(getattr(small, "steps", ())),
            "before": asdict(report.before),
            "after": asdict(report.after),
            "healed": asdict(healed) if healed else None,
            "tried": [asdict(m) for m in report.tried],
        },
        "versions": versions(),
        "machine": machine(),
        "command": command,
    }
    return write(Run(folder, run.config, small, analysis, summary), command)
