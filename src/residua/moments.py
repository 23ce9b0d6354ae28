"""Mean and spread by class and unit, mergeable."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Mean and sum of squared deviations, per class and unit, mergeable (Chan, Golub, LeVeque 1979).

    Shapes: mean and m2 (t, class, unit), count (class,); float64. `eps` is that of the precision in
    which the values were computed: what differs by less, relative to its size, is rounding.
    """

    count: Float[np.ndarray, "classes"]
    mean: Float[np.ndarray, "t classes unit"]
    m2: Float[np.ndarray, "t classes unit"]
    eps: float = float(np.finfo(np.float64).eps)

    def __add__(self, other: "Moments") -> "Moments":
        n = self.count + other.count
        share = np.divide(other.count, n, out=np.zeros_like(n), where=n > 0)[:, None]
        delta = other.mean - self.mean
        return Moments(
            n,
            self.mean + share * delta,
            self.m2 + other.m2 + self.count[:, None] * share * delta**2,
            max(self.eps, other.eps),
        )

    @property
    def std(self) -> Float[np.ndarray, "t classes unit"]:
        """Standard deviation within each class (population form); NaN for an absent class."""
        return np.asarray(np.sqrt(self.m2 / np.where(self.count > 0, self.count, np.nan)[:, None]))

    @property
    def known(self) -> Float[np.ndarray, "t classes unit"]:
        """The means; NaN for an absent class, whose `mean` is 0 so that it merges."""
        return np.where(self.count[:, None] > 0, self.mean, np.nan)

    def pooled(self) -> "Moments":
        """Return the moments over all samples as one class."""
        n = self.count.sum(keepdims=True)
        mean = np.tensordot(self.count, self.mean, (0, 1))[:, None] / n
        between = (self.count[:, None] * (self.mean - mean) ** 2).sum(1, keepdims=True)
        return Moments(n, mean, self.m2.sum(1, keepdims=True) + between, self.eps)


def one_hot(labels: Tensor | None, like: Tensor, classes: int) -> Tensor:
    """Return labels one-hot (batch, classes), as `like` in kind; without labels all are one class."""
    if labels is None:
        return like.new_ones(len(like), 1)
    return like.new_zeros(len(like), classes).scatter_(1, labels.to(like.device)[:, None], 1)


def class_means(value: Tensor, members: Tensor) -> Tensor:
    """Return the mean of each class in a batch; 0 for a class that it lacks."""
    return members.T @ value / members.sum(0).clamp(min=1)[:, None]
