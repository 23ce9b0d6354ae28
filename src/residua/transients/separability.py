"""How far apart the classes are at every layer: Fisher ratios and distances of class means."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from residua.errors import InputError
from residua.moments import Moments
from residua.statistics import Statistics


@dataclass(frozen=True, eq=False)
class Separability:
    """Variances between and within classes; population form, classes weighted by their samples.

    With p_c the share of class c, m_c its mean and m the mean of all: between Σ_c p_c (m_c − m)²,
    within Σ_c p_c var_c, each summed over units where it says trace.

    Attributes:
        between: trace of the between-class covariance, per t.
        within: trace of the within-class covariance, per t.
        unit_between, unit_within: the same of every unit.
        distance: Euclidean distance between the means of two classes; NaN for an absent class.
        unit_rounding: the variance of every unit that rounding alone may make.
    """

    between: Float[np.ndarray, "t"]
    within: Float[np.ndarray, "t"]
    unit_between: Float[np.ndarray, "t unit"]
    unit_within: Float[np.ndarray, "t unit"]
    distance: Float[np.ndarray, "t classes classes"]
    unit_rounding: Float[np.ndarray, "t unit"]

    @property
    def fisher(self) -> Float[np.ndarray, "t"]:
        """Between over within, of the traces; NaN where nothing varies beyond rounding."""
        return _ratio(self.between, self.within, self.unit_rounding.sum(1))

    @property
    def unit_fisher(self) -> Float[np.ndarray, "t unit"]:
        """Between over within, of every unit; NaN where nothing varies beyond rounding."""
        return _ratio(self.unit_between, self.unit_within, self.unit_rounding)


def rounding(mean_square: np.ndarray, eps: float) -> np.ndarray:
    """Return the variance that rounding may make of values of this mean square: (32 eps)² of it."""
    return np.asarray((32 * eps) ** 2 * mean_square)


def _ratio(a: np.ndarray, b: np.ndarray, least: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(a + b > least, a / b, np.nan)


def separability(moments: Moments) -> Separability:
    """Return how far apart the classes are, at every t of some moments.

    Args:
        moments: by class, such as `accumulate(…).states` or `.residuals`.

    Raises:
        InputError: fewer than two classes have samples, or there were no labels.

    Source: Fisher 1936; the ratio of traces is J of Fukunaga 1990, section 10.2.
    """
    count = moments.count
    if (count > 0).sum() < 2:
        raise InputError(
            "separability needs samples of at least two classes, and these statistics have "
            f"{int((count > 0).sum())}; accumulate batches (x, labels) of several classes"
        )
    p = count / count.sum()
    mean = np.tensordot(p, moments.mean, (0, 1))  # (t, unit)
    apart = moments.mean - mean[:, None]
    unit_between = np.einsum("c,tcu->tu", p, apart**2)
    unit_within = moments.m2.sum(1) / count.sum()
    gaps = moments.known[:, :, None] - moments.known[:, None]
    return Separability(
        unit_between.sum(1),
        unit_within.sum(1),
        unit_between,
        unit_within,
        np.sqrt((gaps**2).sum(3)),
        rounding(mean**2 + unit_between + unit_within, moments.eps),
    )


@dataclass(frozen=True, eq=False)
class SensitiveUnits:
    """For every class the unit with the largest weight to its logit, and what that unit does.

    Attributes:
        unit: argmax_i K_ci of every class c.
        weight: max_i K_ci.
        residual: mean of y_t of the unit of class c over the samples of each class.
        cumulative: mean of x_t − x_0 of it, the sum of its residuals.
        state: mean of x_t of it.
    """

    unit: tuple[int, ...]
    weight: tuple[float, ...]
    residual: Float[np.ndarray, "layer classes sample_class"]
    cumulative: Float[np.ndarray, "state classes sample_class"]
    state: Float[np.ndarray, "state classes sample_class"]

    @property
    def own_largest(self) -> tuple[bool, ...]:
        """Whether, of all classes, the unit's own has the largest mean of x_T, by class."""
        return tuple(int(np.nanargmax(row)) == c for c, row in enumerate(self.state[-1]))


def sensitive_units(stats: Statistics, K: Float[Tensor, "classes unit"]) -> SensitiveUnits:
    """Return the most sensitive unit of every class, argmax_i K_ci, over depth and classes.

    Args:
        stats: of batches with labels.
        K: the head's weight.

    Raises:
        InputError: statistics and K have other classes or units.

    Source: Lagzi, arXiv 2101.03009, the units with the largest classifier weights.
    """
    shape = tuple(stats.states.mean.shape[1:])
    if tuple(K.shape) != shape:
        raise InputError(
            f"K has the shape {tuple(K.shape)} and the statistics are of {shape[0]} classes and "
            f"{shape[1]} units; accumulate batches (x, labels) on the model whose head K is"
        )
    weight, unit = K.detach().max(1)
    present = np.where(stats.states.count > 0, 1.0, np.nan)
    where = unit.numpy(force=True)

    def of(mean: np.ndarray) -> np.ndarray:
        return np.asarray((mean * present[None, :, None])[:, :, where].transpose(0, 2, 1))

    state = of(stats.states.mean)
    return SensitiveUnits(
        tuple(where.tolist()),
        tuple(weight.tolist()),
        of(stats.residuals.mean),
        state - state[0],
        state,
    )
