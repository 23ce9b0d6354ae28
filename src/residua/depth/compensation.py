"""What makes up for removed layers: a frozen record of weights and step sizes to fold into the cut."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from jaxtyping import Shaped
from torch import Tensor

from residua.errors import InputError

Body = Literal["none", "mean", "repeat", "steps", "readers"]
Head = Literal["keep", "affine", "affine-pair", "weighted"]
_BODIES: tuple[Body, ...] = get_args(Body)
_HEADS: tuple[Head, ...] = get_args(Head)


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
    weights: dict[str, Shaped[Tensor, "..."]] = field(repr=False)
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
    if not plus and body in _HEADS:
        body, head = "none", body
    bodies = [b for b in _BODIES if b == body]
    heads = [h for h in _HEADS if h == (head if plus or head else "keep")]
    if not (bodies and heads) or (plus and head == "keep"):
        raise InputError(
            f"unknown compensation {name!r}; pass one of {', '.join(_BODIES)} for the layers, one of "
            f"{', '.join(_HEADS[1:])} for the head, or both with a plus, such as 'steps+weighted'"
        )
    return Kind(bodies[0], heads[0])
