"""The commands on residual dynamics and on the paper's experiments: parse, call, write."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from residua import cli_reproduce_options as o
from residua.choices import Experiment, Reproduced
from residua.cli_evidence import Asked, reproduce_all
from residua.cli_options import DataDir, Quiet, Threads, command, set_up
from residua.terminal import out, print_experiment, print_portrait


def dynamics(
    source: Annotated[Path, typer.Argument(help="Run folder, or W as an .npy file.")],
    bias: Annotated[
        Path | None, typer.Option(help="b as an .npy file: path from x(0) = 0.")
    ] = None,
    step_size: Annotated[float | None, typer.Option(help="h; default 1, or the run's.")] = None,
    layer: Annotated[
        int | None, typer.Option(help="With variable weights: the block that is repeated.")
    ] = None,
    layers: Annotated[int, typer.Option(help="Length of the path.")] = 100,
    starts: Annotated[int | None, typer.Option(help="Of the search beyond 12 units.")] = None,
    unit: Annotated[
        int | None, typer.Option(help="Also: who helps and hinders this unit (or pixel), from 0.")
    ] = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="New folder for portrait.json and report.html.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the starts.")] = 0,
    threads: Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show who helps whom, and where the residuals of shared weights come to rest.

    [dim]Example: residua dynamics W.npy --json[/dim]
    """
    from residua import folder
    from residua.dynamics.interactions import influences
    from residua.dynamics.portrait import portrait
    from residua.map_source import residuals_of

    set_up(threads)
    if out_dir is not None:
        folder.refuse_existing(out_dir)
    given = residuals_of(source, bias, step_size=step_size, layer=layer)
    near = None if unit is None else influences(given.residuals.W, unit)
    found = portrait(given.residuals, start=given.start, layers=layers, starts=starts, seed=seed)
    plain = found.to_dict() | {"influences": asdict(near) if near else None}
    if as_json:
        print(json.dumps(plain))
    else:
        print_portrait(found, near)
    if out_dir is not None:
        from residua.dynamics.planes import portrait_planes
        from residua.report.page import Words, write_sections
        from residua.report.portrait_figures import portrait_section
        from residua.stored import write_json

        folder.make_folder(out_dir)
        write_json(out_dir / "portrait.json", plain | {"command": command()})
        planes = portrait_planes(found.residuals, found.fixed, given.start)
        drawn = {source.name: portrait_section(found, planes, given.inputs, unit)}
        words = Words(f"residua: {source.name}", found.counted, f"{found.searched}.", command())
        write_sections(out_dir / "report.html", words, drawn)
        if not as_json:
            out.print(f"wrote portrait.json and report.html into {out_dir}", soft_wrap=True)


def reproduce(
    experiment: o.Which,
    out_dir: o.Out,
    seeds: o.Seeds = None,
    run: o.Run = None,
    layers: o.Layers = None,
    data: o.Data = None,
    quick: o.Quick = False,
    first_seed: o.FirstSeed = None,
    only: o.Only = None,
    list_jobs: o.ListJobs = False,
    pages: o.Pages = False,
    markdown: o.Markdown = None,
    workers: o.Workers = None,
    data_dir: DataDir = None,
    threads: Threads = None,
    as_json: o.AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Repeat an experiment of the paper and set its figures beside the paper's; or all of them.

    Stopped, it goes on where it was with the same command.

    [dim]Example: residua reproduce all --quick --out evidence[/dim]
    """
    of_all = {
        "--quick": quick or None,
        "--first-seed": first_seed,
        "--only": only or None,
        "--list": list_jobs or None,
        "--pages": pages or None,
        "--markdown": markdown,
        "--workers": workers,
    }
    of_one = {"--run": run or None, "--layers": layers, "--data": data, "--threads": threads}
    alone = _alone(experiment)
    _refuse(experiment, of_all if alone else of_one)
    where = str(data_dir) if data_dir else None
    if alone is None:
        asked = Asked(
            quick=quick,
            first_seed=first_seed or 0,
            seeds=seeds,
            only=tuple(only or ()),
            list_jobs=list_jobs,
            pages=pages,
            markdown=markdown,
            workers=workers,
            data_dir=where,
            as_json=as_json,
            quiet=quiet,
        )
        reproduce_all(out_dir, asked)
        return
    set_up(threads)
    options = {"seeds": seeds, "layers": layers, "data": data, "data_dir": where}
    _reproduce_one(alone, out_dir, options | {"quiet": quiet or as_json}, run or (), as_json)


def _reproduce_one(
    experiment: Experiment,
    out_dir: Path,
    options: dict[str, Any],
    given: Sequence[Path],
    as_json: bool,
) -> None:
    """Repeat one experiment, for seeds or for finished runs."""
    from residua.studies import experiments

    asked = experiments.Options(**options)
    found = experiments.reproduce(experiment, out_dir, asked, command(), given)
    if as_json:
        print(json.dumps(found))
        return
    print_experiment(experiment, found)
    out.print(f"wrote {experiment.lower()}.json and report.html into {out_dir}", soft_wrap=True)


def _alone(experiment: Reproduced) -> Experiment | None:
    """Return the experiment, None for all; refuse those that have no command of their own."""
    from residua.errors import InputError

    if experiment == "all":
        return None
    if experiment != "E2" and experiment != "E4" and experiment != "E7":
        return experiment
    job = experiment.lower()
    raise InputError(
        f"{experiment} has no command of its own; run: residua reproduce all --only {job} --out FOLDER "
        f"(--quick: on embedded data alone), and then the same with --pages instead of --only {job}"
    )


def _refuse(experiment: str, others: dict[str, Any]) -> None:
    """Refuse the options that are not of this experiment."""
    from residua.errors import InputError

    for name, value in others.items():
        if value is not None:
            of = "single experiments" if experiment == "all" else "'all'"
            raise InputError(f"{name} is an option of {of}, not of {experiment!r}; leave it out")
