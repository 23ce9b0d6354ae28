"""The experiments that `residua reproduce` knows: what each does for a seed, and what it shows."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from residua import runs
from residua.choices import Experiment
from residua.errors import InputError, StoppedError
from residua.folder import write_json
from residua.progress import work_bar
from residua.report.dynamics_figures import Drawn, overlay_figures, rest_figures
from residua.report.page import write_sections
from residua.report.tables import experiment_tables
from residua.studies import e1, e3
from residua.studies.reproduction import Make, Reproduction, repeat

_FIGURES: dict[str, Callable[[Any], Drawn]] = {"E1": overlay_figures, "E3": rest_figures}
_PAPER = {"E1": e1.PAPER, "E3": e3.PAPER}
_LEADS = {
    "E1": "Two circles, 15 shared layers of 3 logistic units: the network, the exact map that its "
    "residuals obey, and eq. 3, its continuous-time reading.",
    "E3": "A trained network with shared weights, run on for many more layers over test inputs: where "
    "the residuals of each class come to rest. Nothing is decided on these inputs.",
}


def seed_jobs(
    experiment: Experiment,
    folder: Path,
    seeds: int,
    *,
    data_dir: Path | None = None,
    layers: int = e3.LAYERS,
    quiet: bool = False,
) -> dict[str, Make]:
    """Return the job of each seed: train its network in folder/training, then measure it."""
    make = _circles if experiment == "E1" else partial(_mnist, data_dir=data_dir, layers=layers)
    return {
        f"seed-{seed}": partial(make, seed, folder / "training" / f"seed-{seed}", quiet=quiet)
        for seed in range(seeds)
    }


def _circles(seed: int, folder: Path, *, quiet: bool) -> Reproduction:
    with (
        _progress(quiet, f"seed {seed}: training until the circles are fitted, measuring"),
        _again(),
    ):
        return e1.reproduce(seed, folder)


def _mnist(
    seed: int, folder: Path, *, data_dir: Path | None, layers: int, quiet: bool
) -> Reproduction:
    where = str(data_dir) if data_dir else None
    with _again():
        run = e3.train(seed, folder, data_dir=where, progress=not quiet)
    return _measured(run, layers=layers, quiet=quiet)


def run_jobs(
    experiment: Experiment,
    folders: Sequence[Path],
    *,
    layers: int = e3.LAYERS,
    quiet: bool = False,
) -> dict[str, Make]:
    """Return the job of each finished run, measured as it is.

    Raises:
        InputError: the experiment trains networks of its own, or is not defined for a run.
    """
    if experiment != "E3":
        raise InputError(f"{experiment} trains its own networks; pass --run with E3 only")
    found = [runs.read(folder) for folder in folders]
    for run in found:
        e3.check(run)
    measure = partial(_measured, layers=layers, quiet=quiet)
    return {f"run-{i}": partial(measure, run) for i, run in enumerate(found)}


def _measured(run: runs.Run, *, layers: int, quiet: bool) -> Reproduction:
    text = f"{run.folder.name}: {layers} layers, fixed points, answers, nulls"
    with _progress(quiet, text) as bar:
        return e3.reproduce(run, layers=layers, advance=bar)


@contextmanager
def _again() -> Iterator[None]:
    """Say of a stop how to go on."""
    try:
        yield
    except StoppedError as stop:
        raise StoppedError("stopped; the same command goes on where it was") from stop


@contextmanager
def _progress(quiet: bool, text: str) -> Iterator[e3.Advance]:
    """Show a bar with the remaining time; what is yielded moves it on by a share of the whole."""
    with work_bar(disable=quiet) as bar:
        task = bar.add_task(text, total=1)
        yield partial(bar.advance, task)


def reproduce(
    experiment: Experiment,
    folder: Path,
    jobs: dict[str, Make],
    command: str,
    *,
    identity: dict[str, Any],
) -> dict[str, Any]:
    """Do the jobs and write e1.json (or e3.json), report.html, and a .json and .nc for each.

    Args:
        experiment: which.
        folder: new, or one in which the same was stopped.
        jobs: of :func:`seed_jobs` or :func:`run_jobs`.
        command: as typed, for the results.
        identity: what tells this from another use of the folder: options, the runs measured.

    Raises:
        InputError: the folder holds something else, or all of this already.
    """
    found: dict[str, Any] = {"paper": _PAPER[experiment], "command": command}

    def finish(done: dict[str, Reproduction]) -> None:
        found["results"] = {name: r.summary for name, r in done.items()}
        write_json(folder / f"{experiment.lower()}.json", found)
        sections = {name: _FIGURES[experiment](r.arrays) for name, r in done.items()}
        title = f"residua: {experiment}"
        tables = experiment_tables(experiment, found)
        write_sections(folder / "report.html", title, _LEADS[experiment], sections, tables=tables)

    repeat({"experiment": experiment} | identity, folder, jobs, finish)
    return found
