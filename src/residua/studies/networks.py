"""The trained networks that experiments share: each is trained once, in a folder that all read."""

from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from residua import runs
from residua.choices import Adaptive, Weights
from residua.data import load_data
from residua.nets import ResNet
from residua.run_config import RunConfig
from residua.store import load, save
from residua.stored import read_json, write_json
from residua.studies.circles import STARTS, Start, fitted_start
from residua.studies.digits import CONFIGS as DIGITS
from residua.studies.jobs import made
from residua.studies.mnist import CONFIGS as MNIST


def config_of(data: str, weights: Weights, rule: Adaptive = "none") -> RunConfig:
    """Return how a network on "digits" or "mnist" is trained, with a depth rule or without.

    In float32 on every machine: jobs are spread over several, and networks that are compared must not
    differ by the precision of the one that trained them.
    """
    base = DIGITS["none"] if data == "digits" else MNIST[f"{weights}-none"]
    train = replace(base.train, precision="32-true")
    return replace(base, weights=weights, adaptive=rule, train=train)


def network(
    data: str,
    weights: Weights,
    seed: int,
    work: Path,
    *,
    rule: Adaptive = "none",
    data_dir: str | None = None,
) -> runs.Run:
    """Return a finished run; it is trained, or gone on with, where it is not yet.

    Args:
        data: "digits" or "mnist".
        weights: shared or variable.
        seed: of data, weights and batches.
        work: folder of all networks. A second process that asks for the same one waits.
        rule: takes layers away in training.
        data_dir: folder of local parquet data sets.
    """
    folder = work / f"{data}-{weights}-{rule}-{seed}"
    work.mkdir(parents=True, exist_ok=True)
    with FileLock(work / f"{folder.name}.lock"):
        config = replace(config_of(data, weights, rule), data_dir=data_dir)
        return made(config, seed, folder, "residua reproduce all")


def circles_start(
    weights: Weights, seed: int, work: Path, *, rule: str = "none", restarts: int = STARTS
) -> tuple[Start, list[float]]:
    """Return the best start of a network on the circles of one seed, and the training losses of all.

    Args:
        weights: shared or variable.
        seed: of points, weights and batches.
        work: keeps the network; what is there is read.
        rule: takes layers away in training.
        restarts: at most.
    """
    kept = work / f"circles-{weights}-{rule}-{seed}"
    told, net = kept.with_suffix(".json"), kept.with_suffix(".safetensors")
    work.mkdir(parents=True, exist_ok=True)
    with FileLock(kept.with_suffix(".lock")):
        if not (told.exists() and net.exists()):
            data = load_data("circles", seed=seed)
            best, losses = fitted_start(rule, data, seed, kept, weights, restarts)
            net.unlink(missing_ok=True)
            save(best.net, net)
            figures = {"train_loss": best.train_loss, "train_error": best.train_error}
            write_json(told, figures | {"losses": losses})
        found, read = read_json(told), load(net)
        assert isinstance(read, ResNet)
        return Start(found["train_loss"], found["train_error"], read), found["losses"]
