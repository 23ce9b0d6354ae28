"""What the paper leaves open, answered from the same results."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from residua.report.shown import counted
from residua.report.tables import Table
from residua.studies.tables import by_seed, figure
from residua.studies.verdicts import Results, lacking, rate_interval, seeds_of


def questions(results: Results) -> Table:
    """Return what the paper leaves open, with answers from the same results."""
    rows: list[list[str]] = []
    circles = by_seed(seeds_of(results, "e1/circles"))
    if circles:
        with lacking("e1/circles"):
            rows += _rates(circles)
    for source in ("e1/circles", "e2/digits", "e2/mnist"):
        if seeds := by_seed(seeds_of(results, source)):
            with lacking(source):
                exact = figure([s["eq3"]["map_mean"] for s in seeds])
                ode = figure([s["eq3"]["ode"] for s in seeds])
            rows.append(
                [
                    "Exact map or eq. 3, which predicts the network better?",
                    source,
                    f"mean error of class means of y: map {exact}, eq. 3 {ode}",
                    str(len(seeds)),
                ]
            )
    with lacking("e1/circles"):
        rows += _symmetry(results)
    for network, of in results.get("e7", {}).items():
        with lacking(f"e7/{network}"):
            rows.append(_depth(network, by_seed(of)))
    for source in ("e8/digits", "e8/mnist"):
        if seeds := by_seed(seeds_of(results, source)):
            with lacking(source):
                rows += _noise(source, seeds)
    return Table("What the paper leaves open", ["question", "on", "answer", "seeds"], rows)


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


def _depth(network: str, found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return to how many layers a network can be cut for 0.01 nats of validation loss."""
    layers = [s["needed"]["layers"] for s in found]
    cost = [s["needed"]["test_error"] - s["uncut"]["test_error"] for s in found]
    said = (
        f"{np.median(layers):g} of {found[0]['uncut']['layers']} layers in the median "
        f"({min(layers)} to {max(layers)}), at {figure(cost)} points of test error"
    )
    return ["How much depth does the network need?", f"e7/{network}", said, str(len(found))]


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
        said = f"accuracy, %: ResNet {figure(of['resnet'])}, MLP {figure(of['mlp'])}"
        rows.append(
            [
                f"Noise figures: {kind}, mean of strengths and all cells",
                source,
                said,
                str(len(seeds)),
            ]
        )
    return rows
