"""Cut a trained model: gather a rule's evidence, plan, compensate, measure; no training."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

from torch import nn

from residua.depth.candidates import BEST, Candidates, check_criterion
from residua.depth.compensation import Compensation, kind_named
from residua.depth.evidence import ORACLE_SAMPLES
from residua.depth.fit_job import FitOptions
from residua.depth.fitting import compensate, usual_compensation
from residua.depth.latency import latencies
from residua.depth.oracle import oracle
from residua.depth.plan import DepthPlan, check_keep, share_weights
from residua.depth.surgery import Model, apply
from residua.errors import InputError
from residua.inputs import as_any_inputs, split_batch
from residua.layers import ResidualStack
from residua.losses import Loss, cross_entropy
from residua.stack import FoundStack
from residua.streaming import NO_BATCH, find_layers, first, held_out_figures, refuse_iterators

Advance = Callable[[float], None]


@dataclass(frozen=True)
class PruneConfig:
    """What is to be reached, and how. One of the first four is given.

    Attributes:
        keep: layers that stay.
        max_loss_increase: the held-out loss may rise by this, in nats; as few layers as it allows.
        max_drop_points: the held-out accuracy may fall by this many points; likewise.
        speedup: the model is to be so many times as fast, measured on a batch of the held-out data; as
            many layers stay as that allows.
        criterion: which layers go; see :func:`residua.plan_depth`. Default "best": those of "spans",
            "greedy", "block-influence", "angular" and "last" are cut, compensated and measured on the
            held-out data, and the plan that loses least is taken; of more than 32 layers without
            "greedy", whose evidence takes T²/2 forward passes.
        compensation: see :func:`residua.compensate`. Default: "readers+weighted" where every layer has
            weights of its own; where they share them "steps+weighted" (ResNet), "mean+affine"
            (ConvResNet) or "none+affine" (MLP); with another loss than cross-entropy "affine" for
            "weighted".
        loss: (outputs, targets) → the loss of each sample; default cross-entropy, in nats.

    Raises:
        InputError: none or several of the aims are given, or one is out of range; no such criterion or
            compensation.
    """

    keep: int | None = None
    max_loss_increase: float | None = None
    max_drop_points: float | None = None
    speedup: float | None = None
    criterion: str = BEST
    compensation: str | None = None
    loss: Loss = cross_entropy

    def __post_init__(self) -> None:
        given = {name: value for name in AIMS if (value := getattr(self, name)) is not None}
        if len(given) != 1:
            raise InputError(
                f"say what is to be reached by one of {', '.join(AIMS)}; got "
                f"{', '.join(given) or 'none'}"
            )
        name, value = next(iter(given.items()))
        least = {"keep": 1, "speedup": 1}.get(name, 0)
        if not least <= value < float("inf"):
            raise InputError(f"{name} must be a number of at least {least}, not {value}")
        if self.keep is not None and (
            not isinstance(self.keep, int) or isinstance(self.keep, bool)
        ):
            raise InputError(f"keep must be a whole number, not {self.keep!r}")
        check_criterion(self.criterion)
        if self.compensation is not None:
            kind_named(self.compensation)


AIMS = ("keep", "max_loss_increase", "max_drop_points", "speedup")


@dataclass(frozen=True)
class Measured:
    """A model on held-out data: layers, mean loss in nats, accuracy, seconds a batch."""

    layers: int
    loss: float
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class PruneReport:
    """What went, what made up for it, and what was measured on held-out data; prints itself.

    Attributes:
        plan: which layers went, and why.
        compensation: what was folded into those that stay; None where none went.
        before, after: the model on held-out data, uncut and cut.
        tried: the cuts that were measured on the way.
    """

    plan: DepthPlan
    compensation: Compensation | None
    before: Measured
    after: Measured
    tried: tuple[Measured, ...]

    def __str__(self) -> str:
        one, two = self.before, self.after
        known = one.accuracy == one.accuracy
        right = f", accuracy {one.accuracy:.2%} → {two.accuracy:.2%}" if known else ""
        made = "" if self.compensation is None else f"Made up for by {self.compensation.kind}. "
        return (
            f"{self.plan}\n{made}Held-out loss {one.loss:.4f} → {two.loss:.4f}{right}, "
            f"{1000 * one.seconds:.3g} → {1000 * two.seconds:.3g} ms a batch"
        )


def prune(
    model: Model | FoundStack,
    fit_batches: Iterable[Any],
    held_out_batches: Iterable[Any],
    config: PruneConfig,
    advance: Advance = lambda share: None,
) -> tuple[Model, PruneReport]:
    """Return a copy of a trained model with fewer layers, and what was measured; nothing is trained.

    Where not the number of layers is given, it is found by halving, each candidate compensated and
    measured on the held-out data.

    Args:
        model: any trained model with residual layers, or what :func:`residua.find_blocks` returned of
            it.
        fit_batches: training batches (x, labels), or mappings of named inputs with `labels`, read
            several times.
        held_out_batches: validation batches, likewise; they decide. Never test data: what is decided on
            cannot judge.
        config: what is to be reached, and how.
        advance: is told the share of the work done since it was last told.

    Raises:
        StackError: no residual layers were found.
        InputError: more layers are to stay than there are, batches do not fit or lack labels, the aim
            cannot be reached with a single layer, or the held-out loss does not tell depths apart.
    """
    refuse_iterators(fit_batches, held_out_batches)
    stack, _ = find_layers(model, fit_batches)
    if config.keep is not None:
        check_keep(config.keep, stack.depth)
    cuts = _Cuts(stack, fit_batches, held_out_batches, config, advance)
    before = cuts.before
    if config.max_drop_points is not None and before.accuracy != before.accuracy:
        raise InputError("max_drop_points needs the class of each sample; pass max_loss_increase")
    if config.keep is not None:
        keep = config.keep
        cuts.measured(keep)
    else:
        _refuse_unmoved(stack, held_out_batches, config, before)
        # A layer stays in each stage, except where a criterion is named that knows none.
        alone = config.criterion not in ("spans", BEST)
        stages = 1 if alone else len(set(stack.stages))
        keep = _search(config, before, range(stages, stack.depth + 1), cuts.measured)
    chosen = cuts.tried[keep]
    others = tuple(cut.measured for cut in cuts.tried.values())
    return chosen.model, PruneReport(chosen.plan, chosen.fitted, before, chosen.measured, others)


class _Cut(NamedTuple):
    """A model cut by a plan: what makes up for the layers that went, and held-out figures."""

    model: Any
    plan: DepthPlan
    fitted: Compensation | None
    measured: Measured


class _Cuts:
    """Cuts of one model, each compensated and measured; the best of a depth is kept."""

    def __init__(
        self,
        stack: ResidualStack,
        fit_batches: Iterable[Any],
        held_out_batches: Iterable[Any],
        config: PruneConfig,
        advance: Advance,
    ):
        self.stack, self.config, self.advance = stack, config, advance
        self.fit, self.held_out = fit_batches, held_out_batches
        self.kind = config.compensation or usual_compensation(stack, config.loss)
        self.candidates = Candidates(
            stack, config.criterion, fit_batches, held_out_batches, config.loss
        )
        self.x = _a_batch(held_out_batches, stack)
        seconds = latencies([stack.model], self.x)[0]
        self.before = measure(stack, held_out_batches, config.loss, seconds=seconds)
        self.rounds = 1 if config.keep is not None else max(1, (stack.depth - 1).bit_length())
        self.tried: dict[int, _Cut] = {}

    def measured(self, keep: int) -> Measured:
        """Return held-out figures of the best cut that leaves so many layers."""
        plans = self.candidates.plans(keep)
        cuts = []
        for plan in plans:
            cuts.append(self._cut(plan))
            self.advance(1 / self.rounds / len(plans))
        best = min(cuts, key=lambda cut: _finite(cut.measured.loss))
        seconds = latencies([self.stack.model, best.model], self.x)
        # Relative to the uncut model in the same rounds: a machine's speed drifts.
        relative = self.before.seconds * seconds[1] / seconds[0]
        self.tried[keep] = best._replace(measured=replace(best.measured, seconds=relative))
        return self.tried[keep].measured

    def _cut(self, plan: DepthPlan) -> _Cut:
        fitted = None
        if plan.removed:
            options = FitOptions(loss=self.config.loss)
            fitted = compensate(
                self.stack, plan, self.fit, self.held_out, kind=self.kind, options=options
            )
        of: Any = self.stack if isinstance(self.stack, FoundStack) else self.stack.model
        small = apply(plan, of, compensation=fitted)
        figures = held_out_figures(small, self.held_out, self.config.loss)
        return _Cut(
            small, plan, fitted, Measured(len(plan.keep), figures.loss, figures.accuracy, 0.0)
        )


def _finite(loss: float) -> float:
    return loss if loss == loss else float("inf")


def measure(
    model: nn.Module | ResidualStack,
    batches: Iterable[Any],
    loss: Loss = cross_entropy,
    *,
    seconds: float = 0.0,
) -> Measured:
    """Return layers, mean loss and accuracy of a model on batches (x, labels)."""
    stack, _ = find_layers(model, batches)
    found = held_out_figures(stack.model, batches, loss)
    return Measured(stack.depth, found.loss, found.accuracy, seconds)


def _a_batch(batches: Iterable[Any], stack: ResidualStack) -> Any:
    for batch in islice(batches, 1):
        return as_any_inputs(split_batch(batch, stack.classes)[0], stack.weight)
    raise InputError(NO_BATCH)


def _refuse_unmoved(
    stack: ResidualStack, held_out: Iterable[Any], config: PruneConfig, before: Measured
) -> None:
    """Refuse an aim whose measure is the same with one layer as with all."""
    if config.speedup is not None or stack.depth < 2:
        return
    stays = 1 if share_weights(stack.names) else stack.depth
    tried = oracle(stack, first(held_out, ORACLE_SAMPLES), loss=config.loss)
    if tried.without() == tried.without(*(t for t in range(1, stack.depth + 1) if t != stays)):
        raise InputError(
            f"the held-out loss is {before.loss:.4f} with all layers and with a single one, so it "
            "cannot tell depths apart; pass keep=…, or data on which the model does something"
        )


def _search(
    config: PruneConfig, before: Measured, depths: range, candidate: Callable[[int], Measured]
) -> int:
    """Return the fewest layers that reach the aim (of speedup, the most), by halving."""
    least, depth = depths[0], depths[-1]
    if config.speedup is not None:
        speedup = config.speedup

        def fast(m: Measured) -> bool:
            return before.seconds / m.seconds >= speedup

        slow, quick = depth + 1, least - 1
        while slow - quick > 1:
            keep = (slow + quick) // 2
            quick, slow = (keep, slow) if fast(candidate(keep)) else (quick, keep)
        if quick < least:
            fewest = "a single layer is" if least == 1 else f"{least} layers are"
            raise InputError(
                f"{fewest} not {speedup:g} times as fast as {depth}; pass a lower speedup"
            )
        return quick

    def good(m: Measured) -> bool:
        if config.max_loss_increase is not None:
            return m.loss <= before.loss + config.max_loss_increase
        assert config.max_drop_points is not None
        return 100 * (before.accuracy - m.accuracy) <= config.max_drop_points + 1e-9

    few, enough = least - 1, depth
    while enough - few > 1:
        keep = (few + enough) // 2
        few, enough = (few, keep) if good(candidate(keep)) else (keep, enough)
    if enough == depth:
        candidate(depth)
    return enough
