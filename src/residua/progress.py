"""One line that shows how far a piece of work is and how long it will take yet."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


def work_bar(*, disable: bool = False) -> Progress:
    """Return a bar on the standard error stream: what is done, how far it is, how long it takes yet."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(stderr=True),
        transient=True,
        disable=disable,
    )


@contextmanager
def share_bar(text: str, *, disable: bool = False) -> Iterator[Callable[[float], None]]:
    """Show a bar; what is given moves it on by a share of the whole."""
    with work_bar(disable=disable) as bar:
        yield partial(bar.advance, bar.add_task(text, total=1))


def quiet_lightning() -> None:
    """Silence what Lightning says about itself; its errors still show."""
    for logger in _loggers():
        logger.setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


@contextmanager
def quietly() -> Iterator[None]:
    """Silence what Lightning says about itself, inside of this alone."""
    levels = [logger.level for logger in _loggers()]
    with warnings.catch_warnings():
        quiet_lightning()
        try:
            yield
        finally:
            for logger, level in zip(_loggers(), levels, strict=True):
                logger.setLevel(level)


def _loggers() -> list[logging.Logger]:
    return [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
