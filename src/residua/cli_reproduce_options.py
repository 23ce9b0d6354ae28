"""The options of `residua reproduce`: of single experiments, of all of them, of both."""

from pathlib import Path
from typing import Annotated

import typer

from residua.choices import Reproduced

Which = Annotated[
    Reproduced, typer.Argument(help="The paper's experiment, or all with a verdict on each claim.")
]
Out = Annotated[Path, typer.Option("--out", help="New folder, or one in which it was stopped.")]
Seeds = Annotated[
    int | None,
    typer.Option(min=1, help="How many seeds, from 0; default 3. all: default what each needs."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]

Run = Annotated[
    list[Path] | None,
    typer.Option(help="E3, E5, E6: a finished run instead of training; repeatable."),
]
Layers = Annotated[
    int | None, typer.Option(min=2, help="E3: how far the network is run; default 1000.")
]
Data = Annotated[str | None, typer.Option(help="E8: digits (default) or mnist.")]

Quick = Annotated[
    bool, typer.Option("--quick", help="all: embedded data alone, minutes instead of hours.")
]
FirstSeed = Annotated[
    int | None, typer.Option(min=0, max=10**8, help="all: the first seed; default 0.")
]
Only = Annotated[
    list[str] | None,
    typer.Option(help="all: an experiment (e1) or a job (e1/circles-0); repeatable."),
]
ListJobs = Annotated[
    bool, typer.Option("--list", help="all: print the jobs, one a line, and do none.")
]
Pages = Annotated[
    bool, typer.Option("--pages", help="all: write the pages of what is there; do no job.")
]
Markdown = Annotated[
    Path | None, typer.Option(help="all: the page of Markdown; default evidence.md in --out.")
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="all: processes; default one for each core.")
]
