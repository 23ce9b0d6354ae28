"""What the command line shows: tables and sentences made of results; it computes nothing."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table

from residua.choices import Experiment

# Names of files and classes are shown as they are, brackets and colons included.
out = Console(highlight=False, markup=False, emoji=False)


def print_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """Print a table, first column left, the others right."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for i, name in enumerate(header):
        table.add_column(name, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    out.print()
    out.print(table)


def print_comparison(done: dict[str, Any]) -> None:
    """Print the summaries of several runs side by side."""
    header = ["depth rule", "layers", "test error", "training"]
    rows = [
        [
            name,
            f"{run.summary['depth_initial']} → {run.summary['depth_final']}",
            f"{run.summary['test_error']:.2f} %",
            f"{run.summary['seconds']:.0f} s",
        ]
        for name, run in done.items()
    ]
    print_table("side by side", header, rows)


def print_portrait(found: Any, near: Any) -> None:
    """Print the interactions, fixed points and path of a portrait, and who is near one unit."""
    pairs = found.pairs
    rows = [
        [kind, f"{pairs.counted[kind]:.1%}", f"{pairs.weighted[kind]:.1%}"]
        for kind in pairs.counted
    ]
    print_table(f"pairs of {pairs.units} units", ["kind", "counted", "weighted"], rows)
    strongest = ", ".join(
        f"{p.i}–{p.j} ({p.w_ij:+.3g}, {p.w_ji:+.3g})" for p in pairs.strongest[:3]
    )
    out.print(f"strongest pairs i–j (w_ij, w_ji): {strongest}", soft_wrap=True)
    out.print(f"symmetric share of W: {pairs.symmetric:.1%}")
    if near is not None:
        for said, pairs_of in (("helped", near.helps), ("hindered", near.hinders)):
            shown = ", ".join(f"{j} ({w:+.3g})" for j, w in pairs_of) or "nobody"
            out.print(f"unit {near.unit} is {said} most by {shown}", soft_wrap=True)
    out.print(f"\n{found.fixed}\n({found.searched})", soft_wrap=True)
    if found.path is not None:
        shown = ", ".join(f"{v:.4g}" for v in found.path[-1, :6].tolist())
        out.print(f"after {len(found.path)} layers: ({shown}{', …' if pairs.units > 6 else ''})")


def print_tables(tables: Iterable[Any]) -> None:
    """Print tables, each with its note."""
    for title, header, rows, note in tables:
        print_table(title, header, rows)
        if note:
            out.print(note)


def print_experiment(name: Experiment, found: dict[str, Any]) -> None:
    """Print what an experiment gave for each seed or run, beside the paper."""
    from residua.report.experiment_tables import experiment_tables

    print_tables(experiment_tables(name, found))
