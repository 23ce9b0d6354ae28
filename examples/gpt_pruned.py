"""A GPT-2 without two of its eight blocks: trained on characters, cut, healed, saved, read back.

The text is what Python says of itself. The cut is made up for in closed form (nothing is trained), then
by a tenth of the training, with the uncut model as teacher; what is saved is transformers' own format.
Run: python examples/gpt_pruned.py [folder] [--steps 300]
"""

import argparse
import pydoc_data.topics
import tempfile

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import residua as rs

parser = argparse.ArgumentParser(description="Train, cut, heal and save a small GPT-2.")
parser.add_argument("folder", nargs="?", help="where the model is saved; default a temporary one")
parser.add_argument("--steps", type=int, default=300, help="of training; healing takes a tenth")
args = parser.parse_args()
LENGTH, BATCH = 64, 16

# Data: windows of characters; the last tenth of the text is held out.
text = "\n".join(said for _, said in sorted(pydoc_data.topics.topics.items()))
letters = sorted(set(text))
number = {c: i for i, c in enumerate(letters)}
ids = torch.tensor([number[c] for c in text])  # (character,)
windows = ids[: len(ids) // LENGTH * LENGTH].view(-1, LENGTH)  # (window, 64)
train, val = windows[: -len(windows) // 10], windows[-len(windows) // 10 :][:256]
batches = rs.loader(rs.Split(train, train), BATCH, shuffle_seed=0)  # labels are the input itself
held_out = rs.loader(rs.Split(val, val), BATCH)

torch.manual_seed(0)
config = GPT2Config(
    vocab_size=len(letters),
    n_positions=LENGTH,
    n_embd=64,
    n_layer=8,
    n_head=4,
    attn_pdrop=0.0,
    embd_pdrop=0.0,
    resid_pdrop=0.0,
    bos_token_id=None,
    eos_token_id=None,
)
model = GPT2LMHeadModel(config)
how = {"lr": 3e-3, "loss": rs.next_token, "accelerator": "cpu"}
rs.heal(model, batches, rs.HealConfig(steps=args.steps, **how))  # any model, so a new one too


@torch.no_grad()
def loss(model):
    """Return the held-out loss, in nats a character."""
    return torch.cat([rs.next_token(model(x).logits, y) for x, y in held_out]).mean().item()


fit = [batch for batch, _ in zip(batches, range(32), strict=False)]  # 512 windows
small, report = rs.prune(model, fit, held_out, rs.PruneConfig(keep=6, loss=rs.next_token))
print(report.plan)
print(f"uncut, {config.n_layer} blocks: {loss(model):.3f}")
print(f"cut to {small.config.n_layer}: {loss(rs.apply(report.plan, model)):.3f}")
print(f"compensated: {loss(small):.3f}")
rs.heal(small, batches, rs.HealConfig(steps=max(1, args.steps // 10), **how), teacher=model)
print(f"healed: {loss(small):.3f}")

with tempfile.TemporaryDirectory() as temporary:
    folder = args.folder or temporary
    small.save_pretrained(folder)
    small = GPT2LMHeadModel.from_pretrained(folder).eval()
print(f"read back, {small.config.n_layer} blocks: {loss(small):.3f}")

prompt = torch.tensor([[number[c] for c in "The "]])  # (1, 4)
options = {"max_new_tokens": LENGTH - 4, "do_sample": False}
options["attention_mask"] = torch.ones_like(prompt)
told = [small.generate(prompt, use_cache=cache, **options)[0] for cache in (True, False)]  # (64,)
print("".join(letters[i] for i in told[0]))
print(f"the same without cache: {torch.equal(*told)}")
