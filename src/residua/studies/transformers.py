"""A ViT on MNIST and a GPT on text without a quarter of their blocks, in all ways, side by side.

Both are transformers' own classes, made from configurations, with 8 blocks. The text is what Python says
of itself (pydoc_data.topics), by characters. Training data fit, validation data decide, test data are
looked at once, at the end.
"""

import pydoc_data.topics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from residua.data import load_data, loader
from residua.healing import HealConfig, heal
from residua.sources import Split
from residua.streaming import Loss, cross_entropy, next_token

WIDTH, PIECE = 128, 4096  # characters of a window, and of a piece of the text


@dataclass(frozen=True)
class Task:
    """A model, what it learns, and for how long.

    Attributes:
        build: number of blocks → a new model.
        data: seed → training, validation and test data.
        loss: of a sample, or token.
        steps: of the uncut model's training.
        lr: its highest learning rate.
        batch_size: samples a step.
        measured: the same, when nothing is trained.
    """

    build: Callable[[int], nn.Module]
    data: Callable[[int], tuple[Split, Split, Split]]
    loss: Loss
    steps: int
    lr: float
    batch_size: int
    measured: int = 250

    def training(self, seed: int, steps: int, lr: float) -> HealConfig:
        """Return how a model is trained."""
        return HealConfig(
            steps, lr=lr, weight_decay=0.05, loss=self.loss, seed=seed, accelerator="cpu"
        )


def vit(blocks: int) -> nn.Module:
    """Return a ViT for images of 28 by 28 pixels, in 16 patches."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(  # type: ignore[call-arg]
        image_size=28,
        patch_size=7,
        num_channels=1,
        hidden_size=64,
        num_hidden_layers=blocks,
        num_attention_heads=4,
        intermediate_size=256,
        num_labels=10,
    )
    return ViTForImageClassification(config)


def gpt(blocks: int) -> nn.Module:
    """Return a GPT-2 for windows of characters."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=len(vocabulary()),
        n_positions=WIDTH,
        n_embd=128,
        n_layer=blocks,
        n_head=4,
        activation_function="gelu",
        attn_pdrop=0.0,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config)


def text() -> str:
    """Return what Python says of itself."""
    topics: dict[str, str] = pydoc_data.topics.topics
    return "\n".join(f"{name}\n\n{said}" for name, said in sorted(topics.items()))


def vocabulary() -> list[str]:
    """Return the characters of the text."""
    return sorted(set(text()))


def windows(seed: int) -> tuple[Split, Split, Split]:
    """Return windows of characters: of every ten pieces one for validation, one for test.

    Those of training overlap, so that words do not always stand at the same place.
    """
    number = {c: i for i, c in enumerate(vocabulary())}
    ids = torch.tensor([number[c] for c in text()])
    pieces = ids[: len(ids) // PIECE * PIECE].reshape(-1, PIECE)
    place = torch.arange(len(pieces)) % 10

    def split(chosen: torch.Tensor, stride: int) -> Split:
        found = pieces[chosen].unfold(1, WIDTH, stride).reshape(-1, WIDTH)
        return Split(found, found)

    return split(place < 8, 16), split(place == 8, WIDTH), split(place == 9, WIDTH)


def digits(seed: int) -> tuple[Split, Split, Split]:
    """Return MNIST, its images with a channel."""
    data = load_data("mnist", seed=seed)
    train, val, test = (Split(s.x[:, None], s.y) for s in (data.train, data.val, data.test))
    return train, val, test


TASKS = {
    "vit": Task(vit, digits, cross_entropy, steps=2000, lr=1e-3, batch_size=128),
    "gpt": Task(gpt, windows, next_token, steps=1000, lr=2e-3, batch_size=32, measured=50),
}


def trained(task: Task, blocks: int, seed: int, folder: Path) -> nn.Module:
    """Return a model trained from scratch; what is in the folder is gone on from."""
    torch.manual_seed(seed)
    model = task.build(blocks)
    path = folder / "model.safetensors"
    if path.exists():
        load_model(model, path)
        return model.eval()
    train = loader(task.data(seed)[0], task.batch_size, shuffle_seed=seed)
    heal(model, train, task.training(seed, task.steps, task.lr), folder=folder)
    save_model(model, str(path))
    return model
