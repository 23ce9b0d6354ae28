"""A GPT-2 without two of its eight blocks: trained on characters, cut, healed, saved, read back.

The text is what Python says of itself. The cut is made up for in closed form (nothing is trained), then
by a tenth of the training, with the uncut model as teacher; what is saved is transformers' own format.
Run: python examples/gpt_pruned.py [folder] [--steps 240]
"""

import argparse
import pydoc_data.topics
import tempfile

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import residua as rs

parser = argparse.ArgumentParser(description="Train, cut, heal and save a small GPT-2.")
parser.add_argument("folder", nargs="?", help="where the model is saved; default a temporary one")
parser.add_argument("--steps", type=int, default=240, help="of training; healing takes a tenth")
args = parser.parse_args()

# Each paragraph once: a fifth are said again elsewhere, and what is held out is not to be known.
said = (topic.split("\n\n") for _, topic in sorted(pydoc_data.topics.topics.items()))
text = "\n\n".join(dict.fromkeys(paragraph for topic in said for paragraph in topic))
letters = sorted(set(text))
number = {c: i for i, c in enumerate(letters)}
ids = torch.tensor([number[c] for c in text])  # (character,)
windows = torch.stack(ids.split(64)[:-1])  # (window, 64)
train, val = windows[:-512], windows[-512::8]


def batches(x, shuffle_seed=None):
    """Return batches of windows; labels are the input itself, and the loss shifts them."""
    return rs.loader(rs.Split(x, x), 16, shuffle_seed=shuffle_seed)  # of (16, 64), (16, 64)


def loss(model):
    """Return the held-out loss, in nats a character."""
    return rs.held_out_figures(model, batches(val), rs.next_token).loss


torch.manual_seed(0)
config = GPT2Config(
    vocab_size=len(letters),
    n_positions=64,
    n_embd=64,
    n_layer=8,
    n_head=4,
    activation_function="gelu",
    initializer_range=0.08,  # the usual 0.02 is for width 768
    **dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0),
    **dict.fromkeys(("bos_token_id", "eos_token_id")),
)
model = GPT2LMHeadModel(config)
how = {"loss": rs.next_token, "accelerator": "cpu"}
rs.heal(model, batches(train, 0), rs.HealConfig(args.steps, lr=6e-3, **how))  # trains any model
print(f"uncut, {model.config.n_layer} blocks: {loss(model):.4f} nats a character")

aim = rs.PruneConfig(keep=6, loss=rs.next_token)
small, report = rs.prune(model, batches(train[::48]), batches(val), aim)
print(report.plan)
print(f"raw cut, {small.config.n_layer} blocks: {loss(rs.apply(report.plan, model)):.4f}")
print(f"compensated: {loss(small):.4f}")
healing = rs.HealConfig(args.steps // 10, lr=5e-4, **how)
rs.heal(small, batches(train, 1), healing, teacher=model, plan=report.plan)
print(f"healed: {loss(small):.4f}")

with tempfile.TemporaryDirectory() as temporary:
    folder = args.folder or temporary
    small.save_pretrained(folder)
    small = GPT2LMHeadModel.from_pretrained(folder).eval()  # an ordinary model; no residua in it
print(f"read back, {small.config.n_layer} blocks: {loss(small):.4f}")

x = torch.tensor([[number[c] for c in "The "]])  # (1, 4)
how = {"attention_mask": torch.ones_like(x), "max_length": 64, "do_sample": True}
told = []
for cache in (True, False):
    torch.manual_seed(0)
    told += small.generate(x, use_cache=cache, **how)  # of (64,)
print(f"generated: {''.join(letters[i] for i in told[0])!r}")
print(f"the same without cache: {torch.equal(*told)}")
