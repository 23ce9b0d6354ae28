"""E5 and C7: the most sensitive unit of every class over depth, and what decides the class.

Criterion of E5, written before the results: in how many of the classes the unit with the largest weight
has its largest mean x_T in its own class; the paper reports 9 of 10. Chance is one in as many as there
are classes.
"""

from pathlib import Path
from typing import Any

import numpy as np

from residua import runs
from residua.analysis import Advance, one_pass, settles
from residua.data import DataSplits, balanced, load_data
from residua.nets import ResNet
from residua.overviews import by_unit_and_pair
from residua.provenance import machine, versions
from residua.store import Network
from residua.studies import c7
from residua.studies.networks import circles_start
from residua.studies.reproduction import Reproduction
from residua.training import evaluate
from residua.weights_seen import one_map

PAPER = {"own_largest": "9 of 10 classes"}


def reproduce(
    run: runs.Run, *, data_dir: str | None = None, advance: Advance = lambda share: None
) -> Reproduction:
    """Look at the most sensitive units of a finished run over its test samples, and at what decides.

    Args:
        run: of any network.
        data_dir: folder of local parquet data sets.
        advance: called with the share of the work done since it was called before.
    """
    data = runs.data_of(run, None, data_dir)
    return measured(run.net, data, named(run), seed=run.config.train.seed, advance=advance)


def named(run: runs.Run) -> dict[str, Any]:
    """Return what a result says of the run that it is of."""
    return {"run": run.folder.name, "data": run.summary["data"]}


def measured(
    net: Network,
    data: DataSplits,
    of: dict[str, Any],
    *,
    seed: int,
    advance: Advance = lambda share: None,
) -> Reproduction:
    """Return E5 and C7 of a network; `of` is added to the summary."""
    net.eval()
    found = one_pass(net, data, "test")
    advance(0.5)
    decided = found.decisions
    assert found.units is not None  # these networks have a linear head
    rests = settles(net, data.test)
    advance(0.3)
    own = found.attribution.own
    summary = of | {
        "seed": seed,
        "test_error": 100 * (1 - evaluate(net, data.test)),
        "classes": list(data.classes),
        "samples": int(decided.count.sum()),
        "units": list(found.units.unit),
        "own_largest": list(found.units.own_largest),
        "settled": rests,
        "settles_can_be_told": one_map(net),
        "windows": c7.windows(decided),
        "whole": 100 * evaluate(net, balanced(data.test, c7.SAMPLES)),
        "parts": c7.parts(net, data) if rests and isinstance(net, ResNet) else None,
        "median_layer": decided.median_layer,
        "own_contribution": np.nanmean(own, 1).round(6).tolist(),
        "versions": versions(),
        "machine": machine(),
    }
    advance(0.2)
    return Reproduction(summary, by_unit_and_pair(found.to_dataset(list(data.classes))))


def circles(seed: int, folder: Path) -> dict[str, Any]:
    """Return E5 and C7 of the circles' network of one seed, which the folder keeps."""
    data = load_data("circles", seed=seed)
    net = circles_start("shared", seed, folder)[0].net.double()
    of = {"run": f"circles, seed {seed}", "data": "circles"}
    return measured(net, data, of, seed=seed).summary
