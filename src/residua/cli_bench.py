"""The commands that measure residua beside other methods and tools: parse, call, write."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from residua.cli_fit_options import Accelerator
from residua.cli_options import Quiet, Threads, command, set_up
from residua.terminal import out, print_tables

if TYPE_CHECKING:
    from residua.report.tables import Table

bench = typer.Typer(
    help="Measure residua beside other methods and tools, side by side in one run.",
    no_args_is_help=True,
)


@bench.command()
def depth(
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder, new or one in which this was stopped.")
    ],
    task: Annotated[
        list[str] | None, typer.Option(help="What is cut; repeatable. Default: all but the large.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many seeds; default 5, quick 1.")
    ] = None,
    first_seed: Annotated[
        int,
        typer.Option(
            min=0, max=2**31, help="The first of them; apart, in folders of their own, they add up."
        ),
    ] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small models and one seed: a minute.")
    ] = False,
    accelerator: Accelerator = "cpu",
    threads: Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all cells as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Cut the same trained models to the same depths by every method: raw, compensated, healed, scratch.

    Every cell is kept when it is done; stopped, the same command goes on.

    [dim]Example: residua bench depth --task gpt --seeds 2 --out bench-depth[/dim]
    """
    from residua.bench.depth import cells_of, chosen_tasks, run_cells
    from residua.bench.depth_cell import methods_of
    from residua.bench.depth_figures import depth_section
    from residua.bench.depth_page import depth_markdown, depth_tables
    from residua.folder import locked, make_folder
    from residua.progress import share_bar
    from residua.report.page import Words, write_sections
    from residua.stored import write_json, write_text

    set_up(threads)
    tasks = chosen_tasks(task or (), quick=quick, accelerator=accelerator)
    cells = cells_of(tasks, range(first_seed, first_seed + (seeds or (1 if quick else 5))))
    make_folder(out_dir)
    whole = sum(len(methods_of(cell.task)) for cell in cells)
    with locked(out_dir), share_bar("cells", disable=quiet or as_json) as advance:
        results = run_cells(cells, out_dir, command(), lambda name: advance(1 / whole))
        write_json(out_dir / "depth.json", {"cells": results})
        write_text(out_dir / "depth.md", depth_markdown(results) + "\n")
        said = "The same trained models cut to the same depths by every method."
        words = Words("residua bench depth", said, foot=command())
        write_sections(out_dir / "depth.html", words, {"depth": depth_section(results)})
    if as_json:
        print(json.dumps(results))
        return
    print_tables(depth_tables(results))
    out.print(f"wrote depth.json, depth.md and depth.html into {out_dir}", soft_wrap=True)


@bench.command()
def adaptive(
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder, new or one in which this was stopped.")
    ],
    task: Annotated[
        list[str] | None,
        typer.Option(help="What is trained; repeatable. Default: those on digits."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many seeds, from 0; default 5, quick 1.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A small network and one seed: half a minute.")
    ] = False,
    threads: Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Find the depth in one training by rules, beside a grid that trains every depth.

    Every training is kept when it is done; stopped, the same command goes on.

    [dim]Example: residua bench adaptive --seeds 5 --out bench-adaptive[/dim]
    """
    from residua.bench.adaptive import chosen_settings, run_trainings, trainings
    from residua.bench.adaptive_page import adaptive_tables
    from residua.folder import locked, make_folder
    from residua.progress import share_bar
    from residua.stored import write_json

    set_up(threads)
    every = trainings(chosen_settings(task or (), quick=quick), seeds or (1 if quick else 5))
    make_folder(out_dir)
    with locked(out_dir), share_bar("trainings", disable=quiet or as_json) as advance:
        results = run_trainings(every, out_dir, command(), lambda: advance(1 / len(every)))
        write_json(out_dir / "adaptive.json", {"trainings": results})
    if as_json:
        print(json.dumps(results))
        return
    print_tables(adaptive_tables(results))
    out.print(f"wrote adaptive.json into {out_dir}", soft_wrap=True)


@bench.command()
def trace(
    out_dir: Annotated[Path, typer.Option("--out", help="New folder for trace.json.")],
    quick: Annotated[bool, typer.Option("--quick", help="Small models and three rounds.")] = False,
    threads: Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Look into the same forward passes with residua and with other tools, those that are installed.

    [dim]Example: residua bench trace --threads 1 --out bench-trace[/dim]
    """
    from residua.bench.trace import measure_all, subjects
    from residua.bench.trace_page import trace_tables

    def measured(done: Callable[[], None]) -> dict[str, Any]:
        return measure_all(quick=quick, command=command(), done=done)

    set_up(threads)
    parts = 2 * len(subjects(quick=quick))
    found = _written(out_dir, "trace", parts, measured, quiet=quiet or as_json)
    _shown(found, trace_tables, out_dir / "trace.json", as_json=as_json)


@bench.command()
def dynamics(
    out_dir: Annotated[Path, typer.Option("--out", help="New folder for dynamics.json.")],
    quick: Annotated[bool, typer.Option("--quick", help="Few starts and one round.")] = False,
    threads: Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Search fixed points and integrate eq. 3 with residua and with other solvers.

    [dim]Example: residua bench dynamics --threads 1 --out bench-dynamics[/dim]
    """
    from residua.bench.dynamics import PARTS, measure_dynamics
    from residua.bench.dynamics_page import dynamics_tables

    def measured(done: Callable[[], None]) -> dict[str, Any]:
        return measure_dynamics(quick=quick, command=command(), done=done)

    set_up(threads)
    found = _written(out_dir, "dynamics", PARTS, measured, quiet=quiet or as_json)
    _shown(found, dynamics_tables, out_dir / "dynamics.json", as_json=as_json)


@bench.command()
def page(
    folder: Annotated[Path, typer.Argument(help="What the other benchmarks wrote, all folders.")],
    out_path: Annotated[Path, typer.Option("--out", help="Markdown file; replaced.")],
) -> None:
    """Write one page of all results: what is reached, tables, and where others are better.

    [dim]Example: residua bench page docs/evidence/bench --out docs/benchmarks.md[/dim]
    """
    from residua.bench.page import benchmarks_page
    from residua.stored import write_text

    write_text(out_path, benchmarks_page(folder, command()))
    out.print(f"wrote {out_path}", soft_wrap=True)


def _written(
    out_dir: Path,
    name: str,
    parts: int,
    measured: Callable[[Callable[[], None]], dict[str, Any]],
    *,
    quiet: bool,
) -> dict[str, Any]:
    """Measure with a bar of so many parts, and write the results into a new folder."""
    from residua import folder
    from residua.progress import share_bar
    from residua.stored import write_json

    folder.refuse_existing(out_dir)
    with folder.new_folder(out_dir), share_bar("parts", disable=quiet) as advance:
        found = measured(lambda: advance(1 / parts))
        write_json(out_dir / f"{name}.json", found)
    return found


def _shown(
    found: dict[str, Any],
    tables: "Callable[[Mapping[str, Any]], list[Table]]",
    path: Path,
    *,
    as_json: bool,
) -> None:
    if as_json:
        print(json.dumps(found))
        return
    print_tables(tables(found))
    out.print(f"wrote {path.name} into {path.parent}", soft_wrap=True)
