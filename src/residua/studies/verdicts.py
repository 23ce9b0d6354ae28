"""How a claim is decided: parts with a criterion each, over seeds; holds, in part, or not."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import stats

from residua.errors import DamagedError
from residua.studies.tables import Seeds, interval

# Stored results by experiment, network and seed.
Results = Mapping[str, Mapping[str, Seeds]]
Answer = Literal["yes", "no", "reversed", "too few"]
Said = Literal["holds", "holds in part", "does not hold", "not decided"]
SEEDS = 3  # at least, of an interval that decides
DRAWS = 200  # of the seeds anew
STEADY = 0.95  # a verdict that comes again in fewer of them depends on the seed


class Judged(NamedTuple):
    """A statistic over seeds, its interval where it has one, and whether the criterion is met."""

    value: float | None
    low: float | None
    high: float | None
    answer: Answer


@dataclass(frozen=True)
class Mean:
    """The whole 95 % interval (Student's) of the mean over seeds lies on one side of a bound.

    Attributes:
        side: "above" or "below" the bound, or "without" it: on either side.
        bound: where a claim would say nothing, or too little.
    """

    side: Literal["above", "below", "without"]
    bound: float = 0.0

    @property
    def said(self) -> str:
        """The criterion in words."""
        return f"95 % interval {self.side} {self.bound:g}"

    def __call__(self, values: np.ndarray) -> Judged:
        """Judge values, one or more; with the whole interval on the other side it is reversed."""
        if not np.isfinite(values).all():
            return Judged(None, None, None, "no")
        mean, low, high = interval(values)
        if len(values) < SEEDS:
            return Judged(mean, _known(low), _known(high), "too few")
        sides = {"above": low > self.bound, "below": high < self.bound}
        met = sides[self.side] if self.side in sides else any(sides.values())
        answer: Answer = "yes" if met else "reversed" if any(sides.values()) else "no"
        return Judged(mean, low, high, answer)


@dataclass(frozen=True)
class Rate:
    """The share of seeds lies above a bound, with its whole 95 % interval (Wilson's)."""

    bound: float = 0.5

    @property
    def said(self) -> str:
        """The criterion in words."""
        return f"95 % interval of the rate above {self.bound:g}"

    def __call__(self, values: np.ndarray) -> Judged:
        """Judge zeros and ones."""
        low, high = rate_interval(int(values.sum()), len(values))
        if len(values) < SEEDS:
            return Judged(float(values.mean()), low, high, "too few")
        answer: Answer = "yes" if low > self.bound else "reversed" if high < self.bound else "no"
        return Judged(float(values.mean()), low, high, answer)


@dataclass(frozen=True)
class Tolerance:
    """An identity: the largest error of all seeds is at most a tolerance."""

    most: float

    @property
    def said(self) -> str:
        """The criterion in words."""
        return f"at most {self.most:g}"

    def __call__(self, values: np.ndarray) -> Judged:
        """Judge errors."""
        worst = float(np.max(values))
        if not np.isfinite(worst):
            return Judged(None, None, None, "no")
        return Judged(worst, None, None, "yes" if worst <= self.most else "no")


Criterion = Mean | Rate | Tolerance


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def rate_interval(hits: int, of: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a rate."""
    found = stats.binomtest(hits, of).proportion_ci(0.95, "wilson")
    return float(found.low), float(found.high)


@dataclass(frozen=True)
class Part:
    """One thing that must be so if a claim is: a value of each seed, and what these must meet.

    Attributes:
        what: the statistic in words, with its unit.
        of: where its results lie, "e1/circles"; each is judged by itself.
        values: stored results by seed → the value of each seed; a seed of which there is none is left
            out.
        meets: the criterion, written before the results.
        paper: what the paper reports of it.
    """

    what: str
    of: Sequence[str]
    values: Callable[[Seeds], Mapping[int, float]]
    meets: Criterion
    paper: str = "–"


@dataclass(frozen=True)
class OfEach:
    """Values of seeds, each of its own result alone; None: the seed has none."""

    value: Callable[[Mapping[str, Any]], float | None]

    def __call__(self, seeds: Seeds) -> dict[int, float]:
        """Return the values of stored results by seed."""
        found = {seed: self.value(result) for seed, result in seeds.items()}
        return {seed: float(v) for seed, v in found.items() if v is not None}


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: it holds where all of its parts are met, in part where some are.

    Where as many are reversed (the whole interval on the other side of the bound) as are met, or more,
    it does not hold.
    """

    name: str
    text: str
    parts: Sequence[Part]

    def sources(self) -> list[str]:
        """Return where its results lie, each once."""
        return list(dict.fromkeys(s for part in self.parts for s in part.of))


@dataclass(frozen=True)
class Finding:
    """A part of a claim, judged on the results of one network or data set.

    Its value is None where some seed's is no number, which meets no criterion; with 0 seeds no network
    there is of the kind that the part is about.
    """

    what: str
    of: str
    criterion: str
    paper: str
    seeds: int
    value: float | None
    low: float | None
    high: float | None
    answer: Answer


@dataclass(frozen=True)
class Verdict:
    """What the results say of a claim.

    Attributes:
        claim: its name.
        text: what it says.
        said: the verdict.
        findings: each part on each data set that has results.
        again: share of draws of the seeds anew that give the same verdict, see :func:`decide`.
        missing: sources without results.
    """

    claim: str
    text: str
    said: Said
    findings: tuple[Finding, ...]
    again: float
    missing: tuple[str, ...]

    @property
    def steady(self) -> bool:
        """Whether other seeds would say the same, as far as these tell."""
        return self.again >= STEADY


def decide(claim: Claim, results: Results) -> Verdict:
    """Return the verdict on a claim, and whether it depends on the seed.

    What other seeds would say: 200 times, a population is drawn from the seeds at hand (the Bayesian
    bootstrap: weights uniform on the simplex) and as many seeds from that; each data set's apart, a
    claim's parts on one data set together. So both these seeds and others vary.

    Raises:
        DamagedError: a result lacks what the claim asks for.
    """
    seeds = {source: seeds_of(results, source) for source in claim.sources()}
    values = _Values(seeds)
    findings = _findings(
        claim, {source: {s: s for s in of} for source, of in seeds.items()}, values
    )
    said = _said(findings)
    rng = np.random.default_rng(0)
    others = [
        _said(_findings(claim, {source: _drawn(of, rng) for source, of in seeds.items()}, values))
        for _ in range(DRAWS)
    ]
    missing = tuple(source for source, of in seeds.items() if not of)
    again = others.count(said) / DRAWS
    return Verdict(claim.name, claim.text, said, tuple(findings), again, missing)


def seeds_of(results: Results, source: str) -> Seeds:
    """Return the results by seed of a source such as "e1/circles"; empty where there are none."""
    experiment, network = source.split("/")
    return results.get(experiment, {}).get(network, {})


class _Values:
    """Values of seeds, and of seeds drawn anew; what is of each result alone is computed once."""

    def __init__(self, seeds: Mapping[str, Seeds]):
        self.seeds = seeds
        self.known: dict[tuple[int, str], Mapping[int, float]] = {}

    def of(self, part: Part, source: str, drawn: Mapping[int, int]) -> Mapping[int, float]:
        """Return values of drawn seeds, each by the seed that it is."""
        stored = self.seeds[source]
        with lacking(source):
            if not isinstance(part.values, OfEach):
                return part.values({k: stored[seed] for k, seed in drawn.items()})
            if (id(part), source) not in self.known:
                self.known[id(part), source] = part.values(stored)
        known = self.known[id(part), source]
        return {k: known[seed] for k, seed in drawn.items() if seed in known}


def _findings(
    claim: Claim, drawn: Mapping[str, Mapping[int, int]], values_of: _Values
) -> list[Finding]:
    found = []
    for part in claim.parts:
        for source in part.of:
            if drawn[source]:
                values = values_of.of(part, source, drawn[source])
                each = np.array([values[s] for s in sorted(values)], dtype=np.float64)
                judged = part.meets(each) if values else Judged(None, None, None, "too few")
                found.append(
                    Finding(part.what, source, part.meets.said, part.paper, len(each), *judged)
                )
    return found


@contextmanager
def lacking(source: str) -> Iterator[None]:
    """Say of a result that lacks something whose it is.

    Raises:
        DamagedError: instead of a KeyError.
    """
    try:
        yield
    except KeyError as error:
        raise DamagedError(
            f"results of {source} lack {error}: they are damaged, or of another version; remove them, "
            "and `residua reproduce all` without --pages makes them anew"
        ) from error


def _said(findings: Sequence[Finding]) -> Said:
    answers = [f.answer for f in findings if f.answer != "too few"]
    met, opposite = answers.count("yes"), answers.count("reversed")
    if not answers:
        return "not decided"
    if met == len(answers):
        return "holds"
    return "holds in part" if met > opposite else "does not hold"


def _drawn(seeds: Seeds, rng: np.random.Generator) -> dict[int, int]:
    """Return as many seeds, drawn from a population that is itself drawn from them."""
    each = sorted(seeds)
    if not each:
        return {}
    weights = rng.dirichlet(np.ones(len(each)))
    return dict(enumerate(each[k] for k in rng.choice(len(each), len(each), p=weights)))
