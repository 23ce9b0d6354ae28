"""E2 and E4 with and without adaptive depth: MNIST, 15 layers of 1064 logistic units, 3 seeds."""

from residua.choices import Weights
from residua.run_config import RunConfig
from residua.studies.jobs import precision, repeat, training
from residua.train_config import TrainConfig

# Variable weights have 15 times the parameters, so a step costs more: larger batches, fewer epochs.
_TRAIN: dict[Weights, TrainConfig] = {
    "shared": TrainConfig(epochs=16, batch_size=128, input_dropout=0.3, precision=precision()),
    "variable": TrainConfig(epochs=10, batch_size=256, input_dropout=0.3, precision=precision()),
}
# "spans" is asked after two and three epochs, when even two layers lose nothing; a network that is to be
# trained on keeps a fifth of its layers.
_KEEP = {"spans": 3}
CONFIGS = {
    f"{weights}-{rule}": RunConfig(
        data="mnist",
        width=1064,
        weights=weights,
        adaptive=rule,
        keep=_KEEP.get(rule, 1),
        train=train,
    )
    for weights, train in _TRAIN.items()
    for rule in ("none", "depth-curve", "spans")
}

if __name__ == "__main__":
    jobs = {name: training("mnist", config) for name, config in CONFIGS.items()}
    repeat("mnist", jobs, range(3))
