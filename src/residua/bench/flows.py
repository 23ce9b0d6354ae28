"""Eq. 3 integrated by every method at several tolerances, and what it costs at equal error."""

import math
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.special import expit
from torch import Tensor

from residua.bench.installed import missing
from residua.dynamics.residual_map import ResidualMap

ERRORS = (1e-4, 1e-6, 1e-8)  # largest |y − reference| at which costs are compared
TOLERANCES = tuple(10.0**-k for k in range(3, 12))
STEPS = tuple(2.0**-k for k in range(1, 10))
PATIENCE = 3.0  # seconds after which finer settings are not tried
STIFF_ENTRIES = 1024  # implicit solvers make a dense Jacobian of the whole system
ADAPTIVE = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
FIXED = ("rk4", "heun3", "midpoint", "explicit_adams", "implicit_adams")
SCIPY = ("RK45", "DOP853", "RK23", "LSODA", "Radau", "BDF")


@dataclass(frozen=True)
class Integrator:
    """A method.

    Attributes:
        name: in tables.
        package: what has to be installed beside scipy.
        settings: tolerances, or step sizes, from coarse to fine.
        solve: map, z(1), times, setting → y at the times, and how often eq. 3 was evaluated.
        stiff: whether it is implicit, so that it is left out of large systems.
    """

    name: str
    package: str | None
    settings: Sequence[float]
    solve: Callable[[ResidualMap, Tensor, Tensor, float], tuple[Tensor, int]]
    stiff: bool = False


@dataclass(frozen=True, eq=False)
class _Counted(ResidualMap):
    """A residual map that counts how often its velocity, or that of a copy, is asked for."""

    calls: list[None] = field(default_factory=list)

    def velocity(self, z: Tensor) -> Tensor:
        self.calls.append(None)
        return super().velocity(z)


def _counted(F: ResidualMap) -> _Counted:
    return _Counted(F.W, F.step_size, F.activation)


def _flow(F: ResidualMap, z: Tensor, times: Tensor, tolerance: float) -> tuple[Tensor, int]:
    counted = _counted(F)
    return counted.flow(z, times, tolerance=tolerance), len(counted.calls)


def _torchdiffeq(
    method: str, fixed: bool, F: ResidualMap, z: Tensor, times: Tensor, setting: float
) -> tuple[Tensor, int]:
    from torchdiffeq import odeint

    counted = _counted(F)
    how: dict[str, Any] = (
        {"options": {"step_size": setting}} if fixed else {"rtol": setting, "atol": setting}
    )
    if method == "implicit_adams":
        how |= {"rtol": 1e-9, "atol": 1e-12}
    with warnings.catch_warnings():  # implicit steps that did not converge show in the error
        warnings.simplefilter("ignore", UserWarning)
        found = odeint(lambda _, s: counted.velocity(s), z, times, method=method, **how)
    return F.residual(found), len(counted.calls)


def _scipy(
    method: str, F: ResidualMap, z: Tensor, times: Tensor, tolerance: float
) -> tuple[Tensor, int]:
    W, shape = F.W.numpy().T, z.shape

    def velocity(_: float, state: np.ndarray) -> np.ndarray:
        moved: np.ndarray = expit(state.reshape(shape)) @ W
        return moved.ravel()

    span = float(times[0]), float(times[-1])
    found = solve_ivp(
        velocity, span, z.numpy().ravel(), method, times.numpy(), rtol=tolerance, atol=tolerance
    )
    y = expit(found.y.T.reshape(len(times), *shape))
    return torch.from_numpy(y), int(found.nfev)


INTEGRATORS = (
    Integrator("residua: ResidualMap.flow", None, TOLERANCES, _flow),
    *(
        Integrator(f"torchdiffeq {m}", "torchdiffeq", TOLERANCES, partial(_torchdiffeq, m, False))
        for m in ADAPTIVE
    ),
    *(
        Integrator(f"torchdiffeq {m}", "torchdiffeq", STEPS, partial(_torchdiffeq, m, True))
        for m in FIXED
    ),
    *(
        Integrator(f"scipy {m}", None, TOLERANCES, partial(_scipy, m), m in ("Radau", "BDF"))
        for m in SCIPY
    ),
)


def reference(F: ResidualMap, z: Tensor, times: Tensor) -> Tensor:
    """Return y at the times to about 1e-12: scipy's DOP853 at its finest tolerance."""
    return _scipy("DOP853", F, z, times, 2.5e-14)[0]


def integrate_all(
    F: ResidualMap, z: Tensor, times: Tensor, rounds: int, errors: Sequence[float] = ERRORS
) -> dict[str, Any]:
    """Return error, time and evaluations of every method at every setting, and costs at equal error."""
    exact = reference(F, z, times)
    found: dict[str, Any] = {}
    not_run: dict[str, str] = {}
    for method in INTEGRATORS:
        why = missing(method.package)
        if method.stiff and z.numel() > STIFF_ENTRIES:
            why = f"its Jacobian of {z.numel()} × {z.numel()} is too large"
        if why:
            not_run[method.name] = why
            continue
        found[method.name] = {"runs": _sweep(method, F, z, times, exact, (rounds, min(errors)))}
    ours = INTEGRATORS[0].name
    for rows in found.values():
        rows["at"] = {f"{error:g}": _at(rows["runs"], error) for error in errors}
    for rows in found.values():
        for error, cost in rows["at"].items():
            least = found.get(ours, rows)["at"][error]
            if cost and least:
                cost["ratio"] = cost["seconds"] / least["seconds"]
    return {"methods": found, "not_run": not_run, "samples": len(z), "units": F.units}


def _sweep(
    method: Integrator,
    F: ResidualMap,
    z: Tensor,
    times: Tensor,
    exact: Tensor,
    until: tuple[int, float],
) -> list[dict[str, float]]:
    rounds, least = until
    runs: list[dict[str, float]] = []
    method.solve(F, z, times[:2], method.settings[0])  # what is imported and made once
    for setting in method.settings:
        spent = []
        for _ in range(rounds):
            begin = time.perf_counter()
            y, count = method.solve(F, z, times, setting)
            spent.append(time.perf_counter() - begin)
        error = float((y - exact).abs().max())
        seconds = statistics.median(spent)
        runs.append({"setting": setting, "error": error, "seconds": seconds, "evaluations": count})
        if error < least or seconds > PATIENCE:
            break
    return runs


def _at(runs: Sequence[dict[str, float]], error: float) -> dict[str, float] | None:
    """Return the cost at an error, between settings on logarithmic axes; None if not reached."""
    for coarse, fine in zip([None, *runs], runs, strict=False):
        if not fine["error"] <= error:
            continue
        if coarse is None or not math.isfinite(coarse["error"]) or fine["error"] == coarse["error"]:
            return {k: float(fine[k]) for k in ("seconds", "evaluations")}
        # An error of 0 is below anything that can be told from the reference.
        low = math.log(max(fine["error"], 1e-15))
        share = (math.log(coarse["error"]) - math.log(error)) / (math.log(coarse["error"]) - low)
        return {k: coarse[k] * (fine[k] / coarse[k]) ** share for k in ("seconds", "evaluations")}
    return None
