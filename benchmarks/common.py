"""What the benchmarks share: images, and how a process tells its memory."""

import os

import torch

import residua as rs


def images() -> rs.Split:
    """Return MNIST's test set where RESIDUA_DATA has it, noise of the same shape elsewhere."""
    if os.environ.get("RESIDUA_DATA"):
        return rs.load_data("mnist").test
    return rs.Split(torch.randn(10000, 28, 28), torch.arange(10000) % 10)


# Printed by a process at its end: its highest memory in KiB. getrusage would give that of the process
# that started it where this was higher.
PRINT_MEMORY = """
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(status["VmHWM"].split()[0])
"""
