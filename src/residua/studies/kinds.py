"""What the jobs of E1–E8 are, in the quick and the full form: network, what makes a result, seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from residua.choices import Adaptive, Weights
from residua.studies import c1, circles, e1, e2, e3, e4, e5, e6, e7, e8
from residua.studies.e8_training import NOISE, SETTINGS, TASKS, Cell, Task
from residua.studies.networks import network

# What makes the result of a seed, with the folder of networks and that of local data.
Make = Callable[[int, Path, str | None], dict[str, Any]]


class Kind(NamedTuple):
    """Jobs that differ in their seed alone; `minutes` of one on one core, as a guess."""

    experiment: str
    network: str
    make: Make
    minutes: float
    seeds: int


@dataclass(frozen=True)
class Extent:
    """How much a form does on embedded data.

    Attributes:
        circles, cut_circles, digits: seeds of E1 and E5, of E7 on circles, of the others.
        restarts: of networks on circles from which layers are taken, at most.
        rules: of E7.
        weights: of E7 on digits.
        e8: its cells and settings; minutes of a seed, with a share of the search.
        starts: how C14's networks are trained.
    """

    circles: int
    cut_circles: int
    digits: int
    restarts: int
    rules: Sequence[Adaptive]
    weights: Sequence[Weights]
    e8: tuple[Task, float]
    starts: Task


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


def _starts(task: Task, seed: int, work: Path, data_dir: str | None) -> dict[str, Any]:
    return e4.starts(task, seed, work, data_dir)


def _e5_circles(seed: int, work: Path, data_dir: str | None) -> dict[str, Any]:
    return e5.circles(seed, work)


def _e5(data: str, seed: int, work: Path, data_dir: str | None) -> dict[str, Any]:
    run = network(data, "shared", seed, work, data_dir=data_dir)
    return e5.reproduce(run, data_dir=data_dir).summary


def _e6(data: str, seed: int, work: Path, data_dir: str | None) -> dict[str, Any]:
    run = network(data, "shared", seed, work, data_dir=data_dir)
    return e6.reproduce(run, data_dir=data_dir).summary


def _e7_circles(
    weights: Weights, restarts: int, seed: int, work: Path, data_dir: str | None
) -> dict[str, Any]:
    return e7.circles(weights, seed, work, restarts)


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


def _of(
    data: str,
    seeds: int,
    minutes: Sequence[float],
    rules: Sequence[Adaptive] = e7.RULES,
    weights: Sequence[Weights] = ("shared", "variable"),
) -> list[Kind]:
    """Return the experiments on networks of a data set; minutes of E2 and E4 with their trainings."""
    e2_, e4_, e3_, e5_, e6_, e7_ = minutes
    return [
        Kind("e2", data, partial(_e2, data), e2_, seeds),
        Kind("e4", data, partial(_e4, data), e4_, seeds),
        Kind("e3", data, partial(_e3, data), e3_, seeds),
        Kind("e5", data, partial(_e5, data), e5_, seeds),
        Kind("e6", data, partial(_e6, data), e6_, seeds),
        *(Kind("e7", f"{data}-{w}", partial(_e7, data, w, rules), e7_, seeds) for w in weights),
    ]


def _embedded(extent: Extent) -> list[Kind]:
    """Return the experiments on embedded data.

    Ordered so that neighbours train different networks: a second process would wait for the first.
    """
    whole, cut, digits = extent.circles, extent.cut_circles, extent.digits
    minutes = (0.3, 0.3, 0.2, 0.1, 0.1, 0.5)
    e2_, e4_, *others = _of("digits", digits, minutes, extent.rules, extent.weights)
    shared, variable = (partial(_e7_circles, w, extent.restarts) for w in ("shared", "variable"))
    e8_task, e8_minutes = extent.e8
    return [
        Kind("c1", "families", _c1, 0.1, digits),
        Kind("e8", "digits", partial(_e8, e8_task), e8_minutes, digits),
        Kind("e1", "circles", _e1, 0.4, whole),
        e2_,
        Kind("e7", "circles-variable", variable, 0.8, cut),
        e4_,
        Kind("e5", "circles", _e5_circles, 0.1, whole),
        Kind("e7", "circles-shared", shared, 0.6, cut),
        *others,
        Kind("e4", "digits-starts", partial(_starts, extent.starts), 0.8, digits),
    ]


# E8 in the quick form: fewer cells, of those in which clean accuracies tend to be equal, and settings.
QUICK_E8 = replace(
    TASKS["digits"],
    cells=(Cell("variable", 1, NOISE), Cell("variable", 3, 0.0), Cell("variable", 3, NOISE)),
    settings=tuple(s for s in SETTINGS if s.lr == 8e-3 and s.gain in (0.3, 4.0)),
)
QUICK = _embedded(
    Extent(
        circles=8,
        cut_circles=5,
        digits=5,
        restarts=3,
        rules=e7.PAPERS,
        weights=("shared",),
        e8=(QUICK_E8, 0.4),
        starts=replace(e4.TASK, train=replace(e4.TASK.train, epochs=20)),
    )
)
FULL = [
    *_of("mnist", 3, (25.0, 25.0, 4.0, 3.0, 2.0, 60.0)),
    Kind("e8", "mnist", partial(_e8, TASKS["mnist"]), 60.0, 3),
    *_embedded(
        Extent(
            circles=20,
            cut_circles=20,
            digits=10,
            restarts=circles.STARTS,
            rules=e7.RULES,
            weights=("shared", "variable"),
            e8=(TASKS["digits"], 5.0),
            starts=e4.TASK,
        )
    ),
]
