"""The experiments that `residua reproduce` knows: what each does for a seed or run, what it shows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from residua import runs
from residua.analysis import Advance
from residua.choices import Experiment
from residua.comparison import names_apart
from residua.errors import InputError, StoppedError
from residua.progress import share_bar
from residua.report.comparison_figures import comparison_section
from residua.report.deciding_figures import deciding_section, parting_section
from residua.report.dynamics_figures import overlay_section, rest_section
from residua.report.experiment_headlines import experiment_headline
from residua.report.experiment_tables import experiment_tables
from residua.report.page import Words, write_sections
from residua.report.shown import Section
from residua.stored import write_json
from residua.studies import e1, e3, e5, e6, e8
from residua.studies.e8_training import TASKS
from residua.studies.reproduction import Make, Reproduction, repeat

Done = Mapping[str, Reproduction]


@dataclass(frozen=True)
class Options:
    """How an experiment is done; what an experiment does not know must stay None.

    Attributes:
        seeds: how many, from 0; default 3. Not with finished runs.
        layers: E3: how far the network is run; default 1000.
        data: E8: "digits" (default) or "mnist".
        data_dir: folder of local parquet data sets.
        quiet: without progress.
    """

    seeds: int | None = None
    layers: int | None = None
    data: str | None = None
    data_dir: str | None = None
    quiet: bool = False


_DEFAULTS: dict[str, Any] = {"layers": e3.LAYERS, "data": "digits"}


class Spec(NamedTuple):
    """One experiment.

    `of_run` measures a finished run, for a seed that of E2's network; `of_seed` is for experiments with
    networks of their own, trained in a folder that keeps them. `check` refuses runs for which it is not
    defined; `matters` are the options that make it another experiment; `compare` sets all results side
    by side.
    """

    paper: dict[str, Any]
    lead: str
    figures: Callable[[Done, dict[str, Any]], dict[str, Section]]
    of_seed: Callable[[int, Path, Options, Advance], Reproduction] | None = None
    of_run: Callable[[runs.Run, Options, Advance], Reproduction] | None = None
    check: Callable[[runs.Run], Any] = lambda run: None
    matters: tuple[str, ...] = ()
    compare: Callable[[Sequence[Mapping[str, Any]]], Any] | None = None


def _each(
    figures: Callable[[Any], Section],
) -> Callable[[Done, dict[str, Any]], dict[str, Section]]:
    return lambda done, found: {name: figures(r.arrays) for name, r in done.items()}


def _circles(seed: int, folder: Path, options: Options, advance: Advance) -> Reproduction:
    return e1.reproduce(seed, folder)


def _e3(run: runs.Run, options: Options, advance: Advance) -> Reproduction:
    assert options.layers is not None
    return e3.reproduce(run, layers=options.layers, advance=advance)


def _e5(run: runs.Run, options: Options, advance: Advance) -> Reproduction:
    return e5.reproduce(run, data_dir=options.data_dir, advance=advance)


def _e6(run: runs.Run, options: Options, advance: Advance) -> Reproduction:
    return e6.reproduce(run, data_dir=options.data_dir, advance=advance)


def _e8(seed: int, folder: Path, options: Options, advance: Advance) -> Reproduction:
    # One folder for all seeds: they share the search.
    assert options.data is not None
    shared = folder.parent / options.data
    task = TASKS[options.data]
    return e8.reproduce(task, seed, shared, data_dir=options.data_dir, advance=advance)


EXPERIMENTS: dict[Experiment, Spec] = {
    "E1": Spec(
        e1.PAPER,
        "Two circles, 15 shared layers of 3 logistic units: the network, the exact map that its "
        "residuals obey, and eq. 3, its continuous-time reading.",
        _each(overlay_section),
        of_seed=_circles,
    ),
    "E3": Spec(
        e3.PAPER,
        "A trained network with shared weights, run on for many more layers over test inputs: where "
        "the residuals of each class come to rest. Nothing is decided on these inputs.",
        _each(rest_section),
        of_run=_e3,
        check=e3.check,
        matters=("layers",),
    ),
    "E5": Spec(
        e5.PAPER,
        "The unit with the largest weight to each class, over depth and over the classes of test "
        "inputs; and which layers' sums decide the class.",
        _each(deciding_section),
        of_run=_e5,
    ),
    "E6": Spec(
        e6.PAPER,
        "Means and spreads of the classes' states over depth, on test inputs: do the classes part, and "
        "has the network settled when they do?",
        _each(parting_section),
        of_run=_e6,
    ),
    "E8": Spec(
        e8.PAPER,
        "ResNet and MLP of the same width, depth, parameters, data and optimiser budget, each with the "
        "best of the same twelve settings by validation error: what noise does to each, on test inputs.",
        lambda done, found: {"all seeds": comparison_section(found["compared"])},
        of_seed=_e8,
        matters=("data",),
        compare=e8.compare,
    ),
}


def resolved(experiment: Experiment, options: Options) -> Options:
    """Return the options with an experiment's defaults.

    Raises:
        InputError: an option is not the experiment's, or there is no such data.
    """
    known = EXPERIMENTS[experiment].matters
    for name in _DEFAULTS:
        if getattr(options, name) is not None and name not in known:
            of = ", ".join(e for e, spec in EXPERIMENTS.items() if name in spec.matters)
            raise InputError(f"--{name} is an option of {of}, not of {experiment}")
    mine = {n: _DEFAULTS[n] for n in known if getattr(options, n) is None}
    found = replace(options, **mine)
    if found.data is not None and found.data not in TASKS:
        raise InputError(f"E8 is made for {' and '.join(TASKS)}, not {found.data!r}")
    return found


def jobs_of(
    experiment: Experiment, folder: Path, options: Options, given: Sequence[Path] = ()
) -> dict[str, Make]:
    """Return the job of each seed, or of each finished run that is given.

    Raises:
        InputError: the experiment trains networks of its own, or is not defined for a run.
    """
    spec = EXPERIMENTS[experiment]
    if not given:
        seeds = range(3 if options.seeds is None else options.seeds)
        return {f"seed-{s}": partial(_of_seed, spec, s, folder, options) for s in seeds}
    if options.seeds is not None:
        raise InputError(
            "--seeds trains networks, and --run measures finished ones; pass one of them"
        )
    if spec.of_run is None:
        able = [name for name, s in EXPERIMENTS.items() if s.of_run]
        some = f"{', '.join(able[:-1])} or {able[-1]}"
        raise InputError(f"{experiment} trains its own networks; pass --run with {some} only")
    found = [runs.read(path) for path in given]
    for run in found:
        spec.check(run)
    return {f"run-{i}": partial(_of_run, spec, run, options) for i, run in enumerate(found)}


def _of_seed(spec: Spec, seed: int, folder: Path, options: Options) -> Reproduction:
    where = folder / "training" / f"seed-{seed}"
    with _again():
        if spec.of_seed is None:
            run = e3.train(seed, where, data_dir=options.data_dir, progress=not options.quiet)
            return _of_run(spec, run, options)
        with share_bar(f"seed {seed}", disable=options.quiet) as advance:
            return spec.of_seed(seed, where, options, advance)


def _of_run(spec: Spec, run: runs.Run, options: Options) -> Reproduction:
    assert spec.of_run is not None
    with share_bar(run.folder.name, disable=options.quiet) as advance:
        return spec.of_run(run, options, advance)


@contextmanager
def _again() -> Iterator[None]:
    """Say of a stop how to go on."""
    try:
        yield
    except StoppedError as stop:
        raise StoppedError("stopped; the same command goes on where it was") from stop


def reproduce(
    experiment: Experiment,
    folder: Path,
    options: Options,
    command: str,
    given: Sequence[Path] = (),
) -> dict[str, Any]:
    """Do an experiment and write e1.json (e3.json, …), report.html, and a .json and .nc for each job.

    Args:
        experiment: which.
        folder: new, or one in which the same was stopped, or done for fewer seeds.
        options: how.
        command: as typed, for the results.
        given: finished runs, measured as they are; without any, networks are trained, one for each seed.

    Raises:
        InputError: the folder holds something else, or all of this already; or as :func:`resolved` and
            :func:`jobs_of`.
    """
    spec = EXPERIMENTS[experiment]
    options = resolved(experiment, options)
    jobs = jobs_of(experiment, folder, options, given)
    identity: dict[str, Any] = {"experiment": experiment}
    identity |= {name: getattr(options, name) for name in spec.matters}
    if spec.of_run is not None:
        identity["runs"] = [str(path.resolve()) for path in given]
    found: dict[str, Any] = {"paper": spec.paper, "command": command}

    def finish(done: Done) -> None:
        found["results"] = {name: r.summary for name, r in done.items()}
        if spec.compare is not None:
            found["compared"] = spec.compare([r.summary for r in done.values()])
        write_json(folder / f"{experiment.lower()}.json", found)
        shown = dict(zip(jobs, names_apart(given), strict=True)) if given else {n: n for n in jobs}
        told = found | {"results": {shown[n]: r.summary for n, r in done.items()}}
        tables = experiment_tables(experiment, told)
        sections = spec.figures({shown[n]: r for n, r in done.items()}, found)
        headline = experiment_headline(experiment, told)
        words = Words(f"residua: {experiment}", headline, spec.lead, command)
        write_sections(folder / "report.html", words, sections, tables=tables)

    repeat(identity, folder, jobs, finish)
    return found
