"""What a result was made with: versions and machine."""

import platform
from importlib.metadata import PackageNotFoundError, version

import torch


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    found = {"python": platform.python_version()}
    for package in ("residua", "torch", "lightning", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine(device: torch.device | None = None) -> str:
    """Return processor family and thread count, which timings depend on, and the GPU that was used."""
    threads = torch.get_num_threads()
    said = f"{platform.machine()}, {threads} thread{'s' * (threads != 1)}"
    if device is None or device.type != "cuda":
        return said
    return f"{said}, {torch.cuda.get_device_name(device)}"
