"""Which of the other tools are installed, in which version."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version


def version_of(package: str | None) -> str | None:
    """Return the version of a package, "" where none is needed, None where it is not installed."""
    if package is None:
        return ""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def missing(package: str | None) -> str | None:
    """Return why a tool cannot be run, or None."""
    return "not installed" if version_of(package) is None else None


def left_out(not_run: Mapping[str, str]) -> str:
    """Return in words which tools were not run, and why; nothing where all were."""
    left = [f"{name}: {why}" for name, why in not_run.items()]
    return f"Not run: {'; '.join(left)}." if left else ""
