"""E6 and C6: class means and spreads of the states, and whether classes part without an attractor.

Criteria, written before the results. E6: the mean distance of two class means at x_T over that at x_1,
over seeds: its 95 % interval above 1 says that they part with depth. C6: the same of the Fisher ratio
(distance in units of the spread within classes), over networks that have not settled.
"""

import numpy as np

from residua import runs
from residua.analysis import Advance, one_pass, settles
from residua.overviews import by_unit_and_pair
from residua.provenance import machine, versions
from residua.studies import e5
from residua.studies.reproduction import Reproduction
from residua.training import evaluate
from residua.weights_seen import one_map

PAPER = {"class_means": "separate, and grow with depth"}


def reproduce(
    run: runs.Run, *, data_dir: str | None = None, advance: Advance = lambda share: None
) -> Reproduction:
    """Describe the classes' states over depth for a finished run, on its test samples.

    Args:
        run: of any network.
        data_dir: folder of local parquet data sets.
        advance: called with the share of the work done since it was called before.
    """
    net, data = run.net.eval(), runs.data_of(run, None, data_dir)
    found = one_pass(net, data, "test")
    advance(0.6)
    rests = settles(net, data.test)
    advance(0.4)
    upper = np.triu_indices(len(data.classes), 1)
    pairs = found.states.distance[:, *upper]
    pairs = pairs[:, ~np.isnan(pairs).all(0)]  # of classes that have samples
    summary = e5.named(run) | {
        "seed": run.config.train.seed,
        "test_error": 100 * (1 - evaluate(net, data.test)),
        "weights": run.config.weights,
        "settled": rests,
        "settles_can_be_told": one_map(net),
        "distance": pairs.mean(1).tolist(),
        "pairs_closer": int((pairs[-1] < pairs[1]).sum()),
        "pairs": pairs.shape[1],
        "spread": np.nanmean(found.statistics.states.std, (1, 2)).tolist(),
        "fisher": found.states.fisher.tolist(),
        "residual_fisher": found.residuals.fisher.tolist(),
        "head_accuracy": (100 * found.decisions.accuracy).tolist(),
        "versions": versions(),
        "machine": machine(),
    }
    return Reproduction(summary, by_unit_and_pair(found.to_dataset(list(data.classes))))
