"""All of E1–E8 as jobs: one for each experiment, network and seed, with one result file each.

The quick form has what is embedded and takes minutes; the full form adds MNIST and more seeds. A job
needs nothing but its name and the folder, so that any scheduler can run it. Networks that several jobs
need are trained once, in the folder's networks/; a job that needs one being trained waits for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from residua.choices import Adaptive, Weights
from residua.errors import InputError
from residua.folder import make_folder, refuse_existing
from residua.folder_kinds import EXPERIMENT
from residua.progress import quiet_lightning
from residua.stored import FORMAT, check_format, read_json, write_json
from residua.studies import c1, e1, e2, e3, e4, e5, e6, e7, e8
from residua.studies.e8_training import NOISE, SETTINGS, TASKS, Cell, Task
from residua.studies.networks import network
from residua.studies.verdicts import Results

WORK = "networks"
LAST = 10**8  # first seed: those of the circles' starts are ten times as large
# E8 in the quick form: fewer cells, of those in which clean accuracies tend to be equal, and settings.
QUICK_E8 = replace(
    TASKS["digits"],
    cells=(Cell("variable", 1, NOISE), Cell("variable", 3, 0.0), Cell("variable", 3, NOISE)),
    settings=tuple(s for s in SETTINGS if s.lr == 8e-3 and s.gain in (0.3, 4.0)),
)


@dataclass(frozen=True)
class Form:
    """Which jobs there are.

    Attributes:
        quick: what is embedded, in minutes; else all.
        first_seed: seeds count from here.
        seeds: how many, of everything; default as many as each network's (circles 20, digits 10, MNIST
            3; quick circles 10, where layers go 5, digits 5).
    """

    quick: bool = False
    first_seed: int = 0
    seeds: int | None = None

    @property
    def command(self) -> str:
        """Return what makes it, in any folder."""
        parts = ["residua reproduce all"]
        parts += ["--quick"] if self.quick else []
        parts += [f"--first-seed {self.first_seed}"] if self.first_seed else []
        parts += [f"--seeds {self.seeds}"] if self.seeds is not None else []
        return " ".join(parts)


class Job(NamedTuple):
    """One experiment on one network and seed; `minutes` on one core, as a guess."""

    experiment: str
    network: str
    seed: int
    make: Callable[[int, Path, str | None], dict[str, Any]]
    minutes: float

    @property
    def name(self) -> str:
        """Return its name, as it is asked for."""
        return f"{self.experiment}/{self.network}-{self.seed}"

    def file(self, folder: Path) -> Path:
        """Return where its result lies."""
        return folder / f"{self.name}.json"


class _Kind(NamedTuple):
    experiment: str
    network: str
    make: Callable[[int, Path, str | None], dict[str, Any]]
    minutes: float
    seeds: int


def jobs(form: Form) -> list[Job]:
    """Return all jobs of a form, those that others wait for first.

    Raises:
        InputError: seeds are out of range.
    """
    if not 0 <= form.first_seed <= LAST or (form.seeds is not None and form.seeds < 1):
        raise InputError(
            f"seeds must be 1 or more, from 0 to {LAST}, not {form.seeds} from {form.first_seed}"
        )
    kinds = _QUICK if form.quick else _FULL
    found = [
        (k, Job(kind.experiment, kind.network, form.first_seed + k, kind.make, kind.minutes))
        for kind in kinds
        for k in range(form.seeds or kind.seeds)
    ]
    # Seed by seed, so that neighbours rarely want the same network, and a stop leaves whole seeds.
    return [job for _, job in sorted(found, key=lambda pair: pair[0])]


def chosen(every: Sequence[Job], names: Sequence[str]) -> list[Job]:
    """Return the jobs named, by a whole name ("e1/circles-0") or the beginning of one ("e1").

    Raises:
        InputError: a name is of no job.
    """
    for name in names:
        if not any(_named(job, name) for job in every):
            some = ", ".join(dict.fromkeys(j.experiment for j in every))
            raise InputError(
                f"there is no job {name!r}; pass one that --list shows, or an experiment: {some}"
            )
    return [j for j in every if not names or any(_named(j, name) for name in names)]


def _named(job: Job, name: str) -> bool:
    return name.lower() in (job.name, job.experiment, f"{job.experiment}/{job.network}")


def begin(folder: Path, form: Form) -> None:
    """Make a folder for the results of a form, or go on with one of the same.

    Raises:
        InputError: the folder holds something else, or cannot be made.
    """
    identity = {"experiment": "all", "quick": form.quick, "first_seed": form.first_seed}
    mark = folder / EXPERIMENT
    try:
        refuse_existing(folder)
    except InputError:
        if not mark.exists():  # another process, of the same form, may have been faster
            raise
    if mark.exists():
        before = read_json(mark)
        if before != identity:
            raise InputError(
                f"{str(folder)!r} holds {before}, and this is {identity}; pass a new folder"
            )
        return
    make_folder(folder)
    write_json(mark, identity)


def run(job: Job, folder: Path, data_dir: str | None, command: str) -> None:
    """Do a job and write its result, whole or not at all; a finished one is left alone.

    Where another process is at it, wait for that.
    """
    quiet_lightning()
    target, work = job.file(folder), folder / WORK
    work.mkdir(parents=True, exist_ok=True)
    with FileLock(work / f"job-{job.name.replace('/', '-')}.lock"):
        if target.exists():
            return
        found = job.make(job.seed, work, data_dir)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_json(target, {"format": FORMAT, **found, "command": command})


def results(folder: Path, form: Form) -> Results:
    """Return what is stored of a form's experiments, of all seeds, by experiment, network and seed.

    Raises:
        DamagedError: a result cannot be read.
        InputError: a newer residua wrote one.
    """
    remedy = "remove it, and the same command makes it anew"
    found: dict[str, dict[str, dict[int, dict[str, Any]]]] = {}
    for kind in _QUICK if form.quick else _FULL:
        for path in sorted((folder / kind.experiment).glob(f"{kind.network}-*.json")):
            seed = path.stem.removeprefix(f"{kind.network}-")
            if seed.isdecimal():
                of = found.setdefault(kind.experiment, {}).setdefault(kind.network, {})
                of[int(seed)] = read_json(path, remedy)
                check_format(of[int(seed)], path, remedy)
    return found


def _c1(seed: int, work: Path, data_dir: str | None) -> dict[str, Any]:
    return c1.measure(seed)


def _e1(seed: int, work: Path, data_dir: str | None) -> dict[str, Any]:
    return e1.reproduce(seed, work).summary


def _e2(data: str, seed: int, work: Path, data_dir: str | None) -> dict[str, Any]:
    return e2.measure(data, seed, work, data_dir)


def _e3(data: str, seed: int, work: Path, data_dir: str | None) -> dict[str, Any]:
    run = network(data, "shared", seed, work, data_dir=data_dir)
    return e3.reproduce(run, data_dir=data_dir).summary


def _e4(data: str, seed: int, work: Path, data_dir: str | None) -> dict[str, Any]:
    return e4.measure(data, seed, work, data_dir)


def _starts(seed: int, work: Path, data_dir: str | None) -> dict[str, Any]:
    return e4.starts(seed, work, data_dir)


def _e5_circles(seed: int, work: Path, data_dir: str | None) -> dict[str, Any]:
    return e5.circles(seed, work)


def _e5(data: str, seed: int, work: Path, data_dir: str | None) -> dict[str, Any]:
    run = network(data, "shared", seed, work, data_dir=data_dir)
    return e5.reproduce(run, data_dir=data_dir).summary


def _e6(data: str, seed: int, work: Path, data_dir: str | None) -> dict[str, Any]:
    run = network(data, "shared", seed, work, data_dir=data_dir)
    return e6.reproduce(run, data_dir=data_dir).summary


def _e7_circles(weights: Weights, seed: int, work: Path, data_dir: str | None) -> dict[str, Any]:
    return e7.circles(weights, seed, work)


def _e7(
    data: str,
    weights: Weights,
    rules: Sequence[Adaptive],
    seed: int,
    work: Path,
    data_dir: str | None,
) -> dict[str, Any]:
    return e7.trained(data, weights, seed, work, rules=rules, data_dir=data_dir)


def _e8(task: Task, seed: int, work: Path, data_dir: str | None) -> dict[str, Any]:
    shared = work / f"e8-{task.data}-{len(task.cells)}"
    work.mkdir(parents=True, exist_ok=True)
    with FileLock(work / f"{shared.name}.lock"):  # all seeds have one search
        search = e8.searched(task, shared, data_dir)
    return e8.reproduce(task, seed, shared, data_dir=data_dir).summary | {"search": search}


def _of(data: str, seeds: int, rules: Sequence[Adaptive], minutes: Sequence[float]) -> list[_Kind]:
    """Return the experiments on networks of a data set; minutes of E2 and E4 with their trainings."""
    e2_, e4_, e3_, e5_, e6_, e7_shared, e7_variable = minutes
    return [
        _Kind("e2", data, partial(_e2, data), e2_, seeds),
        _Kind("e4", data, partial(_e4, data), e4_, seeds),
        _Kind("e3", data, partial(_e3, data), e3_, seeds),
        _Kind("e5", data, partial(_e5, data), e5_, seeds),
        _Kind("e6", data, partial(_e6, data), e6_, seeds),
        _Kind("e7", f"{data}-shared", partial(_e7, data, "shared", rules), e7_shared, seeds),
        _Kind("e7", f"{data}-variable", partial(_e7, data, "variable", rules), e7_variable, seeds),
    ]


def _embedded(
    circles: Sequence[int], digits: int, rules: Sequence[Adaptive], e8_task: Task, e8_minutes: float
) -> list[_Kind]:
    """Return the experiments on embedded data; `circles`: seeds of E1 and E5, and of E7.

    Ordered so that neighbours train different networks: a second process would wait for the first.
    """
    whole, cut = circles
    e2_, e4_, *others = _of("digits", digits, rules, (0.3, 0.3, 0.2, 0.1, 0.1, 0.4, 0.5))
    return [
        _Kind("c1", "families", _c1, 0.1, digits),
        _Kind("e8", "digits", partial(_e8, e8_task), e8_minutes, digits),
        _Kind("e1", "circles", _e1, 0.4, whole),
        e2_,
        _Kind("e7", "circles-variable", partial(_e7_circles, "variable"), 0.8, cut),
        e4_,
        _Kind("e5", "circles", _e5_circles, 0.1, whole),
        _Kind("e7", "circles-shared", partial(_e7_circles, "shared"), 0.3, cut),
        *others,
        _Kind("e4", "digits-starts", _starts, 0.8, digits),
    ]


_QUICK = _embedded((10, 5), 5, e7.PAPERS, QUICK_E8, 0.4)
_FULL = [
    *_of("mnist", 3, e7.RULES, (25.0, 25.0, 4.0, 3.0, 2.0, 60.0, 60.0)),
    _Kind("e8", "mnist", partial(_e8, TASKS["mnist"]), 60.0, 3),
    *_embedded((20, 20), 10, e7.RULES, TASKS["digits"], 12.0),
]
