"""E2, E4 and E7 as tables: means over seeds beside the paper's figures."""

from collections.abc import Mapping, Sequence

import numpy as np

from residua.report.tables import Table
from residua.studies.tables import Seeds, by_seed, figure


def e2_tables(found: Mapping[str, Seeds]) -> list[Table]:
    """Return E2: error, settling and saturation of networks with shared weights."""
    rows = [["paper, MNIST", "1.4", "", "", "", ""]]
    for data, seeds in found.items():
        each = by_seed(seeds)
        rows.append(
            [
                f"{data}, {each[0]['units']} units",
                figure([s["test_error"] for s in each]),
                _first_to_last([s["settle_distance"] for s in each]),
                _first_to_last([s["spread"] for s in each]),
                figure([s["at_one"][-1] for s in each]),
                str(len(each)),
            ]
        )
    header = ["", "test error, %", "settle distance, layer 2 → 15", "spread, 1 → 15"]
    header += ["share at 1 in the last layer", "seeds"]
    note = (
        "settle distance: mean of abs(y_t − y_{t−1}); spread: standard deviation of y_t over "
        "samples, mean over units; at 1: residuals above 0.99."
    )
    return [Table("15 layers, shared weights", header, rows, note)]


def e4_tables(found: Mapping[str, Seeds]) -> list[Table]:
    """Return E4: weights of each layer's own beside shared ones; C14's networks."""
    rows = [["paper, MNIST", "1.8", "1.4", "0", "0", "", "more", ""]]
    for data in (d for d in found if d != "digits-starts"):
        each = by_seed(found[data])
        rows.append(
            [
                data,
                figure([s["test_error"] for s in each]),
                figure([s["shared"]["test_error"] for s in each]),
                figure([s["spread"][4] / s["spread"][0] for s in each]),
                figure([s["weight_change"][-1] for s in each]),
                figure([s["class_share"] for s in each]),
                f"{figure([s['at_one'][-1] for s in each])}; "
                f"{figure([s['shared']['at_one'][-1] for s in each])}",
                str(len(each)),
            ]
        )
    header = ["", "test error, %", "shared", "spread at layer 5 over layer 1", "W_15 less W_14"]
    header += ["between classes, last layer", "share at 1: variable; shared", "seeds"]
    note = (
        "W_15 less W_14: Frobenius norm over that of W_15, √2 for unrelated matrices, 0 for one; "
        "between classes: share of the mean square of the last residual."
    )
    tables = [Table("15 layers, variable weights", header, rows, note)]
    if "digits-starts" in found:
        each = by_seed(found["digits-starts"])
        names = list(each[0]["networks"])
        rows = [
            [
                name,
                figure([s["networks"][name]["test_error"] for s in each]),
                figure([s["networks"][name]["class_share"] for s in each]),
            ]
            for name in names
        ]
        tables.append(
            Table(
                "digits, 128 units, from several starts",
                ["weights, start", "test error, %", "share of the last residuals between classes"],
                rows,
            )
        )
    return tables


def _first_to_last(values: Sequence[Sequence[float]]) -> str:
    first, last = np.mean([v[0] for v in values]), np.mean([v[-1] for v in values])
    return f"{first:.3g} → {last:.3g}"


def e7_tables(found: Mapping[str, Seeds]) -> list[Table]:
    """Return E7: layers and error by rule in training, and by cuts after it."""
    rows = [
        ["paper, circles, shared", "paper's", "5", "0", ""],
        ["paper, circles, variable", "paper's", "15", "", ""],
    ]
    said = {
        "uncut": "none",
        "paper": "paper's, in training",
        "depth-curve": "depth-curve, in training",
        "half": "prune to half",
        "needed": "prune, 0.01 nats",
    }
    for network, seeds in found.items():
        each = by_seed(seeds)
        for key, words in said.items():
            of = [s[key] for s in each if key in s]
            if of:
                layers = sorted(o["layers"] for o in of)
                rows.append(
                    [
                        network,
                        words,
                        f"{np.median(layers):g} ({layers[0]} to {layers[-1]})",
                        figure([o["test_error"] for o in of]),
                        str(len(of)),
                    ]
                )
    header = ["network", "rule", "layers left, median (range)", "test error, %", "seeds"]
    return [Table("fewer layers", header, rows)]
