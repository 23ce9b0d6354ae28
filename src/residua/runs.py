"""A run folder: train a network, analyse it, write everything; continue it; read it back."""

import os
import shlex
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import torch
import xarray as xr
from lightning.pytorch.callbacks import Timer

from residua.analysis import Advance, analyse, perturb
from residua.choices import Activation, Adaptive, Lift, Net, SplitName, Weights
from residua.data import NAMES, DataSplits, Scale, load_data
from residua.depth.adaptive import AdaptiveDepth
from residua.depth.adaptive_config import AdaptiveConfig
from residua.errors import InputError, StoppedError
from residua.folder import locked, make_folder, merge_logs, read_json, refuse_existing, write_json
from residua.provenance import machine, versions
from residua.sources import DATA_DIR_VARIABLE, HUB
from residua.stack import find_stages
from residua.store import NetConfig, Network, build, describe, load, save
from residua.train_config import TrainConfig
from residua.training import evaluate, fit, make_trainer


@dataclass(frozen=True)
class RunConfig:
    """All that determines a run, besides the machine; written to config.json.

    Attributes:
        data: name or path, see :func:`residua.load_data`; paths are stored absolute.
        data_dir: folder of local parquet data sets, or None.
        net, depth, width, weights, activation, step_size, lift: the network; width None means the
            input dimensions and a third more.
        adaptive: "none", "spans", "depth-curve" or "paper".
        threshold: of the rule "paper".
        tolerance: by how much the held-out loss may rise, see :class:`residua.AdaptiveConfig`.
        keep: fewest layers that a rule may leave.
        train: how it is trained, its seed included.
    """

    data: str
    data_dir: str | None = None
    net: Net = "resnet"
    depth: int = 15
    width: int | None = None
    weights: Weights = "shared"
    activation: Activation = "logistic"
    step_size: float = 1.0
    lift: Lift = "pad"
    adaptive: Adaptive = "none"
    threshold: float = 0.01
    tolerance: float | None = None
    keep: int = 1
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if self.adaptive not in get_args(Adaptive):
            raise InputError(
                f"adaptive must be one of {', '.join(get_args(Adaptive))}, not {self.adaptive!r}"
            )
        self.depth_rule()

    def depth_rule(self) -> AdaptiveConfig | None:
        """Return the rule that removes layers in training, or None."""
        criterion = "spans" if self.adaptive == "none" else self.adaptive
        found = AdaptiveConfig(criterion, self.threshold, self.tolerance, keep=self.keep)
        return None if self.adaptive == "none" else found


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, configuration, network, measures and summary."""

    folder: Path
    config: RunConfig
    net: Network
    analysis: xr.Dataset
    summary: dict[str, Any]


def start(config: RunConfig, folder: Path, command: str, *, progress: bool = True) -> Run:
    """Train, analyse and write a run into a new folder.

    The folder then holds config.json, metrics.csv, model.safetensors, analysis.nc, summary.json and
    checkpoints. The pages are for :mod:`residua.report`.

    Raises:
        InputError: the folder holds something already or cannot be made, or the data or configuration
            are not usable.
        StoppedError: a signal ended it; :func:`resume` goes on.
    """
    refuse_existing(folder)
    config = _located(config)
    data = load_data(config.data, data_dir=config.data_dir, seed=config.train.seed)
    # A bad network or device is refused before anything is written.
    _build(config, data)
    make_trainer(config.train, logger=False, enable_checkpointing=False)
    make_folder(folder)
    with locked(folder):
        refuse_existing(folder)  # another process may have been faster
        write_json(folder / "config.json", {"command": command, **asdict(config)})
        return _go(config, folder, data, command, progress)


def _located(config: RunConfig) -> RunConfig:
    """Return the configuration with its paths absolute, so that a run can be resumed from anywhere."""
    data = str(Path(config.data).resolve()) if Path(config.data).exists() else config.data
    folder = config.data_dir or os.environ.get(DATA_DIR_VARIABLE)
    found = str(Path(folder).resolve()) if folder and config.data in HUB else None
    return replace(config, data=data if config.data not in NAMES else config.data, data_dir=found)


def resume(folder: Path, *, progress: bool = True) -> Run:
    """Continue a run that was stopped, from its last checkpoint, to the same result.

    Raises:
        InputError: there is no run, it is finished, another process works on it, or its checkpoint is
            damaged or of another run.
        StoppedError: a signal ended it again.
    """
    config, command = read_config(folder)
    if (folder / "summary.json").exists():
        raise InputError(
            f"the run in {str(folder)!r} is finished; see residua inspect {shlex.quote(str(folder))}"
        )
    data = load_data(config.data, data_dir=config.data_dir, seed=config.train.seed)
    with locked(folder):
        # A stop in the analysis may have left one.
        (folder / "model.safetensors").unlink(missing_ok=True)
        return _go(config, folder, data, command, progress)


def read(folder: Path) -> Run:
    """Read a finished run.

    Raises:
        InputError: there is no run, it is not finished, or a file of it is damaged.
    """
    config, _ = read_config(folder)
    if not (folder / "summary.json").exists():
        raise InputError(
            f"the run in {str(folder)!r} is not finished; continue it with: "
            f"residua resume {shlex.quote(str(folder))}"
        )
    summary = read_json(folder / "summary.json")
    if not summary.keys() >= {"data", "test_error", "depth_final"}:
        raise InputError(
            f"{str(folder / 'summary.json')!r} lacks what a summary holds; pass an intact run"
        )
    try:
        with xr.open_dataset(folder / "analysis.nc", engine="h5netcdf") as found:
            analysis = found.load()
    except OSError as error:
        raise InputError(
            f"{str(folder / 'analysis.nc')!r} is missing or damaged ({error}); train the run anew"
        ) from error
    return Run(folder, config, load(folder / "model.safetensors"), analysis, summary)


def read_config(folder: Path) -> tuple[RunConfig, str]:
    """Return the configuration of a run and the command that started it."""
    if not (folder / "config.json").exists():
        raise InputError(f"no run in {str(folder)!r}: it has no config.json; pass a run folder")
    found = read_json(folder / "config.json")
    try:
        command = found.pop("command")
        return RunConfig(**found | {"train": TrainConfig(**found["train"])}), command
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{str(folder / 'config.json')!r} is not a configuration of this version ({error}); "
            "train the run anew"
        ) from error


def _go(config: RunConfig, folder: Path, data: DataSplits, command: str, progress: bool) -> Run:
    torch.manual_seed(config.train.seed)
    net = _build(config, data)
    layers, depth = find_stages(net).depth, net.depth  # before anything goes
    rule = config.depth_rule()
    adaptive = AdaptiveDepth(config=rule) if rule is not None else None
    timer = Timer()  # kept in the checkpoint, so it goes on where a run was stopped
    callbacks = (timer, adaptive) if adaptive else (timer,)
    try:
        fit(net, data, config.train, folder, callbacks=callbacks, progress=progress)
    except StoppedError as stop:
        raise StoppedError(
            f"{stop}; continue with: residua resume {shlex.quote(str(folder))}"
        ) from stop
    net.cpu()
    analysis = analyse(net, data, "val")
    merge_logs(folder)
    decisions = [asdict(d) for d in adaptive.decisions] if adaptive else []
    history = [layers] * config.train.epochs
    for decision in decisions:
        for e in range(decision["epoch"] - 1, config.train.epochs):
            history[e] = decision["depth_after"]
    analysis["depth_after_epoch"] = ("epoch", history)
    analysis = analysis.assign_coords(epoch=range(1, config.train.epochs + 1))
    summary = {
        "data": config.data,
        "test_error": 100 * (1 - evaluate(net, data.test)),
        "val_error": 100 * (1 - evaluate(net, data.val)),
        "depth_initial": depth,
        "depth_final": net.depth,
        "weights": config.weights,
        "adaptive": config.adaptive,
        "epochs": config.train.epochs,
        "seconds": round(timer.time_elapsed(), 1),
        "precision": config.train.precision,
        "seed": config.train.seed,
        "scale": asdict(data.scale) if data.scale else None,
        "samples": {s: len(getattr(data, s)) for s in ("train", "val", "test")},
        "versions": versions(),
        "machine": machine(),
        "command": command,
        "decisions": [d for d in decisions if d["depth_after"] < d["depth_before"]],
    }
    save(net, folder / "model.safetensors")
    write_analysis(analysis, folder / "analysis.nc")
    write_json(folder / "summary.json", summary)
    return Run(folder, config, net, analysis, summary)


def _build(config: RunConfig, data: DataSplits) -> Network:
    conv = config.net == "conv"
    usual = 16 if conv else -(-data.inputs * 4 // 3)
    return build(
        NetConfig(
            net=config.net,
            inputs=_channels(data) if conv else data.inputs,
            width=usual if config.width is None else config.width,
            classes=len(data.classes),
            depth=config.depth,
            weights=config.weights,
            activation=config.activation,
            step_size=config.step_size,
            lift=config.lift,
        )
    )


def _channels(data: DataSplits) -> int:
    """Return the channels of images.

    Raises:
        InputError: the data are no images.
    """
    if len(data.shape) not in (2, 3):
        raise InputError(
            f"a network 'conv' takes images, and {data.name!r} has inputs of the shape {data.shape}; "
            "pass net='resnet'"
        )
    return 1 if len(data.shape) == 2 else data.shape[0]


def data_of(run: Run, data: str | None = None, data_dir: str | None = None) -> DataSplits:
    """Return the data that a finished run was trained on, or other data scaled as these were.

    Raises:
        InputError: the data set cannot be used, or its inputs or classes are not the network's.
    """
    config, net = run.config, run.net
    scale = run.summary.get("scale")
    found = load_data(
        data or config.data,
        data_dir=data_dir or config.data_dir,
        seed=config.train.seed,
        scale=Scale(**scale) if scale else None,
    )
    wanted = describe(net)
    inputs = _channels(found) if wanted.net == "conv" else found.inputs
    if (inputs, len(found.classes)) != (wanted.inputs, wanted.classes):
        what = "channels" if wanted.net == "conv" else "input dimensions"
        raise InputError(
            f"{found.name!r} has {inputs} {what} and {len(found.classes)} classes, and the network "
            f"{wanted.inputs} and {wanted.classes}; pass data of the same kind"
        )
    return found


def inspect(
    run: Run,
    split: SplitName,
    data: str | None,
    data_dir: str | None,
    advance: Advance = lambda share: None,
) -> xr.Dataset:
    """Return all measures of a finished run on a split of its data set, or of another.

    Raises:
        InputError: as :func:`data_of`.
    """
    found = data_of(run, data, data_dir)
    fresh = analyse(run.net, found, split)
    fresh = fresh.assign(depth_after_epoch=run.analysis["depth_after_epoch"])
    if "curve_loss" not in fresh:  # figures by layer are all there are
        return fresh
    more = perturb(run.net, found, split, advance)
    return fresh.assign(more).assign_attrs(more.attrs)


def perturbed(run: Run) -> Run:
    """Return a finished run with what perturbations and noise do to it, in its analysis.nc, too."""
    more = perturb(run.net, data_of(run), "val")
    analysis = run.analysis.assign(more).assign_attrs(more.attrs)
    write_analysis(analysis, run.folder / "analysis.nc")
    return replace(run, analysis=analysis)


def write_analysis(analysis: xr.Dataset, path: Path) -> None:
    """Write labelled arrays as netCDF."""
    analysis.to_netcdf(path, engine="h5netcdf")
