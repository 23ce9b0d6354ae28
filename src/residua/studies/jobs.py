"""Run the jobs of a study one by one; what is finished is not repeated."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from residua import run_training, runs
from residua.errors import DamagedError
from residua.progress import quiet_lightning
from residua.run_config import RunConfig

RESULTS = Path("docs/evidence")
WORK = Path("runs")
_HALF = ("avx512_bf16", "amx_bf16", "bf16")  # how processors call that they multiply in bfloat16


def precision() -> str:
    """Return in which precision studies of large networks train here.

    "bf16-mixed" where the processor multiplies in it, and "32-true" elsewhere, where bfloat16 would take
    many times as long.
    """
    tell = getattr(torch.cpu, "get_capabilities", dict)  # older ones of torch do not
    found: Mapping[str, Any] = tell()
    return "bf16-mixed" if any(found.get(name) for name in _HALF) else "32-true"


# What a study does with one seed, in a folder of its own; returns the summary to store.
Job = Callable[[int, Path], dict[str, Any]]


def repeat(study: str, jobs: Mapping[str, Job], seeds: range) -> None:
    """Do every job with every seed and store one summary each.

    A result lies in docs/evidence/STUDY/NAME-SEED.json; a job that has one is skipped. Work files
    lie in runs/STUDY.
    """
    quiet_lightning()
    cells = [(name, seed) for seed in seeds for name in jobs]
    with Progress() as progress:
        for name, seed in progress.track(cells, description=study):
            target = RESULTS / study / f"{name}-{seed}.json"
            if not target.exists():
                summary = jobs[name](seed, WORK / study / f"{name}-{seed}")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(json.dumps(summary, indent=1) + "\n")
    print(f"{len(cells)} results in {RESULTS / study}; now: make studies")


def training(study: str, config: RunConfig) -> Job:
    """Return the job that trains one configuration, from its last checkpoint where it was stopped."""
    return partial(_train, study, config)


def _train(study: str, config: RunConfig, seed: int, folder: Path) -> dict[str, Any]:
    return made(config, seed, folder, f"make evidence-{study}").summary


def made(
    config: RunConfig, seed: int, folder: Path, command: str, *, progress: bool = False
) -> runs.Run:
    """Return a finished run: read, gone on with where it was stopped or damaged, or trained."""
    if (folder / "summary.json").exists():
        with suppress(DamagedError):  # resume writes it anew from its checkpoint
            return runs.read(folder)
    if (folder / "config.json").exists():
        return run_training.resume(folder, progress=progress)
    config = replace(config, train=replace(config.train, seed=seed))
    return run_training.start(config, folder, command, progress=progress)


def results(study: str) -> dict[str, dict[int, dict[str, Any]]]:
    """Return the stored summaries of a study, by name and seed."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for path in sorted((RESULTS / study).glob("*.json")):
        name, seed = path.stem.rsplit("-", 1)
        found.setdefault(name, {})[int(seed)] = json.loads(path.read_text())
    return found
