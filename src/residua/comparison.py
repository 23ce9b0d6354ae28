"""Several finished runs side by side: their names, what they differ in, what cannot be compared."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from residua.errors import InputError
from residua.runs import Run, read
from residua.store import describe

# Where data lie on this machine is no property of a run.
_LEFT_OUT = ("data_dir",)


@dataclass(frozen=True)
class Comparison:
    """Finished runs by name, and what a reader must know of them.

    Attributes:
        runs: by name, in the order given.
        differs: of every setting that is not the same in all, its value by run.
        notes: sentences on what cannot be compared, and why.
    """

    runs: Mapping[str, Run]
    differs: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...]


def compare(folders: Sequence[Path]) -> Comparison:
    """Read finished runs and say what they differ in.

    Runs on different data or splits are compared, too; a note says what that forbids.

    Raises:
        InputError: there are fewer than two, one is given twice, or one is no finished run or damaged.
    """
    if len(folders) < 2:
        given = repr(str(folders[0])) if folders else "none"
        raise InputError(
            f"a comparison takes two runs or more, not {len(folders)} ({given}); pass another run "
            "folder, or see one with residua inspect"
        )
    _refuse_repeated(folders)
    names = names_apart(folders)
    runs = {name: read(folder) for name, folder in zip(names, folders, strict=True)}
    settings = {name: settings_of(run) for name, run in runs.items()}
    keys = dict.fromkeys(key for found in settings.values() for key in found)
    by_key = {key: {name: found.get(key) for name, found in settings.items()} for key in keys}
    differs = {key: values for key, values in by_key.items() if len(_groups(values)) > 1}
    return Comparison(runs, differs, tuple(_notes(runs)))


def names_apart(folders: Sequence[Path]) -> list[str]:
    """Return a name of each folder: its own, with as many parents as tell it from the others."""
    parts = [folder.absolute().parts for folder in map(_plain, folders)]
    taken = [1] * len(parts)
    while True:
        names = ["/".join(p[-n:]).replace("//", "/") for p, n in zip(parts, taken, strict=True)]
        again = [names.count(name) > 1 for name in names]
        longer = [
            n + 1 if twice and n < len(p) else n
            for n, twice, p in zip(taken, again, parts, strict=True)
        ]
        if longer == taken:
            return names
        taken = longer


def settings_of(run: Run) -> dict[str, Any]:
    """Return all settings of a run as plain values by name; the width is the network's own."""
    found = {k: v for k, v in asdict(run.config).items() if k not in (*_LEFT_OUT, "train")}
    found |= {"width": describe(run.net).width, "adaptive": run.summary["adaptive"]}
    cut = run.summary.get("pruned")
    if isinstance(cut, dict):
        found |= {"cut from": cut.get("from"), "compensation": cut.get("compensation")}
    return found | asdict(run.config.train)


def _plain(folder: Path) -> Path:
    """Return a folder under a name that it has, where it was given as . or with .. in it."""
    return Path(os.path.realpath(folder)) if not folder.name or ".." in folder.parts else folder


def _refuse_repeated(folders: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for folder in folders:
        where = os.path.realpath(folder)  # of links in a circle, too
        if where in seen:
            raise InputError(
                f"{str(folder)!r} is the same run as {str(seen[where])!r}; pass every run once"
            )
        seen[where] = folder


def _groups(values: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the names of the runs that share a value, by the value as text."""
    found: dict[str, list[str]] = {}
    for name, value in values.items():
        found.setdefault(str(value), []).append(name)
    return found


def _notes(runs: Mapping[str, Run]) -> list[str]:
    """Return what cannot be compared, most important first."""

    def told(of: Callable[[Run], Any]) -> str:
        groups = _groups({name: of(run) for name, run in runs.items()})
        if len(groups) == 1:
            return ""
        return "; ".join(f"{value} ({', '.join(names)})" for value, names in groups.items())

    def sampled(run: Run) -> str:
        counts = run.summary.get("samples")
        if not isinstance(counts, dict):
            return "unknown"
        return " + ".join(str(counts.get(split)) for split in ("train", "val", "test"))

    data = told(lambda run: run.config.data)
    classes = told(lambda run: describe(run.net).classes)
    samples = told(sampled)
    seeds = told(lambda run: run.config.train.seed)
    splits = told(lambda run: run.analysis.attrs["split"])
    machines = told(lambda run: run.summary["machine"])
    notes = []
    if data:
        notes.append(f"Errors cannot be compared, since the data are not the same: {data}.")
    elif classes or samples:
        what = (
            f"classes: {classes}" if classes else f"training + validation + test samples: {samples}"
        )
        notes.append(f"Errors cannot be compared: the data have one name, but not the same {what}.")
    elif seeds:
        notes.append(
            "The seed draws the splits: runs of different seeds were validated, and where the data have "
            f"no test split of their own tested, on different samples (seeds {seeds})."
        )
    if splits:
        notes.append(f"Figures by layer are taken on different splits: {splits}.")
    if machines:
        notes.append(f"Training times are of different machines: {machines}.")
    return notes
