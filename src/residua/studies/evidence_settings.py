"""E8's searches as tables: every setting tried for each architecture, and what their ends say."""

from collections.abc import Mapping, Sequence
from typing import Any

from residua.report.tables import Table
from residua.studies.e8_training import NETS
from residua.studies.tables import Seeds, by_seed

Search = Mapping[
    str, Sequence[Mapping[str, float]]
]  # settings by cell and architecture, best first
_TITLES = {"resnet": "ResNet", "mlp": "MLP"}
_KEYS = ("lr", "gain", "bias")
_USUAL = 1.0  # gain of W up to which a start is a usual one
_UNTRAINED = 50  # validation error, in %


def e8_over_seeds(found: Mapping[str, Seeds]) -> list[Table]:
    """Return the settings of each data set's search; of several where seeds do not share one.

    Seeds made in one folder share a search; another folder, on another machine, has one of its own.
    """
    tables = []
    for data, seeds in found.items():
        searches: list[tuple[Search, list[int]]] = []
        for seed, s in sorted(seeds.items()):
            same = next((of for search, of in searches if search == s["search"]), None)
            if same is None:
                searches.append((s["search"], [seed]))
            else:
                same.append(seed)
        cells = by_seed(seeds)[0]["cells"]
        for search, of in searches:
            named = data if len(searches) == 1 else f"{data}, seeds {', '.join(map(str, of))}"
            tables.append(settings_table(named, cells, search))
    return tables


def settings_table(data: str, cells: Sequence[Mapping[str, Any]], tried: Search) -> Table:
    """Return the validation error of every setting, the chosen ones marked."""
    settings = sorted({_key(s) for each in tried.values() for s in each})
    rows = []
    for cell in cells:
        for net in NETS:
            best = tried[f"{cell['name']}-{net}"]
            at = {_key(s): f"{s['val_error']:.1f}" for s in best}
            at[_key(best[0])] += "*"
            rows.append([f"{cell['name']}, {_TITLES[net]}", *(at.get(k, "–") for k in settings)])
    header = ["", *(f"{lr:g}, {gain:g}, {bias:g}" for lr, gain, bias in settings)]
    note = (
        "Learning rate, gain of W and bias at the start; validation error in % of one training each, by "
        "a seed of its own; * is taken: the lowest, of equal ones that with the lowest validation loss. "
        f"Intervals over seeds leave the search out.{_edges(cells, tried)}{_untrained(cells, tried)}"
    )
    return Table(f"{data}: every setting tried", header, rows, note)


def _key(setting: Mapping[str, float]) -> tuple[float, ...]:
    return tuple(setting[k] for k in _KEYS)


def _edges(cells: Sequence[Mapping[str, Any]], tried: Search) -> str:
    """Return how often a search ended at the largest learning rate, and gain, of several tried."""
    best = [tried[f"{c['name']}-{net}"][0] for c in cells for net in NETS]
    said = []
    for key, words in (("lr", "learning rate"), ("gain", "gain")):
        values = {s[key] for each in tried.values() for s in each}
        if len(values) > 1:
            at = sum(b[key] == max(values) for b in best)
            said.append(f"{at} at the largest {words} tried, {max(values):g}")
    if not said:
        return ""
    return f" Of {len(best)} searches {' and '.join(said)}: a wider search may find better ones."


def _untrained(cells: Sequence[Mapping[str, Any]], tried: Search) -> str:
    """Return in which cells no usual start of W trains the MLP, and in which none at all does."""

    def dead(most: float) -> list[str]:
        names = [c["name"] for c in cells]
        errors = {
            n: [s["val_error"] for s in tried[f"{n}-mlp"] if s["gain"] <= most] for n in names
        }
        return [n for n in names if errors[n] and min(errors[n]) > _UNTRAINED]

    usual, none = dead(_USUAL), dead(float("inf"))
    most = f"(error above {_UNTRAINED} %)"
    if not usual:
        return f" No start trains the MLP in {', '.join(none)} {most}." if none else ""
    tail = f"none at all in {', '.join(none)}" if none else "some setting does in every cell"
    start = f"No start of gain {_USUAL:g} or less"
    return f" {start} trains the MLP in {', '.join(usual)} {most}; {tail}."
