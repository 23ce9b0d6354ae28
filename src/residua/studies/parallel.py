"""Do the jobs of the suite in several processes; a stop loses one of each."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch

from residua.errors import ResiduaError, StoppedError
from residua.studies.suite import Job, run


class Failed(NamedTuple):
    """A job that could not be done, and why."""

    name: str
    why: str


def run_all(
    todo: Sequence[Job],
    folder: Path,
    *,
    workers: int,
    data_dir: str | None,
    command: str,
    done: Callable[[Job], None],
) -> list[Failed]:
    """Do jobs and return those that failed; the others are done nevertheless.

    Args:
        todo: jobs without a result.
        folder: results and work.
        workers: processes, of one thread each.
        data_dir: folder of local parquet data sets.
        command: as typed, for the results.
        done: is told of each job that ends.

    Raises:
        StoppedError: a signal ended it; finished jobs are kept.
    """
    failed = []
    one = partial(_one, folder=folder, data_dir=data_dir, command=command)
    # New processes: what is forked from threads of torch can hang.
    with stoppable(), get_context("spawn").Pool(min(workers, len(todo)), _begin) as pool:
        for job, why in pool.imap_unordered(one, todo):
            if why is not None:
                failed.append(Failed(job.name, why))
            done(job)
    return failed


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    torch.set_num_threads(1)


def _one(job: Job, folder: Path, data_dir: str | None, command: str) -> tuple[Job, str | None]:
    try:
        run(job, folder, data_dir, command)
    except ResiduaError as error:
        return job, str(error)
    except Exception as error:  # one job that breaks must not cost a night's other jobs
        return job, f"{type(error).__name__}: {error}"
    return job, None


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn the signals that end a process into StoppedError."""

    def stop(number: int, frame: FrameType | None) -> Any:
        raise StoppedError("stopped; the same command goes on where it was")

    before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
