"""Do the jobs of the suite in several processes; what is finished is kept, a stop loses one of each."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import NamedTuple, NoReturn

import torch
from threadpoolctl import threadpool_limits

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
        ResiduaError: the system ended one of the processes.
    """
    one = partial(_one, folder=folder, data_dir=data_dir, command=command)
    # New processes: what is forked from threads of torch can hang.
    pool = ProcessPoolExecutor(min(workers, len(todo)), get_context("spawn"), _begin)
    try:
        with _stoppable(), pool, _ended_at_once(pool):
            with _unheard():
                jobs = {pool.submit(one, job): job for job in todo}
            return _collected(jobs, done)
    except BrokenProcessPool as error:
        raise ResiduaError(
            "one of the processes was ended from outside, perhaps for its memory; the same command "
            "goes on, with fewer --workers in less memory"
        ) from error


def _collected(jobs: Mapping[Future[str | None], Job], done: Callable[[Job], None]) -> list[Failed]:
    failed = []
    for future in as_completed(jobs):
        why = future.result()
        if why is not None:
            failed.append(Failed(jobs[future].name, why))
        done(jobs[future])
    return failed


@contextmanager
def _ended_at_once(pool: ProcessPoolExecutor) -> Iterator[None]:
    """Kill the processes where the work stops; else they end by themselves, and tidy up."""
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in active_children():
            child.kill()  # a training would hear a milder signal, and go on to its next step
        raise


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it is not inherited
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    threadpool_limits(1)  # numpy and scipy, too


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _one(job: Job, folder: Path, data_dir: str | None, command: str) -> str | None:
    """Do a job and return why it failed, or None."""
    try:
        run(job, folder, data_dir, command)
    except ResiduaError as error:
        return str(error)
    except Exception as error:  # one job that breaks must not cost a night's other jobs
        return f"{type(error).__name__}: {error}"
    return None


@contextmanager
def _unheard() -> Iterator[None]:
    """Have processes that begin here never hear a Ctrl-C, which comes to all: the parent ends them."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turn the signals that end a process into StoppedError."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise StoppedError("stopped; the same command goes on where it was")

    before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
