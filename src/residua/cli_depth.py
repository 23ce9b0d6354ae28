"""The command that takes layers away from a finished run: parse, call, write."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from residua.cli_models import prune_any
from residua.cli_options import (
    DataDir,
    DataNamed,
    Json,
    Parts,
    Quiet,
    Shown,
    Threads,
    command,
    refuse_parts,
    set_up,
)
from residua.terminal import out, print_tables

if TYPE_CHECKING:
    from residua.depth.pruning import PruneConfig
    from residua.pruned import Healing

Keep = Annotated[int | None, typer.Option(help="Layers that stay.")]
LossIncrease = Annotated[
    float | None, typer.Option(help="Fewest layers with so much more held-out loss, in nats.")
]
DropPoints = Annotated[
    float | None, typer.Option(help="Fewest layers with so many points less accuracy.")
]
Speedup = Annotated[
    float | None, typer.Option(help="Most layers with which it is so many times as fast.")
]
Which = Annotated[
    str, typer.Option(help='Which layers go; "best" tries five criteria on held-out data.')
]
Instead = Annotated[
    str | None,
    typer.Option(help="What makes up for them; default: steps or readers, and the head."),
]
Heal = Annotated[int, typer.Option(help="Epochs of training after the cut.")]
HealRate = Annotated[
    float | None,
    typer.Option(help="Its highest learning rate; default: a tenth of the run's, of a model 5e-4."),
]
OtherData = Annotated[
    str | None,
    typer.Option(help="Other data than the run's; of a model: data set, .txt or module:function."),
]


def prune(
    run: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Run folder; or a model: a folder or hub name of transformers, or module:factory.",
        ),
    ],
    out_dir: Annotated[Path, typer.Option("--out", help="New folder for the cut network.")],
    keep: Keep = None,
    max_loss_increase: LossIncrease = None,
    max_drop_points: DropPoints = None,
    speedup: Speedup = None,
    criterion: Which = "best",
    compensation: Instead = None,
    heal: Heal = 0,
    heal_lr: HealRate = None,
    data: OtherData = None,
    parts: Parts = False,
    data_dir: DataDir = None,
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take layers away from a finished run's network, or from any model, and write the smaller one.

    Without --heal nothing is trained: steps and heads are fitted in closed form on training data, and
    validation data decide.

    [dim]Example: residua prune runs/digits --keep 3 --out runs/digits-3[/dim]
    [dim]Example: residua prune my-gpt2 --data corpus.txt --keep 9 --out my-gpt2-9[/dim]
    """
    from residua import pruned
    from residua.depth.pruning import PruneConfig
    from residua.model_source import names_a_model

    set_up(threads)
    config = PruneConfig(keep, max_loss_increase, max_drop_points, speedup, criterion, compensation)
    named = DataNamed(data, str(data_dir) if data_dir else None)
    healing, shown = pruned.Healing(heal, heal_lr), Shown(as_json, quiet)
    if names_a_model(run):
        prune_any(run, named, config, out_dir, healing, shown, parts=parts)
        return
    refuse_parts(parts, run)
    _prune_run(Path(run), out_dir, config, named, healing, shown)


def _prune_run(
    run: Path,
    out_dir: Path,
    config: "PruneConfig",
    data: DataNamed,
    healing: "Healing",
    shown: Shown,
) -> None:
    """Cut a run's network, print it and write it with a page."""
    from residua import pruned, runs
    from residua.progress import share_bar
    from residua.report.depth_figures import Cut
    from residua.report.page import write_page
    from residua.report.prune_tables import layer_table, measured_table

    found = runs.read(run)
    held = runs.data_of(found, data.name, data.folder)
    with share_bar("plans, compensations, measurements", disable=shown.hidden) as advance:
        done = pruned.prune_run(
            found,
            out_dir,
            config,
            command(),
            data=held,
            healing=healing,
            advance=advance,
            progress=not shown.hidden,
        )
    new = done.run
    name = out_dir.name
    tables = [layer_table(done.report.plan, done.stages), measured_table(new.summary)]
    plan, uncut = done.report.plan, f"{found.folder.name}, uncut"
    runs_shown = {name: (new.summary, new.analysis), uncut: (found.summary, found.analysis)}
    cuts = {uncut: Cut(plan.depth, len(plan.keep), plan.removed)}
    write_page(out_dir / "report.html", f"residua: {name}", runs_shown, tables=tables, cuts=cuts)
    if shown.as_json:
        print(json.dumps(new.summary))
        return
    print_tables(tables)
    out.print(
        f"wrote {out_dir}: model.safetensors, plan.json, summary.json, analysis.nc, report.html",
        soft_wrap=True,
    )
