"""The command line: parse, call, write. It holds no mathematics; heavy imports wait for their use."""

import json
import shlex
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from residua import cli_fit_options as o
from residua.choices import (
    Adaptive,
    SplitName,
)
from residua.cli_bench import bench
from residua.cli_compare import compare
from residua.cli_depth import prune
from residua.cli_experiments import dynamics, reproduce
from residua.cli_models import inspect_any
from residua.cli_options import (
    DataDir,
    Json,
    Parts,
    Quiet,
    Seed,
    Threads,
    command,
    refuse_parts,
    set_up,
)
from residua.errors import ResiduaError, StoppedError
from residua.terminal import (
    out,
    print_comparison,
    print_table,
    print_tables,
)

app = typer.Typer(
    help="Residual networks as dynamical systems over depth.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@app.command()
def fit(
    data: o.Data,
    out_dir: o.Out,
    net: o.Kind = "resnet",
    depth: o.Depth = None,
    width: o.Width = None,
    weights: o.Sharing = None,
    activation: o.Function = "logistic",
    step_size: o.StepSize = 1.0,
    lift: o.Lifting = "pad",
    adaptive: o.Rule = "none",
    threshold: o.Threshold = 0.01,
    tolerance: o.Tolerance = None,
    keep: o.Keep = 1,
    epochs: o.Epochs = 12,
    batch_size: o.BatchSize = 128,
    lr: o.Rate = 2e-3,
    optimizer: o.Method = "adamw",
    weight_decay: o.Decay = 0.05,
    label_smoothing: o.Smoothing = 0.1,
    input_dropout: o.Dropout = 0.0,
    input_noise: o.Noise = 0.0,
    augment: o.Shifts = "none",
    precision: o.Precision = "32-true",
    accelerator: o.Accelerator = "auto",
    seed: Seed = 0,
    data_dir: DataDir = None,
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a network and write a run folder.

    [dim]Example: residua fit digits --epochs 60 --adaptive depth-curve --out runs/digits[/dim]
    """
    given = dict(locals())  # options are called as the fields that they fill
    from residua import run_training
    from residua.run_config import RunConfig
    from residua.train_config import TrainConfig

    set_up(threads)
    conv = net == "conv"
    given |= {
        "data_dir": str(data_dir) if data_dir else None,
        "depth": depth if depth is not None else (20 if conv else 15),
        "weights": weights or ("variable" if conv else "shared"),
        "train": TrainConfig(**o.fields_of(TrainConfig, given)),
    }
    config = RunConfig(**o.fields_of(RunConfig, given))
    run = run_training.start(config, out_dir, command(), progress=not (quiet or as_json))
    finish(run, as_json)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="Folder of a run that was stopped.")],
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Continue a stopped run from its last checkpoint, to the same result.

    [dim]Example: residua resume runs/digits[/dim]
    """
    from residua import run_training

    set_up(threads)
    finish(run_training.resume(run, progress=not (quiet or as_json)), as_json)


@app.command()
def inspect(
    run: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Run folder; or a model: a folder or hub name of transformers, or module:factory.",
        ),
    ],
    split: Annotated[SplitName, typer.Option(help="On which part of the data (runs).")] = "val",
    data: Annotated[
        str | None,
        typer.Option(help="Another data set; of a model: data set, .txt file or module:function."),
    ] = None,
    parts: Parts = False,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="New folder for analysis.nc and report.html; default inspected-NAME, with --json none.",
        ),
    ] = None,
    data_dir: DataDir = None,
    threads: Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the tables as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Show layer by layer what the residuals of a finished run, or of any model, do.

    [dim]Example: residua inspect runs/digits --split test[/dim]
    """
    from residua import folder, runs
    from residua.model_source import names_a_model
    from residua.progress import share_bar
    from residua.report.run_tables import run_tables
    from residua.stored import write_arrays

    set_up(threads)
    name = Path(run).name or Path(run).resolve().name or "run"
    if out_dir is not None:
        folder.refuse_existing(out_dir)
    elif not as_json:
        out_dir = folder.unused(f"inspected-{name}")
    where = str(data_dir) if data_dir else None
    if names_a_model(run):
        inspect_any(run, data, where, parts, out_dir, as_json)
        return
    refuse_parts(parts, run)
    found = runs.read(Path(run))
    with (
        folder.new_folder(out_dir),
        share_bar("probes, perturbations, noise", disable=quiet or as_json) as advance,
    ):
        fresh = runs.inspect(found, split, data, where, advance)
        if out_dir is not None:
            write_arrays(fresh, out_dir / "analysis.nc")
    tables = run_tables(f"{found.summary['data']}, {split} split", fresh)
    if as_json:
        print(json.dumps({name: table.records() for name, table in tables.items()}))
    else:
        print_tables(tables.values())
    if out_dir is not None:
        write_report(out_dir, f"residua: {name}", {name: (found.summary, fresh)})
        if not as_json:
            out.print(f"wrote {out_dir}/analysis.nc and report.html", soft_wrap=True)


@app.command()
def demo(
    out_dir: Annotated[Path, typer.Option("--out", help="New folder for the three runs.")] = Path(
        "demo"
    ),
    data: Annotated[str, typer.Option(help="Data set.")] = "digits",
    seed: Seed = 0,
    data_dir: DataDir = None,
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a 15-layer network on handwritten digits: uncut, and with both depth rules.

    [dim]Example: residua demo --out demo[/dim]
    """
    from residua import folder, run_training, runs
    from residua.report.run_tables import layer_rows
    from residua.run_config import RunConfig
    from residua.train_config import TrainConfig

    set_up(threads)
    folder.refuse_existing(out_dir)
    done: dict[str, runs.Run] = {}
    rules: tuple[Adaptive, ...] = ("none", "depth-curve", "paper")
    for name in rules:
        if not as_json:
            out.print(f"training 15 layers on {data}, depth rule: {name}")
        config = RunConfig(
            data=data,
            data_dir=str(data_dir) if data_dir else None,
            width=256 if data == "digits" else None,
            adaptive=name,
            train=TrainConfig(epochs=60, batch_size=64, seed=seed, accelerator="cpu"),
        )
        run = run_training.start(config, out_dir / name, command(), progress=not (quiet or as_json))
        done[name] = runs.perturbed(run)
        write_report(done[name].folder, f"residua: {data}, {name}", pages({name: done[name]}))
    write_report(out_dir, f"residua demo: {data}", pages(done))
    if as_json:
        print(json.dumps({name: run.summary for name, run in done.items()}))
        return
    print_table("the uncut network, layer by layer", *layer_rows(done["none"].analysis))
    out.print(
        "mean |y|: what the layer adds; settle: how far that is from the layer before; spread: how "
        "much of it depends on the input; loss, accuracy: of a head fitted on the state after it."
    )
    print_comparison(done)
    out.print(f"look at {out_dir}/report.html; each run has a folder in {out_dir}", soft_wrap=True)


app.command()(prune)
app.command()(compare)
app.command()(dynamics)
app.command()(reproduce)
app.add_typer(bench, name="bench")


def finish(run: Any, as_json: bool) -> None:
    """Write the page of a run, and say what it reached and where it lies."""
    from residua.report.headline import guessing
    from residua.store import describe

    summary = run.summary
    write_report(run.folder, f"residua: {run.folder.name}", pages({run.folder.name: run}))
    if as_json:
        print(json.dumps(summary))
        return
    out.print(
        f"{summary['data']}: {summary['depth_initial']} → {summary['depth_final']} layers, test error "
        f"{summary['test_error']:.2f} %, trained {summary['epochs']} epochs in "
        f"{summary['seconds']:.0f} s",
        soft_wrap=True,
    )
    note = guessing(summary, describe(run.net).classes)
    if note:
        out.print(note, soft_wrap=True)
    out.print(
        f"look at {run.folder}/report.html, or run: residua inspect {shlex.quote(str(run.folder))}",
        soft_wrap=True,
    )


def pages(done: dict[str, Any]) -> dict[str, Any]:
    """Return what a page needs of each run."""
    return {name: (run.summary, run.analysis) for name, run in done.items()}


def write_report(folder: Path, title: str, runs: dict[str, Any]) -> None:
    """Write report.html into a folder."""
    from residua.report.page import write_page

    write_page(folder / "report.html", title, runs, command=command())


def main() -> None:
    """Run the command line; an error that residua foresees ends with status 2, a stop with 130."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without arrows still shows the rest
    try:
        app()
    except ResiduaError as error:
        Console(stderr=True, highlight=False).print(
            f"residua: {error}", style="red", markup=False, soft_wrap=True
        )
        sys.exit(130 if isinstance(error, StoppedError) else 2)


if __name__ == "__main__":
    main()
