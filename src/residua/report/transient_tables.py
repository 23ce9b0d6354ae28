"""Tables of E5, E6 and E8 as text."""

from typing import Any

from residua.report.tables import Table

_FILLS = ("others at 0", "at their mean")


def e5_tables(found: dict[str, Any]) -> list[Table]:
    """Return the most sensitive units, and the accuracy from parts of the sum, of each seed or run."""
    results = found["results"]
    header = ["", "error", "largest in own class", "settled", "half decided at"]
    paper = ["paper", "1.40 %", "9 of 10", "", ""]
    rows = [[key, *_e5_row(s)] for key, s in results.items()]
    note = (
        "largest in own class: classes whose most sensitive unit, argmax_i K_ci, has its largest mean "
        "x_T in them. half decided at: the state from which on half of the decisions are final."
    )
    if any(not s["settles_can_be_told"] for s in results.values()):
        note += (
            " settled unknown: no one map makes the layers, so that the network cannot be run on."
        )
    tables = [Table("most sensitive units", header, [paper, *rows], note)]
    for key, s in results.items():
        parts = [[name, *(f"{v:.1f} %" for v in both)] for name, both in s["windows"].items()]
        if s["parts"]:
            parts += [
                [f"{name} part", *(f"{v:.1f} %" for v in both)]
                for name, both in s["parts"].items()
                if name != "input"
            ]
        words = "Transient and steady parts: it settles." if s["parts"] else "It does not settle."
        if not s["settles_can_be_told"]:
            words = "No one map makes its layers, so it cannot be run on until it rests."
        tables.append(
            Table(f"{key}: accuracy from parts of the sum", ["part", *_FILLS], parts, words)
        )
    return tables


def _e5_row(s: dict[str, Any]) -> list[str]:
    return [
        f"{s['test_error']:.2f} %",
        f"{sum(s['own_largest'])} of {len(s['own_largest'])}",
        settled(s),
        f"state {s['median_layer']}",
    ]


def settled(s: dict[str, Any]) -> str:
    """Return in words whether a network has settled."""
    if not s["settles_can_be_told"]:
        return "unknown"
    return f"layer {s['settled']}" if s["settled"] else "no"


def e6_tables(found: dict[str, Any]) -> list[Table]:
    """Return how far the classes part between x_1 and x_T, of each seed or run."""
    header = ["", "error", "settled", "distance", "closer", "spread", "Fisher x", "Fisher y"]
    rows = [row for key, s in found["results"].items() for row in _e6_rows(key, s)]
    note = (
        "distance: mean over pairs of class means; closer: pairs of classes that are closer at x_T than "
        "at x_1; spread: within a class, mean over units; Fisher: ratio of states and of residuals. The "
        "paper: class means separate and grow with depth."
    )
    return [Table("do the classes part?", header, rows, note)]


def _e6_rows(key: str, s: dict[str, Any]) -> list[list[str]]:
    def at(t: int) -> list[str]:
        return [f"{s[name][t]:.3g}" for name in ("spread", "fisher")]

    first = ["", "", f"{s['distance'][1]:.3g}", "", *at(1), f"{s['residual_fisher'][0]:.3g}"]
    last = [f"{s['test_error']:.2f} %", settled(s), f"{s['distance'][-1]:.3g}"]
    last += [f"{s['pairs_closer']} of {s['pairs']}", *at(-1), f"{s['residual_fisher'][-1]:.3g}"]
    depth = len(s["distance"]) - 1
    rows = [[f"{key}, x_1", *first], [f"{key}, x_{depth}", *last]]
    return rows if depth > 1 else rows[1:]


def e8_tables(found: dict[str, Any]) -> list[Table]:
    """Return the comparison over seeds, a row for each cell."""
    cells = found["compared"]
    clean = [
        [
            c["name"],
            *(f"{v:.2f} %" for v in c["clean"]),
            "equal" if c["equal"] else "unequal",
            *(f"{v:.3g}" for v in c["signal_to_noise"]),
            *(f"{v:.3g}" for v in c["noise_growth"]),
        ]
        for c in cells
    ]
    header = ["", "ResNet", "MLP", "clean", "S/N: R", "M", "noise: R", "M"]
    note = (
        f"{len(found['results'])} seeds. Clean accuracy, equal within half a point; signal to noise, "
        "and noise, at x_T over x_0 under Gaussian noise, of the ResNet (R) and the MLP (M)."
    )
    kinds = list(cells[0]["kinds"])
    gaps = [[c["name"], *(difference(c["kinds"][k]) for k in kinds)] for c in cells]
    short = [k.replace("salt-and-pepper", "salt").replace("gradient-sign", "sign") for k in kinds]
    more = (
        "accuracy of the ResNet less the MLP's, points, mean over strengths and seeds; * the 95 % "
        "interval over seeds lies on one side of 0; () clean accuracies are unequal, nothing is decided."
    )
    return [
        Table("clean accuracy and the way of noise", header, clean, note),
        Table("ResNet − MLP under noise", ["", *short], gaps, more),
    ]


def difference(kind: dict[str, Any]) -> str:
    """Return a paired difference with its verdict as a mark."""
    mean = f"{kind['difference'][0]:+.1f}"
    if kind["verdict"] == "unequal":
        return f"({mean})"
    return f"{mean}*" if kind["verdict"] in ("ResNet", "MLP") else mean
