"""The errors that residua raises: each says what failed, the value received, and what to pass."""


class ResiduaError(Exception):
    """Base of all errors that residua raises on purpose; the command line exits with status 2."""


class InputError(ResiduaError, ValueError):
    """An argument, a data set or a file cannot be used as it is."""


class DamagedError(InputError):
    """A stored result is missing, damaged, or of an older format that lacks something."""


class MissingExtraError(ResiduaError, ImportError):
    """A feature needs an optional dependency that is not installed."""

    def __init__(self, package: str, extra: str, feature: str):
        super().__init__(
            f"{feature} needs the package {package!r}, which is not installed; "
            f"run: pip install 'residua[{extra}]'"
        )


class StackError(ResiduaError):
    """The residual blocks of a model cannot be told."""


class StoppedError(ResiduaError):
    """Training was stopped by a signal; the message says how to go on."""
