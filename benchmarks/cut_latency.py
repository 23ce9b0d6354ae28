"""Latency of a cut, compensated network over that of one built at its depth.

15 × 1064 logistic units cut to 5 layers, with each compensation that a ResNet can have, and
ConvResNet-20 cut from 7 to 5 shape-keeping blocks; 500 images of MNIST's or 100 of CIFAR-10's shape, two
models after one another in every round. Values do not change the time, so the networks are untrained.
Writes docs/evidence/cut_latency.json.
"""

import json
import statistics
from typing import Any

import torch
from torch import nn

import residua as rs
from residua.depth.latency import latencies
from residua.provenance import machine, versions
from residua.studies.jobs import RESULTS

ROUNDS, REPEATS, BOUND = 9, 7, 1.03
DENSE = {
    "shared": ("none", "steps+weighted", "affine-pair"),
    "variable": ("none", "mean", "readers+weighted", "affine-pair"),
}


def dense(weights: str, kind: str) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    """Return a cut dense network, one built at its depth, and a batch."""
    x, y = torch.randn(500, 784), torch.arange(500) % 10
    net = rs.ResNet(784, 1064, 10, weights=weights)  # type: ignore[arg-type]
    plan = rs.plan_depth(rs.similarity(net, [(x, y)]), "spans", keep=5)
    return cut(net, plan, kind, x, y), rs.ResNet(784, 1064, 10, depth=5, weights=weights), x  # type: ignore[arg-type]


def convolutional(kind: str) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    """Return a cut convolutional network, one built with its blocks, and a batch."""
    x, y = torch.randn(100, 3, 32, 32), torch.arange(100) % 10
    net = rs.ConvResNet(3, 10, depth=20)
    plan = rs.plan_depth(rs.similarity(net, [(x, y)]), "spans", keep=5)
    small = cut(net, plan, kind, x, y)
    return small, rs.ConvResNet(3, 10, blocks=small.blocks), x


def cut(net: Any, plan: rs.DepthPlan, kind: str, x: torch.Tensor, y: torch.Tensor) -> Any:
    """Return the network without the layers that go."""
    return rs.apply(plan, net, compensation=rs.compensate(net, plan, [(x, y)], [(x, y)], kind=kind))


def main() -> None:
    torch.manual_seed(0)
    cases = {
        f"15 → 5 layers, {weights} weights, {kind}": (dense, (weights, kind))
        for weights, kinds in DENSE.items()
        for kind in kinds
    } | {
        f"ConvResNet-20, 7 → 5 blocks, {kind}": (convolutional, (kind,))
        for kind in ("none", "readers+affine")
    }
    ratios = {}
    for name, (make, options) in cases.items():
        small, built, x = make(*options)  # type: ignore[operator]
        rounds = [latencies([small, built], x, rounds=REPEATS) for _ in range(ROUNDS)]
        ratios[name] = sorted(a / b for a, b in rounds)
        print(f"{name}: {statistics.median(ratios[name]):.3f} times the network built so")
    found = {
        "ratios": ratios,
        "bounds": dict.fromkeys(ratios, BOUND),
        "versions": versions(),
        "machine": machine(),
        "command": "make bench",
    }
    (RESULTS / "cut_latency.json").write_text(json.dumps(found, indent=1) + "\n")
    print(f"wrote {RESULTS / 'cut_latency.json'}; now: make evidence")


if __name__ == "__main__":
    main()
