"""Cost of streamed statistics and of fitting a depth curve, over the plain forward pass.

Ratios in one process, on 15 × 1064 logistic units and 10,000 samples: MNIST's test set where
RESIDUA_DATA has it, noise of the same shape elsewhere (the cost does not depend on the values).
Rounds are interleaved; the median ratio counts. Writes docs/evidence/cost.json.
"""

import json
import statistics
from typing import Any

import torch
from common import images

import residua as rs
from residua.bench.clock import seconds
from residua.depth.curve import NormalEquations
from residua.provenance import machine, versions
from residua.streaming import stream
from residua.studies.jobs import RESULTS

ROUNDS = 9
BATCH = 500


def main() -> None:
    torch.manual_seed(0)
    net = rs.ResNet(784, 1064, 10)
    batches = list(rs.loader(images(), BATCH))
    stack = rs.find_stack(net)

    @torch.no_grad()
    def forward() -> None:
        for x, _ in batches:
            net(x)

    def curve() -> None:
        equations = NormalEquations(stack, "logits")
        stream(stack, batches, equations)
        equations.solve([1e-4])

    calls = {"forward": forward, "statistics": lambda: rs.accumulate(net, batches), "curve": curve}
    for call in calls.values():
        call()
    rounds = [{name: seconds(call) for name, call in calls.items()} for _ in range(ROUNDS)]
    found: dict[str, Any] = {
        "forward_seconds": statistics.median(r["forward"] for r in rounds),
        "ratios": {
            name: sorted(r[name] / r["forward"] for r in rounds) for name in ("statistics", "curve")
        },
        "bounds": {"statistics": 1.3, "curve": 2.3},
        "versions": versions(),
        "machine": machine(),
        "command": "make bench",
    }
    (RESULTS / "cost.json").write_text(json.dumps(found, indent=1) + "\n")
    for name, ratios in found["ratios"].items():
        print(f"{name}: {statistics.median(ratios):.2f} times the forward pass")
    print(f"wrote {RESULTS / 'cost.json'}; now: make evidence")


if __name__ == "__main__":
    main()
