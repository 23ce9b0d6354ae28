"""Accuracy against depth: every method beside networks trained from scratch, task by task."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from residua.bench.depth_cell import COLUMNS, OURS
from residua.bench.depth_tables import CHOSEN, HEADS, SAME_PLAN, Standing, interval, standings
from residua.report.palette import GREY, plotted, styled
from residua.report.shown import Choice, Plot, Section, Setting, Shown, Take, laid_out, number

_LINES = {"scratch": "from scratch", "uncut": "uncut"}


def depth_section(results: Sequence[Mapping[str, Any]]) -> Section:
    """Return the figure of all tasks and columns, of the cells that are whole."""
    found = standings(results)
    data = _arrays(found, [r for r in results if "scratch" in r])
    return Section({"Accuracy against depth": [_by_depth(found, data)]}, data)


def _arrays(found: Sequence[Standing], results: Sequence[Mapping[str, Any]]) -> xr.Dataset:
    tasks = list(dict.fromkeys(s.task for s in found))
    names = {n for s in found for n in s.values} - {SAME_PLAN, CHOSEN}
    methods = sorted(names, key=lambda n: (n != OURS, n))
    keeps = {task: sorted({s.keep for s in found if s.task == task}) for task in tasks}
    most = max(len(k) for k in keeps.values())
    kept = np.full((len(tasks), most), np.nan)
    values = np.full((2, len(tasks), len(COLUMNS), len(methods), most), np.nan)
    lines = {name: np.full((len(tasks), most), np.nan) for name in _LINES}
    for i, task in enumerate(tasks):
        kept[i, : len(keeps[task])] = keeps[task]
    for s in found:
        i, k = tasks.index(s.task), keeps[s.task].index(s.keep)
        for name in names & set(s.values):
            each = s.values[name]
            values[:, i, COLUMNS.index(s.column), methods.index(name), k] = interval(each)
        same = [r for r in results if (r["task"], r["keep"]) == (s.task, s.keep)]
        for name, line in lines.items():
            line[i, k] = np.mean([r[name]["loss" if s.of_loss else "error"] for r in same])
    by = ("task", "column", "method", "cut")
    return xr.Dataset(
        {
            "kept": (("task", "cut"), kept),
            "value": (by, values[0]),
            "half_interval": (by, values[1]),
            **{name: (("task", "cut"), line) for name, line in lines.items()},
        },
        coords={"task": tasks, "column": list(COLUMNS), "method": methods, "cut": range(most)},
    )


def _by_depth(found: Sequence[Standing], data: xr.Dataset) -> Shown:
    plot = Plot()
    x = Take("kept", {"task": "@task"})
    for i, name in enumerate(map(str, data["method"].values)):
        style: dict[str, Any] = {"mode": "lines+markers", **styled(i)}
        if name == OURS:
            style["line"] = style["line"] | {"width": 4}
        at: dict[str, Any] = {"task": "@task", "column": "@column", "method": i}
        style["error_y"] = {"type": "data", "thickness": 1}
        half = Take("half_interval", at)
        plot.add("scatter", plotted(name), style, x=x, y=Take("value", at), error_y__array=half)
    for (name, said), dash in zip(_LINES.items(), ("dash", "dot"), strict=True):
        line = {"mode": "lines", "line": {"color": GREY, "dash": dash, "width": 3}}
        plot.add("scatter", said, line, x=x, y=Take(name, {"task": "@task"}))
    tasks = list(map(str, data["task"].values))
    losses = {s.task for s in found if s.of_loss}
    units = ["test loss, nats a token" if t in losses else "test error, %" for t in tasks]
    first = COLUMNS.index("compensated")
    return Shown(
        "by-depth",
        "What is lost by depth",
        _caption(found),
        "Mean over seeds and half of its 95 % interval, of every way of choosing the layers that stay. "
        "Dashed: networks of that depth trained from scratch for as many steps in total; dotted: the "
        "uncut network.",
        plot,
        laid_out("layers that stay", units[0], height=520, log=True),
        (
            Choice("task", "Task", tasks),
            Choice("column", "Column", [HEADS[c] for c in COLUMNS], start=first),
        ),
        (Setting("layout.yaxis.title.text", "task", units),),
    )


def _caption(found: Sequence[Standing]) -> str:
    s = next(s for s in found if s.column == "compensated")
    ours, (name, best) = interval(s.values[OURS])[0], s.best
    return (
        f"{s.task} with {s.keep} layers and compensation: {OURS} {number(ours)}, the best of the "
        f"others ({name}) {number(best)}."
    )
