"""Tables of E1 and E3 as text."""

from typing import Any

from residua.report.tables import Table


def e1_tables(found: dict[str, Any]) -> list[Table]:
    """Return where each seed's residuals are, and how far map and eq. 3 are from the network."""
    header = ["", "accuracy", "is at, after 1000 layers", "one point", "map − net", "ODE − net"]
    paper = ["paper", "100.00 %", "(0, 0, 1) stable", "yes", "", "reproduces"]
    rows = [_e1_row(key, s) for key, s in found["results"].items()]
    note = (
        "is at: fixed points within 0.01, of most test points first; a saddle is passed, not a place of "
        "rest. map − net, ODE − net: largest difference of the exact map and of eq. 3 from the network, "
        "class means over 15 layers."
    )
    first = Table("circles, 15 shared layers of 3 units", header, [paper, *rows], note)
    states = [["paper, r = 0.5", "(1.95, 0.68, 12.02)", "(-0.8, -0.87, -1.95)"]]
    states += [["paper, r = 1", "(2.03, 0.81, 11.63)", ""]]
    for key, s in found["results"].items():
        for c, (name, state) in enumerate(s["last_state"].items()):
            rates = _numbers(s["ends"][0]["ode_eigenvalues"]) if s["ends"] and not c else ""
            states.append([f"{key}, {name}", _numbers(state), rates])
    names = ["", "x(15), class mean", "eigenvalues of eq. 3"]
    return [first, Table("last states, and the first of these points", names, states)]


def _numbers(values: list[float]) -> str:
    return f"({', '.join(f'{v:.3g}' for v in values)})"


def _e1_row(key: str, s: dict[str, Any]) -> list[str]:
    shown = [f"{_numbers(e['point'])} {e['verdict']}" for e in s["ends"][:2]]
    moving = ["some nowhere yet"] if any(s["moving"]) else []
    more = ["…"] if len(s["ends"]) > 2 else []
    errors = [f"{s[key]:.1e}" for key in ("map_error", "ode_error")]
    rests = "; ".join(shown + more + moving)
    return [key, f"{s['accuracy']:.2f} %", rests, "yes" if s["one_point"] else "no", *errors]


def e3_tables(found: dict[str, Any]) -> list[Table]:
    """Return where the residuals rest, and whether they follow the training data."""
    results = found["results"]
    layers = next(iter(results.values()))["layers"]
    header = ["", "error", "settled", "spread", "in class", "at 0", "ends", "eigenvalues > 0"]
    paper = ["paper", "1.40 %", "", "", "almost 0", "most", "", "3 of 10 classes: 1"]
    rows = [_e3_row(key, s) for key, s in results.items()]
    note = (
        "spread: over samples, mean over units; at 0: residuals below 0.01; ends: patterns of units "
        "above ½ among 200 samples; eigenvalues > 0: of eq. 3 at a class's mean residual."
    )
    parts = ["", "", "co-activity", "p", "coupling", "p", "common", "class", "sample"]
    shares = [[key, *row] for key, s in results.items() for row in _c5_rows(s["features"])]
    note_c5 = (
        "rank correlations over pairs of input dimensions, p by relabelling; common, class, sample: "
        "shares of the mean squared residual."
    )
    return [
        Table(f"after {layers} layers", header, [paper, *rows], note),
        Table("does the steady state follow the training covariance?", parts, shares, note_c5),
    ]


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


def _c5_rows(features: dict[str, Any]) -> list[list[str]]:
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
