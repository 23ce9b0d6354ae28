"""A run folder: what it holds, written whole and read back, checked."""

import shlex
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import xarray as xr

from residua.analysis import Advance, analyse, perturb
from residua.choices import SplitName
from residua.data import DataSplits, Scale, load_data
from residua.errors import DamagedError, InputError
from residua.folder_kinds import PRUNED, why_no_run
from residua.run_checks import (
    ANALYSIS,
    CONFIG,
    NETWORK,
    SUMMARY,
    check_analysis,
    check_digests,
    check_summary,
    digests,
    refuse_newer,
    remedy_of,
)
from residua.run_config import RunConfig
from residua.stack import find_stages
from residua.store import Network, describe, read_network, save
from residua.stored import FORMAT, read_arrays, read_json, readable, write_arrays, write_json
from residua.train_config import TrainConfig


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A finished run.

    Attributes:
        folder: where it lies.
        config: all that determined it; of a cut run, the uncut one's.
        net: the network, on the CPU, for evaluation; it expects inputs standardised by `scale` of the
            summary.
        analysis: labelled arrays, measured on the validation split.
        summary: what it reached, and what made it.
    """

    folder: Path
    config: RunConfig
    net: Network
    analysis: xr.Dataset
    summary: dict[str, Any]

    def __repr__(self) -> str:
        s = self.summary
        return (
            f"Run({str(self.folder)!r}: {s['data']}, {s['depth_initial']} → {s['depth_final']} layers, "
            f"test error {s['test_error']:.2f} %)"
        )


def write(run: Run, command: str) -> Run:
    """Write a run into its folder and return it as it is read back.

    The summary is last: it says that the rest is there. Each file is written whole or not at all.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = run.folder
    net, analysis = run.net.eval(), run.analysis.assign_attrs(format=FORMAT)
    summary = {"format": FORMAT, **run.summary}
    write_config(run.config, folder, command)
    (folder / NETWORK).unlink(missing_ok=True)  # a stop or damage may have left one
    save(net, folder / NETWORK)
    write_arrays(analysis, folder / ANALYSIS)
    summary["files"] = digests(folder)
    write_json(folder / SUMMARY, summary)
    return Run(folder, run.config, net, analysis, summary)


def write_config(config: RunConfig, folder: Path, command: str) -> None:
    """Write the configuration of a run and the command that started it."""
    write_json(folder / CONFIG, {"command": command, **asdict(config)})


def read(folder: Path) -> Run:
    """Read a finished run.

    Raises:
        DamagedError: a file of it is missing, truncated, damaged, or of an older format and lacks
            something.
        InputError: there is no run, it is not finished, a newer residua wrote it, its files are of
            different runs, or it may not be read.
    """
    with readable(folder):
        return _read(folder)


def _read(folder: Path) -> Run:
    config, _ = read_config(folder)
    remedy = remedy_of(folder)
    if not (folder / SUMMARY).exists():
        raise InputError(_unfinished(folder))
    summary = read_json(folder / SUMMARY, remedy)
    check_summary(summary, folder / SUMMARY, remedy)
    analysis = read_arrays(folder / ANALYSIS, remedy)
    check_analysis(analysis, folder / ANALYSIS, remedy)
    net = read_network(folder / NETWORK, None, remedy)
    if not isinstance(net, Network):
        raise InputError(
            f"{str(folder / NETWORK)!r} holds a {type(net).__name__}, no network of a run; put the "
            "run's own back"
        )
    depths = {
        NETWORK: find_stages(net).depth,
        ANALYSIS: analysis.sizes["layer"],
    }
    if len(set(depths.values())) > 1 or net.depth != summary["depth_final"]:
        told = ", ".join(f"{name} has {depth} layers" for name, depth in depths.items())
        raise InputError(
            f"the files in {str(folder)!r} are of different runs: {told}, and {SUMMARY} says that the "
            f"network's depth is {summary['depth_final']}; put the run's own back"
        )
    check_digests(summary, folder, remedy)
    return Run(folder, config, net.eval(), analysis, summary)


def read_config(folder: Path) -> tuple[RunConfig, str]:
    """Return the configuration of a run and the command that started it.

    Raises:
        DamagedError: it is truncated, or not of this version.
        InputError: there is no run.
    """
    with readable(folder):
        reason = why_no_run(folder)
    if reason is not None:
        raise InputError(f"no run in {str(folder)!r}: {reason}")
    refuse_newer(folder)
    found = read_json(folder / CONFIG, remedy_of(folder))
    try:
        command = found.pop("command")
        config = RunConfig(**found | {"train": TrainConfig(**found["train"])})
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(
            f"{str(folder / CONFIG)!r} is not a configuration of this version ({error}); "
            f"{remedy_of(folder, resume=False)}"
        ) from error
    return config, str(command)


def _unfinished(folder: Path) -> str:
    go_on = (
        "the same residua prune goes on with it"
        if (folder / PRUNED).exists()
        else f"continue it with: residua resume {shlex.quote(str(folder))}"
    )
    return f"the run in {str(folder)!r} is not finished; {go_on}"


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
    inputs = channels(found) if wanted.net == "conv" else found.inputs
    if (inputs, len(found.classes)) != (wanted.inputs, wanted.classes):
        what = "channels" if wanted.net == "conv" else "input dimensions"
        raise InputError(
            f"{found.name!r} has {inputs} {what} and {len(found.classes)} classes, and the network "
            f"{wanted.inputs} and {wanted.classes}; pass data of the same kind"
        )
    return found


def channels(data: DataSplits) -> int:
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
    write_arrays(analysis, run.folder / ANALYSIS)
    summary = run.summary | {"files": digests(run.folder)}
    write_json(run.folder / SUMMARY, summary)
    return replace(run, analysis=analysis, summary=summary)
