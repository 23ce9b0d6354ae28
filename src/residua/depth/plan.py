"""A frozen plan of which layers stay."""

import json
from dataclasses import asdict, dataclass

from residua.errors import InputError


@dataclass(frozen=True)
class DepthPlan:
    """Which layers of a stack stay, and why.

    Attributes:
        names: the module of every layer t = 1…T of the stack the plan is for.
        keep: the layers that stay, from 1, ascending.
        criterion: the rule that decided.
        scores: the rule's figure for each layer, `None` where it has none.
        reason: one sentence with figures.
        refit_head: whether the head is to be refitted in closed form at the cut.

    Raises:
        InputError: nothing or an unknown layer would stay, or scores and names differ in number.
    """

    names: tuple[str, ...]
    keep: tuple[int, ...]
    criterion: str
    scores: tuple[float | None, ...]
    reason: str
    refit_head: bool = False

    def __post_init__(self) -> None:
        known = range(1, self.depth + 1)
        if not self.keep or list(self.keep) != sorted(set(self.keep) & set(known)):
            raise InputError(
                f"a plan must keep at least one layer, in ascending order, out of 1…{self.depth}, "
                f"and was given {self.keep}"
            )
        if len(self.scores) != self.depth:
            raise InputError(
                f"a plan needs {self.depth} scores, one a layer, not {len(self.scores)}"
            )

    @property
    def depth(self) -> int:
        """Number of layers before the cut."""
        return len(self.names)

    @property
    def removed(self) -> tuple[int, ...]:
        """The layers that go, from 1."""
        return tuple(t for t in range(1, self.depth + 1) if t not in self.keep)

    def __str__(self) -> str:
        if not self.removed:
            return f"{self.criterion}: all {self.depth} layers stay. {self.reason}"
        gone = ", ".join(self.names[t - 1] for t in self.removed)
        return f"{self.criterion}: {self.depth} → {len(self.keep)} layers, without {gone}. {self.reason}"

    def to_json(self) -> str:
        """Return the plan as JSON; :meth:`from_json` reads it back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "DepthPlan":
        """Read a plan that :meth:`to_json` wrote."""
        try:
            found = json.loads(text)
            for key in ("names", "keep", "scores"):
                found[key] = tuple(found[key])
            return cls(**found)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"this is not a depth plan: {text[:80]!r}; pass what DepthPlan.to_json returned"
            ) from error
