"""Where a recurrent network rests: a flip-flop memory of two bits, learnt by a GRU cell.

Each of two inputs now and then says +1 or −1, and the output has to hold what was said last. What holds
it, while nothing is said, are stable fixed points: one for each of the four memories.
Run: python examples/rnn_dynamics.py
"""

import torch
from torch import nn

import residua as rs

BITS, UNITS, STEPS, BATCH = 2, 8, 20, 64
torch.manual_seed(0)
cell, readout = nn.GRUCell(BITS, UNITS), nn.Linear(UNITS, BITS)


def flip_flop():
    """Return pulses, and what was said last by each input."""
    said = torch.rand(STEPS, BATCH, BITS) < 0.15
    said[0] = True  # what is held is known from the start
    pulses = torch.where(torch.rand(STEPS, BATCH, BITS) < 0.5, 1.0, -1.0) * said
    held = [pulses[0]]
    for now in pulses[1:]:
        held.append(torch.where(now != 0, now, held[-1]))
    return pulses, torch.stack(held)  # both (step, batch, bit)


parameters = [*cell.parameters(), *readout.parameters()]
optimizer = torch.optim.Adam(parameters, lr=1e-2)
for _ in range(300):
    pulses, held = flip_flop()
    h, said = torch.zeros(BATCH, UNITS), []
    for now in pulses:
        h = cell(now, h)  # (batch, unit)
        said.append(readout(h))
    loss = (torch.stack(said) - held).square().mean()  # (step, batch, bit)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
print(f"mean squared error of the memory: {loss.item():.4f}")

# The map from one state to the next while nothing is said; fixed points are searched in float64.
cell, readout = cell.double(), readout.double()
starts = torch.rand(100, UNITS, dtype=torch.float64) * 2 - 1  # (start, unit)
found = rs.find_fixed_points(lambda h: cell(torch.zeros(len(h), BITS).double(), h), starts)

points = found.fixed
print("bit 1  bit 2  largest multiplier  directions that leave  verdict")
for k in sorted(range(len(points)), key=lambda k: int(points.unstable_dimension[k])):
    bits = readout(points.points[k])  # (bit,)
    largest = points.multipliers[k].abs().max()  # eigenvalues of the Jacobian: (unit,)
    leave = int(points.unstable_dimension[k])
    print(f"{bits[0]:5.2f}  {bits[1]:5.2f}  {largest:18.3f}  {leave:21d}  {points.verdicts[k]}")
print(f"stable: {points.verdicts.count('stable')} of {len(points)} fixed points")
