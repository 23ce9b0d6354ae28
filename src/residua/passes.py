"""One forward pass as hooks see it: which layer runs, and the state before it."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from residua.ports import Branch, Port


class Pass:
    """One forward pass: which layer runs, and the state before it."""

    def __init__(
        self,
        ports: Sequence[Port | Branch],
        after_layer: Callable[[int, Tensor, Tensor], Tensor | None],
        first: Callable[[Tensor], Tensor] | None,
        copy: bool,
    ):
        self.ports, self.after_layer, self.first, self.copy = ports, after_layer, first, copy
        self.t = 0  # the layer that runs or ran last
        self.x: Tensor | None = None
        self.given: tuple[Tensor, int] | None = None  # to a block, and its version
        self.overwritten = False  # a state that was given to a block, as far as is known

    def _begin(self, t: int, x: Tensor) -> Tensor:
        """Take the state before layer t; return the one to go on with."""
        x = self.first(x) if self.first is not None and t == 1 else x
        self.x = x.clone() if self.copy else x
        if x.is_inference():  # these have no version
            self.overwritten = True
        else:
            self.given = x, x._version
        return x

    def _end(self, port: Port | Branch, output: Any) -> tuple[Tensor, Tensor | None]:
        """Show layer t; return the state after it, and the one to go on with where it is another."""
        assert self.x is not None
        if self.given is not None:
            state, version = self.given
            self.overwritten |= state._version != version
        x = self.x + port.part.after(output) if isinstance(port, Branch) else port.after(output)
        return x, self.after_layer(self.t, self.x, x)

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See the state enter a block."""
        self.t += 1
        if self.t > len(self.ports):
            return None  # said at the end
        port = self.ports[self.t - 1]
        assert isinstance(port, Port)
        return self.entered(port, module, args, kwargs, t=self.t)

    def after(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        """See the state leave a block."""
        if self.t > len(self.ports):
            return None
        port = self.ports[self.t - 1]
        assert isinstance(port, Port)
        _, new = self._end(port, output)
        return None if new is None else port.left(output, new)

    def entered(
        self,
        enters: Port,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        t: int | None = None,
    ) -> Any:
        """See the state enter a block whose parts are layers, the next of them its first."""
        given = enters.before(args, kwargs)
        x = self._begin(self.t + 1 if t is None else t, given)
        return None if x is given else enters.entered(args, kwargs, x)

    def added(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        """See what a part of a block puts out, which the block will add."""
        self.t += 1
        if self.t > len(self.ports):
            return None
        port, x = self.ports[self.t - 1], self.x
        assert isinstance(port, Branch)
        assert x is not None
        then, new = self._end(port, output)
        self.x = then if new is None else new
        return None if new is None else port.part.left(output, new - x)
