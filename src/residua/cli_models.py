"""What the commands do with a model that is none of residua's: parse, call, print."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from residua.cli_options import DataNamed, Shown, command
from residua.terminal import out, print_tables

if TYPE_CHECKING:
    from residua.depth.pruning import PruneConfig
    from residua.pruned import Healing


def inspect_any(
    source: str,
    data: str | None,
    data_dir: str | None,
    parts: bool,
    out_dir: Path | None,
    as_json: bool,
) -> None:
    """Show layer by layer what the residuals of a model do."""
    from residua import folder
    from residua.model_runs import inspect_model, layers_of_model
    from residua.model_source import load_batches, load_model
    from residua.report.model_figures import model_section
    from residua.report.model_tables import model_layers
    from residua.report.page import Words, write_sections
    from residua.stored import write_arrays

    model = load_model(source)
    batches = load_batches(data, source, data_dir, 0)
    stack = layers_of_model(model, batches, parts=parts)
    name = type(model).__name__
    with folder.new_folder(out_dir):
        found = inspect_model(stack, batches)
        table = model_layers(f"{name}, {stack.depth} layers", found)
        if out_dir is not None:
            write_arrays(found, out_dir / "analysis.nc")
            words = Words(
                f"residua: {source}", f"Nothing was cut: {stack.depth} layers.", foot=command()
            )
            sections = {name: model_section(found)}
            write_sections(out_dir / "report.html", words, sections, tables=[table])
    if as_json:
        print(json.dumps({"layers": table.records()}))
        return
    print_tables([table])
    if out_dir is not None:
        out.print(f"wrote {out_dir}/analysis.nc and report.html", soft_wrap=True)


def prune_any(
    source: str,
    data: DataNamed,
    config: "PruneConfig",
    out_dir: Path,
    healing: "Healing",
    shown: Shown,
    *,
    parts: bool,
) -> None:
    """Cut a model, write it, and show what went; with parts, attention and MLP for themselves."""
    from dataclasses import replace

    from residua.healing import HealConfig
    from residua.model_runs import Subject, layers_of_model, prune_model
    from residua.model_source import load_batches, load_model
    from residua.progress import share_bar
    from residua.report.headline import model_headline
    from residua.report.model_figures import model_section
    from residua.report.page import Words, write_sections
    from residua.report.prune_tables import layer_table, model_table

    model = load_model(source)
    batches = load_batches(data.name, source, data.folder, 0)
    stack = layers_of_model(model, batches, parts=parts)
    heal = None
    if healing.epochs:
        steps = healing.epochs * sum(1 for _ in batches.fit)
        heal = HealConfig(steps, loss=batches.loss)
        heal = heal if healing.lr is None else replace(heal, lr=healing.lr)
    with share_bar("plans, compensations, measurements", disable=shown.hidden) as advance:
        done = prune_model(
            Subject(source, stack, batches),
            out_dir,
            replace(config, loss=batches.loss),
            heal,
            command(),
            advance=advance,
            progress=not shown.hidden,
        )
    stages = done.layers["stage"].values.tolist()
    tables = [layer_table(done.report.plan, stages), model_table(done.summary)]
    words = Words(f"residua: {source}", model_headline(done.summary), foot=command())
    sections = {type(model).__name__: model_section(done.layers)}
    write_sections(out_dir / "report.html", words, sections, tables=tables)
    if shown.as_json:
        print(json.dumps(done.summary))
        return
    print_tables(tables)
    if done.summary["untied"]:
        out.print("The head has weights of its own now; it shared those of the embedding.")
    out.print(f"wrote {out_dir}: {', '.join(done.files)}, report.html", soft_wrap=True)
