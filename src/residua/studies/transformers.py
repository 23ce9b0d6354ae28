"""A ViT on MNIST and a GPT on text without a quarter of their blocks, in all ways, side by side.

Both are transformers' own classes, made from configurations, with 8 blocks, of which 6 stay. The text is
what Python says of itself (pydoc_data.topics), in byte pairs learnt on its training part. A fifth of its
paragraphs are said again under another topic; each is taken once, or held-out text would be known from
training. Training data fit, validation data decide, test data are looked at once, at the end.

Which blocks go is decided between the criteria of CRITERIA by the validation loss of the compensated
model. Healing takes a tenth of the training steps, and the uncut model is trained for as many more with
the same schedule, on labels alone; the learning rate of either is the one of RATES with the lowest
validation loss. Beside ours stands the least-squares patch of Shopkhoev et al., ReplaceMe, 2025: a
square matrix on the output of the MLP before a gap, from the uncut model's activations.
"""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from residua.data import loader
from residua.depth.compensation import Compensation
from residua.depth.criteria import plan_depth
from residua.depth.cut_checks import again
from residua.depth.evidence import evidence
from residua.depth.fit_job import FitOptions
from residua.depth.fitting import compensate
from residua.depth.plan import DepthPlan
from residua.depth.surgery import apply
from residua.healing import heal
from residua.layers import rows
from residua.provenance import machine, versions
from residua.stack import FoundStack, find_blocks
from residua.streaming import first, held_out_figures, labelled
from residua.studies.jobs import WORK, Job, repeat
from residua.studies.transformer_tasks import TASKS, Task

BLOCKS, KEEP = 8, 6
CRITERIA = ("spans", "block-influence", "last")
RATES = (1e-4, 5e-4)


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


def uncut(task: Task, seed: int, folder: Path) -> dict[str, Any]:
    """Train the uncut model."""
    return _summary(task, trained(task, BLOCKS, seed, folder), seed, {"steps": task.steps})


def scratch(task: Task, seed: int, folder: Path) -> dict[str, Any]:
    """Train a model as deep as the cut one from scratch, for as many steps as the uncut one."""
    return _summary(task, trained(task, KEEP, seed, folder), seed, {"steps": task.steps})


def cut(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Cut the uncut model of the seed: raw, patched, compensated, healed; train the uncut one on."""
    task = TASKS[name]
    model = trained(task, BLOCKS, seed, WORK / "transformers" / f"{name}-uncut-{seed}")
    train, val, test = (loader(s, task.measured) for s in task.data(seed))
    fit = first(train, task.fitted)
    stack = find_blocks(model, fit[0][0])
    plan, fitted, tried = _planned(task, stack, fit, val)
    only = compensate(stack, plan, fit, val, kind="readers", options=FitOptions(loss=task.loss))
    cuts = {
        "raw": apply(plan, stack),
        "patched": patched(stack, plan, fit),
        "readers": apply(plan, stack, compensation=only),
        "compensated": apply(plan, stack, compensation=fitted),
    }
    found = {key: _figures(task, small, test) for key, small in cuts.items()}
    healed = _longer(task, cuts["compensated"], stack, seed, val)
    longer = _longer(task, model, None, seed, val)
    return _summary(
        task,
        healed[0],
        seed,
        {
            "reason": str(plan),
            "keep": list(plan.keep),
            "tried": tried,
            "steps": task.steps // 10,
            **found,
            "uncut": _figures(task, model, test),
            "healed": _figures(task, healed[0], test) | healed[1],
            "longer": _figures(task, longer[0], test) | longer[1],
        },
    )


def _planned(
    task: Task, stack: FoundStack, fit: list[Any], val: Any
) -> tuple[DepthPlan, Compensation, dict[str, Any]]:
    """Return the criteria's plan whose compensated cut loses least on validation data."""
    how, tried = FitOptions(loss=task.loss), []
    for criterion in CRITERIA:
        plan = plan_depth(evidence(stack, criterion, fit, val, task.loss), criterion, keep=KEEP)
        fitted = compensate(stack, plan, fit, val, options=how)
        small = apply(plan, stack, compensation=fitted)
        tried.append((held_out_figures(small, val, task.loss).loss, plan, fitted))
    best = min(tried, key=lambda t: t[0])
    shown = {p.criterion: {"keep": list(p.keep), "val_loss": loss} for loss, p, _ in tried}
    return best[1], best[2], shown


def _longer(
    task: Task,
    model: nn.Module,
    teacher: FoundStack | None,
    seed: int,
    val: Any,
) -> tuple[nn.Module, dict[str, Any]]:
    """Return a copy trained for a tenth of the steps, at the rate of the lowest validation loss."""
    tried: dict[float, tuple[float, nn.Module]] = {}
    batches = loader(task.data(seed)[0], task.batch_size, shuffle_seed=seed + 100)
    for lr in RATES:
        further = copy.deepcopy(model)
        heal(further, batches, task.training(seed, task.steps // 10, lr), teacher=teacher)
        tried[lr] = held_out_figures(further, val, task.loss).loss, further
    lr = min(tried, key=lambda rate: tried[rate][0])
    return tried[lr][1], {"lr": lr, "val_losses": {str(r): loss for r, (loss, _) in tried.items()}}


@torch.no_grad()
def patched(stack: FoundStack, plan: DepthPlan, fit: list[Any]) -> nn.Module:
    """Return the cut model with ReplaceMe's patch: W of the MLP before a gap becomes W T.

    T = argmin ‖M T + Y − L‖², M what the MLP puts out, Y + M the state after its block, L the state
    after the gap, all of the uncut model.
    """
    weights: dict[str, torch.Tensor] = {}
    small = again(stack, plan, apply(plan, stack))
    for i, (t, (_, last)) in enumerate(zip(plan.keep, plan.spans(stack.stages), strict=True)):
        old, new = stack.lasts[t - 1], small.lasts[i]
        if last == t or old is None or new is None:
            continue
        linear, states = stack.model.get_submodule(old.linear), dict[int, list[torch.Tensor]]()
        out: list[torch.Tensor] = []

        def visit(u: int, before: torch.Tensor, after: torch.Tensor, kept: Any = states) -> None:
            kept.setdefault(u, []).append(rows(after).double())

        handle = linear.register_forward_hook(
            lambda _, args, z, to=out: to.append(rows(z).double())
        )
        for x, _ in labelled(stack.model, fit, "training batches"):
            with stack.watch(visit):
                stack.outputs(x)
        handle.remove()
        M, X, L = torch.cat(out), torch.cat(states[t]), torch.cat(states[last])
        T = least_squares(M, L - (X - M)).float()
        own = dict(linear.named_parameters())
        weights[f"{new.linear}.weight"] = (
            T.T @ own["weight"] if isinstance(linear, nn.Linear) else own["weight"] @ T
        )
        if "bias" in own:
            weights[f"{new.linear}.bias"] = own["bias"] @ T
    return apply(plan, stack, compensation=Compensation("patch", weights))


def least_squares(A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
    """Return argmin ‖A T − B‖²; on the CPU, since a GPU's solver takes A to have full rank."""
    solution: torch.Tensor = torch.linalg.lstsq(A.cpu(), B.cpu()).solution
    return solution.to(A)


def _figures(task: Task, model: nn.Module, data: Any) -> dict[str, Any]:
    found = held_out_figures(model, data, task.loss)
    known = found.accuracy == found.accuracy
    return {"loss": found.loss, "error": 100 * (1 - found.accuracy) if known else None}


def _summary(task: Task, model: nn.Module, seed: int, more: dict[str, Any]) -> dict[str, Any]:
    """Return what is stored of a model."""
    test = loader(task.data(seed)[2], task.measured)
    return {
        "test": _figures(task, model, test),
        "seed": seed,
        "versions": versions(),
        "machine": machine(),
        "command": "make evidence-transformers",
        **more,
    }


def _jobs(name: str) -> dict[str, Job]:
    task = TASKS[name]
    return {
        f"{name}-uncut": partial(uncut, task),
        f"{name}-cut": partial(cut, name),
        f"{name}-scratch": partial(scratch, task),
    }


if __name__ == "__main__":
    repeat("transformers", _jobs("vit"), range(3))
    repeat("transformers", _jobs("gpt"), range(2))
