"""The experiments that `residua reproduce` knows: what each does for a seed, and what it shows."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from residua import runs
from residua.choices import Experiment
from residua.errors import InputError
from residua.folder import write_json
from residua.report.dynamics_figures import Drawn, overlay_figures, rest_figures
from residua.report.page import write_sections
from residua.studies import e1, e3
from residua.studies.reproduction import Make, Reproduction, repeat

_FIGURES: dict[str, Callable[[Any], Drawn]] = {"E1": overlay_figures, "E3": rest_figures}
_PAPER = {"E1": e1.PAPER, "E3": e3.PAPER}
_LEADS = {
    "E1": "Two circles, 15 shared layers of 3 logistic units: the network, the exact map that its "
    "residuals obey, and eq. 3, its continuous-time reading.",
    "E3": "A trained network with shared weights, run on for 1000 layers over test inputs: where the "
    "residuals of each class come to rest. Nothing is decided on these inputs.",
}


def seed_jobs(
    experiment: Experiment,
    folder: Path,
    seeds: int,
    *,
    data_dir: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, Make]:
    """Return the job of each seed: train its network in folder/training, then measure it."""
    return {
        f"seed-{seed}": partial(_seed, experiment, seed, folder / "training", data_dir, say)
        for seed in range(seeds)
    }


def _seed(
    experiment: Experiment,
    seed: int,
    training: Path,
    data_dir: Path | None,
    say: Callable[[str], None] | None,
) -> Reproduction:
    where = training / f"seed-{seed}"
    if say:
        say(f"{experiment}, seed {seed}: training in {where}")
    training.mkdir(exist_ok=True)
    if experiment == "E1":
        return e1.reproduce(seed, where)
    located = str(data_dir) if data_dir else None
    run = e3.train(seed, where, data_dir=located, progress=say is not None)
    if say:
        say(f"E3, seed {seed}: {e3.LAYERS} layers, and the same for two nulls")
    return e3.reproduce(run)


def run_jobs(experiment: Experiment, folders: Sequence[Path]) -> dict[str, Make]:
    """Return the job of each finished run, measured as it is.

    Raises:
        InputError: the experiment trains networks of its own, or is not defined for a run.
    """
    if experiment != "E3":
        raise InputError(f"{experiment} trains its own networks; pass --run with E3 only")
    found = [runs.read(folder) for folder in folders]
    for run in found:
        e3.check(run)
    return {f"run-{i}": partial(e3.reproduce, run) for i, run in enumerate(found)}


def reproduce(
    experiment: Experiment,
    folder: Path,
    jobs: dict[str, Make],
    command: str,
    *,
    measured: Sequence[Path] = (),
) -> dict[str, Any]:
    """Do the jobs and write e1.json (or e3.json), report.html, and a .json and .nc for each.

    Args:
        experiment: which.
        folder: new, or one in which the same was stopped.
        jobs: of :func:`seed_jobs` or :func:`run_jobs`.
        command: as typed, for the results.
        measured: the runs that are measured, where none is trained.

    Raises:
        InputError: the folder holds something else, or all of this already.
    """
    found: dict[str, Any] = {"paper": _PAPER[experiment], "command": command}

    def finish(done: dict[str, Reproduction]) -> None:
        found["results"] = {name: r.summary for name, r in done.items()}
        write_json(folder / f"{experiment.lower()}.json", found)
        sections = {name: _FIGURES[experiment](r.arrays) for name, r in done.items()}
        title = f"residua: {experiment}"
        write_sections(folder / "report.html", title, _LEADS[experiment], sections)

    identity = {"experiment": experiment, "runs": [str(run.resolve()) for run in measured]}
    repeat(identity, folder, jobs, finish)
    return found
