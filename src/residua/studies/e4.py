"""E4 and C14: 15 layers with weights of their own beside shared ones; networks from several starts.

Does nothing depend on the input after the 4th layer (spread of the residuals), do the last layers'
weights come to be one matrix, are more residuals at their maximum than with shared weights? C14: over
networks from different starts, do class-specific last residuals go with a lower error?
"""

from pathlib import Path
from typing import Any

from residua import runs
from residua.data import loader
from residua.dynamics.features import shares
from residua.provenance import machine, versions
from residua.statistics import accumulate
from residua.studies.e8_training import Cell, Setting, Task, data_for, train
from residua.studies.layers_seen import BATCH, seen
from residua.studies.networks import network
from residua.train_config import TrainConfig
from residua.training import evaluate

STARTS = {
    "quiet": Setting(2e-3, 0.3, -3.0),
    "plain": Setting(2e-3, 1.0, 0.0),
    "large": Setting(2e-3, 4.0, 0.0),
    "fast": Setting(8e-3, 0.3, -3.0),
}
TASK = Task(
    "digits",
    128,
    tuple(Cell(w, 15, 0.0) for w in ("shared", "variable")),
    TrainConfig(epochs=40, batch_size=64, label_smoothing=0.0, accelerator="cpu"),
)


def measure(data: str, seed: int, work: Path, data_dir: str | None = None) -> dict[str, Any]:
    """Return E4 of one seed, and the same of E2's network of that seed as `shared`."""
    both = {w: network(data, w, seed, work, data_dir=data_dir) for w in ("variable", "shared")}
    splits = runs.data_of(both["variable"], None, data_dir)
    found = {w: seen(run, splits) for w, run in both.items()}
    kept = ("test_error", "class_share", "at_one", "spread", "weight_change")
    return found["variable"] | {"shared": {name: found["shared"][name] for name in kept}}


def starts(task: Task, seed: int, work: Path, data_dir: str | None = None) -> dict[str, Any]:
    """Return error and class-specific rest of networks from every start, shared and variable (C14).

    Args:
        task: how they are trained; TASK, or a shorter one.
        seed: of data, weights and batches.
        work: for the trainings' files.
        data_dir: folder of local parquet data sets.
    """
    data = data_for(task, seed, data_dir)
    found = {}
    for cell in task.cells:
        for name, setting in STARTS.items():
            net, figures = train(
                task, cell, ("resnet", setting, seed), data, work / f"starts-{seed}"
            )
            net.eval()
            last = accumulate(net, loader(data.test, BATCH)).residuals
            found[f"{cell.weights}-{name}"] = figures | {
                "test_error": 100 * (1 - evaluate(net, data.test)),
                "class_share": shares(last).between,
            }
    return {
        "seed": seed,
        "data": task.data,
        "networks": found,
        "versions": versions(),
        "machine": machine(),
    }
