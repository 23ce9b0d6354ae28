"""A weight matrix for looking at: its strongest units, those with like weights side by side."""

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import leaves_list, linkage
from torch import Tensor

from residua.dynamics.residual_map import check_weights

MOST = 96  # units that are shown


def ordered_units(W: Float[Tensor, "unit unit"], most: int = MOST) -> Int[np.ndarray, "shown"]:
    """Return the units with the largest Σ_j |w_ij| + |w_ji|, in an order that puts like ones together.

    Likeness is the distance of their rows and columns of W, scaled to length 1; the order is that of
    average linkage with the leaves ordered optimally.

    Args:
        W: weights.
        most: how many units at most.

    Raises:
        InputError: W is not square or not finite.
    """
    check_weights(W)
    weights = W.detach().double().numpy(force=True)
    off = np.abs(weights - np.diag(np.diag(weights)))
    strength = off.sum(0) + off.sum(1)
    chosen = np.sort(np.argsort(-strength, kind="stable")[:most])
    if len(chosen) < 3:
        return chosen
    part = weights[np.ix_(chosen, chosen)]
    rows = np.concatenate([part, part.T], axis=1)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
    return np.asarray(chosen[leaves_list(linkage(rows, "average", optimal_ordering=True))])
