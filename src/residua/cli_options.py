"""What the commands share: options, and what each does first."""

import shlex
import sys
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
