"""The sections of docs/studies.md on fewer layers: in training, after it, and which criterion."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from residua.studies.criteria import NEGLIGIBLE
from residua.studies.tables import (
    ASKED,
    Seeds,
    asked_and_found,
    by_seed,
    interval,
    made,
    ratio_table,
    shown,
    table,
)

_ADAPTIVE = """## E7: depth in training, MNIST, shared weights

The networks of the MNIST section with the rule "spans" against their uncut counterparts, paired by
seed (test error of the cut network less that of the uncut one, points; share of its seconds, one
thread each).
"""
_PRUNE = """## E7: trained MNIST networks with fewer layers

`residua prune` on the uncut networks of the MNIST section; those with variable weights were trained anew
for it, on a processor without bfloat16, so in single precision. Layers by "spans", compensation
"steps+weighted" (shared) and "readers+weighted" (variable), fitted on training data, ridge by
validation loss; no training but where "healed" says so, one epoch on labels and the uncut network's
outputs. From scratch: the same recipe with three layers. Less uncut: points of test error, paired by
seed.
"""
_CIFAR = """## CIFAR-10: ConvResNet-20 with two of its seven removable blocks gone

Ten epochs with the same tuned one-cycle schedule for all (crops and flips, SGD, label smoothing);
this is what fits on a CPU, and one seed: differences below about half a point mean nothing. Plan and
compensation are those of the lowest validation loss among the ones listed. Healed for one epoch, a
tenth, with the highest learning rate {heal_lr:g}; from scratch for eleven.
"""
_CRITERIA = """## Which criterion: the same depth, compensation and data

Rise of the validation loss over the uncut network's, in thousandths of a nat, mean over seeds; fewest
layers: those within {limit} nats of it, mean over seeds, of the depths listed. Variable weights, 15
layers; lowest first. Nothing is trained after the cut, test data is not read.
"""
_LATENCY = """## Latency of a cut network over that of one built at its depth

A batch of 500 (dense, 1064 units) or 100 images (ConvResNet-20), both models in turn in every round.
"""
_TIME = """## Time of a training with adaptive depth over one at fixed depth, from its parts

Steps at either depth in turn in one process, and the seconds of its decisions: MNIST's recipe, cut to 3
layers after the second of 16 epochs. The seconds of the table above were taken beside other jobs.
"""


def time_section(found: Mapping[str, Any]) -> str:
    """Return the share of a fixed-depth training's time, put together from measured parts."""
    said = f"Decisions: {found['decision_seconds']:.1f} s."
    return "\n".join([_TIME, *ratio_table("training", found), "", f"{said} {made(found)}", ""])


def latency_section(found: Mapping[str, Any]) -> str:
    """Return the latency of cut networks over that of networks built so."""
    return "\n".join([_LATENCY, *ratio_table("network", found, 3), "", made(found), ""])


def adaptive_section(found: Mapping[str, Seeds]) -> str:
    """Return what "spans" does in training: layers, difference, time."""
    cut, uncut = found["shared-spans"], found["shared-none"]
    seeds = sorted(cut.keys() & uncut.keys())
    gaps = [cut[s]["test_error"] - uncut[s]["test_error"] for s in seeds]
    shares = [cut[s]["seconds"] / uncut[s]["seconds"] for s in seeds]
    rows = [
        [
            str(s),
            f"{uncut[s]['test_error']:.2f} %",
            f"{cut[s]['test_error']:.2f} %",
            str(cut[s]["depth_final"]),
            f"{gap:+.2f}",
            f"{share:.0%}",
        ]
        for s, gap, share in zip(seeds, gaps, shares, strict=True)
    ]
    header = ["seed", "15 layers", "adaptive", "layers left", "difference", "seconds"]
    said = (
        f"Mean difference {shown(gaps)} (bound +0.1); mean share of the seconds {np.mean(shares):.0%} "
        "(bound 50 %)."
    )
    return "\n".join([_ADAPTIVE, *table(header, rows), "", said, "", made(cut[seeds[0]]), ""])


def prune_section(found: Mapping[str, Seeds]) -> str:
    """Return the errors of cut networks, and of those trained from scratch at that depth."""
    rows = []
    for name, seeds in sorted(found.items()):
        ordered = by_seed(seeds)
        gaps = [s["test_error"] - s["test_error_uncut"] for s in ordered if "test_error_uncut" in s]
        bound = {"8": "+0.05", "3": "+0.3"}.get(name.rsplit("-", 1)[-1], "")
        scratch = found.get(f"{name.partition('-')[0]}-scratch-3", {})
        against = [
            seeds[s]["test_error"] - scratch[s]["test_error"]
            for s in sorted(seeds.keys() & scratch.keys())
            if name.endswith("healed")
        ]
        rows.append(
            [
                name,
                asked_and_found(seeds, ASKED["mnist"]),
                ", ".join(f"{s['test_error']:.2f}" for s in ordered),
                f"{shown(gaps)}" if gaps else "–",
                bound if gaps and bound else "–",
                shown(against) if against else "–",
            ]
        )
    header = ["network", "seeds", "test error, %", "less uncut", "bound", "less from scratch"]
    return "\n".join(
        [_PRUNE, *table(header, rows), "", made(by_seed(found["shared-keep-3"])[0]), ""]
    )


def cifar10_section(found: Mapping[str, Seeds]) -> str:
    """Return the four columns of CIFAR-10, and every plan and compensation tried."""
    uncut, cut, scratch = (by_seed(found[name])[0] for name in ("uncut", "cut", "scratch"))
    header = ["uncut, 7 blocks", "raw, 5 blocks", "compensated", "healed", "from scratch"]
    errors = [uncut["test_error"], cut["raw"], cut["compensated"], cut["test_error"]]
    cells = [f"{e:.2f} %" for e in (*errors, scratch["test_error"])]
    tried = [
        [t["criterion"], t["kind"], ", ".join(map(str, t["keep"])), f"{t['val_loss']:.3f}"]
        for t in sorted(cut["tried"], key=lambda t: t["val_loss"])
    ]
    return "\n".join(
        [
            _CIFAR.format(heal_lr=cut["heal"]["lr"]),
            *table(header, [cells]),
            "",
            "Test error. Tried, lowest validation loss first (uncut "
            f"{cut['val_loss_uncut']:.3f} nats):",
            "",
            *table(["criterion", "compensation", "blocks that stay", "validation loss"], tried),
            "",
            made(cut),
            "",
        ]
    )


def criteria_section(found: Mapping[str, Seeds]) -> str:
    """Return for each task the rise of the loss by criterion and depth, lowest first."""
    lines = [_CRITERIA.format(limit=NEGLIGIBLE)]
    for name, seeds in sorted(found.items()):
        ordered = by_seed(seeds)
        first = ordered[0]
        rises = {
            c: np.array([np.array(s["losses"][c]) - s["loss"] for s in ordered])
            for c in first["losses"]
        }
        best = sorted(rises, key=lambda c: float(rises[c].mean()))
        rows = [
            [c, *(f"{1000 * v:.1f}" for v in rises[c].mean(0)), _fewest(rises[c], first)]
            for c in best
        ]
        header = ["criterion", *(f"{k} left" for k in first["keep"]), "fewest layers"]
        lines += [
            f'### {name}: {len(ordered)} seeds, "{first["kind"]}"',
            "",
            *table(header, rows),
            "",
        ]
    return "\n".join([*lines, made(first), ""])


def _fewest(rises: np.ndarray, first: Mapping[str, Any]) -> str:
    """Return the fewest layers whose rise is negligible, the uncut depth where none is."""
    depths = np.array([*first["keep"], first["depth"]])
    within = np.concatenate([rises <= NEGLIGIBLE, np.ones((len(rises), 1), bool)], 1)
    fewest = np.array([depths[row].min() for row in within], float)
    mean, low, high = interval(fewest)
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]" if len(fewest) > 1 else f"{mean:.0f}"
