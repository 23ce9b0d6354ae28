"""All of E1–E8 as jobs: one for each experiment, network and seed, with one result file each.

The quick form has what is embedded and takes minutes; the full form adds MNIST and more seeds. A job
needs nothing but its name and the folder, so that any scheduler can run it. Networks that several jobs
need are trained once, in the folder's networks/; a job that needs one being trained waits for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from residua.errors import DamagedError, InputError
from residua.folder import make_folder, refuse_existing
from residua.folder_kinds import EXPERIMENT
from residua.progress import quiet_lightning
from residua.stored import FORMAT, check_format, read_json, write_json
from residua.studies.kinds import FULL, QUICK, Make
from residua.studies.verdicts import Results

WORK = "networks"
LAST = 10**8  # first seed: those of the circles' starts are ten times as large


@dataclass(frozen=True)
class Form:
    """Which jobs there are.

    Attributes:
        quick: what is embedded, in minutes; else all.
        first_seed: seeds count from here.
        seeds: how many, of everything; default as many as each network's (circles 20, digits 10, MNIST
            3; quick circles 8, where layers go 5, digits 5).
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
    make: Make
    minutes: float

    @property
    def name(self) -> str:
        """Return its name, as it is asked for."""
        return f"{self.experiment}/{self.network}-{self.seed}"

    def file(self, folder: Path) -> Path:
        """Return where its result lies."""
        return folder / f"{self.name}.json"


def jobs(form: Form) -> list[Job]:
    """Return all jobs of a form, those that others wait for first.

    Raises:
        InputError: seeds are out of range.
    """
    if not 0 <= form.first_seed <= LAST or (form.seeds is not None and form.seeds < 1):
        raise InputError(
            f"seeds must be 1 or more, from 0 to {LAST}, not {form.seeds} from {form.first_seed}"
        )
    kinds = QUICK if form.quick else FULL
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
        DamagedError: a result cannot be read, is of another seed, or lacks what others have.
        InputError: a newer residua wrote one.
    """
    remedy = "remove it, and `residua reproduce all` without --pages makes it anew"
    found: dict[str, dict[str, dict[int, dict[str, Any]]]] = {}
    for kind in QUICK if form.quick else FULL:
        each: dict[Path, dict[str, Any]] = {}
        for path in sorted((folder / kind.experiment).glob(f"{kind.network}-*.json")):
            seed = path.stem.removeprefix(f"{kind.network}-")
            if seed.isdecimal():
                of = found.setdefault(kind.experiment, {}).setdefault(kind.network, {})
                result = read_json(path, remedy)
                check_format(result, path, remedy)
                if (made_of := result.get("seed", int(seed))) != int(seed):
                    raise DamagedError(
                        f"{str(path)!r} holds the result of seed {made_of}; {remedy}"
                    )
                of[int(seed)] = each[path] = result
        _refuse_parts(each, remedy)
    return found


def _refuse_parts(each: Mapping[Path, Mapping[str, Any]], remedy: str) -> None:
    """Refuse a result that lacks what those of other seeds have."""
    whole = set().union(*each.values()) - {"format"}  # there was a time before formats
    for path, result in each.items():
        if missing := sorted(whole - result.keys()):
            raise DamagedError(
                f"{str(path)!r} is damaged: it lacks {missing[0]!r}, which other seeds have; {remedy}"
            )
