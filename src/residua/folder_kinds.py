"""What a folder is that is no run, and what reads it."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from residua.errors import InputError
from residua.stored import read_json

# Settings of `residua prune RUN`: there from its start on, in what it writes and in what a stop leaves.
PRUNED = "prune.json"
EXPERIMENT = "experiment.json"


def why_no_run(folder: Path) -> str | None:
    """Return why a folder is no run of residua, finished or not, and what reads it; None for a run.

    A run has a config.json, damaged or not, and no sign of anything else.
    """
    if not folder.is_dir():
        return (
            f"{'it is a file' if folder.exists() else 'there is no such folder'}; pass a run folder"
        )
    config, summary = _json(folder / "config.json"), _json(folder / "summary.json")
    if (folder / EXPERIMENT).exists():
        return _experiment(folder)
    if "model" in summary and "removed" in summary:
        return _cut_model(folder, config)
    if "architectures" in config:
        return f"it holds a model of transformers; {_from_transformers(folder, config)}"
    if (folder / "config.json").exists():
        return None
    return _without_config(folder)


def _without_config(folder: Path) -> str:
    if (folder / "summary.json").exists():
        return "its config.json is missing; put it back, or make the run anew in a new folder"
    if (folder / PRUNED).exists():
        return "it holds a cut that was stopped; the same residua prune goes on with it"
    if (folder / "analysis.nc").exists():
        arrays = str(folder / "analysis.nc")
        return (
            "it holds the measures of residua inspect, without a network; read them with "
            f"residua.load({arrays!r})"
        )
    if (folder / "portrait.json").exists():
        return "it holds what residua dynamics found, portrait.json, which is plain JSON"
    if (folder / "comparison.json").exists():
        return (
            "it holds a comparison, comparison.json, which is plain JSON; pass the runs themselves"
        )
    runs = runs_in(folder)
    if runs:
        return f"it has no config.json, but holds the runs {_listed(runs)}; pass one of them"
    return "it has no config.json; pass a run folder"


def runs_in(folder: Path) -> list[str]:
    """Return the paths of the runs one level below a folder."""
    return sorted(str(p.parent) for p in folder.glob("*/config.json") if not why_no_run(p.parent))


def _experiment(folder: Path) -> str:
    name = _json(folder / EXPERIMENT).get("experiment", "an experiment")
    arrays = sorted(folder.glob("*.nc"))
    told = f"it holds the results of residua reproduce {name}"
    if arrays:
        told += f"; read arrays with residua.load({str(arrays[0])!r})"
    if (folder / "evidence.json").exists():
        told += "; its verdicts are in evidence.json, which is plain JSON"
    trained = runs_in(folder / "training") + runs_in(folder / "networks")
    if trained:
        told += f"; its networks are the runs {_listed(trained)}"
    return told


def _listed(paths: list[str]) -> str:
    return ", ".join(map(repr, paths[:3])) + (f" and {len(paths) - 3} more" * (len(paths) > 3))


def _cut_model(folder: Path, config: dict[str, Any]) -> str:
    weights = str(folder / "model.safetensors")
    if "architectures" in config:
        return f"it holds a cut model of transformers; {_from_transformers(folder, config)}"
    if _header(folder / "model.safetensors"):
        return (
            "it holds a model without parts of its blocks; read it with "
            f"residua.load({weights!r}), if it is none of transformers' with model=… made with all parts"
        )
    return (
        "it holds the weights of a cut model of your own; make the model, apply plan.json with "
        f"residua.apply, and read {weights!r} with safetensors.torch.load_model"
    )


def _from_transformers(folder: Path, config: dict[str, Any]) -> str:
    kinds = config["architectures"]
    kind = kinds[0] if isinstance(kinds, list) and kinds else "AutoModel"
    return f"read it with transformers.{kind}.from_pretrained({str(folder)!r})"


def _header(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError):
        return {}


def _json(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except InputError:
        return {}
