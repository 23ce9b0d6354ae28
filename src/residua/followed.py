"""A few samples of a split followed through every layer: what pushed each class, where states went."""

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import nn

from residua.data import DataSplits, balanced
from residua.sources import Split
from residua.tracing import as_array, trace
from residua.transients.attribution import attribute

SHOWN = 60  # samples whose contributions are kept
CLOUD = 300  # samples whose projected states are kept
AXES = 3
_ENTRIES = 50_000_000  # of states that are held at once: 200 MB


def follow(net: nn.Module, data: DataSplits, split: Split) -> xr.Dataset:
    """Return the contributions of every part to every logit of a few samples, with their inputs.

    The samples are the first of each class, up to 60 in all. `sample_logit` is what the head gives the
    state x_t, K x_t + c, so that its last row is the network's logits.

    Args:
        net: a network whose head is linear up to a norm.
        data: whose classes and input shape are meant.
        split: where the samples are from.
    """
    some = _some(split, SHOWN, len(data.classes))
    found = attribute(net, some.x)
    shares = as_array(found.contributions).astype(np.float32)
    so_far = shares[:-1].cumsum(0) + shares[-1]
    arrays: dict[str, object] = {
        "sample_contribution": (("part", "sample", "class"), shares),
        "sample_logit": (("state", "sample", "class"), so_far),
        "sample_label": ("sample", some.y.numpy()),
        "sample_decision": ("sample", as_array(found.logits.argmax(1))),
    }
    image = _images(some.x)
    if image is not None:
        arrays["sample_image"] = (("sample", "row", "column"), image)
    return xr.Dataset(arrays, coords={"part": list(found.parts)})


def _some(split: Split, samples: int, classes: int) -> Split:
    """Return so many samples balanced over classes, of many classes one each of the first ones."""
    some = balanced(split, max(samples, classes))
    return Split(some.x[:samples], some.y[:samples])


def _images(x: torch.Tensor) -> np.ndarray | None:
    """Return inputs as grey images (sample, row, column), colours averaged; None where they are none."""
    if x.ndim == 4 and x.shape[1] in (1, 3):
        x = x.mean(1)
    return as_array(x).astype(np.float32) if x.ndim == 3 else None


def project(net: nn.Module, split: Split, classes: int) -> xr.Dataset:
    """Return states of some samples, seen along the axes in which the classes of x_T differ most.

    The axes are orthonormal: first the principal axes of the class means of x_T, then, where these are
    fewer than three, those of what the samples differ in besides. From every state the mean over the
    samples is taken off, so that a drift common to all is not seen.

    Returns:
        `projected` (state, class, member, axis), NaN where a class has fewer members; `projected_mean`
        (state, class, axis), the mean of those members; `between_share` and `total_share` (axis), which
        part of the variance between class means of x_T, and of all of it, an axis holds.
    """
    some = balanced(split, max(CLOUD, classes))
    found = trace(net, some.x[:1])
    fits = max(classes, _ENTRIES // int(found.states.flatten(2).shape[2] * len(found.states)))
    if fits < len(some):
        some = balanced(split, fits)
    states = trace(net, some.x).states.double()
    states = states - states.mean(1, keepdim=True)  # (state, sample, unit)
    labels = some.y
    axes, shares = _axes(states[-1], labels, classes)
    seen = as_array(states @ axes.T).astype(np.float32)
    members = int(torch.bincount(labels, minlength=classes).max())
    cloud = np.full((len(seen), classes, members, AXES), np.nan, np.float32)
    means = np.full((len(seen), classes, AXES), np.nan, np.float32)
    for c in range(classes):
        of_class = seen[:, (labels == c).numpy()]
        if of_class.shape[1]:
            cloud[:, c, : of_class.shape[1]] = of_class
            means[:, c] = of_class.mean(1)
    return xr.Dataset(
        {
            "projected": (("state", "class", "member", "axis"), cloud),
            "projected_mean": (("state", "class", "axis"), means),
            "between_share": ("axis", shares[0]),
            "total_share": ("axis", shares[1]),
        },
        coords={"axis": range(1, AXES + 1)},
    )


def _axes(
    last: Float[torch.Tensor, "sample unit"], labels: torch.Tensor, classes: int
) -> tuple[Float[torch.Tensor, "axis unit"], np.ndarray]:
    """Return three orthonormal axes (rows of 0 where there are fewer units), and their shares."""
    present = [c for c in range(classes) if bool((labels == c).any())]
    means = torch.stack([last[labels == c].mean(0) for c in present])
    means = means - means.mean(0)
    first = _principal(means, AXES)
    rest = last - (last @ first.T) @ first
    axes = torch.cat([first, _principal(rest, AXES)])[:AXES]
    axes = torch.cat([axes, axes.new_zeros(AXES - len(axes), axes.shape[1])])
    shares = [
        (x @ axes.T).square().sum(0) / x.square().sum().clamp(min=1e-300) for x in (means, last)
    ]
    return axes, torch.stack(shares).numpy()


def _principal(x: torch.Tensor, most: int) -> torch.Tensor:
    """Return up to so many right singular vectors of x, those with a singular value above rounding."""
    _, size, axes = torch.linalg.svd(x, full_matrices=False)
    keep = size > 1e-9 * size.max().clamp(min=1e-300)
    # A vector's sign is nobody's choice; the largest entry is made positive, so that runs agree.
    axes = axes[keep][:most]
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    return torch.where(largest < 0, -axes, axes)
