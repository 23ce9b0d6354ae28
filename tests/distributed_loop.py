"""A training loop on several processes, run by torchrun in test_controller.py."""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import residua as rs


def task(n, seed):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=g)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


def main(folder: Path, weights: str) -> None:
    rank = dist.get_rank()
    torch.set_num_threads(1)
    torch.manual_seed(2)
    net = rs.ResNet(6, 12, 3, depth=8, weights=weights)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    rule = rs.AdaptiveConfig(window=(0.0, 1.0), tolerance=0.5)
    depth = rs.DepthController(net, [optimizer], config=rule)
    model = DistributedDataParallel(net)
    x, y = task(120, seed=rank)
    held = [task(60, seed=10 + rank)]
    depths, reasons = [], []
    for epoch in range(1, 4):
        for a, b in zip(x.split(40), y.split(40), strict=True):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(a), b)
            loss.backward()
            optimizer.step()
        decision = depth.step(epoch, 3, [(x, y)], held)
        if decision is not None:
            reasons.append(decision.reason)
            if decision.depth_before != decision.depth_after:
                model = DistributedDataParallel(net)  # anew, for the parameters there are now
        depths.append(net.depth)
    torch.save(
        {
            "net": net.state_dict(),
            "depths": depths,
            "reasons": reasons,
            "steps": list(net.steps),
            "loss": float(loss.detach()),
        },
        folder / f"{weights}-{rank}.pt",
    )


def leave() -> None:
    """End without Python's finalization: a gloo thread that still holds a tensor aborts in it."""
    os._exit(0)


if __name__ == "__main__":
    dist.init_process_group("gloo")
    for weights in ("shared", "variable"):
        main(Path(sys.argv[1]), weights)
    leave()
