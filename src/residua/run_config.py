"""All that determines a run."""

from dataclasses import dataclass, field
from typing import get_args

from residua.choices import Activation, Adaptive, Lift, Net, Weights
from residua.depth.adaptive_config import AdaptiveConfig
from residua.errors import InputError
from residua.train_config import TrainConfig


@dataclass(frozen=True)
class RunConfig:
    """All that determines a run, besides the machine; written to config.json.

    Attributes:
        data: name or path, see :func:`residua.load_data`; paths are stored absolute.
        data_dir: folder of local parquet data sets, or None.
        net, depth, width, weights, activation, step_size, lift: the network; width None means the
            input dimensions and a third more.
        adaptive: "none", "spans", "depth-curve" or "paper".
        threshold: of the rule "paper".
        tolerance: by how much the held-out loss may rise, see :class:`residua.AdaptiveConfig`.
        keep: fewest layers that a rule may leave.
        train: how it is trained, its seed included.
    """

    data: str
    data_dir: str | None = None
    net: Net = "resnet"
    depth: int = 15
    width: int | None = None
    weights: Weights = "shared"
    activation: Activation = "logistic"
    step_size: float = 1.0
    lift: Lift = "pad"
    adaptive: Adaptive = "none"
    threshold: float = 0.01
    tolerance: float | None = None
    keep: int = 1
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if self.adaptive not in get_args(Adaptive):
            raise InputError(
                f"adaptive must be one of {', '.join(get_args(Adaptive))}, not {self.adaptive!r}"
            )
        self.depth_rule()

    def depth_rule(self) -> AdaptiveConfig | None:
        """Return the rule that removes layers in training, or None."""
        criterion = "spans" if self.adaptive == "none" else self.adaptive
        found = AdaptiveConfig(criterion, self.threshold, self.tolerance, keep=self.keep)
        return None if self.adaptive == "none" else found
