"""ReplaceMe's patch: a square matrix behind the layer before a gap, fitted by least squares."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from residua.bench.methods import Given
from residua.depth.plan import DepthPlan
from residua.depth.surgery import apply
from residua.layers import ResidualStack
from residua.stack import FoundStack, find_stages
from residua.streaming import evaluating, labelled
from residua.studies.transformers import least_squares, patched


class Patched(nn.Module):
    """A cut network of residua that goes on from x + T y after some of its layers."""

    def __init__(self, small: nn.Module, maps: Mapping[int, Tensor]):
        super().__init__()
        self.small, self.maps = small, maps

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""

        def change(t: int, before: Tensor, after: Tensor) -> Tensor:
            T = self.maps.get(t)
            return after if T is None else before + _units_last(_units_last(after - before) @ T)

        with find_stages(self.small).change(change):
            logits: Tensor = self.small(x)
        return logits


def with_patch(given: Given, plan: DepthPlan) -> nn.Module:
    """Return the cut model with ReplaceMe's patch.

    In transformers the matrix goes into the MLP's last weights, as its authors have it. In a network of
    residua the last map of a layer is within f, so the matrix is put behind the whole residual while the
    network runs: x + T y, T = argmin ‖y T + x − L‖², x the state before the layer, L that after the gap;
    of images T maps channels, one for all pixels. Where a gap begins a stage, there is no layer to put
    it behind.
    """
    stack = given.stack
    if isinstance(stack, FoundStack):
        return patched(stack, plan, list(given.fit))
    maps = _maps(stack, plan, given.fit)
    small: Any = apply(plan, stack.model)
    return Patched(small, {plan.keep.index(t) + 1: T for t, T in maps.items()})


def _units_last(state: Tensor) -> Tensor:
    """Return a state with its units last, of images its channels; and back again."""
    return state.transpose(1, -1)


def _rows(state: Tensor) -> Tensor:
    return _units_last(state).flatten(0, -2).double()


@torch.no_grad()
def _maps(stack: ResidualStack, plan: DepthPlan, fit: Iterable[Any]) -> dict[int, Tensor]:
    """Return T of every layer before a gap."""
    spans = zip(plan.keep, plan.spans(stack.stages), strict=True)
    gaps = {t: last for t, (_, last) in spans if last != t}
    added: dict[int, list[Tensor]] = {t: [] for t in gaps}
    wanted: dict[int, list[Tensor]] = {t: [] for t in gaps}

    def visit(u: int, before: Tensor, after: Tensor) -> None:
        for t, last in gaps.items():
            if u == t:
                added[t].append(_rows(after - before))
                wanted[t].append(-_rows(before))
            if u == last:
                wanted[t][-1] += _rows(after)

    with evaluating(stack.model):
        for x, _ in labelled(stack.model, fit, "training batches"):
            with stack.watch(visit):
                stack.outputs(x)
    dtype = stack.weight.dtype
    return {t: least_squares(torch.cat(added[t]), torch.cat(wanted[t])).to(dtype) for t in gaps}
