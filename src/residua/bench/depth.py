"""The depth benchmark: every cell done once and kept, then set side by side."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from residua.bench.cells import chosen
from residua.bench.depth_cell import Bench
from residua.bench.tasks import TASKS, Splits, Task, dense
from residua.sources import Split
from residua.studies.transformer_tasks import gpt, windows
from residua.trainers import device_of

CELLS = "cells"
# Of tasks that a processor without a GPU has no time for; done where they are named.
LARGE = ("mnist-shared", "mnist-variable", "conv20-cifar10", "conv56-cifar10")


@dataclass(frozen=True)
class Cell:
    """One model of one seed, cut to one depth."""

    task: Task
    seed: int
    keep: int

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.task.name}-keep-{self.keep}-seed-{self.seed}"


def _few_windows(seed: int) -> Splits:
    train, val, test = (Split(s.x[:64], s.y[:64]) for s in windows(seed))
    return train, val, test


def quick_tasks() -> list[Task]:
    """Return small forms of two tasks, which take a minute together."""
    net = TASKS["digits-variable"]
    small = partial(dense, 64, 66, 10, "variable")
    text = TASKS["gpt"]
    return [
        replace(
            net,
            name="quick-digits",
            said="ResNet, 5 layers of 66 logistic units, digits",
            build=small,
            depth=5,
            keeps=(3,),
            steps=60,
            heal_rates=(5e-4,),
        ),
        replace(
            text,
            name="quick-gpt",
            said="GPT-2, 4 blocks of width 32, what Python says of itself",
            build=partial(gpt, width=32),
            data=_few_windows,
            depth=4,
            keeps=(2,),
            steps=10,
            fitted=64,
        ),
    ]


def chosen_tasks(
    names: Sequence[str], *, quick: bool = False, accelerator: str = "cpu"
) -> list[Task]:
    """Return the tasks of these names, or all that are not large.

    Raises:
        InputError: there is no such task, names are given for the quick form, or the machine lacks the
            accelerator.
    """
    device_of(accelerator)
    usual = [name for name in TASKS if name not in LARGE]
    found = chosen(names, TASKS, usual, quick_tasks if quick else None)
    return [replace(task, accelerator=accelerator) for task in found]


def cells_of(tasks: Iterable[Task], seeds: Iterable[int]) -> list[Cell]:
    """Return all cells, those of a seed before those of the next."""
    tasks = list(tasks)
    return [Cell(t, seed, keep) for seed in seeds for t in tasks for keep in t.keeps]


def run_cells(
    cells: Sequence[Cell], folder: Path, command: str, done: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Do what is missing of the cells, and return all results.

    Args:
        cells: which.
        folder: in which each cell has a file in `cells`, and trained models lie in `models`; one that
            was stopped is gone on with.
        command: as typed, for the results.
        done: is told a method when it is done in a cell.
    """
    benches = [
        Bench(c.task, c.seed, c.keep, folder / "models", folder / CELLS / f"{c.name}.json")
        for c in cells
    ]
    return [b.run(done, command) for b in benches]
