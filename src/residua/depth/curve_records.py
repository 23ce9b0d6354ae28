"""The depth curve as a record, and how it is fitted."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from residua.depth.compensation import Compensation
from residua.depth.least_squares import AffineHead
from residua.distributed import Merge, alone
from residua.errors import InputError
from residua.losses import Loss, class_labels

Target = Literal["logits", "labels"]
Of = Literal["states", "residuals"]


@dataclass(frozen=True)
class DepthCurve:
    """Held-out loss and accuracy of the fitted head at each state t = 0…T, or residual t = 1…T.

    Attributes:
        target: "logits" (the old logits, a compensation; loss is the cross-entropy, in nats, or the one
            that was passed) or "labels" (one-hot labels, a probe; loss is the squared error).
        loss: mean over held-out samples.
        loss_error: standard error of that mean.
        accuracy: share of held-out samples classified right; NaN where targets are no classes.
        ridge: chosen for each state by held-out loss, relative to the mean variance of a unit.
        heads: the fitted heads.
        names: the module that made each layer, t = 1…T.
        foldable: whether a head can take the place of the model's own: it is fitted to the old logits,
            and these are K x_T + c; of other models than residua's, K + c of what the head reads.
        head: name of the head's linear map.
        biased: whether that has a bias.
    """

    target: Target
    loss: Float[np.ndarray, "state"]
    loss_error: Float[np.ndarray, "state"]
    accuracy: Float[np.ndarray, "state"]
    ridge: Float[np.ndarray, "state"]
    heads: tuple[AffineHead, ...]
    names: tuple[str, ...]
    foldable: bool = True
    head: str = "head"
    biased: bool = True

    def compensation(self, keep: int) -> Compensation:
        """Return the head fitted on the state after `keep` layers, for the network cut there.

        Raises:
            InputError: the curve is of no such state, or the model's head cannot be replaced so.
        """
        if not self.foldable:
            raise InputError(
                "the heads of this curve cannot take the place of the model's own: they are fitted to "
                "labels, or the model's logits are not K x + c of the last state alone; use "
                "residua.compensate, or in training the rule 'spans'"
            )
        if not 0 <= keep < len(self.heads):
            raise InputError(f"the curve has states 0…{len(self.heads) - 1}, not {keep}")
        head = self.heads[keep]
        name = self._head_after(keep)
        weights = {f"{name}.weight": head.weight}
        if self.biased:
            weights[f"{name}.bias"] = head.bias
        return Compensation("affine", weights, ridge=float(self.ridge[keep]))

    def _head_after(self, keep: int) -> str:
        """Return the head's name once the layers are gone: in one list with them, it moves up."""
        parent, _, place = self.head.rpartition(".")
        gone = [name.rpartition(".") for name in self.names[keep:]]
        if not place.isdigit():
            return self.head
        before = sum(p == parent and n.isdigit() and int(n) < int(place) for p, _, n in gone)
        return ".".join(filter(None, [parent, str(int(place) - before)]))


def squared_error(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the squared distance of each sample's outputs to its label one-hot.

    Raises:
        InputError: the targets are no classes.
    """
    where = class_labels(labels, "a probe")
    return (outputs - nn.functional.one_hot(where, outputs.shape[1])).square().sum(1)


class CurveFit(NamedTuple):
    """What is fitted on what, and how it is scored."""

    target: Target
    of: Of
    ridges: tuple[float, ...]
    loss: Loss
    merge: Merge[Any] = alone


def target_named(target: str) -> Target:
    """Return what heads are fitted to, by name, or raise InputError."""
    for word in get_args(Target):
        if target == word:
            return word  # type: ignore[no-any-return]
    raise InputError(f"target must be 'logits' or 'labels', not {target!r}")
