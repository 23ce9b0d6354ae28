"""What the steady residuals share, and whether they follow the covariance of the inputs."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor

from residua.dynamics.residual_map import check_weights
from residua.errors import InputError
from residua.moments import Moments


@dataclass(frozen=True)
class Shares:
    """How E‖y‖² divides: the mean over all, the classes' deviations from it, the samples' from theirs.

    The three add up to 1. `common` is what all inputs and classes have alike.
    """

    common: float
    between: float
    within: float


def shares(moments: Moments, t: int = -1) -> Shares:
    """Return what of the residuals at one layer is shared between inputs and classes.

    E‖y‖² = ‖ȳ‖² + Σ_c p_c ‖ȳ_c − ȳ‖² + E‖y − ȳ_c‖².

    Args:
        moments: of y by class, such as `prolong(…).moments`.
        t: index of the layer among those measured; default the last.

    Raises:
        InputError: all residuals are 0.
    """
    p = moments.count / moments.count.sum()
    mean = p @ moments.mean[t]
    between = float(p @ ((moments.mean[t] - mean) ** 2).sum(1))
    within = float(moments.m2[t].sum() / moments.count.sum())
    parts = np.array([float(mean @ mean), between, within])
    if not parts.sum() > 0:
        raise InputError("all residuals are 0, so there is nothing to divide")
    return Shares(*(parts / parts.sum()).tolist())


def covariance(x: Float[Tensor, "sample unit"]) -> Float[Tensor, "unit unit"]:
    """Return the covariance over samples (population form), in float64."""
    wide = x.double()
    centred = wide - wide.mean(0)
    return centred.T @ centred / len(wide)


def coupling(W: Float[Tensor, "unit unit"]) -> Float[Tensor, "unit unit"]:
    """Return ½(w_ij + w_ji): how much units i and j help each other, hinder where negative."""
    check_weights(W)
    return (W + W.T) / 2


def permuted(W: Float[Tensor, "unit unit"], seed: int) -> Float[Tensor, "unit unit"]:
    """Return W with its off-diagonal entries in random order, and its diagonal in another.

    A null: the same weights and self-couplings, without the structure.
    """
    check_weights(W)
    generator = torch.Generator().manual_seed(seed)
    found = W.clone()
    off = ~torch.eye(len(W), dtype=torch.bool, device=W.device)
    for part in (off, ~off):
        order = torch.randperm(int(part.sum()), generator=generator).to(W.device)
        found[part] = W[part][order]
    return found


@dataclass(frozen=True)
class Mantel:
    """Whether one symmetric matrix follows another, against the same with its units relabelled.

    Attributes:
        correlation: over the pairs i < j, Spearman's or Pearson's.
        pairs: how many.
        null_mean, null_std: of the correlation under random relabelling.
        p: share of relabellings, the true one among them, whose correlation is as far from 0 or
            farther: two-sided.
    """

    correlation: float
    pairs: int
    null_mean: float
    null_std: float
    p: float


def mantel(
    a: Float[Tensor, "unit unit"],
    b: Float[Tensor, "unit unit"],
    *,
    ranks: bool = True,
    permutations: int = 999,
    seed: int = 0,
) -> Mantel:
    """Return the correlation of two symmetric matrices over pairs of units, with its null.

    Relabelling keeps each matrix's own structure and breaks only which unit is which; it does not keep
    neighbourhood, so matrices that are both smooth over an image follow each other for that alone.

    Args:
        a, b: symmetric; their diagonals play no part.
        ranks: Spearman's correlation, the default; else Pearson's.
        permutations: relabellings of `a`.
        seed: of these.

    Raises:
        InputError: the shapes differ, fewer than 3 units, or all pairs of a matrix are equal.

    Source: Mantel, Cancer Research 27, 1967.
    """
    if a.shape != b.shape or a.ndim != 2 or len(a) < 3:
        raise InputError(
            f"two square matrices of the same 3 or more units are compared, not {tuple(a.shape)} and "
            f"{tuple(b.shape)}"
        )
    if not bool(a.isfinite().all() and b.isfinite().all()):
        raise InputError("a matrix holds NaN or infinite values; pass finite ones")
    if permutations < 1:
        raise InputError(f"permutations must be at least 1, not {permutations}")
    left, right = (_standard(m, ranks) for m in (a, b))
    # Each pair stands in the matrices twice, in both sums alike.
    true = float((left * right).sum())
    rng = np.random.default_rng(seed)
    null = np.empty(permutations)
    for k in range(permutations):
        order = rng.permutation(len(left))
        null[k] = (left[np.ix_(order, order)] * right).sum()
    # A relabelling that changes nothing must count, and rounding must not hide it.
    as_far = int((np.abs(null) >= abs(true) - 1e-12).sum())
    pairs = len(left) * (len(left) - 1) // 2
    return Mantel(
        true, pairs, float(null.mean()), float(null.std()), (1 + as_far) / (1 + permutations)
    )


def _standard(matrix: Tensor, ranks: bool) -> np.ndarray:
    """Return the pairs i < j, or their ranks, as a symmetric matrix of mean 0, norm 1, diagonal 0."""
    values = matrix.double().numpy(force=True)
    upper = np.triu_indices(len(values), 1)
    pairs = rankdata(values[upper]) if ranks else values[upper]
    width = np.ptp(pairs)
    if not width > 0:
        raise InputError("all pairs of a matrix are equal, so nothing can follow them")
    pairs = (pairs - pairs.mean()) / width  # so that squares of tiny values do not vanish
    found = np.zeros_like(values)
    found[upper] = pairs / np.sqrt(2 * (pairs**2).sum())
    return np.asarray(found + found.T)
