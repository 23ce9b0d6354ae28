"""A ViT that loses layers while it trains: handwritten digits, transformers' own class, Lightning.

Every layer is there at first; the callback asks after early epochs how many the task needs, cuts the
others out of model and optimizer, and looks an epoch later whether that cost too much.
Run: python examples/vit_adaptive_depth.py
"""

import lightning as L
import torch
from torch.nn.functional import cross_entropy
from transformers import ViTConfig, ViTForImageClassification

import residua as rs

DEPTH, EPOCHS = 8, 12


class Classifier(L.LightningModule):
    """A ViT on images of 8 by 8 pixels, in 16 patches."""

    def __init__(self):
        super().__init__()
        config = ViTConfig(
            image_size=8,
            patch_size=2,
            num_channels=1,
            hidden_size=32,
            num_hidden_layers=DEPTH,
            num_attention_heads=4,
            intermediate_size=128,
            num_labels=10,
        )
        self.vit = ViTForImageClassification(config)

    def forward(self, x):
        """Return the logits of images; the callback finds the layers by this."""
        return self.vit(x).logits  # (batch, 1, 8, 8) -> (batch, 10)

    def training_step(self, batch, index):
        """Return the loss of a batch."""
        x, y = batch  # (batch, 1, 8, 8), (batch,)
        return cross_entropy(self(x), y)

    def validation_step(self, batch, index):
        """Log the share of images classified right."""
        x, y = batch
        self.log("accuracy", (self(x).argmax(1) == y).float().mean())

    def configure_optimizers(self):
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


L.seed_everything(0, verbose=False)
data = rs.load_data("digits")
train, val = (rs.Split(s.x.view(-1, 1, 8, 8), s.y) for s in (data.train, data.val))
train, val = rs.loader(train, 64, shuffle_seed=0), rs.loader(val, 288)

model = Classifier()
before = len(model.vit.vit.layers)
depth = rs.AdaptiveDepth(config=rs.AdaptiveConfig(criterion="spans", window=(0.25, 0.6), keep=2))
trainer = L.Trainer(
    max_epochs=EPOCHS,
    accelerator="cpu",
    callbacks=[depth],
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(model, train, val)

for decision in depth.decisions:
    print(f"epoch {decision.epoch}: {decision.reason}")
print(f"layers: {before} before, {len(model.vit.vit.layers)} after")
accuracy = trainer.validate(model, val, verbose=False)[0]["accuracy"]
print(f"validation accuracy: {accuracy:.3f}")
