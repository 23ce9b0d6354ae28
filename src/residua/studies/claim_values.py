"""The value of each seed that a claim is decided by, read from stored results."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import stats

from residua.studies.e8 import EQUAL, STRENGTHS
from residua.studies.e8_training import NETS
from residua.studies.tables import Seeds
from residua.studies.verdicts import OfEach

Values = Callable[[Seeds], Mapping[int, float]]


def each(value: Callable[[Mapping[str, Any]], float | None]) -> OfEach:
    """Return the values of a function of one seed's result; None says that it has none."""
    return OfEach(value)


def growth(name: str, *, unsettled: bool = False) -> Values:
    """Return log of a measure at x_T over that at x_1; `unsettled`: of networks that do not settle."""

    def of(result: Mapping[str, Any]) -> float | None:
        if unsettled and result["settled"]:
            return None
        return float(np.log(result[name][-1] / result[name][1]))

    return each(of)


def over_nulls(statistic: str) -> Values:
    """Return the trained network's correlation less the larger one of its two nulls (C5)."""

    def of(result: Mapping[str, Any]) -> float:
        found = {name: s[statistic]["correlation"] for name, s in result["features"].items()}
        return float(found["trained"] - max(found["permuted W"], found["untrained"]))

    return each(of)


def pushes(kind: str) -> Callable[[Mapping[str, Any]], float | None]:
    """Return the share of a kind of pairs whose pushes do as W says; None where there are none (C3)."""

    def of(result: Mapping[str, Any]) -> float | None:
        found = result["signs"][kind]
        return None if found is None else float(found)

    return of


def of_parts(less: str) -> Values:
    """Return a part's accuracy less that of the steady part, the others at their mean (C7).

    `less` is "whole" or "transient"; of networks that settle.
    """

    def of(result: Mapping[str, Any]) -> float | None:
        if not result["parts"]:
            return None
        steady = result["parts"]["steady"][1]
        whole = result["whole"]
        return float((whole if less == "whole" else result["parts"][less][1]) - steady)

    return each(of)


def early_over_late(net: str) -> Values:
    """Return log of the logits' gain from x_0 over that from x_{T−1}, mean over cells (C8)."""

    def of(result: Mapping[str, Any]) -> float:
        nets = [result["networks"][f"{cell['name']}-{net}"] for cell in result["cells"]]
        return float(np.mean([v for v in map(gain_fallen, nets) if v is not None]))

    return each(of)


def between_nets(of_net: Callable[[Mapping[str, Any]], float | None]) -> Values:
    """Return a measure of the ResNet less that of the MLP, mean over cells."""

    def of(result: Mapping[str, Any]) -> float:
        gaps = []
        for cell in result["cells"]:
            one, two = (of_net(result["networks"][f"{cell['name']}-{net}"]) for net in NETS)
            if one is not None and two is not None:
                gaps.append(one - two)
        return float(np.mean(gaps))

    return each(of)


def signal_kept(net: Mapping[str, Any]) -> float:
    """Return log of signal to noise at x_T over that at x_0."""
    ratio = np.array(net["signal_by_state"]) / np.array(net["noise_by_state"])
    return float(np.log(ratio[-1] / ratio[0]))


def gain_fallen(net: Mapping[str, Any]) -> float | None:
    """Return log of the logits' gain from x_0 over that from x_{T−1}; None of one layer."""
    gain = net["logit_gain_by_state"]
    return None if len(gain) < 3 else float(np.log(gain[0] / gain[-2]))


def more_robust(kind: str) -> Values:
    """Return accuracy under a kind of noise, ResNet less MLP, over cells of equal clean accuracy (C10).

    Mean over strengths and cells, in points. Equal: mean clean accuracies differ by at most ½ point.
    """
    assert kind in STRENGTHS

    def of(seeds: Seeds) -> dict[int, float]:
        results = list(seeds.values())
        names = [c["name"] for c in results[0]["cells"]]
        equal = [n for n in names if abs(np.mean([_clean(r, n) for r in results])) <= EQUAL]
        if not equal:
            return {}
        return {s: float(np.mean([_noisy(r, n, kind) for n in equal])) for s, r in seeds.items()}

    return of


def _clean(result: Mapping[str, Any], cell: str) -> float:
    one, two = (result["networks"][f"{cell}-{net}"]["test_accuracy"] for net in NETS)
    return float(one - two)


def _noisy(result: Mapping[str, Any], cell: str, kind: str) -> float:
    pair = (result["networks"][f"{cell}-{net}"]["noisy_accuracy"][kind] for net in NETS)
    one, two = (sum(v) / len(v) for v in pair)
    return float(one - two)


def with_rest(result: Mapping[str, Any]) -> float:
    """Return Spearman's correlation, over networks, of class-specific rest and test error (C14)."""
    nets = result["networks"].values()
    pairs = [[n["class_share"], n["test_error"]] for n in nets]
    return float(stats.spearmanr(*np.array(pairs).T).statistic)
