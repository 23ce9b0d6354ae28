"""The two models that lose blocks in the study of transformers, and what they learn."""

import pydoc_data.topics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from residua.data import load_data
from residua.healing import HealConfig
from residua.losses import Loss, cross_entropy, next_token
from residua.sources import Split

VOCABULARY, WIDTH = 1024, 64  # of tokens; tokens of a window
PIECE = 4096  # characters of a piece of the text


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
        fitted: samples on which fits and criteria are made.
    """

    build: Callable[[int], nn.Module]
    data: Callable[[int], tuple[Split, Split, Split]]
    loss: Loss
    steps: int
    lr: float
    batch_size: int
    measured: int = 250
    fitted: int = 4096

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


def gpt(blocks: int, width: int = 128) -> nn.Module:
    """Return a GPT-2 for windows of tokens."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=WIDTH,
        n_embd=width,
        n_layer=blocks,
        n_head=4,
        activation_function="gelu",
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config)


def pieces() -> list[str]:
    """Return what Python says of itself, every paragraph once, in pieces of equal length."""
    said: dict[str, str] = {}
    topics: dict[str, str] = pydoc_data.topics.topics
    for _, topic in sorted(topics.items()):
        for paragraph in topic.split("\n\n"):
            said.setdefault(" ".join(paragraph.split()), paragraph)
    text = "\n\n".join(said.values())
    return [text[i : i + PIECE] for i in range(0, len(text) - PIECE + 1, PIECE)]


def windows(seed: int) -> tuple[Split, Split, Split]:
    """Return windows of tokens: of every ten pieces one for validation, one for test.

    Those of training overlap, so that words do not always stand at the same place.
    """
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    found = pieces()
    parts = [found[i::10] for i in range(10)]
    learnt = [piece for part in parts[:8] for piece in part]
    tokenizer.train_from_iterator(learnt, vocab_size=VOCABULARY, show_progress=False)

    def split(chosen: list[str], stride: int) -> Split:
        ids = [torch.tensor(tokenizer.encode(piece).ids) for piece in chosen]
        x = torch.cat([i.unfold(0, WIDTH, stride) for i in ids])
        return Split(x, x)

    return split(learnt, 16), split(parts[8], WIDTH), split(parts[9], WIDTH)


def digits(seed: int) -> tuple[Split, Split, Split]:
    """Return MNIST, its images with a channel."""
    data = load_data("mnist", seed=seed)
    train, val, test = (Split(s.x[:, None], s.y) for s in (data.train, data.val, data.test))
    return train, val, test


TASKS = {
    "vit": Task(vit, digits, cross_entropy, steps=2000, lr=1e-3, batch_size=128),
    "gpt": Task(
        gpt, windows, next_token, steps=1000, lr=1e-3, batch_size=16, measured=50, fitted=1024
    ),
}
