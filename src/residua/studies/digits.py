"""The main job over 10 splits: uncut, with the rule "depth-curve", with the paper's rule."""

from residua.run_config import RunConfig
from residua.studies.jobs import repeat, training
from residua.train_config import TrainConfig

CONFIGS = {
    rule: RunConfig(
        data="digits",
        width=256,
        adaptive=rule,
        train=TrainConfig(epochs=60, batch_size=64, accelerator="cpu"),
    )
    for rule in ("none", "depth-curve", "paper")
}

if __name__ == "__main__":
    jobs = {name: training("digits", config) for name, config in CONFIGS.items()}
    repeat("digits", jobs, range(10))
