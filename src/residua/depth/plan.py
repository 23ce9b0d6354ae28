"""A frozen plan of which layers stay."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from numbers import Integral

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
        firsts: for each layer that stays the first of the layers it stands for (with shared weights that
            is another choice than which stay); None where each stands for itself and those that
            follow it and go.

    Raises:
        InputError: nothing or an unknown layer would stay, a layer would go that shares its module with
            a later one that stays, or scores and names differ in number.
    """

    names: tuple[str, ...]
    keep: tuple[int, ...]
    criterion: str
    scores: tuple[float | None, ...]
    reason: str
    refit_head: bool = False
    firsts: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        known = range(1, self.depth + 1)
        numbers = (*self.keep, *(self.firsts or ()))
        if not all(isinstance(t, Integral) and not isinstance(t, bool) for t in numbers):
            raise InputError(f"layers are named by whole numbers from 1, not {numbers}")
        if not self.keep or list(self.keep) != sorted(set(self.keep) & set(known)):
            raise InputError(
                f"a plan must keep at least one layer, in ascending order, out of 1…{self.depth}, "
                f"and was given {self.keep}"
            )
        if len(self.scores) != self.depth:
            raise InputError(
                f"a plan needs {self.depth} scores, one a layer, not {len(self.scores)}"
            )
        if self.firsts is not None and (
            len(self.firsts) != len(self.keep)
            or list(self.firsts) != sorted(set(self.firsts) & set(known))
        ):
            raise InputError(
                f"firsts must name one layer for each of the {len(self.keep)} that stay, ascending, not "
                f"{self.firsts}"
            )
        for t in self.removed:
            later = [u for u in _calls(self.names, t) if u > t and u in self.keep]
            if later:
                raise InputError(
                    f"layer {t} ({self.names[t - 1]}) cannot go while layer {later[0]} "
                    f"({self.names[later[0] - 1]}) stays: the layers share their weights, so only "
                    f"layers at the end can go; keep 1…k of them, not {self.keep}"
                )

    @property
    def depth(self) -> int:
        """Number of layers before the cut."""
        return len(self.names)

    @property
    def removed(self) -> tuple[int, ...]:
        """The layers that go, from 1."""
        return tuple(t for t in range(1, self.depth + 1) if t not in self.keep)

    def spans(self, stages: Sequence[str]) -> list[tuple[int, int]]:
        """Return for each layer that stays the first and last of the layers it stands for.

        Layers that go before the first that stays in their stage count to that one.

        Args:
            stages: the stage of every layer.
        """
        found = []
        firsts = self.firsts or self.keep
        for i, first in enumerate(firsts):
            stage = stages[first - 1]
            within = [t for t in range(1, self.depth + 1) if stages[t - 1] == stage]
            earlier = [f for f in firsts[:i] if stages[f - 1] == stage]
            later = [f for f in firsts[i + 1 :] if stages[f - 1] == stage]
            found.append((first if earlier else within[0], later[0] - 1 if later else within[-1]))
        return found

    def __str__(self) -> str:
        if not self.removed:
            return f"{self.criterion}: all {self.depth} layers stay. {self.reason}"
        gone = ", ".join(self.names[t - 1] for t in self.removed)
        return f"{self.criterion}: {self.depth} → {len(self.keep)} layers, without {gone}. {self.reason}"

    def veto(self, *layers: int) -> "DepthPlan":
        """Return the plan with these layers (from 1) staying after all.

        Raises:
            InputError: there is no such layer, or it shares its weights with an earlier one that goes.
        """
        unknown = sorted(set(layers) - set(range(1, self.depth + 1)))
        if unknown:
            raise InputError(f"there is no layer {unknown[0]}; the layers are 1…{self.depth}")
        keep = tuple(sorted({*self.keep, *layers}))
        said = f"{self.reason} Vetoed: {', '.join(self.names[t - 1] for t in sorted(set(layers)))} stay."
        return replace(self, keep=keep, reason=said.strip(), firsts=None)

    def to_json(self) -> str:
        """Return the plan as JSON; :meth:`from_json` reads it back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "DepthPlan":
        """Read a plan that :meth:`to_json` wrote."""
        try:
            found = json.loads(text)
            for key in ("names", "keep", "scores", "firsts"):
                if key != "firsts" or found[key] is not None:
                    found[key] = tuple(found[key])
            return cls(**found)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"this is not a depth plan: {text[:80]!r}; pass what DepthPlan.to_json returned"
            ) from error


def _calls(names: Sequence[str], t: int) -> list[int]:
    """Return the layers that are calls of the same module as layer t, itself included."""
    module = names[t - 1].partition(", call ")[0]
    return [u for u, name in enumerate(names, 1) if name.partition(", call ")[0] == module]


def share_weights(names: Sequence[str]) -> bool:
    """Return whether some layers are calls of one module."""
    return any(len(_calls(names, t)) > 1 for t in range(1, len(names) + 1))


def may_go(names: Sequence[str], keep: Sequence[int]) -> list[int]:
    """Return which of the layers that stay could go next: of those that share a module, the last."""
    last = {_calls(names, t)[0]: t for t in keep}  # a later one takes the place of an earlier
    return sorted(last.values())


def check_keep(keep: int, depth: int) -> None:
    """Raise InputError unless so many layers can stay."""
    if keep < 1:
        raise InputError(f"keep must be at least 1, not {keep}: a network needs a layer")
    if keep > depth:
        raise InputError(f"keep must be at most {depth}, the layers there are, not {keep}")


def lowest_go(
    names: Sequence[str], scores: Sequence[float], *, keep: int = 1, below: float = float("inf")
) -> tuple[int, ...]:
    """Return the layers that stay when the lowest scored go, one after the other.

    Args:
        names: of all layers.
        scores: one a layer; higher is more important.
        keep: how many stay at least.
        below: only layers that score less go.
    """
    stay = list(range(1, len(names) + 1))
    while len(stay) > keep:
        candidates = [t for t in may_go(names, stay) if scores[t - 1] < below]
        if not candidates:
            break
        stay.remove(min(candidates, key=lambda t: scores[t - 1]))
    return tuple(stay)
