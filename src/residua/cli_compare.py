"""The command that sets finished runs side by side: parse, call, write."""

import json
from pathlib import Path
from typing import Annotated

import typer

from residua.cli_options import command
from residua.terminal import out, print_tables


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs.")],
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="New folder for comparison.json and report.html; default compared, with --json none.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print summaries and differences.")
    ] = False,
) -> None:
    """Set finished runs side by side: what they reached, what they differ in, one page of all.

    [dim]Example: residua compare runs/digits runs/digits-small --out compared[/dim]
    """
    from residua import comparison, folder
    from residua.report.comparison_tables import comparison_tables, page_tables
    from residua.report.page import write_page
    from residua.stored import FORMAT, write_json

    if out_dir is not None:
        folder.refuse_existing(out_dir)
    elif not as_json:
        out_dir = folder.unused("compared")
    found = comparison.compare(runs)
    plain = {
        "format": FORMAT,
        "runs": {name: {"folder": str(r.folder), **r.summary} for name, r in found.runs.items()},
        "differs": {key: dict(values) for key, values in found.differs.items()},
        "notes": list(found.notes),
        "command": command(),
    }
    with folder.new_folder(out_dir):
        if out_dir is not None:
            pages = {name: (run.summary, run.analysis) for name, run in found.runs.items()}
            title = f"residua: {len(pages)} runs compared"
            write_page(out_dir / "report.html", title, pages, tables=page_tables(found))
            write_json(out_dir / "comparison.json", plain)
    if as_json:
        print(json.dumps(plain))
        return
    print_tables(comparison_tables(found))
    if out_dir is not None:
        out.print(f"wrote {out_dir}/comparison.json and report.html", soft_wrap=True)
