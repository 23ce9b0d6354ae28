"""Sums of a quantity by class, batch by batch, that lose no digits."""

import torch
from torch import Tensor


class ClassSums:
    """Sums of one state or residual, and of its squares, about an origin (classes, unit).

    Sums about a nearby point lose no digits where the spread is far below the mean. They cost a
    matrix product with the one-hot labels each, in the model's precision, and add up in float64.
    """

    def __init__(self, classes: int, like: Tensor):
        self.origin = like.new_zeros(classes, like.shape[1])
        self.sum = torch.zeros_like(self.origin, dtype=torch.float64)
        self.square_sum = torch.zeros_like(self.sum)

    def centre(self, fresh: Tensor, origin: Tensor) -> None:
        """Set the origins of classes (a mask) that no batch before had; their sums are still 0."""
        self.origin = torch.where(fresh[:, None], origin, self.origin)

    def add(self, value: Tensor, members: Tensor) -> None:
        """Add a batch (batch, unit) with its labels one-hot."""
        deviation = torch.addmm(value, members, self.origin, alpha=-1)
        self.sum += members.T @ deviation
        self.square_sum += members.T @ deviation.square()

    def result(self, count: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and m2 (classes, unit)."""
        n = count.clamp(min=1)[:, None]
        mean = self.origin.double() + self.sum / n
        mean[count == 0] = 0
        return mean, (self.square_sum - self.sum**2 / n).clamp(min=0)
