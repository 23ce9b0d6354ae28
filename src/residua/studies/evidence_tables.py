"""What the evidence page says of claims, open questions and of E2, E4 and E7, as tables."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from residua.report.shown import counted
from residua.report.tables import Table
from residua.studies.claims import CLAIMS
from residua.studies.tables import Seeds, by_seed, interval
from residua.studies.verdicts import (
    Finding,
    Results,
    Verdict,
    decide,
    rate_interval,
    seeds_of,
)

_MET = {"yes": "met", "no": "not met", "reversed": "clearly not", "too few": "too few seeds"}
_UNSURE = {
    True: "",
    False: "; depends on the seed",
    None: "; too few seeds to tell of what it depends",
}


def verdicts(results: Results) -> list[Verdict]:
    """Return the verdict on every claim."""
    return [decide(claim, results) for claim in CLAIMS]


def verdict_table(found: Sequence[Verdict]) -> Table:
    """Return a row for each claim: verdict, parts met, seeds, the first part's figure, the paper's."""
    rows = []
    for v in found:
        seeds = sorted({f.seeds for f in v.findings if f.seeds})
        span = "–" if not seeds else f"{seeds[0]}" + (f" to {seeds[-1]}" if len(seeds) > 1 else "")
        first = v.findings[0] if v.findings else None
        rows.append(
            [
                v.claim,
                v.text,
                in_words(v),
                counts(v),
                f"{first.of.split('/')[1]}: {shown(first)}" if first else "–",
                span,
                first.paper if first else "–",
            ]
        )
    header = ["", "claim", "verdict", "criteria met", "first figure [interval]", "seeds", "paper"]
    note = (
        "Holds: every criterion is met that could be judged; in part: some are, and more than "
        "clearly are not; does not hold: else; not decided: of fewer than three seeds, or of no "
        "results. Clearly not: the whole interval lies on the other side of the bound. Depends on "
        "the seed: without some one or two seeds the verdict is another."
    )
    return Table("Verdicts", header, rows, note)


def in_words(verdict: Verdict) -> str:
    """Return a verdict, and whether it depends on the seed."""
    return verdict.said + ("" if verdict.said == "not decided" else _UNSURE[verdict.steady])


def counts(verdict: Verdict) -> str:
    """Return how many of a claim's criteria are met, and how many clearly are not."""
    answers = [f.answer for f in verdict.findings]
    clearly = answers.count("reversed")
    more = f", {clearly} clearly not" if clearly else ""
    return f"{answers.count('yes')} of {len(answers)}{more}"


def claim_table(verdict: Verdict) -> Table:
    """Return the parts of a claim: statistic, criterion, figure, seeds, the paper's, whether met."""
    rows = [
        [f.what, f.of, f.criterion, shown(f), str(f.seeds), f.paper, _MET[f.answer]]
        for f in verdict.findings
    ]
    header = ["statistic", "on", "criterion", "measured [interval]", "seeds", "paper", ""]
    left = f"Not run: {', '.join(verdict.missing)}." if verdict.missing else ""
    return Table(f"{verdict.claim}: {verdict.text}", header, rows, left)


def shown(f: Finding) -> str:
    """Return a figure with its interval, in three digits."""
    if not f.seeds:
        return "no such network"
    if f.value is None:
        return "not a number"
    if f.low is None or f.high is None:
        return f"{f.value:.3g}"
    return f"{f.value:.3g} [{f.low:.3g}, {f.high:.3g}]"


def questions(results: Results) -> Table:
    """Return what the paper leaves open, with answers from the same results."""
    rows: list[list[str]] = []
    circles = by_seed(seeds_of(results, "e1/circles"))
    if circles:
        rows += _rates(circles)
    for source in ("e1/circles", "e2/digits", "e2/mnist"):
        if seeds := by_seed(seeds_of(results, source)):
            exact = _over([s["eq3"]["map_mean"] for s in seeds])
            ode = _over([s["eq3"]["ode"] for s in seeds])
            rows.append(
                [
                    "Exact map or eq. 3, which predicts the network better?",
                    source,
                    f"mean error of class means of y: map {exact}, eq. 3 {ode}",
                    str(len(seeds)),
                ]
            )
    rows += _symmetry(results)
    rows += _depths(results)
    for source in ("e8/digits", "e8/mnist"):
        if seeds := by_seed(seeds_of(results, source)):
            rows += _noise(source, seeds)
    return Table("What the paper leaves open", ["question", "on", "answer", "seeds"], rows)


def _over(values: Sequence[float]) -> str:
    mean, low, high = interval(np.array(values, dtype=float))
    return f"{mean:.3g}" + ("" if np.isnan(low) else f" [{low:.3g}, {high:.3g}]")


def _rates(circles: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return how often E1 comes out as in the paper."""
    hits: dict[str, Callable[[Mapping[str, Any]], bool]] = {
        "fitted at the first start": lambda s: s["starts"] == 1,
        "100 % test accuracy, restarts allowed": lambda s: s["accuracy"] == 100,
        "all test points at one stable fixed point": lambda s: (
            s["one_point"] and s["ends"][0]["verdict"] == "stable"
        ),
    }
    rows = []
    for name, hit in hits.items():
        count = sum(bool(hit(s)) for s in circles)
        low, high = rate_interval(count, len(circles))
        said = f"{count} of {len(circles)} [{low:.0%}, {high:.0%}]"
        rows.append(
            [
                f"How often does E1 come out as reported: {name}?",
                "e1/circles",
                said,
                str(len(circles)),
            ]
        )
    return rows


def _symmetry(results: Results) -> list[list[str]]:
    """Return whether networks with a more symmetric W settle more often, over circles."""
    pairs = [
        (s["symmetric_share"], float(s["settled"] is not None))
        for s in by_seed(seeds_of(results, "e1/circles"))
    ]
    if len({settled for _, settled in pairs}) < 2:
        return []
    share, settled = np.array(pairs).T
    test = stats.mannwhitneyu(share[settled == 1], share[settled == 0])
    area = test.statistic / ((settled == 1).sum() * (settled == 0).sum())
    rests = counted(int(settled.sum()), "seed")
    said = (
        f"mean share {share[settled == 1].mean():.2f} where it settles ({rests}), "
        f"{share[settled == 0].mean():.2f} where not; chance that the first is larger {area:.2f}, "
        f"p = {test.pvalue:.2g} (Mann–Whitney)"
    )
    return [
        ["Does the symmetric share of W predict settling?", "e1/circles", said, str(len(pairs))]
    ]


def _depths(results: Results) -> list[list[str]]:
    """Return to how many layers networks can be cut for 0.01 nats of validation loss."""
    rows = []
    for network, seeds in results.get("e7", {}).items():
        found = by_seed(seeds)
        layers = [s["needed"]["layers"] for s in found]
        cost = [s["needed"]["test_error"] - s["uncut"]["test_error"] for s in found]
        said = (
            f"{np.median(layers):g} of {found[0]['uncut']['layers']} layers in the median "
            f"({min(layers)} to {max(layers)}), at {_over(cost)} points of test error"
        )
        rows.append(
            ["How much depth does the network need?", f"e7/{network}", said, str(len(found))]
        )
    return rows


def _noise(source: str, seeds: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return accuracy under noise of both networks, mean over cells."""
    rows = []
    for kind in next(iter(seeds[0]["networks"].values()))["noisy_accuracy"]:
        of = {
            net: [
                np.mean(
                    [
                        np.mean(s["networks"][f"{c['name']}-{net}"]["noisy_accuracy"][kind])
                        for c in s["cells"]
                    ]
                )
                for s in seeds
            ]
            for net in ("resnet", "mlp")
        }
        said = f"accuracy, %: ResNet {_over(of['resnet'])}, MLP {_over(of['mlp'])}"
        rows.append(
            [
                f"Noise figures: {kind}, mean of strengths and all cells",
                source,
                said,
                str(len(seeds)),
            ]
        )
    return rows


def e2_tables(found: Mapping[str, Seeds]) -> list[Table]:
    """Return E2: error, settling and saturation of networks with shared weights."""
    rows = [["paper, MNIST", "1.4", "", "", "", ""]]
    for data, seeds in found.items():
        each = by_seed(seeds)
        rows.append(
            [
                f"{data}, {each[0]['units']} units",
                _over([s["test_error"] for s in each]),
                _first_to_last([s["settle_distance"] for s in each]),
                _first_to_last([s["spread"] for s in each]),
                _over([s["at_one"][-1] for s in each]),
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
    rows = [["paper, MNIST", "1.8", "1.4", "0", "0", "", "more"]]
    for data in (d for d in found if d != "digits-starts"):
        each = by_seed(found[data])
        rows.append(
            [
                data,
                _over([s["test_error"] for s in each]),
                _over([s["shared"]["test_error"] for s in each]),
                _over([s["spread"][4] / s["spread"][0] for s in each]),
                _over([s["weight_change"][-1] for s in each]),
                _over([s["class_share"] for s in each]),
                f"{_over([s['at_one'][-1] for s in each])}; "
                f"{_over([s['shared']['at_one'][-1] for s in each])}",
            ]
        )
    header = ["", "test error, %", "shared", "spread at layer 5 over layer 1", "W_15 less W_14"]
    header += ["between classes, last layer", "share at 1: variable; shared"]
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
                _over([s["networks"][name]["test_error"] for s in each]),
                _over([s["networks"][name]["class_share"] for s in each]),
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
                        _over([o["test_error"] for o in of]),
                        str(len(of)),
                    ]
                )
    header = ["network", "rule", "layers left, median (range)", "test error, %", "seeds"]
    return [Table("fewer layers", header, rows)]
