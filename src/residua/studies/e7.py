"""E7, C11 and C12: layers taken away in training by the paper's rule and by ours, and after training.

The paper's rule is asked after every epoch with its threshold of 0.01. Half: half of the layers taken
from the uncut network by `residua.prune`. Needed: the fewest layers at which its validation loss rises
by at most 0.01 nats, found likewise. Test data is read once, at the end.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from residua import runs
from residua.choices import Adaptive, Weights
from residua.data import DataSplits, load_data, loader
from residua.depth.pruning import PruneConfig, prune
from residua.provenance import machine, versions
from residua.sources import Split
from residua.studies.circles import STARTS
from residua.studies.networks import circles_start, network
from residua.training import evaluate

NEGLIGIBLE = 0.01  # nats of validation loss
PAPERS: tuple[Adaptive, ...] = ("none", "paper")
RULES: tuple[Adaptive, ...] = (*PAPERS, "depth-curve")
SAMPLES, BATCH = 2000, 500  # training samples from which compensation is fitted


def circles(weights: Weights, seed: int, work: Path, restarts: int = STARTS) -> dict[str, Any]:
    """Return errors and layers of the circles' networks of one seed, uncut and with the paper's rule.

    Args:
        weights: shared or variable.
        seed: of points, weights and batches.
        work: keeps the networks.
        restarts: at most, with the paper's rule.
    """
    data = load_data("circles", seed=seed)
    found: dict[str, Any] = {}
    for rule in PAPERS:
        most = STARTS if rule == "none" else restarts  # E1 has the uncut ones, too
        best, losses = circles_start(weights, seed, work, rule=rule, restarts=most)
        error = 100 * (1 - evaluate(best.net, data.test))
        found[_name(rule)] = {
            "test_error": error,
            "layers": best.net.depth,
            "starts": len(losses),
        }
        if rule == "none":
            found["needed"] = needed(best.net, data)
    return found | _made(seed, "circles", weights, [machine()])


def trained(
    data: str,
    weights: Weights,
    seed: int,
    work: Path,
    *,
    rules: Sequence[Adaptive] = RULES,
    data_dir: str | None = None,
) -> dict[str, Any]:
    """Return the same on "digits" or "mnist", and cuts made after training."""
    found: dict[str, Any] = {}
    machines = []
    for rule in rules:
        run = network(data, weights, seed, work, rule=rule, data_dir=data_dir)
        found[_name(rule)] = {
            "test_error": run.summary["test_error"],
            "layers": run.summary["depth_final"],
        }
        machines.append(run.summary["machine"])
        if rule == "none":
            splits, net = runs.data_of(run, None, data_dir), run.net.eval()
            found["half"] = cut(net, splits, PruneConfig(keep=(net.depth + 1) // 2))
            found["needed"] = needed(net, splits)
    return found | _made(seed, data, weights, [*machines, machine()])


def needed(net: nn.Module, data: DataSplits) -> dict[str, Any]:
    """Return the fewest layers that lose next to nothing on validation data, and their test error."""
    return cut(net, data, PruneConfig(max_loss_increase=NEGLIGIBLE))


def cut(net: nn.Module, data: DataSplits, config: PruneConfig) -> dict[str, Any]:
    """Return layers and errors of a network cut after training, compensated, without healing."""
    few = Split(data.train.x[:SAMPLES], data.train.y[:SAMPLES])
    small, report = prune(net, loader(few, BATCH), loader(data.val, BATCH), config)
    assert isinstance(small, nn.Module)
    return {
        "layers": report.after.layers,
        "criterion": report.plan.criterion,
        "val_loss": report.after.loss,
        "val_loss_uncut": report.before.loss,
        "test_error": 100 * (1 - evaluate(small, data.test)),
    }


def _name(rule: Adaptive) -> str:
    return "uncut" if rule == "none" else rule


def _made(seed: int, data: str, weights: Weights, machines: Sequence[str]) -> dict[str, Any]:
    """Return what a result is of; networks may have been trained on another machine, or on a GPU."""
    return {
        "seed": seed,
        "data": data,
        "weights": weights,
        "versions": versions(),
        "machine": "; ".join(dict.fromkeys(machines)),
    }
