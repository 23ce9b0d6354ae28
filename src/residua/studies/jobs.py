"""Run the jobs of a study one by one; what is finished is not repeated."""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.progress import Progress

from residua import runs

RESULTS = Path("docs/evidence")
_WORK = Path("runs")


def repeat(study: str, configs: Mapping[str, runs.RunConfig], seeds: range) -> None:
    """Train every configuration with every seed and store one summary each.

    A result lies in docs/evidence/STUDY/NAME-SEED.json; a job that has one is skipped, a job that
    was stopped continues from its last checkpoint in runs/STUDY.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    jobs = [(name, seed) for seed in seeds for name in configs]
    with Progress() as progress:
        for name, seed in progress.track(jobs, description=study):
            target = RESULTS / study / f"{name}-{seed}.json"
            if not target.exists():
                config = configs[name]
                train = replace(config.train, seed=seed)
                _store(target, _WORK / study / f"{name}-{seed}", replace(config, train=train))
    print(f"{len(jobs)} results in {RESULTS / study}; now: make evidence")


def _store(target: Path, folder: Path, config: runs.RunConfig) -> None:
    if (folder / "summary.json").exists():
        run = runs.read(folder)
    elif (folder / "config.json").exists():
        run = runs.resume(folder, progress=False)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        command = f"make evidence-{target.parent.name}"
        run = runs.start(config, folder, command, progress=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(run.summary, indent=1) + "\n")


def results(study: str) -> dict[str, dict[int, dict[str, Any]]]:
    """Return the stored summaries of a study, by name and seed."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for path in sorted((RESULTS / study).glob("*.json")):
        name, seed = path.stem.rsplit("-", 1)
        found.setdefault(name, {})[int(seed)] = json.loads(path.read_text())
    return found
