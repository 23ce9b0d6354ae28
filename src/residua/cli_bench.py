"""The commands that measure residua beside other methods and tools: parse, call, write."""

import json
from pathlib import Path
from typing import Annotated

import typer

from residua.cli_options import Quiet, Threads, command, set_up
from residua.terminal import out, print_tables

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
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = 5,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small models and one seed: two minutes.")
    ] = False,
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
    from residua.bench.depth_page import depth_markdown, depth_tables
    from residua.folder import locked, make_folder
    from residua.progress import share_bar
    from residua.stored import write_json, write_text

    set_up(threads)
    cells = cells_of(chosen_tasks(task or (), quick=quick), 1 if quick else seeds)
    make_folder(out_dir)
    whole = sum(len(methods_of(cell.task)) for cell in cells)
    with locked(out_dir), share_bar("cells", disable=quiet or as_json) as advance:
        results = run_cells(cells, out_dir, command(), lambda name: advance(1 / whole))
        write_json(out_dir / "depth.json", {"cells": results})
        write_text(out_dir / "depth.md", depth_markdown(results, command()) + "\n")
    if as_json:
        print(json.dumps(results))
        return
    print_tables(depth_tables(results))
    out.print(f"wrote depth.json and depth.md into {out_dir}", soft_wrap=True)


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
    from residua import folder
    from residua.bench.trace import measure_all, subjects
    from residua.bench.trace_page import trace_tables
    from residua.progress import share_bar
    from residua.stored import write_json

    set_up(threads)
    folder.refuse_existing(out_dir)
    share = 1 / len(subjects(quick=quick))
    with (
        folder.new_folder(out_dir),
        share_bar("models", disable=quiet or as_json) as advance,
    ):
        found = measure_all(quick=quick, command=command(), done=lambda: advance(share))
        write_json(out_dir / "trace.json", found)
    if as_json:
        print(json.dumps(found))
        return
    print_tables(trace_tables(found))
    out.print(f"wrote trace.json into {out_dir}", soft_wrap=True)
