"""The verdicts on the claims as tables."""

from collections.abc import Sequence

from residua.report.tables import Table
from residua.studies.claims import CLAIMS
from residua.studies.tables import in_three
from residua.studies.verdicts import DRAWS, STEADY, Finding, Results, Verdict, decide

_MET = {"yes": "met", "no": "not met", "reversed": "clearly not", "too few": "too few seeds"}


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
                "–" if v.said == "not decided" else f"{v.again:.0%}",
                counts(v),
                f"{first.of.split('/')[1]}: {shown(first)}" if first else "–",
                span,
                first.paper if first else "–",
            ]
        )
    header = ["", "claim", "verdict", "again", "criteria met", "first figure [interval]", "seeds"]
    header += ["paper"]
    note = (
        "Holds: every criterion is met that could be judged; in part: some are, and more than "
        "clearly are not; does not hold: else; not decided: of fewer than three seeds (of an "
        "identity one tells), or of no results. Clearly not: the whole interval lies on the other "
        f"side of the bound. Again: of {DRAWS} draws of the seeds anew, those that give the same "
        f"verdict; below {STEADY:.0%} it depends on the seed."
    )
    return Table("Verdicts", header, rows, note)


def in_words(verdict: Verdict) -> str:
    """Return a verdict, and whether it depends on the seed."""
    return verdict.said + ("" if verdict.steady else "; depends on the seed")


def counts(verdict: Verdict) -> str:
    """Return how many of a claim's criteria are met of those judged, and how many clearly are not."""
    answers = [f.answer for f in verdict.findings]
    clearly, few = answers.count("reversed"), answers.count("too few")
    more = f", {clearly} clearly not" if clearly else ""
    more += f"; {few} not judged" if few else ""
    return f"{answers.count('yes')} of {len(answers) - few}{more}"


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
    """Return a figure with its interval; in four digits where three would show an end as the bound."""
    if not f.seeds:
        return "no such network"
    if f.value is None:
        return "not a number"
    if f.low is None or f.high is None:
        return f"{f.value:.3g}"
    if f.criterion.split()[-1] in (f"{f.low:.3g}", f"{f.high:.3g}"):
        return f"{f.value:.4g} [{f.low:.4g}, {f.high:.4g}]"
    return in_three(f.value, f.low, f.high)
