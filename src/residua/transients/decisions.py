"""When a network decides and which layers it takes: the head on states and on windows of layers."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from residua.errors import InputError
from residua.stack import OwnStack, find_stack
from residua.streaming import stream
from residua.transients.attribution import ClassAttribution, HeadStates

# Windows are pairs of these, so deep networks get a coarser grid.
_MOST = 33


@dataclass(frozen=True, eq=False)
class Decisions:
    """What the network's own head makes of every state, and of the sums over windows of layers.

    Attributes:
        count: samples of each class.
        accuracy: share of samples classified right from x_t, t = 0…T.
        margin: mean over the samples of a class of its logit less the best other from x_t.
        decided: number of samples of each class whose decision is the final one from x_t on, and not
            yet from x_{t−1}.
        bounds: the parts of the sum x_T up to which windows reach, −1 for nothing, 0 for x_0, t for
            x_t. A window (a, b) is x_b − x_a, with x_{−1} = 0: (−1, 0) is the input, (T−1, T) the last
            residual, (−1, T) the whole.
        alone: accuracy of the head from a window alone, K(x_b − x_a) + c; NaN where b ≤ a.
        others_mean: the same with the other parts at their mean; None where no means were given.
    """

    count: Float[np.ndarray, "classes"]
    accuracy: Float[np.ndarray, "state"]
    margin: Float[np.ndarray, "state classes"]
    decided: Int[np.ndarray, "state classes"]
    bounds: Int[np.ndarray, "bound"]
    alone: Float[np.ndarray, "bound bound"]
    others_mean: Float[np.ndarray, "bound bound"] | None

    def window(self, a: int, b: int, *, others: str = "zero") -> float:
        """Return the accuracy from layers a + 1…b, the others being 0 or at their "mean".

        Raises:
            InputError: there is no such window, or no means were given.
        """
        if others not in ("zero", "mean"):
            raise InputError(f"others must be 'zero' or 'mean', not {others!r}")
        table = self.alone if others == "zero" else self.others_mean
        if table is None:
            raise InputError("accuracies with the others at their mean need `means`; see decisions")
        at = {int(v): i for i, v in enumerate(self.bounds)}
        if a not in at or b not in at or a >= b:
            raise InputError(
                f"there is no window ({a}, {b}]; bounds are {', '.join(map(str, at))}, the first below "
                "the second"
            )
        return float(table[at[a], at[b]])

    @property
    def median_layer(self) -> int:
        """The first state from which on at least half of the samples keep their decision."""
        reached = self.decided.sum(1).cumsum() / self.decided.sum()
        return int(np.argmax(reached >= 0.5))


class DecisionsConsumer(HeadStates):
    """Streams the batches of a stack into :class:`Decisions`."""

    needs = "a decision's accuracy"

    def __init__(self, stack: OwnStack, means: ClassAttribution | None = None):
        super().__init__(stack)
        if stack.classes < 2:
            raise InputError("decisions need at least two classes, and the head has one output")
        states, classes = stack.depth + 1, stack.classes
        if means is not None and means.mean.shape != (states + 1, classes, classes):
            raise InputError(
                f"means are of {means.mean.shape[0] - 2} layers and {means.mean.shape[2]} classes, and "
                f"the model has {stack.depth} and {classes}; take them from this model"
            )
        every = max(1, -(-stack.depth // (_MOST - 2)))
        self.bounds = [-1, *range(0, stack.depth, every), stack.depth]
        self.means = None
        if means is not None:
            self.means = torch.from_numpy(means.overall[:-1].cumsum(0)).to(self.K)
        self.right = torch.zeros(states, dtype=torch.float64)
        self.margin = torch.zeros(states, classes, dtype=torch.float64)
        self.decided = torch.zeros(states, classes, dtype=torch.int64)
        self.windows = torch.zeros(2, len(self.bounds), len(self.bounds), dtype=torch.float64)

    def take(self, states: Tensor, labels: Tensor) -> None:
        """Add one batch."""
        logits = states + self.c
        where = labels[None, :, None].expand(len(logits), -1, 1)
        true = logits.gather(2, where)[..., 0]
        margin = true - logits.scatter(2, where, -torch.inf).amax(2)
        self.margin.index_add_(1, labels.cpu(), margin.double().cpu())
        chosen = logits.argmax(2)
        self.right += (chosen == labels).sum(1).cpu()
        wavering = (chosen != chosen[-1]).long()
        first = (wavering.flip(0).cummax(0).values.flip(0)).sum(0)  # states before the decision
        cells = first * len(self.count) + labels
        self.decided += (
            torch.bincount(cells, minlength=self.decided.numel()).cpu().view(self.decided.shape)
        )
        self._windows(self.windows[0], states, labels)
        if self.means is not None:
            self._windows(self.windows[1], states - self.means[:, None], labels, self.means[-1])

    def _windows(
        self, right: Tensor, states: Tensor, labels: Tensor, rest: Tensor | None = None
    ) -> None:
        """Count what is classified right from every window; `rest` is added to all."""
        at = torch.cat([torch.zeros_like(states[:1]), states])[[b + 1 for b in self.bounds]]
        c = self.c if rest is None else self.c + rest
        for i in range(len(at) - 1):
            chosen = (at[i + 1 :] - at[i] + c).argmax(2)
            right[i, i + 1 :] += (chosen == labels).sum(1).cpu()

    def result(self) -> Decisions:
        """Return what was found in all batches so far."""
        n = self.count.sum().cpu()
        windows = (self.windows / n).numpy()
        windows[:, np.tri(len(self.bounds), dtype=bool)] = np.nan
        return Decisions(
            self.count.numpy(force=True),
            (self.right / n).numpy(),
            (self.margin / self.count.cpu()).numpy(),
            self.decided.numpy(),
            np.array(self.bounds),
            windows[0],
            None if self.means is None else windows[1],
        )


def decisions(
    model: nn.Module, batches: Iterable[Any], *, means: ClassAttribution | None = None
) -> Decisions:
    """Stream a data set and return what the network's own head makes of states and windows of layers.

    Args:
        model: a model with a residual stack and a head that is linear up to a norm, whose scale is then
            frozen at the true x_T.
        batches: yields (x, labels).
        means: mean contributions, of `attribute_classes` on training data; gives `others_mean`.

    Raises:
        StackError: no residual stack was found, or the head is not applied to the last state.
        InputError: no batch came, labels are missing or do not fit, the head is not linear, or the means
            are of another model.
    """
    stack = find_stack(model)
    consumer = DecisionsConsumer(stack, means)
    stream(stack, batches, consumer)
    return consumer.result()
