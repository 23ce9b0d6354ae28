"""E2: 15 layers of logistic units with shared weights: test error, and what the layers do."""

from pathlib import Path
from typing import Any

from residua import runs
from residua.studies.layers_seen import of_one_matrix, seen
from residua.studies.networks import network


def measure(data: str, seed: int, work: Path, data_dir: str | None = None) -> dict[str, Any]:
    """Return E2 of one seed on "mnist", or on "digits" with 256 units."""
    run = network(data, "shared", seed, work, data_dir=data_dir)
    found = runs.data_of(run, None, data_dir)
    return seen(run, found) | of_one_matrix(run, found)
