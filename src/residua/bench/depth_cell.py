"""One model cut to one depth by every method: raw, compensated, healed, beside one made so from scratch.

Training data fit, validation data decide (the ridge, and what ours tries), test data are looked at once.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from residua.bench.cells import read_cell
from residua.bench.methods import METHODS, MOST_BLOCKS, Given
from residua.bench.patch import with_patch
from residua.bench.tasks import Task, trained
from residua.data import loader
from residua.depth.fit_job import FitOptions
from residua.depth.fitting import compensate
from residua.depth.plan import DepthPlan
from residua.depth.pruning import PruneConfig, prune
from residua.depth.surgery import apply
from residua.errors import InputError
from residua.healing import heal
from residua.provenance import machine, versions
from residua.stack import FoundStack
from residua.stored import write_json
from residua.streaming import find_layers, first, held_out_figures
from residua.trainers import device_of

MEASURED = 250  # samples a batch where nothing is trained
COLUMNS = ("raw", "compensated", "healed")
OURS = "residua"


def methods_of(task: Task) -> list[str]:
    """Return the names of what is compared on a task; of shared weights only the last layers can go."""
    if task.shared:
        return [OURS, "paper"]
    found = [OURS, *METHODS]
    return found if task.depth <= MOST_BLOCKS else [n for n in found if n != "exhaustive"]


@dataclass
class Bench:
    """A trained model of a task and seed, its data, and the cell in which results are kept."""

    task: Task
    seed: int
    keep: int
    work: Path
    path: Path
    found: dict[str, Any] = field(default_factory=dict)

    def run(self, done: Callable[[str], None], command: str) -> dict[str, Any]:
        """Fill the cell: what is stored is not done again, each result is stored when it is there."""
        made_of = self._made_of()
        stored = self.path.exists()
        self.found = read_cell(self.path, made_of) if stored else made_of | self._made_by(command)
        missing = [n for n in methods_of(self.task) if n not in self.found["methods"]]
        for name in self.found["methods"]:
            done(name)
        if missing or "scratch" not in self.found:
            self._load()
        for name in missing:
            self.found["methods"][name] = self._method(name)
            write_json(self.path, self.found)
            done(name)
        if "scratch" not in self.found:
            steps = self.task.steps + self.task.heal_steps
            small = trained(self.task, self.keep, steps, self.seed, self.work)
            self.found |= {"uncut": self._figures(self.model), "scratch": self._figures(small)}
            write_json(self.path, self.found)
        return self.found

    def _made_of(self) -> dict[str, Any]:
        """Return what a stored cell must agree with."""
        task = self.task
        return {
            "task": task.name,
            "said": task.said,
            "seed": self.seed,
            "keep": self.keep,
            "depth": task.depth,
            "steps": task.steps,
            "lr": task.lr,
            "batch_size": task.batch_size,
            "fitted": task.fitted,
            "heal_steps": task.heal_steps,
            "heal_rates": list(task.heal_rates),
            "accelerator": task.accelerator,
        }

    def _made_by(self, command: str) -> dict[str, Any]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        made_on = machine(device_of(self.task.accelerator))
        return {"methods": {}, "command": command, "versions": versions(), "machine": made_on}

    def _load(self) -> None:
        task = self.task
        self.model = trained(task, task.depth, task.steps, self.seed, self.work)
        splits = task.data(self.seed)
        self.train = splits[0]
        train, self.val, self.test = (loader(s, MEASURED) for s in splits)
        self.fit = first(train, task.fitted)
        self.stack = find_layers(self.model, self.fit)[0]
        self.given = Given(self.stack, self.fit, self.val, task.loss)

    def _method(self, name: str) -> dict[str, Any]:
        if name == OURS:
            return self._ours()
        try:
            plan = METHODS[name].plan(self.given, self.keep)
        except InputError as error:
            return {"refused": str(error)}  # no run of so many layers within a stage, say
        same = next(
            (
                found
                for other, found in self.found["methods"].items()
                if other != OURS and found.get("keep") == list(plan.keep)
            ),
            None,
        )
        cell = {k: same[k] for k in COLUMNS} if same else self._columns(plan)
        if name == "replaceme":
            cell |= {"patched": self._figures(with_patch(self.given, plan))}
        return {"keep": list(plan.keep), "reason": plan.reason, **cell}

    def _columns(self, plan: DepthPlan) -> dict[str, Any]:
        how = FitOptions(loss=self.task.loss)
        fitted = compensate(self.stack, plan, self.fit, self.val, options=how)
        of = self.layers
        small = apply(plan, of, compensation=fitted)
        return {
            "raw": self._figures(apply(plan, of)),
            "compensated": self._figures(small),
            "healed": self._figures(self._healed(small)),
        }

    def _ours(self) -> dict[str, Any]:
        """Return what `residua.prune` makes with its defaults, with and without compensation."""
        of = self.layers
        config = PruneConfig(keep=self.keep, loss=self.task.loss)
        bare, _ = prune(of, self.fit, self.val, replace(config, compensation="none"))
        small, report = prune(of, self.fit, self.val, config)
        return {
            "keep": list(report.plan.keep),
            "criterion": report.plan.criterion,
            "reason": report.plan.reason,
            "plain": self._figures(apply(report.plan, of)),
            "raw": self._figures(bare),
            "compensated": self._figures(small),
            "healed": self._figures(self._healed(small)),
        }

    def _healed(self, small: nn.Module) -> nn.Module:
        """Return the model trained at one of the rates, or as it was, whichever validation prefers."""
        batches = loader(self.train, self.task.batch_size, shuffle_seed=self.seed + 100)
        tried = [small]
        for lr in self.task.heal_rates:
            further = copy.deepcopy(small)
            config = self.task.training(self.seed, self.task.heal_steps, lr)
            heal(further, batches, config, teacher=self.layers)
            tried.append(further)
        return min(tried, key=lambda m: held_out_figures(m, self.val, self.task.loss).loss)

    @property
    def layers(self) -> Any:
        """The uncut model, or its layers where they had to be found."""
        return self.stack if isinstance(self.stack, FoundStack) else self.model

    def _figures(self, model: nn.Module) -> dict[str, Any]:
        val = held_out_figures(model, self.val, self.task.loss)
        found = held_out_figures(model, self.test, self.task.loss)
        error = None if self.task.tokens else 100 * (1 - found.accuracy)
        return {"val_loss": val.loss, "loss": found.loss, "error": error}
