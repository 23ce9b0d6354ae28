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


def print_experiment(name: str, found: dict[str, Any]) -> None:
    """Print what an experiment gave for each seed or run, beside the paper."""
    results = found["results"]
    if name == "E1":
        header = ["", "accuracy", "rests at", "one point", "map − net", "ODE − net"]
        paper = ["paper", "100.00 %", "(0, 0, 1) stable", "yes", "", "reproduces"]
        rows = [_e1_row(key, s) for key, s in results.items()]
        print_table("circles, 15 shared layers of 3 units", header, [paper, *rows])
        return
    header = ["", "error", "settled", "spread", "in class", "at 0", "ends", "eigenvalues > 0"]
    paper = ["paper", "1.40 %", "", "", "almost 0", "most", "", "3 of 10 classes: 1"]
    rows = [_e3_row(key, s) for key, s in results.items()]
    layers = next(iter(results.values()))["layers"]
    print_table(f"after {layers} layers", header, [paper, *rows])
    out.print(
        "spread: over samples, mean over units; at 0: residuals below 0.01; ends: patterns of units at "
        "1 among 200 samples; eigenvalues > 0: of eq. 3 at a class's mean residual."
    )
    header = ["", "", "co-activity", "p", "coupling", "p", "common", "class", "sample"]
    rows = [[key, *row] for key, s in results.items() for row in _feature_rows(s["features"])]
    print_table("does the steady state follow the training covariance?", header, rows)
    out.print(
        "rank correlations over pairs of input dimensions, p by relabelling; common, class, sample: "
        "shares of the mean squared residual."
    )


def _e1_row(key: str, s: dict[str, Any]) -> list[str]:
    shown = [f"({', '.join(f'{v:.2g}' for v in e['point'])}) {e['verdict']}" for e in s["ends"][:2]]
    moving = ["some nowhere yet"] if any(s["moving"]) else []
    more = ["…"] if len(s["ends"]) > 2 else []
    errors = [f"{s[key]:.1e}" for key in ("map_error", "ode_error")]
    rests = "; ".join(shown + more + moving)
    return [key, f"{s['accuracy']:.2f} %", rests, "yes" if s["one_point"] else "no", *errors]


def _e3_row(key: str, s: dict[str, Any]) -> list[str]:
    positive = [c["ode_positive"] for c in s["classes"] if c["ode_positive"]]
    span = f": {min(positive)}–{max(positive)}" if positive else ""
    return [
        key,
        f"{s['test_error']:.2f} %",
        f"layer {s['settled']}" if s["settled"] else "no",
        f"{s['spread']:.4f}",
        f"{s['spread_within']:.4f}",
        f"{s['at_zero']:.1%}",
        f"{s['single_samples']['patterns']}",
        f"{len(positive)} of {len(s['classes'])}{span}",
    ]


def _feature_rows(features: dict[str, Any]) -> list[list[str]]:
    return [
        [
            name,
            f"{f['coactivity']['correlation']:+.3f}",
            f"{f['coactivity']['p']:.3f}",
            f"{f['coupling']['correlation']:+.3f}",
            f"{f['coupling']['p']:.3f}",
            *(f"{f['shares'][part]:.1%}" for part in ("common", "between", "within")),
        ]
        for name, f in features.items()
    ]
