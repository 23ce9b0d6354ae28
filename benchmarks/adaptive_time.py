"""What share of its time a training with adaptive depth takes, from the cost of its parts.

MNIST's recipe (15 × 1064 logistic units, shared weights, batches of 128, bf16-mixed), cut to 3 layers
after the second of 16 epochs. Steps at 15 and at 3 layers in turn, in one process, and the decisions of
two epochs: the share is (2 epochs at 15 layers, the decisions, 14 epochs at 3) over 16
epochs at 15. Images are noise of MNIST's shape, which cost the same. Writes
docs/evidence/adaptive_time.json.
"""

import json
import statistics
from typing import Any

import torch
from torch import nn

import residua as rs
from residua.bench.clock import seconds
from residua.provenance import machine, versions
from residua.studies.jobs import RESULTS

ROUNDS, STEPS, BATCH, EPOCHS, BEFORE, LEFT, SAMPLES = 9, 20, 128, 16, 2, 3, 55_000


def trained_by(net: nn.Module, optimizer: torch.optim.Optimizer, x: Any, y: Any) -> Any:
    """Return a call that trains for some steps."""

    def steps() -> None:
        net.train()
        for _ in range(STEPS):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = nn.functional.cross_entropy(net(x), y, label_smoothing=0.1)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()

    return steps


def main() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(BATCH, 784), torch.arange(BATCH) % 10
    calls = {}
    for depth in (15, LEFT):
        net = rs.ResNet(784, 1064, 10, depth=depth)
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
        calls[depth] = trained_by(net, optimizer, x, y)
        calls[depth]()
    rounds = [
        {depth: seconds(call) / STEPS for depth, call in calls.items()} for _ in range(ROUNDS)
    ]
    fit = [(torch.randn(512, 784), torch.arange(512) % 10) for _ in range(16)]
    held = [(torch.randn(1000, 784), torch.arange(1000) % 10) for _ in range(5)]

    def decide() -> None:
        net = rs.ResNet(784, 1064, 10)
        rule = rs.AdaptiveConfig(window=(0.0, 1.0), keep=LEFT)
        depth = rs.DepthController(net, [torch.optim.AdamW(net.parameters())], config=rule)
        for epoch in (1, 2):
            depth.step(epoch, 2, fit, held)
        assert net.depth == LEFT

    decisions = statistics.median(seconds(decide) for _ in range(3))
    steps = SAMPLES / BATCH
    shares = [
        (BEFORE * steps * r[15] + decisions + (EPOCHS - BEFORE) * steps * r[LEFT])
        / (EPOCHS * steps * r[15])
        for r in rounds
    ]
    name = f"15 layers, {BEFORE} epochs; {LEFT} layers, {EPOCHS - BEFORE} epochs"
    found = {
        "ratios": {name: sorted(shares)},
        "bounds": {name: 0.5},
        "decision_seconds": decisions,
        "step_seconds": {str(d): statistics.median(r[d] for r in rounds) for d in calls},
        "versions": versions(),
        "machine": machine(),
        "command": "make bench",
    }
    (RESULTS / "adaptive_time.json").write_text(json.dumps(found, indent=1) + "\n")
    print(
        f"adaptive over fixed depth: {statistics.median(shares):.2f}; its decisions {decisions:.0f} s"
    )
    print(f"wrote {RESULTS / 'adaptive_time.json'}; now: make evidence")


if __name__ == "__main__":
    main()
