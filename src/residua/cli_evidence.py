"""`residua reproduce all`: parse, call, write."""

import os
from dataclasses import dataclass
from pathlib import Path

from residua.cli_options import command
from residua.terminal import out, print_tables


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
    from residua.report.tables import Table
    from residua.studies import evidence_page, suite
    from residua.studies.parallel import run_all

    form = suite.Form(asked.quick, asked.first_seed, asked.seeds)
    every = suite.jobs(form)
    mine = suite.chosen(every, asked.only)
    if asked.list_jobs:
        out.print("\n".join(job.name for job in mine), markup=False, soft_wrap=True)
        return
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
    markdown = asked.markdown or folder / "evidence.md"
    results = suite.results(folder, every)
    found = evidence_page.write(folder, results, every, form.command, markdown)
    if asked.as_json:
        print((folder / "evidence.json").read_text("utf-8"))
    else:
        rows = [
            [v.claim, v.said + ("" if v.steady else ", depends on the seed"),
             f"{sum(f.answer == 'yes' for f in v.findings)} of {len(v.findings)}"]
            for v in found
        ]  # fmt: skip
        print_tables([Table(evidence_page.headline(found), ["", "verdict", "criteria met"], rows)])
        out.print(
            f"wrote evidence.json and evidence.html into {folder}, and {markdown}", soft_wrap=True
        )
    if failed:
        said = "; ".join(f"{f.name}: {f.why}" for f in failed)
        raise ResiduaError(
            f"{len(failed)} of {len(todo)} jobs failed, and the same command tries them again: {said}"
        )
