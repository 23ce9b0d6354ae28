"""Fits of any model: the last linear map of every layer, by least squares."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from residua.calls import LastMap
from residua.depth.fit_job import FoundJob
from residua.depth.least_squares import AffineHead, LeastSquares
from residua.depth.norms import Slope, slope
from residua.errors import InputError
from residua.layers import rows
from residua.padding import counted_rows
from residua.stack import FoundStack

ROWS = 65_536  # samples, of sequences tokens
RIDGE = 1e-4


class _EnoughError(Exception):
    """Ends a forward pass where the rest of it is not needed."""


def fit_lasts(job: FoundJob) -> None:
    """Fit the last linear map of every layer from the first that stands for more than itself.

    W g + b with g what it reads in the cut network, so that the state after the layer comes nearest, by
    least squares, to that of the uncut network after the layers it stands for; what is fitted is the
    difference to the W and b there are, so that a ridge draws towards these. Where a norm lies between
    the map and the state, the difference is brought to before it, to first order.

    Raises:
        InputError: no layer has such a map.
    """
    if not any(job.small.lasts):
        raise InputError(
            f"no block of the {type(job.small.model).__name__} ends in a linear map whose output is "
            "added to the state, as it is or normed, so nothing can be folded into blocks; pass "
            "'affine', for the head, or 'none'"
        )
    moved = False
    names = [None if last is None else last.linear for last in job.small.lasts]
    for i, (first, last) in enumerate(job.plan.spans(job.whole.stages), 1):
        moved = moved or first < last
        found = job.small.lasts[i - 1]
        # What several layers put out by cannot be fitted for one of them.
        if moved and found is not None and names.count(found.linear) == 1:
            _fit_last(job, i, last, found)


def _fit_last(job: FoundJob, i: int, last: int, maps: LastMap) -> None:
    linear = job.small.model.get_submodule(maps.linear)
    norm = None if maps.norm is None else job.small.model.get_submodule(maps.norm)
    fit: LeastSquares | None = None
    through: Slope | None = None
    seen_rows = 0
    for x in job.inputs():
        target = _up_to(job.whole, last, x).state
        seen = _up_to(job.small, i, x, linear, norm)
        features, missing = rows(seen.read), rows(target - seen.state)
        counts = counted_rows(job.small, i, x, target)
        keep = slice(None) if counts is None else counts.flatten()
        features, missing, weight = features[keep], missing[keep], None
        if norm is not None:
            through = through or slope(norm, seen.before_norm)
            if through is None:
                return  # the same in all processes: it is a matter of the module
            sigma = through.sigma(rows(seen.before_norm)[keep].double())
            missing = sigma[:, None] * _where_it_acts(missing, through.gamma)
            # By this the error counts as it is after the norm; a row of zeros does not.
            weight = torch.where(sigma > 0, sigma, torch.inf).pow(-2)
        fit = fit or LeastSquares(features, missing)
        fit.add(features, missing, weight)
        seen_rows += len(features)
        if seen_rows >= ROWS:
            break
    assert fit is not None
    normal = job.total(fit.result())
    found = (normal if _has_bias(linear) else normal.through_origin()).solve([RIDGE])[0]
    if bool(found.weight.isfinite().all()):
        _add(linear, found)


def _where_it_acts(missing: Tensor, gamma: Tensor) -> Tensor:
    """Return missing / γ; 0 for units that a norm or scale all but takes away."""
    acts = gamma.abs() > 1e-3 * gamma.abs().median()
    return torch.where(acts, missing / torch.where(acts, gamma, 1.0), 0.0)


@dataclass
class _Seen:
    """What was seen until a layer had run: the state, what a linear map read, and what a norm took."""

    state: Tensor
    read: Tensor
    before_norm: Tensor


def _up_to(
    stack: FoundStack,
    t: int,
    x: Any,
    linear: nn.Module | None = None,
    norm: nn.Module | None = None,
) -> _Seen:
    """Return the state after layer t, and what the modules named took and gave last until then."""
    seen = _Seen(*(torch.empty(0),) * 3)

    def visit(u: int, before: Tensor, after: Tensor) -> None:
        if u == t:
            seen.state = after
            raise _EnoughError

    def read(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.read = _given(args, kwargs)

    def normed(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.before_norm = _given(args, kwargs)

    handles = []
    if linear is not None:
        handles.append(linear.register_forward_pre_hook(read, with_kwargs=True))
    if norm is not None:
        handles.append(norm.register_forward_pre_hook(normed, with_kwargs=True))
    try:
        with stack.watch(visit, copy=False):
            stack.outputs(x)
    except _EnoughError:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return seen


def reading(found: list[Tensor]) -> Callable[..., None]:
    """Return the hook that keeps what a linear map is given."""
    return lambda _, args, kwargs: found.append(_given(args, kwargs))


def _given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    tensor: Tensor = args[0] if args else next(iter(kwargs.values()))
    return tensor


def _has_bias(linear: nn.Module) -> bool:
    return getattr(linear, "bias", None) is not None


def _add(linear: nn.Module, found: AffineHead) -> None:
    """Add to a linear map what was fitted, in place."""
    weight, bias = linear.weight, linear.bias
    assert isinstance(weight, Tensor)
    more = found.weight if isinstance(linear, nn.Linear) else found.weight.T  # Conv1D: (in, out)
    weight.add_(more.to(weight))
    if isinstance(bias, Tensor):
        bias.add_(found.bias.to(bias))


BODIES: dict[str, Callable[[FoundJob], None]] = {
    "none": lambda job: None,
    "readers": fit_lasts,
}
