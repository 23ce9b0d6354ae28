"""Fits of any model: the last linear map of every layer, by least squares."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from residua.depth.fit_job import FoundJob
from residua.depth.least_squares import AffineHead, LeastSquares
from residua.errors import InputError
from residua.layers import rows
from residua.stack import FoundStack

ROWS = 65_536  # samples, of sequences tokens
RIDGE = 1e-4


class _EnoughError(Exception):
    """Ends a forward pass where the rest of it is not needed."""


def fit_lasts(job: FoundJob) -> None:
    """Fit the last linear map of every layer from the first that stands for more than itself.

    W g + b with g what it reads in the cut network, so that the state after the layer comes nearest, by
    least squares, to that of the uncut network after the layers it stands for; what is fitted is the
    difference to the W and b there are, so that a ridge draws towards these.

    Raises:
        InputError: no layer has such a map.
    """
    if not any(job.small.lasts):
        raise InputError(
            f"no block of the {type(job.small.model).__name__} ends in a linear map whose output is "
            "added to the state as it is, so nothing can be folded into blocks; pass 'affine', for the "
            "head, or 'none'"
        )
    moved = False
    for i, (first, last) in enumerate(job.plan.spans(job.whole.stages), 1):
        moved = moved or first < last
        name = job.small.lasts[i - 1]
        # What several layers put out by cannot be fitted for one of them.
        if moved and name is not None and job.small.lasts.count(name) == 1:
            _fit_last(job, i, last, name)


def _fit_last(job: FoundJob, i: int, last: int, name: str) -> None:
    linear = job.small.model.get_submodule(name)
    fit: LeastSquares | None = None
    for x in job.inputs():
        target, _ = _up_to(job.whole, last, x, None)
        state, read = _up_to(job.small, i, x, linear)
        assert read is not None
        features, missing = rows(read), rows(target - state)
        fit = fit or LeastSquares(features, missing)
        fit.add(features, missing, counted_rows(x, target))
        if fit.samples >= ROWS:
            break
    assert fit is not None
    normal = job.total(fit.result())
    found = (normal if _has_bias(linear) else normal.through_origin()).solve([RIDGE])[0]
    if bool(found.weight.isfinite().all()):
        _add(linear, found)


def counted_rows(x: Any, state: Tensor) -> Tensor | None:
    """Return 1 for rows that count and 0 for the padding of a sequence; None where all do."""
    mask: Any = x.get("attention_mask") if isinstance(x, Mapping) else None
    if mask is None or state.ndim != 3 or mask.shape != state.shape[:2]:
        return None
    counted: Tensor = (mask > 0).flatten().to(state.dtype)
    return counted


def _up_to(
    stack: FoundStack, t: int, x: Any, linear: nn.Module | None
) -> tuple[Tensor, Tensor | None]:
    """Return the state after layer t, and what a linear map read last until then."""
    found: list[Tensor] = []
    read: list[Tensor] = []

    def visit(u: int, before: Tensor, after: Tensor) -> None:
        if u == t:
            found.append(after)
            raise _EnoughError

    handles = []
    if linear is not None:
        handles.append(linear.register_forward_pre_hook(reading(read), with_kwargs=True))
    try:
        with stack.watch(visit, copy=False):
            stack.outputs(x)
    except _EnoughError:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return found[0], read[-1] if read else None


def reading(found: list[Tensor]) -> Callable[..., None]:
    """Return the hook that keeps what a linear map is given."""
    return lambda _, args, kwargs: found.append(args[0] if args else next(iter(kwargs.values())))


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
