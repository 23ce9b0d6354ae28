"""Which layers go while a network trains, and when."""

from dataclasses import dataclass

from residua.depth.criteria import criterion_named
from residua.depth.planners import check_threshold
from residua.errors import InputError
from residua.losses import Loss, cross_entropy

# Shares of the training between which a rule is asked. The paper asks after every epoch. A depth curve
# means nothing before the network has learnt; longer steps change nothing when they are taken early, and
# what goes early costs no time.
WINDOWS = {"paper": (0.0, 1.0), "depth-curve": (0.25, 0.8), "spans": (0.1, 0.2)}


@dataclass(frozen=True)
class AdaptiveConfig:
    """Which layers go while a network trains, and when.

    Attributes:
        criterion: "spans" (default): the fewest layers that, with longer steps, lose no more than
            `tolerance`; "depth-curve": the fewest whose head, refitted in closed form, is within one
            standard error of the best, one in all; or "paper", unchanged.
        threshold: of "paper"; default 0.01.
        tolerance: the share by which the held-out loss may rise through a removal and one epoch of
            training after it, unless by no more than `negligible`; beyond that the removal is undone.
            Default 0.05 for "spans"; for the others none, so that what they remove stays removed.
        negligible: a rise of the held-out loss by no more than this never counts, in the loss's units.
            Default 0.01 nats for cross-entropy, which is close to 0 where a task is solved, so that a
            share of it says nothing; 0 for other losses.
        keep: fewest layers that may stay. Default 1.
        window: shares of the training between which the rule is asked; default (0, 1) for "paper",
            (0.25, 0.8) for "depth-curve" and (0.1, 0.2) for "spans", of short trainings after the first
            epoch.
        fit_samples: how many training samples the rule's fits use. Default 8192.
        loss: (outputs, targets) → the loss of each held-out sample; default cross-entropy, in nats; of
            language models :func:`residua.next_token`.
        blocks: names of the blocks, or of the lists they are in, of other models than residua's;
            default: they are found, with the first batch.

    Raises:
        InputError: unknown criterion, a threshold, tolerance or negligible below 0, a window outside
            [0, 1], keep or fit_samples below 1.
    """

    criterion: str = "spans"
    threshold: float = 0.01
    tolerance: float | None = None
    negligible: float | None = None
    keep: int = 1
    window: tuple[float, float] | None = None
    fit_samples: int = 8192
    loss: Loss = cross_entropy
    blocks: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        criterion_named(self.criterion)
        if self.criterion not in WINDOWS:
            raise InputError(
                f"the criterion {self.criterion!r} is for trained networks; in training pass one of "
                f"{', '.join(WINDOWS)}"
            )
        check_threshold(self.threshold)
        if self.tolerance is not None and not self.tolerance >= 0:
            raise InputError(f"tolerance must be 0 or more, not {self.tolerance}")
        if self.negligible is not None and not self.negligible >= 0:
            raise InputError(f"negligible must be 0 or more, not {self.negligible}")
        if self.keep < 1:
            raise InputError(f"keep must be at least 1, not {self.keep}: a network needs a layer")
        if self.fit_samples < 1:
            raise InputError(f"fit_samples must be at least 1, not {self.fit_samples}")
        if len(self.asked) != 2 or not 0 <= self.asked[0] <= self.asked[1] <= 1:
            raise InputError(f"window must be two ascending shares in [0, 1], not {self.window}")

    @property
    def asked(self) -> tuple[float, float]:
        """The window, given or by default."""
        return WINDOWS[self.criterion] if self.window is None else self.window

    @property
    def guard(self) -> float | None:
        """The tolerance that removals are held to, given or by default."""
        usual = 0.05 if self.criterion == "spans" else None
        return usual if self.tolerance is None else self.tolerance

    @property
    def ignored(self) -> float:
        """The rise of the held-out loss that never counts, given or by default."""
        usual = 0.01 if self.loss is cross_entropy else 0.0
        return usual if self.negligible is None else self.negligible
