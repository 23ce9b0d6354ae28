"""Jacobians, eigenvalues and finite-depth exponents of residual maps."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from jaxtyping import Complex, Float
from scipy.sparse.linalg import ArpackError, LinearOperator, eigs
from torch import Tensor

from residua.dynamics.residual_map import ResidualMap
from residua.errors import InputError

Step = Callable[[Tensor], Tensor]
# Multipliers are capped at e^300: beyond, their squares would overflow and eigenvalues be NaN.
_LARGEST = 300.0


def ode_jacobian(
    W: Float[Tensor, "unit unit"], y: Float[Tensor, "*batch unit"]
) -> Float[Tensor, "*batch unit unit"]:
    """Return ∂ẏ/∂y = diag((1 − 2y) ⊙ W y) + diag(y(1 − y)) W of eq. 3, at any y.

    Source: Lagzi, arXiv 2101.03009, eq. 3.
    """
    J: Tensor = torch.diag_embed((1 - 2 * y) * (y @ W.T)) + (y * (1 - y))[..., None] * W
    return J


def map_jacobian(
    W: Float[Tensor, "unit unit"], y: Float[Tensor, "*batch unit"], *, step_size: float = 1.0
) -> Float[Tensor, "*batch unit unit"]:
    """Return ∂y′/∂y = D(y′)[D(y)⁻¹ + h W] of y′ = σ(logit y + h W y), with D(y) = diag(y(1 − y)).

    At y_i = 0 or 1 the quotient D(y′)/D(y) takes its limit exp((1 − 2 y_i) h (W y)_i), so vertices
    need no special case. Quotients are capped at e^300.
    """
    a = step_size * (y @ W.T)
    # D(y′)/D(y) = e^a / (1 − y + y e^a)², in logarithms: neither e^a nor 1/y overflows.
    log_norm = torch.logaddexp(torch.log1p(-y), torch.log(y) + a)
    after = torch.sigmoid(torch.logit(y) + a)
    own = torch.diag_embed(torch.exp((a - 2 * log_norm).clamp(max=_LARGEST)))
    J: Tensor = own + step_size * (after * (1 - after))[..., None] * W
    return J


def odds_map(W: Tensor, h: float, y: Tensor) -> Tensor:
    """Return y e^a / (1 − y + y e^a) with a = h W y: the residual map, smooth beyond [0, 1] too."""
    a = h * (y @ W.T)
    u = torch.exp(-a.abs().clamp(max=_LARGEST))
    return torch.where(a > 0, y / (y + (1 - y) * u), y * u / (1 - y + y * u))


def odds_jacobian(W: Tensor, h: float, y: Tensor) -> Tensor:
    """Return the Jacobian of :func:`odds_map`: that of :func:`map_jacobian`, beyond [0, 1] too."""
    a = h * (y @ W.T)
    u = torch.exp(-a.abs().clamp(max=_LARGEST))
    norm = torch.where(a > 0, y + (1 - y) * u, 1 - y + y * u)
    own = u / norm**2
    J: Tensor = torch.diag_embed(own) + h * (own * y * (1 - y))[..., None] * W
    return J


def eigenvalues(J: Float[Tensor, "*batch unit unit"]) -> Complex[Tensor, "*batch unit"]:
    """Return all eigenvalues, by falling real part."""
    found: Tensor = torch.linalg.eigvals(J)
    return found.gather(-1, found.real.argsort(-1, descending=True))


def leading_eigenvalues(
    step: Step, y: Float[Tensor, "unit"], count: int = 6, *, seed: int = 0
) -> Complex[np.ndarray, "count"]:
    """Return the eigenvalues of the largest modulus of a map's Jacobian, without forming it.

    Jacobian-vector products in the precision of y, and ARPACK; a float64 map gives more digits. For N
    up to some thousands :func:`eigenvalues` of a dense Jacobian gives all of them.

    Args:
        step: the map, taking and returning (unit,).
        y: where, in the precision of the map.
        count: how many, at most N − 2.
        seed: of ARPACK's starting vector.

    Raises:
        InputError: count is out of range, or ARPACK did not converge.
    """
    n = len(y)
    if not 1 <= count <= n - 2:
        raise InputError(f"count must be 1…{n - 2} for {n} units, not {count}")

    def product(v: np.ndarray) -> np.ndarray:
        vector = torch.from_numpy(v.reshape(-1)).to(y)
        return np.asarray(torch.func.jvp(step, (y,), (vector,))[1].numpy(force=True))

    operator = LinearOperator((n, n), matvec=product, dtype=np.float64)
    start = np.random.default_rng(seed).standard_normal(n)
    try:
        exact = 0 if y.dtype == torch.float64 else 1e-4
        found = eigs(operator, count, which="LM", v0=start, tol=exact, return_eigenvectors=False)
    except ArpackError as error:
        raise InputError(
            f"ARPACK did not find {count} eigenvalues of {n} ({error}); ask for another number"
        ) from error
    return np.asarray(found[np.argsort(-abs(found))])


def state_jacobians(
    residuals: ResidualMap, z: Float[Tensor, "unit"], layers: int
) -> list[Float[Tensor, "unit unit"]]:
    """Return I + h diag(f′(z(t))) W for t = 1…layers: what each layer does to a small change of x."""
    identity = torch.eye(residuals.units, dtype=residuals.W.dtype, device=residuals.W.device)
    found = []
    for state, _ in zip(residuals.iterate(z), range(layers), strict=False):
        slope = torch.func.jvp(residuals.residual, (state,), (torch.ones_like(state),))[1]
        found.append(identity + residuals.step_size * slope[:, None] * residuals.W)
    return found


def finite_depth_exponents(
    jacobians: Iterable[Float[Tensor, "unit unit"]],
    count: int | None = None,
    *,
    tolerance: float = 1e-12,
    sweeps: int = 1000,
) -> Float[Tensor, "count"]:
    """Return the finite-depth Lyapunov exponents, log(singular values of J_T … J_1) / T, falling.

    QR sweeps forth and back through the layers converge to the singular vectors of the product, and
    rescale at every layer, so that neither depth nor a wide range of gains underflows. (One forward
    sweep alone gives another number.) In float64.

    Args:
        jacobians: J_1…J_T, first layer first.
        count: how many exponents; default all.
        tolerance: sweeps end when no exponent changes by more.
        sweeps: at most so many.

    Raises:
        InputError: no Jacobian, or count out of range.
    """
    product = [J.double() for J in jacobians]
    if not product:
        raise InputError("exponents need at least one layer, and were given none")
    n = len(product[0])
    if count is not None and not 1 <= count <= n:
        raise InputError(f"count must be 1…{n}, not {count}")
    # A generic start: a special one, such as the identity, can be blind to a leading direction.
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(n, count or n, dtype=torch.float64, generator=generator)
    V = torch.linalg.qr(start.to(product[0].device)).Q
    before = None
    for _ in range(sweeps):
        U, logs = _sweep(product, V)
        V, _ = _sweep([J.T for J in reversed(product)], U)
        if before is not None and bool(((logs - before).abs() <= tolerance).all()):
            break
        before = logs
    return logs.sort(descending=True).values


def _sweep(factors: list[Tensor], Q: Tensor) -> tuple[Tensor, Tensor]:
    """Carry an orthonormal frame through the factors; return it and its mean log stretch."""
    logs = torch.zeros(Q.shape[1], dtype=Q.dtype, device=Q.device)
    for factor in factors:
        Q, R = torch.linalg.qr(factor @ Q)
        logs = logs + R.diagonal().abs().log()
    return Q, logs / len(factors)


def escape_time(multipliers: Complex[Tensor, "*batch unit"]) -> Float[Tensor, "*batch"]:
    """Return the layers in which the distance from a point grows by e: 1 / log max abs(μ).

    Infinite where no multiplier lies outside the unit circle.
    """
    growth = multipliers.abs().amax(-1).log()
    return torch.where(growth > 0, 1 / growth, torch.full_like(growth, torch.inf))
