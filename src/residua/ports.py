"""Where the state of a residual layer goes in and comes out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn


class Port(NamedTuple):
    """Where a state goes into a block and comes out: an argument, and the output or an item of it."""

    takes: int | str = 0
    gives: int | str | None = None

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Return the state that goes in."""
        found: Tensor = args[self.takes] if isinstance(self.takes, int) else kwargs[self.takes]
        return found

    def entered(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with another state."""
        if isinstance(self.takes, str):
            return args, kwargs | {self.takes: x}
        return (*args[: self.takes], x, *args[self.takes + 1 :]), kwargs

    def after(self, output: Any) -> Tensor:
        """Return the state that comes out."""
        found: Tensor = output if self.gives is None else output[self.gives]
        return found

    def left(self, output: Any, x: Tensor) -> Any:
        """Return the output with another state."""
        if self.gives is None:
            return x
        if isinstance(output, Mapping):
            return type(output)(**{**output, self.gives: x})
        items = list(output)
        items[self.gives] = x  # type: ignore[index]
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)


@dataclass(frozen=True)
class Branch:
    """What a part of a block puts out, which the block then adds to the state itself.

    Attributes:
        outer: the block around it.
        enters: where the state goes into that.
        gives: the item of the part's output that is added; None for the output itself.
        takes: the argument of the part that has the state's shape; None where none has.
    """

    outer: nn.Module
    enters: Port
    gives: int | str | None = None
    takes: int | str | None = 0

    @property
    def part(self) -> Port:
        """The port at which the part puts out what is added."""
        return Port(gives=self.gives)
