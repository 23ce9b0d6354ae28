"""The plans of one criterion, or of several, of which held-out data choose."""

from collections.abc import Iterable
from typing import Any

from jaxtyping import Float
from torch import Tensor

from residua.depth.criteria import criterion_named, plan_depth
from residua.depth.evidence import evidence
from residua.depth.oracle import Oracle
from residua.depth.plan import DepthPlan
from residua.errors import InputError
from residua.layers import ResidualStack
from residua.losses import Loss

BEST = "best"
# What "best" tries, in this order: of plans that lose as much the first is taken. To keep "greedy"
# unless another loses less by some standard errors of paired samples chose no better plans (tried on
# networks of seeds apart from the benchmark's).
TRIED = ("spans", "greedy", "block-influence", "angular", "last")
DEEPEST = 32  # layers with which "greedy", whose evidence takes T²/2 forward passes, is tried


def check_criterion(name: str) -> None:
    """Raise InputError unless there is such a criterion, and it leaves as many layers as it is told.

    Raises:
        InputError: as said.
    """
    if name != BEST:
        criterion_named(name)
    if name == "paper":
        raise InputError(
            "'paper' decides by itself how many layers go, one at a time in training; for an aim "
            "pass another criterion"
        )


class Candidates:
    """What criteria read of a model, each kind gathered once, and the plans they make of it.

    Args:
        stack: the layers of the model.
        criterion: a criterion's name, or "best" for those in TRIED, of more than 32 layers without
            "greedy".
        fit_batches, held_out_batches, loss: as of :func:`residua.prune`.
    """

    def __init__(
        self,
        stack: ResidualStack,
        criterion: str,
        fit_batches: Iterable[Any],
        held_out_batches: Iterable[Any],
        loss: Loss,
    ):
        deep = stack.depth > DEEPEST
        tried = tuple(name for name in TRIED if name != "greedy" or not deep)
        self.names = tried if criterion == BEST else (criterion,)
        self.read: dict[type, Any] = {}
        for name in self.names:
            kind = criterion_named(name).evidence
            if kind not in self.read:
                found = evidence(stack, name, fit_batches, held_out_batches, loss)
                self.read[kind] = _remembering(found) if isinstance(found, Oracle) else found

    def plans(self, keep: int) -> list[DepthPlan]:
        """Return the plans that leave so many layers, each once.

        Raises:
            InputError: no criterion can leave so many.
        """
        found: dict[Any, DepthPlan] = {}
        refused: list[InputError] = []
        for name in self.names:
            try:
                plan = plan_depth(self.read[criterion_named(name).evidence], name, keep=keep)
            except InputError as error:
                refused.append(error)
                continue
            found.setdefault((plan.keep, plan.firsts or plan.keep), plan)
        if not found:
            raise refused[0]
        return list(found.values())


def _remembering(found: Oracle) -> Oracle:
    """Return an oracle that evaluates gates once: "greedy" asks for the same at every depth.

    The model must not change meanwhile.
    """
    known: dict[tuple[float, ...], Float[Tensor, ""]] = {}

    def evaluate(gates: Float[Tensor, "layer"]) -> Float[Tensor, ""]:
        if gates.requires_grad:
            return found.evaluate(gates)
        key = tuple(gates.tolist())
        if key not in known:
            known[key] = found.evaluate(gates)
        return known[key]

    return Oracle(found.names, evaluate)
