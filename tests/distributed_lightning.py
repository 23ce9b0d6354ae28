"""Lightning on several processes with weight averaging, run by torchrun in test_controller.py."""

import os
import sys
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch.utils.data import DataLoader, TensorDataset

import residua as rs


def task(n, seed):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=g)
    return TensorDataset(x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long())


class Module(L.LightningModule):
    def __init__(self, weights: str):
        super().__init__()
        self.net = rs.ResNet(6, 12, 3, depth=8, weights=weights)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, index):
        return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.log(
            "loss", torch.nn.functional.cross_entropy(self(batch[0]), batch[1]), sync_dist=True
        )

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


class Watch(L.Callback):
    """Keeps whether the average has the network's layers, after every epoch's decisions."""

    def __init__(self, average: EMAWeightAveraging):
        self.average = average
        self.depths: list[tuple[int, int]] = []

    def on_train_epoch_start(self, trainer, module):
        model = self.average._average_model
        assert model is not None
        self.depths.append((module.net.depth, model.module.net.depth))


def main(folder: Path, weights: str) -> None:
    torch.set_num_threads(1)
    L.seed_everything(2)
    average = EMAWeightAveraging(decay=0.9)
    watch = Watch(average)
    depth = rs.AdaptiveDepth(config=rs.AdaptiveConfig(window=(0.0, 1.0), tolerance=0.5))
    module = Module(weights)
    trainer = L.Trainer(
        max_epochs=4, accelerator="cpu", devices=2, strategy="ddp", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, accumulate_grad_batches=2, callbacks=[depth, average, watch],
    )  # fmt: skip
    trainer.fit(module, DataLoader(task(240, 0), 40), DataLoader(task(120, 1), 60))
    torch.save(
        {
            "net": module.net.state_dict(),
            "depths": watch.depths,
            "last": module.net.depth,
            "reasons": [d.reason for d in depth.decisions],
            "steps": list(module.net.steps),
        },
        folder / f"{weights}-{trainer.global_rank}.pt",
    )


def leave() -> None:
    """End without Python's finalization: a gloo thread that still holds a tensor aborts in it."""
    os._exit(0)


if __name__ == "__main__":
    for weights in ("shared", "variable"):
        main(Path(sys.argv[1]), weights)
    leave()
