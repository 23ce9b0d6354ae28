"""What `residua inspect` and `residua prune` do with any model: measure, cut, heal, write."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from safetensors.torch import save_model
from torch import nn

from residua.atomic import folder_written_whole, is_part, written_whole
from residua.depth.evidence import SAMPLES
from residua.depth.pruning import (
    Measured,
    PruneConfig,
    PruneReport,
    prune,
)
from residua.depth.similarity import similarity
from residua.errors import InputError
from residua.healing import HEALING, HealConfig, heal
from residua.inputs import as_any_inputs, inputs_of
from residua.layers import weight_of
from residua.model_source import ModelData
from residua.provenance import machine, versions
from residua.stack import FoundStack, find_blocks
from residua.statistics import accumulate
from residua.stored import FORMAT, write_arrays, write_json, write_text
from residua.streaming import first, held_out_figures
from residua.untying import shares

# What transformers keeps beside a model for its inputs.
_BESIDE = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "special_tokens_map.json",
    "preprocessor_config.json",
)


@dataclass(frozen=True)
class Subject:
    """A model, where it came from, its layers, and data for it."""

    source: str
    stack: FoundStack
    data: ModelData


@dataclass(frozen=True)
class CutModel:
    """A model cut and written.

    Attributes:
        report: what went, and what was measured.
        layers: of the uncut model, as :func:`inspect_model` measures them, and `kept`, 1 or 0.
        summary: what summary.json holds.
        files: what was written.
    """

    report: PruneReport
    layers: xr.Dataset
    summary: dict[str, Any]
    files: tuple[str, ...]


def layers_of_model(model: nn.Module, data: ModelData, *, parts: bool) -> FoundStack:
    """Return the layers of a model, found with its first batch."""
    x = next(inputs_of(batch) for batch in islice(data.fit, 1))
    return find_blocks(model, as_any_inputs(x, weight_of(model)), parts=parts)


def inspect_model(stack: FoundStack, data: ModelData) -> xr.Dataset:
    """Return figures of every layer over held-out data: how much it adds, and how much that differs.

    Variables by layer: `magnitude` (mean of abs(y_t)), `ratio` (mean of ‖y_t‖ / ‖x_{t−1}‖), `influence`
    (1 − mean cosine of x_{t−1} and x_t), `spread` and `settle` (both relative, as in
    :class:`residua.Statistics`).
    """
    batches = first(data.held_out, SAMPLES)
    found = similarity(stack, batches)
    stages = list(dict.fromkeys(stack.stages))
    each = [accumulate(stack, batches, stage=stage) for stage in stages]
    settle = [np.r_[np.nan, s.relative_settle_distance] for s in each]
    columns = {
        "magnitude": np.concatenate([s.magnitude_sum / s.samples for s in each]),
        "ratio": found.ratio,
        "influence": np.concatenate([1 - np.diagonal(found.cosine[s], 1) for s in stages]),
        "spread": np.concatenate([s.relative_spread for s in each]),
        "settle": np.concatenate(settle),
    }
    return xr.Dataset(
        {name: ("layer", np.asarray(values)) for name, values in columns.items()},
        coords={
            "layer": range(1, stack.depth + 1),
            "block": ("layer", list(stack.names)),
            "stage": ("layer", list(stack.stages)),
        },
        attrs={
            "branch_is_residual": int(stack.branch_is_residual),
            "head": stack.head or "none found",
        },
    )


def prune_model(
    subject: Subject,
    folder: Path,
    config: PruneConfig,
    healing: HealConfig | None,
    command: str,
    *,
    advance: Callable[[float], None],
    progress: bool,
) -> CutModel:
    """Cut a model, heal it where that is asked for, and write it into a new folder.

    Raises:
        InputError: the folder exists, the aim cannot be reached, or the data do not fit.
        StoppedError: a signal ended the healing; the same command goes on with it.
    """
    stack, data = subject.stack, subject.data
    # A healing that was stopped leaves its checkpoint, a killed process parts of files.
    left = folder.is_dir() and all(p.name == HEALING or is_part(p) for p in folder.iterdir())
    if folder.exists() and not left:
        raise InputError(f"{str(folder)!r} exists already and is not empty; pass a new folder")
    small: nn.Module
    small, report = prune(stack, data.fit, data.held_out, config, advance)
    kept = [int(t in report.plan.keep) for t in range(1, stack.depth + 1)]
    layers = inspect_model(stack, data).assign(kept=("layer", kept))
    healed = None
    folder.mkdir(parents=True, exist_ok=True)
    if healing is not None:
        heal(small, data.fit, healing, teacher=stack, folder=folder, progress=progress)
        small.cpu()
        figures = held_out_figures(small, data.held_out, config.loss)
        healed = Measured(len(report.plan.keep), figures.loss, figures.accuracy, 0.0)
    files = _written(small, subject, folder)
    write_text(folder / "plan.json", report.plan.to_json() + "\n")
    summary = {
        "format": FORMAT,
        "model": subject.source,
        "removed": [report.plan.names[t - 1] for t in report.plan.removed],
        "reason": report.plan.reason,
        "compensation": report.compensation.kind if report.compensation else "none",
        "untied": _untied(stack, report),
        "before": asdict(report.before),
        "after": asdict(report.after),
        "healed": asdict(healed) if healed else None,
        "parameters": [sum(p.numel() for p in m.parameters()) for m in (stack.model, small)],
        "versions": versions(),
        "machine": machine(),
        "command": command,
    }
    write_arrays(layers, folder / "analysis.nc")
    write_json(folder / "summary.json", summary)
    files = (*files, "plan.json", "analysis.nc", "summary.json")
    return CutModel(report, layers, summary, files)


def _untied(stack: FoundStack, report: PruneReport) -> bool:
    """Return whether the head shared its weights with an embedding, and does so no more."""
    fitted = report.compensation is not None and "affine" in report.compensation.kind
    return (
        fitted
        and stack.head is not None
        and shares(stack.model, stack.model.get_submodule(stack.head))
    )


def _written(small: nn.Module, subject: Subject, folder: Path) -> tuple[str, ...]:
    """Write the cut model in the form of its own, or in residua's where parts of blocks are gone."""
    small.eval()
    save_pretrained: Any = getattr(small, "save_pretrained", None)
    if subject.stack.parts:
        from residua.store import save

        save(small, folder / "model.safetensors")
        return ("model.safetensors (for residua.load)",)
    if save_pretrained is None:
        with written_whole(folder / "model.safetensors") as part:
            save_model(small, str(part))
        return ("model.safetensors",)
    with folder_written_whole(folder) as part_folder:
        save_pretrained(part_folder)
    _copy_tokenizer(subject.source, folder)
    return ("config.json", "model.safetensors")


def _copy_tokenizer(source: str, folder: Path) -> None:
    """Put the tokenizer beside the cut model, where the uncut one has one."""
    for name in _BESIDE:
        path = Path(source) / name
        if path.is_file():
            (folder / name).write_bytes(path.read_bytes())
