"""Which layers can stand for those that follow them: the best division of a stage into spans."""

import numpy as np
from jaxtyping import Float


def span_errors(products: Float[np.ndarray, "layer layer"]) -> Float[np.ndarray, "first last"]:
    """Return how badly a multiple of its first residual stands for the sum of those of a span.

    e_ab = min over h of E‖y_a + … + y_b − h·y_a‖², for layers a ≤ b, from 0; infinite for a > b.

    Args:
        products: E⟨y_s, y_t⟩.
    """
    T = len(products)
    total = np.zeros((T + 1, T + 1))
    total[1:, 1:] = products.cumsum(0).cumsum(1)
    found = np.full((T, T), np.inf)
    for a in range(T):
        with_first = products[a, a:].cumsum()
        ends = np.arange(a + 1, T + 1)
        whole = total[ends, ends] - total[a, ends] - total[ends, a] + total[a, a]
        own = products[a, a]
        found[a, a:] = whole - (with_first**2 / own if own > 0 else 0.0)
    return np.asarray(np.maximum(found, 0.0))


def best_spans(errors: Float[np.ndarray, "first last"], spans: int) -> tuple[list[int], float]:
    """Return the first layers (from 0) of so many spans of least total error, and that error.

    Exact, by dynamic programming over the last layer of each span.

    Args:
        errors: of every span; see :func:`span_errors`.
        spans: how many, 1…T.
    """
    T = len(errors)
    best = np.full((spans + 1, T + 1), np.inf)
    best[0, 0] = 0.0
    begin = np.zeros((spans + 1, T + 1), dtype=int)
    for k in range(1, spans + 1):
        for end in range(k, T + 1):
            costs = best[k - 1, :end] + errors[:end, end - 1]
            begin[k, end] = int(costs.argmin())
            best[k, end] = costs[begin[k, end]]
    firsts: list[int] = []
    end = T
    for k in range(spans, 0, -1):
        end = int(begin[k, end])
        firsts.insert(0, end)
    return firsts, float(best[spans, T])
