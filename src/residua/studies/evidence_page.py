"""The evidence of a folder of results: verdicts as JSON, one page as Markdown and as HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

from residua.choices import Experiment
from residua.report.comparison_figures import comparison_section
from residua.report.evidence_figures import evidence_section
from residua.report.experiment_tables import experiment_tables
from residua.report.page import Words, write_sections
from residua.report.shown import Section
from residua.report.tables import Table
from residua.stored import write_json, write_text
from residua.studies import e8
from residua.studies.evidence_drawn import drawn
from residua.studies.evidence_experiments import e2_tables, e4_tables, e7_tables
from residua.studies.evidence_questions import questions
from residua.studies.evidence_seeds import e1_over_seeds, e3_over_seeds, e5_tables
from residua.studies.evidence_settings import e8_over_seeds
from residua.studies.evidence_tables import claim_table, verdict_table, verdicts
from residua.studies.evidence_words import ASSUMPTIONS, EXPERIMENTS, INTRO
from residua.studies.suite import Job
from residua.studies.tables import Seeds, by_seed, made
from residua.studies.verdicts import Results, Verdict, lacking

_OWN = {"e2": e2_tables, "e4": e4_tables, "e5": e5_tables, "e7": e7_tables}
_EACH: tuple[Experiment, ...] = ("E1", "E3", "E6", "E8")  # tables of each seed
_OVER = {"e1": e1_over_seeds, "e3": e3_over_seeds, "e8": e8_over_seeds}


class _Part(NamedTuple):
    heading: str
    said: str
    tables: Sequence[Table]


def write(
    folder: Path, results: Results, every: Sequence[Job], command: str, markdown: Path
) -> list[Verdict]:
    """Write evidence.json, evidence.html and a page of Markdown, and return the verdicts.

    The same results give the same bytes.

    Args:
        folder: for evidence.json and evidence.html.
        results: what is stored.
        every: all jobs of the form, for what was not run.
        command: what makes the results.
        markdown: the page.

    Raises:
        DamagedError: a result lacks what is shown; nothing is written.
    """
    found = verdicts(results)
    parts = _parts(results, found)
    sections = _sections(results, parts)
    left = _left(every, results)
    tables = [t for part in parts[:2] for t in part.tables]
    lead = " ".join(INTRO.split()) + (f" {left}" if left else "")
    words = Words("residua: evidence", headline(found), lead, command)
    # Only now: a result that lacks something leaves all three as they were.
    write_json(
        folder / "evidence.json", {"command": command, "verdicts": [asdict(v) for v in found]}
    )
    write_text(markdown, _markdown(parts, command, left))
    write_sections(folder / "evidence.html", words, sections, tables=tables)
    return found


def headline(found: Sequence[Verdict]) -> str:
    """Return how many claims hold, in one sentence."""
    said = [v.said for v in found]
    unsure = sum(not v.steady for v in found)
    words = (
        f"Of {len(found)} claims {said.count('holds')} hold, {said.count('holds in part')} hold "
        f"in part, {said.count('does not hold')} do not hold"
    )
    words += f", {said.count('not decided')} are not decided" * ("not decided" in said)
    return words + (f"; of {unsure} the verdict depends on the seed." if unsure else ".")


def _parts(results: Results, found: Sequence[Verdict]) -> list[_Part]:
    parts = [
        _Part("", "", [verdict_table(found)]),
        _Part("", "", [questions(results)]),
        _Part("How each claim is decided", "", [claim_table(v) for v in found]),
    ]
    for name, words in EXPERIMENTS.items():
        of = results.get(name, {})
        if of:
            each = [s for seeds in of.values() for s in seeds.values()]
            with lacking(name):
                versions = " ".join(dict.fromkeys(map(made, each)))
                said = [words.does, f"What differs: {words.differs}"]
                said += [f"What came out otherwise: {words.otherwise}"] if words.otherwise else []
                parts.append(_Part(words.title, "\n".join([*said, versions]), _tables(name, of)))
    return parts


def _tables(name: str, of: Mapping[str, Seeds]) -> list[Table]:
    if name in _OWN:
        return _OWN[name](of)
    if name.upper() not in _EACH:
        return [_families(of)]
    tables = []
    for network, seeds in of.items():
        found: dict[str, Any] = {"results": {f"seed {s}": r for s, r in sorted(seeds.items())}}
        if name == "e8":
            found["compared"] = e8.compare(by_seed(seeds))
        several = len(of) > 1
        for table in experiment_tables(cast(Experiment, name.upper()), found):
            title = f"{network}: {table.title}" if several else table.title
            tables.append(table._replace(title=title))
    return tables + (_OVER[name](of) if name in _OVER else [])


def _families(of: Mapping[str, Seeds]) -> Table:
    each = [s["families"] for s in by_seed(of["families"])]
    rows = []
    for name in dict.fromkeys(name for families in each for name in families):
        errors = [families[name] for families in each if name in families]
        branch = [e["branch"] for e in errors if "branch" in e]
        rows.append(
            [
                name,
                str(errors[0]["layers"]),
                f"{max(e['logits'] for e in errors):.1e}",
                f"{max(branch):.1e}" if branch else "–",
                str(len(errors)),
            ]
        )
    header = ["network", "layers", "logits", "y_t", "seeds"]
    note = "Largest errors over seeds, over the largest logit and the largest y_t."
    return Table("errors of the sums", header, rows, note)


def _left(every: Sequence[Job], results: Results) -> str:
    """Return which experiments lack seeds, and how many."""
    missing: dict[str, list[int]] = {}
    for job in every:
        if job.seed not in results.get(job.experiment, {}).get(job.network, {}):
            missing.setdefault(f"{job.experiment}/{job.network}", []).append(job.seed)
    if not missing:
        return ""
    some = ", ".join(f"{name} ({len(seeds)})" for name, seeds in missing.items())
    return f"Not run yet, seeds in brackets: {some}."


def _markdown(parts: Sequence[_Part], command: str, left: str) -> str:
    lines = [
        "# Evidence",
        "",
        INTRO,
        "",
        f"Written by `{command}` from its results; do not edit.",
        "",
    ]
    for k, part in enumerate(parts):
        lines += [f"## {part.heading}", ""] if part.heading else []
        lines += [*part.said.replace("\n", "\n\n").split("\n"), ""] if part.said else []
        for table in part.tables:
            level = "###" if part.heading else "##"
            lines += [f"{level} {table.title}", "", table.markdown(), ""]
        lines += [left, ""] if left and k == 0 else []  # below the verdicts
    return "\n".join([*lines, "## Assumptions", "", ASSUMPTIONS, ""])


def _sections(results: Results, parts: Sequence[_Part]) -> dict[str, Section]:
    """Return a section for how claims are decided, for each experiment, and for the assumptions."""
    claims, experiments = parts[2], parts[3:]
    found = {"claims": evidence_section((), (), claims.tables)}
    for part in experiments:
        name = part.heading.split(":")[0]
        with lacking(name.lower()):
            figures = drawn(name.lower(), results)
        section = evidence_section(figures, (part.heading, *part.said.split("\n")), part.tables)
        of = results["e8"] if name == "E8" else {}
        for network, seeds in of.items():
            noise = comparison_section(e8.compare(by_seed(seeds)))
            own = [t for t in part.tables if len(of) == 1 or t.title.startswith(network)]
            found[f"E8, {network}"] = replace(noise, said=section.said, tables=own)
        if name != "E8":
            found[name] = section
    said = [" ".join(p.split()) for p in ASSUMPTIONS.split("\n- ")]
    return found | {"assumptions": evidence_section((), said, ())}
