"""Which layers to take: every criterion at the same depth, compensation and held-out data.

Networks with weights of their own in every layer, since of shared ones only the last iterations can go.
Evidence and compensation come from training data, what is compared is the loss on validation data;
test data is not read.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from residua import runs
from residua.data import DataSplits, loader
from residua.depth.criteria import CRITERIA, plan_depth
from residua.depth.evidence import evidence
from residua.depth.fitting import compensate
from residua.depth.pruning import measure
from residua.depth.surgery import apply
from residua.provenance import machine, versions
from residua.run_config import RunConfig
from residua.sources import Split
from residua.studies.digits import CONFIGS as DIGITS
from residua.studies.jobs import WORK, repeat, training
from residua.studies.mnist import CONFIGS as MNIST

# Of a variable network "paper" and "depth-curve" take the last layers, as "last" does.
COMPARED = [name for name in CRITERIA if name not in ("paper", "depth-curve")]
NEGLIGIBLE = 0.01  # nats


class Task(NamedTuple):
    """A trained network's configuration and study, the depths, the compensation, training samples."""

    study: str
    config: RunConfig
    keep: tuple[int, ...]
    kind: str
    samples: int


TASKS = {
    "digits": Task(
        "criteria",
        replace(DIGITS["none"], weights="variable"),
        (12, 10, 8, 6, 5, 4, 3, 2, 1),
        "readers+weighted",
        2000,
    ),
    # The refit of 1064 units in every layer, for so many plans, would take hours.
    "mnist": Task("mnist", MNIST["variable-none"], (8, 5, 3), "steps+weighted", 10_000),
}


def compare(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Return the held-out loss of every criterion at every depth."""
    task = TASKS[name]
    where = folder if task.study == "criteria" else WORK / "mnist" / f"variable-none-{seed}"
    training(task.study, task.config)(seed, where)
    run = runs.read(where)
    data = runs.data_of(run)
    uncut = measure(run.net, loader(data.val, 500))
    return {
        "loss": uncut.loss,
        "accuracy": uncut.accuracy,
        "losses": {c: losses(run.net, data, c, task) for c in COMPARED},
        "kind": task.kind,
        "keep": task.keep,
        "depth": run.net.depth,
        "seed": seed,
        "versions": versions(),
        "machine": machine(),
        "command": "make evidence-criteria",
    }


def losses(net: nn.Module, data: DataSplits, criterion: str, task: Task) -> list[float]:
    """Return the held-out loss after each cut of a task by one criterion, compensated."""
    few = Split(data.train.x[: task.samples], data.train.y[: task.samples])
    train, val = loader(few, 500), loader(data.val, 500)
    found, lost = evidence(net, criterion, train, val), []
    for keep in task.keep:
        plan = plan_depth(found, criterion, keep=keep)
        fitted = compensate(net, plan, train, val, kind=task.kind)
        lost.append(measure(apply(plan, net, compensation=fitted), val).loss)
    return lost


if __name__ == "__main__":
    repeat("criteria", {"digits": partial(compare, "digits")}, range(5))
    repeat("criteria", {"mnist": partial(compare, "mnist")}, range(3))
