"""The measures of a network on a split of its data, as labelled arrays."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import numpy as np
import xarray as xr
from torch import nn

from residua.choices import SplitName
from residua.convnet import ConvResNet
from residua.data import DataSplits, balanced, loader
from residua.depth.curve import depth_curve, residual_probe
from residua.dynamics.prolonged import prolong
from residua.overviews import overview
from residua.sources import Split
from residua.stack import find_stages
from residua.statistics import accumulate
from residua.transients.attribution import attribute_classes
from residua.transients.disturbance import Kind, NoiseConfig
from residua.transients.lesions import lesions
from residua.transients.noise import noise
from residua.transients.perturbation import gains
from residua.transients.streamed import Measures, measures
from residua.weights_seen import one_map

Advance = Callable[[float], None]
FIT_SAMPLES = 8192
# Samples on which the network is perturbed, and of those, on which whole Jacobians are made.
SAMPLES, FEW = 1000, 5
LAYERS = 1000  # for how many a network of one map is run on
SIGMAS = (0.1, 0.2, 0.5, 1.0)
SHARES = (0.05, 0.1, 0.2, 0.4)
NOISES: dict[Kind, tuple[float, ...]] = {
    "gaussian": SIGMAS,
    "uniform": SIGMAS,
    "layers": SIGMAS,
    "gradient-sign": SIGMAS,
    "salt-and-pepper": SHARES,
    "occlusion": SHARES,
}


def analyse(net: nn.Module, data: DataSplits, split: SplitName) -> xr.Dataset:
    """Return the measures that one pass over a split gives, and the depth curve there.

    The heads of the depth curve are fitted on the first 8,192 training samples, their ridge is chosen
    on the validation split. Windows of layers have the other parts at 0, or at their mean over the same
    training samples. With them comes what a page draws besides, see :func:`residua.overviews.overview`.
    Of networks whose states are images, or whose head reads the last residual too, there are the figures
    by layer alone.
    """
    stack = find_stages(net)
    if isinstance(net, ConvResNet) or stack.readout.residual is not None:
        why = (
            "states are images"
            if isinstance(net, ConvResNet)
            else "the head reads the last residual too"
        )
        return _by_layer(net, data, split).assign_attrs(split=split, missing_most=why)
    shown = loader(getattr(data, split), 500)
    curve = depth_curve(
        net,
        _fit_batches(data),
        loader(data.val, 500),
        score_batches=None if split == "val" else shown,
    )
    found = one_pass(net, data, split)
    measured = found.to_dataset(list(data.classes)).assign(
        curve_loss=("state", curve.loss),
        curve_loss_error=("state", curve.loss_error),
        curve_accuracy=("state", curve.accuracy),
        curve_ridge=("state", curve.ridge),
    )
    best = int(np.argmin(curve.loss))
    within = curve.loss <= curve.loss[best] + curve.loss_error[best]
    return overview(net, data, split, measured).assign_attrs(
        split=split,
        measured_samples=found.statistics.samples,
        curve_best_state=best,
        curve_enough_state=int(np.argmax(within)),
    )


def _by_layer(net: nn.Module, data: DataSplits, split: SplitName) -> xr.Dataset:
    """Return size, settle distance and spread of the residuals of all stages, one row a layer."""
    names = (
        "magnitude",
        "settle_distance",
        "relative_settle_distance",
        "spread",
        "relative_spread",
    )
    stages, parts = find_stages(net).stages, []
    for stage in dict.fromkeys(stages):
        found = accumulate(net, loader(getattr(data, split), 500), stage=stage)
        parts.append(
            found.to_dataset(list(data.classes))[list(names)].drop_vars("state", errors="ignore")
        )
    whole = xr.concat(parts, "layer")
    return whole.assign_coords(layer=range(1, len(stages) + 1), stage=("layer", list(stages)))


def one_pass(net: nn.Module, data: DataSplits, split: SplitName) -> Measures:
    """Return all measures that one pass over a split gives; means are those of training samples."""
    means = attribute_classes(net, _fit_batches(data))
    return measures(net, loader(getattr(data, split), 500), means=means)


def _fit_batches(data: DataSplits) -> Iterable[Any]:
    return islice(loader(data.train, 512), FIT_SAMPLES // 512)


def settles(net: nn.Module, split: Split) -> int | None:
    """Return from which layer on, of 1000, a network rests; None where it moves or is no one map.

    Taken on up to 1,000 samples of the split, balanced over classes.
    """
    if not one_map(net):
        return None
    return prolong(net, loader(balanced(split, SAMPLES), 100), LAYERS).settled()


def perturb(
    net: nn.Module, data: DataSplits, split: SplitName, advance: Advance = lambda share: None
) -> xr.Dataset:
    """Return probes of states and residuals, and what perturbations and noise do.

    Probes are fitted on the first 8,192 training samples, their ridge is chosen on the validation split.
    Lesions and noise take up to 1,000 samples of the split, balanced over classes, Jacobians 5.

    Args:
        net: a network with a residual stack.
        data: its data.
        split: where measures are taken.
        advance: called with the share of the work done since it was called before.
    """
    shown = loader(getattr(data, split), 500)
    scored = None if split == "val" else shown
    some = balanced(getattr(data, split), SAMPLES)
    batches = list(loader(some, 500))
    probes = {}
    for name, probe in (("", _state_probe), ("residual_", residual_probe)):
        curve = probe(net, _fit_batches(data), loader(data.val, 500), score_batches=scored)
        probes[f"{name}probe_accuracy"] = ("layer" if name else "state", curve.accuracy)
        advance(0.2)
    gain = gains(net, some.x[:FEW])
    advance(0.2)
    without = lesions(net, batches)
    advance(0.1)
    levels = []
    for kind, strengths in NOISES.items():
        levels.append(noise(net, batches, NoiseConfig(kind, strengths)))
        advance(0.3 / len(NOISES))
    by_level = ("noise", "level")
    return xr.Dataset(
        probes
        | {
            name: ("state", np.median(getattr(gain, of), 1))
            for name, of in (
                ("gain", "state"),
                ("gain_rms", "state_rms"),
                ("logit_gain", "logits"),
                ("flip_distance", "distance"),
            )
        }
        | {
            "lesion_loss": ("layer", without.more),
            "lesion_loss_error": ("layer", without.more_error),
            "lesion_accuracy": ("layer", without.accuracy),
            "noise_strength": (by_level, [n.config.strengths for n in levels]),
            "noise_accuracy": (by_level, np.stack([_known(n.accuracy) for n in levels])),
            "noise_accuracy_error": (
                by_level,
                np.stack([_known(n.accuracy_error) for n in levels]),
            ),
            "signal_to_noise": (
                (*by_level, "state"),
                np.stack([n.signal_to_noise for n in levels]),
            ),
        },
        coords={"noise": list(NOISES)},
        attrs={
            "clean_accuracy": levels[0].clean_accuracy,  # of all kinds the same
            "perturbed_samples": len(some),
            "jacobian_samples": min(FEW, len(some)),
        },
    )


def _state_probe(*args: Any, **options: Any) -> Any:
    return depth_curve(*args, target="labels", **options)


def _known(values: Any) -> np.ndarray:
    assert values is not None  # batches of a split have labels
    return np.asarray(values)
