"""A ViT that loses layers while it trains: handwritten digits, transformers' own class, Lightning.

After the first epochs the callback asks how few layers do as well, within a tolerance, cuts the others
out of model and optimizer, and undoes that where the loss says so an epoch later.
Run: python examples/vit_adaptive_depth.py
"""

import lightning as L
import torch
from torch.nn.functional import cross_entropy
from transformers import ViTConfig, ViTForImageClassification

import residua as rs


class Classifier(L.LightningModule):
    """A ViT with eight layers, and how it is trained."""

    def __init__(self):
        super().__init__()
        config = ViTConfig(
            image_size=8,
            patch_size=4,
            num_channels=1,
            hidden_size=48,
            num_hidden_layers=8,
            num_attention_heads=4,
            intermediate_size=96,
            num_labels=10,
            initializer_range=0.1,  # the usual 0.02 is for width 768
        )
        self.vit = ViTForImageClassification(config)

    def forward(self, x):
        """Return the logits of images; the callback finds the layers by running this."""
        return self.vit(x).logits  # (batch, 1, 8, 8) → (batch, 10)

    def training_step(self, batch, index):
        """Return the loss of a batch."""
        x, y = batch  # (batch, 1, 8, 8), (batch,)
        return cross_entropy(self(x), y)

    def validation_step(self, batch, index):
        """Log the share of images classified right."""
        x, y = batch
        self.log("accuracy", (self(x).argmax(1) == y).float().mean())

    def configure_optimizers(self):
        """Return the optimizer, which the callback cuts alike."""
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


L.seed_everything(0, verbose=False)
data = rs.load_data("digits")  # x: (image, 8, 8)
train, val = (rs.Split(s.x[:, None], s.y) for s in (data.train, data.val))
train, val = rs.loader(train, 64, shuffle_seed=0), rs.loader(val, 256)

model = Classifier()
print(f"layers before: {model.vit.config.num_hidden_layers}")
depth = rs.AdaptiveDepth(config=rs.AdaptiveConfig(criterion="spans", tolerance=0.1, keep=2))
quiet = dict.fromkeys(
    ("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
)
trainer = L.Trainer(max_epochs=10, accelerator="cpu", callbacks=[depth], logger=False, **quiet)
trainer.fit(model, train, val)

for decision in depth.decisions:
    print(f"after epoch {decision.epoch}: {decision.reason}")
print(f"layers after: {model.vit.config.num_hidden_layers}")  # the configuration follows
found = trainer.validate(model, val, verbose=False)[0]
print(f"validation accuracy: {found['accuracy']:.3f}")
