"""`residua reproduce all`: parse, call, write."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from residua.cli_options import command
from residua.terminal import out, print_tables

if TYPE_CHECKING:
    from residua.studies.verdicts import Verdict


@dataclass(frozen=True)
class Asked:
    """What was asked of `residua reproduce all`.

    Attributes:
        quick, first_seed, seeds: the form, see :class:`residua.studies.suite.Form`.
        only: jobs, or experiments, to be done; all without.
        list_jobs: print the names of the jobs, and do none.
        pages: write the pages of what is there, and do no job.
        markdown: where the page of Markdown goes; default evidence.md in the folder.
        workers: processes; default one for each core.
        data_dir: folder of local parquet data sets.
        as_json, quiet: print the verdicts as JSON; no progress.
    """

    quick: bool
    first_seed: int
    seeds: int | None
    only: tuple[str, ...]
    list_jobs: bool
    pages: bool
    markdown: Path | None
    workers: int | None
    data_dir: str | None
    as_json: bool
    quiet: bool


def reproduce_all(folder: Path, asked: Asked) -> None:
    """Do the jobs that have no result, and write verdicts and pages."""
    from residua.errors import ResiduaError
    from residua.progress import share_bar
    from residua.studies import evidence_page, suite
    from residua.studies.parallel import run_all

    form = suite.Form(asked.quick, asked.first_seed, asked.seeds)
    every = suite.jobs(form)
    mine = suite.chosen(every, asked.only)
    if asked.list_jobs:
        out.print("\n".join(job.name for job in mine), markup=False, soft_wrap=True)
        return
    markdown = asked.markdown or folder / "evidence.md"
    _check(folder, markdown, asked)
    suite.begin(folder, form)
    todo = [] if asked.pages else [job for job in mine if not job.file(folder).exists()]
    failed = []
    if todo:
        whole = sum(job.minutes for job in todo)
        with share_bar(f"{len(todo)} jobs", disable=asked.as_json or asked.quiet) as advance:
            failed = run_all(
                todo,
                folder,
                workers=asked.workers or os.cpu_count() or 1,
                data_dir=asked.data_dir,
                command=command(),
                done=lambda job: advance(job.minutes / whole),
            )
    if asked.only:  # one of many, perhaps on many machines: the pages are for whoever has all
        out.print(f"{len(todo) - len(failed)} new results in {folder}; --pages writes the verdicts")
    else:
        found = evidence_page.write(
            folder, suite.results(folder, form), every, form.command, markdown
        )
        if asked.as_json:
            print((folder / "evidence.json").read_text("utf-8"))
        else:
            _print(found)
            told = f"wrote evidence.json and evidence.html into {folder}, and {markdown}"
            out.print(told, soft_wrap=True)
    if failed:
        said = "; ".join(f"{f.name}: {f.why}" for f in failed)
        raise ResiduaError(
            f"{len(failed)} of {len(todo)} jobs failed, and the same command tries them again: {said}"
        )


def _check(folder: Path, markdown: Path, asked: Asked) -> None:
    """Refuse what would fail after hours, or write pages of nothing."""
    from residua.errors import InputError

    if markdown.parent != folder and not markdown.parent.is_dir():
        raise InputError(f"there is no folder {str(markdown.parent)!r} for the page; make it first")
    if markdown.is_dir():
        raise InputError(f"{str(markdown)!r} is a folder; pass a file for the page")
    if asked.pages and asked.only:
        raise InputError("--pages shows all results, and --only does some jobs; pass one of them")
    if asked.pages and not any(folder.glob("*/*-*.json")):
        raise InputError(f"{str(folder)!r} holds no results; make some without --pages")


def _print(found: "Sequence[Verdict]") -> None:
    from residua.report.tables import Table
    from residua.studies.evidence_page import headline
    from residua.studies.evidence_tables import counts, in_words

    rows = [[v.claim, in_words(v), counts(v)] for v in found]
    print_tables([Table(headline(found), ["", "verdict", "criteria met"], rows)])
