"""Who helps and who hinders whom: cooperation, competition and predation between units."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from residua.dynamics.residual_map import check_weights
from residua.errors import InputError

Kind = Literal["cooperation", "competition", "predation", "one-sided", "none"]
KINDS: tuple[Kind, ...] = ("cooperation", "competition", "predation", "one-sided", "none")


@dataclass(frozen=True)
class Pair:
    """Two units i < j: w_ij is what j does to i, w_ji what i does to j; kind reads the two signs."""

    i: int
    j: int
    w_ij: float
    w_ji: float
    kind: Kind


@dataclass(frozen=True)
class Interactions:
    """How the pairs of units divide into kinds.

    Attributes:
        units: N.
        counted: share of the N(N−1)/2 pairs of each kind.
        weighted: the same, each pair with the weight abs(w_ij) + abs(w_ji).
        symmetric: share of the squared off-diagonal entries that lies in ½(W + Wᵀ); the rest lies in
            ½(W − Wᵀ).
        self_help: share of units with w_ii > 0.
        self_hindrance: share of units with w_ii < 0.
        strongest: the pairs with the largest abs(w_ij) + abs(w_ji), falling.
    """

    units: int
    counted: dict[Kind, float]
    weighted: dict[Kind, float]
    symmetric: float
    self_help: float
    self_hindrance: float
    strongest: tuple[Pair, ...]


def interactions(W: Float[Tensor, "unit unit"], *, strongest: int = 10) -> Interactions:
    """Read cooperation, competition and predation from a matrix.

    A pair cooperates where w_ij, w_ji > 0, competes where both are negative, and one preys on the
    other where the signs differ; it is one-sided where exactly one is 0.

    Args:
        W: weights, or a Jacobian ∂ẏ_i/∂y_j (:func:`residua.ode_jacobian`).
        strongest: how many pairs to name.

    Raises:
        InputError: W is not square, smaller than 2 × 2, or not finite.

    Source: Lagzi, arXiv 2101.03009, after eq. 3.
    """
    check_weights(W)
    W = W.detach()
    n = len(W)
    if n < 2:
        raise InputError("one unit has nobody to help or to hinder; pass at least a 2 × 2 matrix")
    rows, columns = torch.triu_indices(n, n, 1, device=W.device)
    a, b = W[rows, columns], W[columns, rows]
    kinds = _kinds(a, b)
    strength = a.double().abs() + b.double().abs()
    total = strength.sum().clamp(min=torch.finfo(torch.float64).tiny)
    order = strength.argsort(descending=True)[:strongest].tolist()
    off = W.double() - torch.diag(W.double().diagonal())
    square = off.square().sum().clamp(min=torch.finfo(torch.float64).tiny)
    return Interactions(
        units=n,
        counted={kind: float((kinds == k).double().mean()) for k, kind in enumerate(KINDS)},
        weighted={kind: float(strength[kinds == k].sum() / total) for k, kind in enumerate(KINDS)},
        symmetric=float(((off + off.T) / 2).square().sum() / square),
        self_help=float((W.diagonal() > 0).double().mean()),
        self_hindrance=float((W.diagonal() < 0).double().mean()),
        strongest=tuple(
            Pair(int(rows[p]), int(columns[p]), float(a[p]), float(b[p]), KINDS[int(kinds[p])])
            for p in order
        ),
    )


def _kinds(a: Tensor, b: Tensor) -> Tensor:
    """Return the index in KINDS of every pair."""
    kind = torch.full(a.shape, KINDS.index("one-sided"), device=a.device)
    kind[(a > 0) & (b > 0)] = KINDS.index("cooperation")
    kind[(a < 0) & (b < 0)] = KINDS.index("competition")
    kind[a.sign() * b.sign() < 0] = KINDS.index("predation")
    kind[(a == 0) & (b == 0)] = KINDS.index("none")
    return kind


def helpers(W: Float[Tensor, "unit unit"], unit: int, inputs: int) -> Float[Tensor, "inputs"]:
    """Return what each input dimension j does to a unit i, w_ij: positive helps, negative hinders.

    With zero-padding unit i is input dimension i, so the result has the shape of a flat input.

    Raises:
        InputError: no such unit, or more inputs than units.
    """
    check_weights(W)
    if not 0 <= unit < len(W):
        raise InputError(f"W has units 0…{len(W) - 1}, not {unit}")
    if not 1 <= inputs <= len(W):
        raise InputError(f"inputs must be 1…{len(W)}, the units of W, not {inputs}")
    return W.detach()[unit, :inputs]


@dataclass(frozen=True)
class Influences:
    """Who helps and who hinders one unit most: pairs (j, w_ij), strongest first."""

    unit: int
    helps: tuple[tuple[int, float], ...]
    hinders: tuple[tuple[int, float], ...]


def influences(W: Float[Tensor, "unit unit"], unit: int, *, count: int = 5) -> Influences:
    """Return the units with the most positive and the most negative w_ij for a unit i, itself apart.

    Raises:
        InputError: no such unit.
    """
    row = helpers(W, unit, len(W)).double().clone()
    row[unit] = 0
    order = row.argsort(descending=True).tolist()
    pairs = [(j, float(row[j])) for j in order]
    return Influences(
        unit,
        tuple(p for p in pairs[:count] if p[1] > 0),
        tuple(p for p in pairs[::-1][:count] if p[1] < 0),
    )


def energy(z: Float[Tensor, "*batch unit"]) -> Float[Tensor, "*batch"]:
    """Return H = Σ_i log(1 + e^{z_i}) = −Σ_i log(1 − y_i), with y = σ(z).

    In the ODE ż = W y, dH/dt = yᵀW y: conserved for antisymmetric W. In the exact map H never falls
    for antisymmetric W, since it is convex.
    """
    return torch.nn.functional.softplus(z).sum(-1)


def potential(
    y: Float[Tensor, "*batch unit"], W: Float[Tensor, "unit unit"]
) -> Float[Tensor, "*batch"]:
    """Return ½ yᵀW y, which for symmetric W never falls along the ODE (eq. 3); in the map it can."""
    return 0.5 * (y * (y @ W.T)).sum(-1)
