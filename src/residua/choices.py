"""The words that networks, runs and the command line accept; light, so that --help stays fast."""

from typing import Literal

Net = Literal["resnet", "mlp", "conv"]
Optimizer = Literal["adamw", "sgd"]
Augment = Literal["none", "crop-flip"]
Weights = Literal["shared", "variable"]
Activation = Literal["logistic", "tanh", "relu", "gelu"]
Lift = Literal["pad", "linear"]
Adaptive = Literal["none", "spans", "depth-curve", "paper"]
SplitName = Literal["train", "val", "test"]
Experiment = Literal["E1", "E3", "E5", "E6", "E8"]
Reproduced = Literal["E1", "E2", "E3", "E4", "E5", "E6", "E7", "E8", "all"]
