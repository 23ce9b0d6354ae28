"""What the command line shows: tables and sentences made of results; it computes nothing."""

from typing import Any

from rich.console import Console
from rich.table import Table

out = Console(highlight=False)


def print_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """Print a table, first column left, the others right."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for i, name in enumerate(header):
        table.add_column(name, justify="left" if i == 0 else "right")
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


def print_portrait(found: Any) -> None:
    """Print the interactions, fixed points and path of a portrait."""
    pairs = found.pairs
    rows = [
        [kind, f"{pairs.counted[kind]:.1%}", f"{pairs.weighted[kind]:.1%}"]
        for kind in pairs.counted
    ]
    print_table(f"pairs of {pairs.units} units", ["kind", "counted", "weighted"], rows)
    how = f"searched from {found.starts} starts" if found.starts else "all of them"
    out.print(f"\n{found.fixed}\n({how})", soft_wrap=True)
    if found.path is not None:
        shown = ", ".join(f"{v:.4g}" for v in found.path[-1, :6].tolist())
        out.print(f"after {len(found.path)} layers: ({shown}{', …' if pairs.units > 6 else ''})")


def print_e1(summaries: list[dict[str, Any]]) -> None:
    """Print what E1 gave for each seed, beside the paper."""
    header = ["", "accuracy", "rests at", "one point", "map − net", "ODE − net"]
    paper = ["paper", "100.00 %", "(0, 0, 1) stable", "yes", "", "reproduces"]
    print_table("circles, 15 shared layers of 3 units", header, [paper, *map(_e1_row, summaries)])


def _e1_row(s: dict[str, Any]) -> list[str]:
    rests = "; ".join(dict.fromkeys(_rest(r) for r in s["rests"]))
    same = "yes" if s["same_point"] else "no"
    errors = [f"{s[key]:.1e}" for key in ("map_error", "ode_error")]
    return [f"seed {s['seed']}", f"{s['accuracy']:.2f} %", rests, same, *errors]


def _rest(found: dict[str, Any]) -> str:
    if found["distance"] > 0.01:
        return "not after 1000 layers"
    point = ", ".join(f"{v:.3g}" for v in found["nearest"])
    return f"({point}) {found['verdict']}"
