"""Train a network and write a run folder; continue one that was stopped."""

import os
import shlex
from dataclasses import asdict, replace
from pathlib import Path

import torch
from lightning.pytorch.callbacks import Timer

from residua.analysis import analyse
from residua.data import NAMES, DataSplits, load_data
from residua.depth.adaptive import AdaptiveDepth
from residua.errors import DamagedError, InputError, StoppedError
from residua.folder import locked, make_folder, merge_logs, refuse_existing
from residua.folder_kinds import PRUNED
from residua.provenance import machine, versions
from residua.run_checks import SUMMARY, resumable
from residua.run_config import RunConfig
from residua.runs import Run, channels, read, read_config, write, write_config
from residua.sources import DATA_DIR_VARIABLE, HUB
from residua.stack import find_stages
from residua.store import NetConfig, Network, build
from residua.trainers import device_of, make_trainer
from residua.training import evaluate, fit


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
    asked = config.train
    make_trainer(asked.accelerator, asked.precision, logger=False, enable_checkpointing=False)
    make_folder(folder)
    with locked(folder):
        refuse_existing(folder)  # another process may have been faster
        write_config(config, folder, command)
        return _go(config, folder, data, command, progress)


def _located(config: RunConfig) -> RunConfig:
    """Return the configuration with its paths absolute, so that a run can be resumed from anywhere."""
    data = str(Path(config.data).resolve()) if Path(config.data).exists() else config.data
    folder = config.data_dir or os.environ.get(DATA_DIR_VARIABLE)
    found = str(Path(folder).resolve()) if folder and config.data in HUB else None
    return replace(config, data=data if config.data not in NAMES else config.data, data_dir=found)


def resume(folder: Path, *, progress: bool = True) -> Run:
    """Continue a run that was stopped, from its last checkpoint, to the same result.

    Of a finished run of which a file is missing, damaged or too old, all results are written anew.

    Raises:
        InputError: there is no run, it is finished, another process works on it, or its checkpoint is
            damaged or of another run.
        StoppedError: a signal ended it again.
    """
    config, command = read_config(folder)
    _refuse_finished(folder)
    data = load_data(config.data, data_dir=config.data_dir, seed=config.train.seed)
    with locked(folder):
        return _go(config, folder, data, command, progress)


def _refuse_finished(folder: Path) -> None:
    """Raise InputError of a run that is whole, or that cannot be made whole."""
    if (folder / PRUNED).exists() and not (folder / SUMMARY).exists():
        raise InputError(
            f"{str(folder)!r} holds a cut that was stopped; the same residua prune goes on with it"
        )
    if not (folder / SUMMARY).exists():
        return
    try:
        read(folder)
    except DamagedError:
        if not resumable(folder):
            raise
        return
    raise InputError(
        f"the run in {str(folder)!r} is finished; see residua inspect {shlex.quote(str(folder))}"
    )


def _go(config: RunConfig, folder: Path, data: DataSplits, command: str, progress: bool) -> Run:
    torch.manual_seed(config.train.seed)
    net = _build(config, data)
    layers, depth = find_stages(net).depth, net.depth  # before anything goes
    rule = config.depth_rule()
    adaptive = AdaptiveDepth(config=rule) if rule is not None else None
    on = machine(device_of(config.train.accelerator))
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
        "machine": on,
        "command": command,
        "decisions": [d for d in decisions if d["depth_after"] < d["depth_before"]],
    }
    return write(Run(folder, config, net, analysis, summary), command)


def _build(config: RunConfig, data: DataSplits) -> Network:
    conv = config.net == "conv"
    usual = 16 if conv else -(-data.inputs * 4 // 3)
    return build(
        NetConfig(
            net=config.net,
            inputs=channels(data) if conv else data.inputs,
            width=usual if config.width is None else config.width,
            classes=len(data.classes),
            depth=config.depth,
            weights=config.weights,
            activation=config.activation,
            step_size=config.step_size,
            lift=config.lift,
        )
    )
