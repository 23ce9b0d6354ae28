"""Cutting trained MNIST networks: 8 and 3 of 15 layers, without training, healed, and from scratch."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from residua import runs
from residua.choices import Weights
from residua.depth.pruning import PruneConfig
from residua.pruned import Healing, prune_run
from residua.studies.jobs import WORK, Job, repeat, training
from residua.studies.mnist import CONFIGS

WEIGHTS: tuple[Weights, ...] = ("shared", "variable")


def cut(weights: Weights, keep: int, heal: int, seed: int, folder: Path) -> dict[str, Any]:
    """Cut the network of the study `mnist`, which is trained where it is not yet."""
    where = WORK / "mnist" / f"{weights}-none-{seed}"
    training("mnist", CONFIGS[f"{weights}-none"])(seed, where)
    if (folder / "summary.json").exists():
        return runs.read(folder).summary
    done = prune_run(
        runs.read(where),
        folder,
        PruneConfig(keep=keep, criterion="spans"),
        "make evidence-prune",
        healing=Healing(heal),
        progress=False,
    )
    return done.run.summary


def _jobs() -> dict[str, Job]:
    jobs: dict[str, Job] = {}
    for weights in WEIGHTS:
        for keep, heal in ((8, 0), (3, 0), (3, 1)):
            name = f"{weights}-keep-{keep}" + ("-healed" if heal else "")
            jobs[name] = partial(cut, weights, keep, heal)
        uncut = CONFIGS[f"{weights}-none"]
        jobs[f"{weights}-scratch-3"] = training("prune", replace(uncut, depth=3))
    return jobs


if __name__ == "__main__":
    repeat("prune", _jobs(), range(3))
