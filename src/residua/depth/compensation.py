"""What makes up for removed layers: a frozen record of weights and step sizes to fold into the cut."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from jaxtyping import Shaped
from torch import Tensor

from residua.errors import InputError

Body = Literal["none", "mean", "repeat", "steps", "readers"]
Head = Literal["keep", "affine", "affine-pair", "weighted"]
BODIES: tuple[Body, ...] = ("none", "mean", "repeat", "steps", "readers")
HEADS: tuple[Head, ...] = ("affine", "affine-pair", "weighted")


@dataclass(frozen=True)
class Compensation:
    """Weights and step sizes that a cut network takes over, so that it costs nothing extra.

    Attributes:
        kind: what was fitted, such as "steps+weighted".
        weights: name in the cut network (without what it is inside of) → new value.
        steps: step sizes of the layers that stay; None leaves them.
        reads_residual: whether the head reads the last residual too.
        ridge: of the head's fit, chosen on held-out data; None where no head was fitted.
        keep: the layers that stay by the plan it was fitted for; None where it fits any with its shapes.
    """

    kind: str
    weights: dict[str, Shaped[Tensor, "..."]]
    steps: tuple[float, ...] | None = None
    reads_residual: bool = False
    ridge: float | None = None
    keep: tuple[int, ...] | None = None


class Kind(NamedTuple):
    """The two parts of a compensation: of the layers, and of the head."""

    body: Body
    head: Head


def kind_named(name: str) -> Kind:
    """Return the parts of a compensation by name: "none", "steps", "affine", "steps+affine", …

    Raises:
        InputError: there is no such compensation.
    """
    body, plus, head = name.partition("+")
    if not plus and body in HEADS:
        body, head = "none", body
    known = [b for b in BODIES if b == body], [h for h in ("keep", *HEADS) if h == (head or "keep")]
    if not all(known) or (plus and not head):
        raise InputError(
            f"unknown compensation {name!r}; pass one of {', '.join(BODIES)} for the layers, one of "
            f"{', '.join(HEADS)} for the head, or both with a plus, such as 'steps+weighted'"
        )
    return Kind(known[0][0], known[1][0])
