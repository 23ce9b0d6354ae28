"""Cost of all streaming measures together, over the plain forward pass; memory by number of samples.

One pass gives moments of states and residuals by class, settle distance, spread, Fisher ratios,
distances of classes, sensitive units, attribution by class, decisions and windows of layers. Without the
linear probes. 15 × 1064 logistic units and 10,000 samples (MNIST's test set where RESIDUA_DATA has it,
noise of the same shape elsewhere), rounds interleaved in one process; memory in processes of their own.
Writes docs/evidence/streaming_cost.json.
"""

import json
import statistics
import subprocess
import sys
from typing import Any

import torch
from common import PRINT_MEMORY, images

import residua as rs
from residua.bench.clock import seconds
from residua.provenance import machine, versions
from residua.studies.jobs import RESULTS
from residua.transients.streamed import measures

ROUNDS, BATCH = 9, 500
MEMORY = """
import torch, residua as rs
from residua.transients.streamed import measures
torch.manual_seed(0)
net, x, y = rs.ResNet(784, 1064, 10), torch.randn(500, 784), torch.arange(500) % 10
measures(net, ((x, y) for _ in range({batches})))
"""


def main() -> None:
    torch.manual_seed(0)
    net = rs.ResNet(784, 1064, 10)
    batches = list(rs.loader(images(), BATCH))

    @torch.no_grad()
    def forward() -> None:
        for x, _ in batches:
            net(x)

    calls = {"forward": forward, "measures": lambda: measures(net, batches)}
    for call in calls.values():
        call()
    rounds = [{name: seconds(call) for name, call in calls.items()} for _ in range(ROUNDS)]
    found: dict[str, Any] = {
        "forward_seconds": statistics.median(r["forward"] for r in rounds),
        "ratios": {"all streaming measures": sorted(r["measures"] / r["forward"] for r in rounds)},
        "bounds": {"all streaming measures": 1.5},
        "memory_kib": {
            str(n * BATCH): int(
                subprocess.check_output(
                    [sys.executable, "-c", MEMORY.format(batches=n) + PRINT_MEMORY]
                )
            )
            for n in (4, 40)
        },
        "versions": versions(),
        "machine": machine(),
        "command": "make bench",
    }
    (RESULTS / "streaming_cost.json").write_text(json.dumps(found, indent=1) + "\n")
    ratio = statistics.median(found["ratios"]["all streaming measures"])
    print(f"all streaming measures: {ratio:.2f} times the forward pass; {found['memory_kib']} KiB")
    print(f"wrote {RESULTS / 'streaming_cost.json'}; now: make evidence")


if __name__ == "__main__":
    main()
