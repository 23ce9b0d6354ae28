"""What the commands share: options, and what each does first."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder with mnist/train*.parquet; default: $RESIDUA_DATA, then the hub."),
]
Seed = Annotated[int, typer.Option(help="Seed of splits, weights and batches.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all cores.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON, and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]
Parts = Annotated[
    bool, typer.Option("--parts", help="Attention and MLP of a model's blocks for themselves.")
]


@dataclass(frozen=True)
class Shown:
    """How a command tells what it does: a summary as JSON, and whether without progress."""

    as_json: bool
    quiet: bool

    @property
    def hidden(self) -> bool:
        """Whether no progress is shown."""
        return self.as_json or self.quiet


@dataclass(frozen=True)
class DataNamed:
    """Data as the user named them, and the folder where data sets lie."""

    name: str | None
    folder: str | None


def refuse_parts(parts: bool, run: str) -> None:
    """Refuse --parts for a run of residua, whose blocks have none."""
    from residua.errors import InputError

    if parts:
        raise InputError(
            f"--parts is for models whose blocks have several residuals, and {run!r} is no such model; "
            "leave it out"
        )


def command() -> str:
    """Return the command as it was typed."""
    return shlex.join(["residua", *sys.argv[1:]])


def set_up(threads: int | None) -> None:
    """Fix the threads and silence what Lightning says about itself."""
    import torch

    from residua.progress import quiet_lightning

    if threads:
        torch.set_num_threads(threads)
    quiet_lightning()
