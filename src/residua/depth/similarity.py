"""How alike the states of a stage are: the angles between them, streamed over a data set."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from residua.errors import InputError
from residua.layers import ResidualStack, rows
from residua.streaming import find_layers, stream


@dataclass(frozen=True)
class Similarity:
    """Mean cosines and angles between the states of each stage, and how much its layers add.

    Attributes:
        names: the module of every layer, over all stages.
        stages: the stage of every layer.
        cosine: of each stage, mean over samples of cos(x_a, x_b), states a, b = 0…T.
        angle: the same of arccos(cos(x_a, x_b)) / π.
        products: of each stage, mean over samples of ⟨y_s, y_t⟩, layers s, t = 1…T.
        ratio: of every layer, mean over samples of ‖y_t‖ / ‖x_{t−1}‖.
        rows: of each stage, how many samples were seen, of sequences tokens.
    """

    names: tuple[str, ...]
    stages: tuple[str, ...]
    cosine: dict[str, Float[np.ndarray, "state state"]]
    angle: dict[str, Float[np.ndarray, "state state"]]
    products: dict[str, Float[np.ndarray, "layer layer"]]
    ratio: Float[np.ndarray, "layers"]
    rows: dict[str, int]

    def __add__(self, other: "Similarity") -> "Similarity":
        """Merge what two parts of a data set gave (two processes, say)."""
        if self.names != other.names:
            raise InputError("similarities of different stacks cannot be merged; use one model")
        of = [self.rows[s] for s in self.stages], [other.rows[s] for s in other.stages]

        def mean(
            mine: dict[str, np.ndarray], others: dict[str, np.ndarray]
        ) -> dict[str, np.ndarray]:
            n, m = self.rows, other.rows
            return {s: (n[s] * mine[s] + m[s] * others[s]) / (n[s] + m[s]) for s in mine}

        return Similarity(
            self.names,
            self.stages,
            mean(self.cosine, other.cosine),
            mean(self.angle, other.angle),
            mean(self.products, other.products),
            np.average([self.ratio, other.ratio], axis=0, weights=np.array(of)),
            {s: n + other.rows[s] for s, n in self.rows.items()},
        )


class SimilarityConsumer:
    """Streams the batches of all stages into :class:`Similarity`."""

    def __init__(self, stack: ResidualStack):
        self.stack = stack
        sizes = {s: stack.stages.count(s) for s in dict.fromkeys(stack.stages)}

        def squares(more: int) -> dict[str, Tensor]:
            return {
                s: torch.zeros(n + more, n + more, dtype=torch.float64) for s, n in sizes.items()
            }

        self.cosine, self.angle, self.products = squares(1), squares(1), squares(0)
        self.ratio = torch.zeros(stack.depth, dtype=torch.float64)
        self.rows = dict.fromkeys(sizes, 0)

    def begin(self, labels: Tensor | None) -> None:
        """Start a batch."""
        self.states: dict[str, list[Tensor]] = {s: [] for s in self.cosine}

    def visit(self, t: int, before: Tensor, after: Tensor) -> None:
        """Keep the states of the batch."""
        x, y = rows(before).double(), rows(after).double()
        states = self.states[self.stack.stages[t - 1]]
        if not states:
            states.append(x)
        states.append(y)
        size = x.norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
        self.ratio[t - 1] += ((y - x).norm(dim=1) / size).sum().cpu()

    def end(self, logits: Tensor) -> None:
        """Add the batch."""
        for stage, states in self.states.items():
            together = torch.stack(states, 1)  # (row, state, unit)
            self.rows[stage] += len(together)
            added = together.diff(dim=1).transpose(0, 1).flatten(1)
            self.products[stage] += (added @ added.T).cpu()
            unit = nn.functional.normalize(together, dim=2)
            cosine = (unit @ unit.mT).clamp(-1, 1).cpu()
            self.cosine[stage] += cosine.sum(0)
            self.angle[stage] += cosine.arccos().sum(0) / torch.pi

    def result(self) -> Similarity:
        """Return the similarity over all batches so far."""
        n = self.rows
        return Similarity(
            self.stack.names,
            self.stack.stages,
            {s: (v / n[s]).numpy() for s, v in self.cosine.items()},
            {s: (v / n[s]).numpy() for s, v in self.angle.items()},
            {s: (v / n[s]).numpy() for s, v in self.products.items()},
            self.ratio.numpy() / [n[s] for s in self.stack.stages],
            dict(n),
        )


def similarity(model: nn.Module | ResidualStack, batches: Iterable[Any]) -> Similarity:
    """Stream a data set through a model and return how alike the states of each stage are.

    Args:
        model: any model with residual layers, in one stage or several, or what
            :func:`residua.find_blocks` returned of it.
        batches: yields x, (x, labels), or mappings of named inputs. Of sequences every token counts.

    Raises:
        StackError: no residual layers were found.
        InputError: no batch came, or it does not fit.

    Source: Men et al., ShortGPT, 2024 (cosines); Gromov et al., 2024 (angles).
    """
    stack, batches = find_layers(model, batches)
    consumer = SimilarityConsumer(stack)
    stream(stack, batches, consumer)
    return consumer.result()
