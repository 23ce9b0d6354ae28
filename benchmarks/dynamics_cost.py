"""Cost of the prolonged network and of eigenvalues, over the bare arithmetic in them.

Prolonging: 1064 logistic units, 1000 layers, 10,000 images (MNIST's test set where RESIDUA_DATA has it,
noise elsewhere), against a loop of the same matrix products and activations without any allocation,
batch by batch in turn. Memory: the highest of a process that prolongs one batch for 100 layers, and for
1000. Eigenvalues: of eq. 3's Jacobian and of the map's at a residual, with the making of the Jacobian,
against torch.linalg.eigvals of the matrix alone. Writes docs/evidence/dynamics_cost.json.
"""

import json
import statistics
import subprocess
import sys
from typing import Any

import torch
from common import PRINT_MEMORY, images
from torch import Tensor

import residua as rs
from residua.bench.clock import seconds
from residua.provenance import machine, versions
from residua.studies.jobs import RESULTS

LAYERS, BATCH, ROUNDS = 1000, 500, 5
MEMORY = """
import torch, residua as rs
torch.manual_seed(0)
net, x = rs.ResNet(784, 1064, 10), torch.randn(500, 784)
rs.prolong(net, [x], {layers}, at=[1, {layers}])
"""


@torch.no_grad()
def bare(net: rs.ResNet, x: Tensor) -> Tensor:
    z = rs.first_pre_activation(net, x)
    W, y = net.block(0).linear.weight.T, torch.empty_like(z)
    torch.sigmoid(z, out=y)
    for _ in range(LAYERS - 1):
        z.addmm_(y, W)
        torch.sigmoid(z, out=y)
    return y


def prolonged(net: rs.ResNet) -> dict[str, Any]:
    batches = list(rs.loader(images(), BATCH))
    rounds = []
    for k, batch in enumerate(batches):
        calls = [lambda b=batch: bare(net, b[0]), lambda b=batch: rs.prolong(net, [b], LAYERS)]
        order = (0, 1) if k % 2 else (1, 0)
        times = {i: seconds(calls[i]) for i in order}
        rounds.append((times[0], times[1]))
        print(f"batch {k + 1} of {len(batches)}: {times[1] / times[0]:.2f}", flush=True)
    loop, ours = (sum(r[i] for r in rounds) for i in (0, 1))
    return {"bare_seconds": loop, "seconds": ours, "ratios": sorted(b / a for a, b in rounds)}


def memory() -> dict[str, int]:
    """Return the highest resident memory in KiB by number of layers."""
    return {
        str(layers): int(
            subprocess.check_output(
                [sys.executable, "-c", MEMORY.format(layers=layers) + PRINT_MEMORY]
            )
        )
        for layers in (100, LAYERS)
    }


def eigenvalues(net: rs.ResNet) -> dict[str, Any]:
    W = net.block(0).linear.weight.detach().double()
    y = torch.rand(len(W), dtype=torch.float64)
    found: dict[str, Any] = {}
    for name, make in (("eq. 3", rs.ode_jacobian), ("map", rs.map_jacobian)):
        J = make(W, y)
        ratios = []
        for _ in range(ROUNDS):
            alone = seconds(lambda J=J: torch.linalg.eigvals(J))
            ratios.append(seconds(lambda make=make: rs.eigenvalues(make(W, y))) / alone)
        found[name] = sorted(ratios)
    return found


def main() -> None:
    torch.manual_seed(0)
    net = rs.ResNet(784, 1064, 10)
    found = {
        "eigenvalues": eigenvalues(net),
        "memory_kib": memory(),
        "prolonged": prolonged(net),
        "bounds": {"prolonged": 1.15, "eigenvalues": 1.2},
        "versions": versions(),
        "machine": machine(),
        "command": "make bench",
    }
    (RESULTS / "dynamics_cost.json").write_text(json.dumps(found, indent=1) + "\n")
    middle = statistics.median(found["prolonged"]["ratios"])
    print(f"prolonged: {middle:.2f} times the bare loop; eigenvalues: {found['eigenvalues']}")
    print(f"wrote {RESULTS / 'dynamics_cost.json'}; now: make evidence")


if __name__ == "__main__":
    main()
