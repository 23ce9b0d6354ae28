"""The section of docs/studies.md on transformers without a quarter of their blocks."""

from collections.abc import Mapping
from typing import Any

from residua.studies.tables import Seeds, made, table

_HEAD = """## Transformers: a quarter of the blocks gone

A ViT (MNIST, width 64, {vit_steps} steps) and a GPT-2 (Python's own help texts, every paragraph once, in
1,024 byte pairs, width 128, {gpt_steps} steps) of 8 blocks, made from transformers' configurations and
trained here; 2 blocks go. Which, is decided by the validation loss of the compensated model, between
"spans", "block-influence" and "last". Test loss in nats (a sample, a token), in brackets test error.
Patched: the least squares of ReplaceMe, on the same plan and data. Readers: the blocks alone made up
for, without a new head. Healed: compensated, then trained for a tenth of the steps on labels and the
uncut model's outputs and last state. Longer: the uncut model, trained for as many more steps on labels.
Both with the rate of the lowest validation loss of those tried. Scratch: 6 blocks, all steps. Rise: of
healed over longer, the bound is 1 %.
"""
_COLUMNS = ("uncut", "raw", "patched", "readers", "compensated", "healed", "longer")


def transformers_section(found: Mapping[str, Seeds]) -> str:
    """Return the losses of cut transformers beside those of uncut ones."""
    rows = []
    for name in ("vit", "gpt"):
        for seed, cut in sorted(found.get(f"{name}-cut", {}).items()):
            scratch = found.get(f"{name}-scratch", {}).get(seed)
            rise = 100 * (cut["healed"]["loss"] / cut["longer"]["loss"] - 1)
            rows.append(
                [
                    f"{name}, seed {seed}",
                    ", ".join(str(t) for t in range(1, 9) if t not in cut["keep"]),
                    *(_cell(cut[column]) for column in _COLUMNS),
                    "–" if scratch is None else _cell(scratch["test"]),
                    f"{rise:+.1f} %",
                ]
            )
    header = ["model", "gone", *_COLUMNS, "scratch", "rise"]
    cuts = [c for name in ("vit-cut", "gpt-cut") for c in found.get(name, {}).values()]
    better = sum(c["compensated"]["loss"] < c["raw"]["loss"] for c in cuts)
    ahead = sum(c["compensated"]["loss"] < c["patched"]["loss"] for c in cuts)
    blocks = sum(c["readers"]["loss"] < c["patched"]["loss"] for c in cuts)
    rates = [
        f"{key} at {', '.join(format(c[key]['lr'], 'g') for c in cuts)}"
        for key in ("healed", "longer")
    ]
    told = "; ".join(rates)
    said = (
        f"Compensated better than raw in {better} of {len(cuts)}, than the patch in {ahead}; the blocks "
        f"alone better than the patch in {blocks}. Rates: {told}."
    )
    steps = {
        f"{name}_steps": next(iter(found[f"{name}-uncut"].values()))["steps"]
        for name in ("vit", "gpt")
    }
    lines = [_HEAD.format(**steps), *table(header, rows), "", said, made(cuts[0]), ""]
    return "\n".join(lines)


def _cell(figures: Mapping[str, Any]) -> str:
    error = figures["error"]
    return f"{figures['loss']:.4f}" + ("" if error is None else f" ({error:.2f} %)")
