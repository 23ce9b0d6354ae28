"""The depth benchmark in words and tables, as Markdown and for the terminal."""

import math
from collections.abc import Sequence

from residua.bench.cells import made_by
from residua.bench.depth_cell import COLUMNS, OURS
from residua.bench.depth_tables import (
    CHOSEN,
    HEADS,
    ORACLE,
    PATCHED,
    POINTS,
    SAME_PLAN,
    SEEDS,
    SHARE,
    Results,
    Standing,
    interval,
    led,
    recovered,
    standings,
)
from residua.bench.methods import METHODS
from residua.bench.tasks import TASKS
from residua.depth.candidates import TRIED
from residua.report.shown import counted
from residua.report.tables import Table


def depth_tables(results: Results) -> list[Table]:
    """Return a table of each task and depth, and of the whole."""
    found = standings(results)
    keys = dict.fromkeys((s.task, s.keep) for s in found)
    tables = [_table(results, [s for s in found if (s.task, s.keep) == key]) for key in keys]
    return [*tables, _whole(results, found)]


def _table(results: Results, cells: Sequence[Standing]) -> Table:
    task, keep, of_loss = cells[0].task, cells[0].keep, cells[0].of_loss
    key = "loss" if of_loss else "error"
    same = [r for r in results if (r["task"], r["keep"]) == (task, keep) and "scratch" in r]
    names = dict.fromkeys(n for s in cells for n in s.values)
    refused = [n for n, m in same[0]["methods"].items() if "refused" in m]
    rows = []
    for name in sorted(names, key=lambda n: _middle(cells, n)):
        rows.append([name, *(_cell(s.values.get(name), of_loss) for s in cells)])
    rows += [[name, *["–"] * len(cells)] for name in refused]
    for name in ("uncut", "scratch"):
        rows.append([name, *[_cell([r[name][key] for r in same], of_loss)] * len(cells)])
    unit = "test loss, nats a token" if of_loss else "test error, %"
    seeds = counted(len(same), "seed")
    title = f"{task}: {keep} of {same[0]['depth']} layers, {seeds}, {unit}"
    note = "; ".join(f"{n}: {same[0]['methods'][n]['refused']}" for n in refused)
    return Table(title, ["method", *(HEADS[s.column] for s in cells)], rows, note)


def _middle(cells: Sequence[Standing], name: str) -> float:
    """Return by what methods are sorted: the mean in the column with compensation."""
    one = next((s for s in cells if s.column == "compensated"), cells[0])
    values = one.values.get(name)
    return math.inf if values is None else interval(values)[0]


def _cell(values: Sequence[float] | None, of_loss: bool) -> str:
    if values is None:
        return ""
    mean, half = interval(values)
    digits = 4 if of_loss else 2
    return f"{mean:.{digits}f}" + ("" if math.isnan(half) else f" ± {half:.{digits}f}")


def _whole(results: Results, found: Sequence[Standing]) -> Table:
    rows = []
    for column in COLUMNS:
        cells = [s for s in found if s.column == column]
        first, of = led(cells)
        rows.append([HEADS[column], f"{first} of {of}"])
    first, of = led(found)
    rows.append(["all", f"{first} of {of}"])
    seeds = sorted({s.seeds for s in found})
    note = (
        f"first, or behind by less than {POINTS:g} point of error ({SHARE:.0%} of the loss of "
        f"tokens), in the mean over the same seeds ({', '.join(map(str, seeds))}); the oracle "
        f"({ORACLE}) apart."
    )
    return Table("where ours is first or tied", ["column", "cells"], rows, note)


def lost_cells(found: Sequence[Standing]) -> list[str]:
    """Return, in words, every cell in which another method is better by more than a tie."""
    said = []
    for s in found:
        if s.first:
            continue
        name, _ = s.best
        unit = "nats" if s.of_loss else "points"
        gap, half = s.paired
        paired = "" if math.isnan(half) else f" ± {half:.2g}"
        said.append(
            f"{s.task}, {s.keep} layers, {HEADS[s.column]}: {name} is better by {gap:.3g}{paired} {unit}"
        )
    return said


def behind_paper(found: Sequence[Standing]) -> list[str]:
    """Return the cells in which ours is behind the paper's rule by more than a tie."""
    return [
        f"{s.task}, {s.keep} layers, {HEADS[s.column]}: by {s.behind('paper'):.3g}"
        for s in found
        if "paper" in s.values and not s.tied(s.behind("paper"), interval(s.values["paper"])[0])
    ]


def depth_markdown(results: Results) -> str:
    """Return the page of the depth benchmark."""
    found = standings(results)
    lines = [_lead(), ""]
    for table in depth_tables(results):
        lines += [f"### {table.title}", "", table.markdown(), ""]
    lines += ["### Every method, judged as ours is", "", _leads(found).markdown(), ""]
    lines += ["### Where another method is better", ""]
    lines += [f"- {text}" for text in lost_cells(found)] or ["Nowhere by more than a tie."]
    lost = [s.paired for s in found if not s.first]
    if lost:
        beyond = sum(gap > half for gap, half in lost)
        lines += ["", f"The paired interval excludes 0 in {beyond} of these {len(lost)}."]
    behind = behind_paper(found)
    lines += ["", f"Behind the paper's rule: {'; '.join(behind) if behind else 'nowhere'}.", ""]
    lines += ["### What compensation gives back", "", _recovered(results).markdown(), ""]
    lines += [_regret(found), "", "### Tasks", "", _tasks(results).markdown(), ""]
    lines += [f"- {task}: {made}" for task, made in _made(results).items()]
    lines += ["", "### Methods", "", _methods().markdown()]
    left = [n for n in TASKS if n not in {r["task"] for r in results}]
    if left:
        lines += ["", f"Not run here: {', '.join(left)}."]
    return "\n".join(lines)


def _leads(found: Sequence[Standing]) -> Table:
    """Return in how many of the cells each method is first or tied; the oracle, too."""
    several = [s for s in found if s.seeds >= SEEDS and len(s.values) > 4]
    names = dict.fromkeys(n for s in several for n in s.values if n not in (SAME_PLAN, CHOSEN))
    first = {n: sum(s.leads(n) for s in several) for n in names}
    rows = [
        [name, f"{count} of {len(several)}", f"{count / len(several):.0%}"]
        for name, count in sorted(first.items(), key=lambda item: -item[1])
    ]
    note = (
        f"Cells of {SEEDS} seeds or more in which the methods differ; first or tied beside the best of "
        "all others, as for ours. Of so many means the lowest is in part luck, which is why not even "
        "the search over all plans, made on training data, leads everywhere; a method that was refused, "
        "or that has not all columns, does not lead."
    )
    return Table("", ["method", "first or tied", ""], rows, note)


def _lead() -> str:
    return (
        "Same trained model, same training samples for criteria and fits, same depth for all methods; "
        "residua chooses among five of the criteria on validation data. Four columns: as it is (raw), "
        "with residua's compensation, after healing for a tenth of the training's steps (at one of a "
        "task's rates or not at all, as validation prefers, for every method), and trained from scratch "
        "at that depth for as many steps in total. Mean over seeds ± half of the 95 % interval. Test "
        "data were read once, at the end. How each task was run is said below the tables."
    )


def _recovered(results: Results) -> Table:
    rows = [
        [f"{task}, {keep} layers", *("" if math.isnan(v) else f"{v:.0%}" for v in shares)]
        for (task, keep), shares in recovered(results).items()
    ]
    header = ["of the loss between raw and uncut", OURS, "ours on ReplaceMe's plan", "its patch"]
    return Table("", header, rows)


def _regret(found: Sequence[Standing]) -> str:
    raw = [s for s in found if s.column == "raw" and ORACLE in s.values]
    if not raw:
        return "No exhaustive search was made."
    said = []
    for of_loss, unit in ((False, "points of error"), (True, "nats a token")):
        cells = [s for s in raw if s.of_loss == of_loss]
        if cells:
            worst = max(cells, key=lambda s: s.behind(ORACLE))
            mean = sum(s.behind(ORACLE) for s in cells) / len(cells)
            said.append(
                f"{mean:.3g} {unit} in the mean over {len(cells)} cells, at most "
                f"{worst.behind(ORACLE):.3g} ({worst.task}, {worst.keep} layers)"
            )
    return f"Regret of ours to the exhaustive search, raw: {'; '.join(said)}."


def _tasks(results: Results) -> Table:
    names = dict.fromkeys(r["task"] for r in results)
    return Table("", ["task", "what it is"], [[n, TASKS[n].said] for n in names if n in TASKS])


def _made(results: Results) -> dict[str, str]:
    """Return how each task was run."""
    names = dict.fromkeys(r["task"] for r in results)
    return {n: made_by([r for r in results if r["task"] == n]) for n in names}


def _methods() -> Table:
    rows = [[n, m.formula, m.source] for n, m in METHODS.items() if not n.startswith("random-")]
    rows.append(["random", "drawn, five times", "common baseline"])
    patch = "of the method replaceme, with its own patch in place of our compensation"
    rows.append([PATCHED, f"{patch}; none where a gap begins a stage", "as replaceme"])
    ours = (
        f"`residua.prune` with its defaults: of the plans of {', '.join(TRIED)} the one that loses "
        "least on validation data, cut as in the column"
    )
    rows.insert(0, [OURS, ours, "docs/depth.md"])
    rows.append([SAME_PLAN, "ours, raw, by the plan that it takes with compensation", "apart"])
    rows.append(
        [CHOSEN, "of the other methods but random the one that validation prefers", "apart"]
    )
    return Table("", ["method", "what goes first", "source"], rows)
