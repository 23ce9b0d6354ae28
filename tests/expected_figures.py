"""What the figures of a run must show: by name of the figure, from the arrays of the run and from the
words of what is chosen, its traces. A new figure needs an entry here."""  # fmt: skip

import re
from collections import Counter

import numpy as np

CLOUD = 30  # samples of a class in projection, of as many as are stored


def trace(kind, name, **values):
    """Return a trace as it must be seen; a tuple of names leaves open which of them it has.

    `of` is the number of its class, `scale` what the colours of a picture mean, or their ends.
    """
    return {"kind": kind, "name": name, **values}


def line(name, x, y, **more):
    return trace("line", name, x=x, y=y, **more)


def by_class(found, x, y):
    """Return a line for each class; y has a dimension of classes."""
    return [
        line(name, x, y.sel({"class": name}), of=i)
        for i, name in enumerate(found["class"].values.tolist())
    ]


def band(name, x, mean, std, i):
    x, mean, std = (np.asarray(v) for v in (x, mean, std))
    there, back = mean + std, (mean - std)[::-1]
    around = {"x": np.r_[x, x[::-1]], "y": np.r_[there, back], "of": i}
    return trace("band", name, **around)


def along(values):
    """Return two or three arrays as the axes of a trace."""
    return dict(zip("xyz", values, strict=False))


def words(values):
    return [str(v) for v in np.asarray(values).tolist()]


def numbers(text):
    return [int(n) for n in re.findall(r"\d+", text)]


def shown_moment(what):
    """Return which of states and residuals is chosen, and over which steps it goes."""
    return ("state", "state") if "state" in what else ("residual", "layer")


def depth(found, chosen):
    states, layers = found.state, found.layer
    return [
        line("depth curve", states, found.curve_loss, error=found.curve_loss_error),
        line("settle distance", layers, found.settle_distance),
        line("relative settle distance", layers, found.relative_settle_distance),
        line("spread", layers, found.spread),
        line("relative spread", layers, found.relative_spread),
    ]


def history(found, chosen):
    return [line("layers", found.epoch, found.depth_after_epoch)]


def trajectories(found, chosen):
    what, steps = shown_moment(chosen["what"])

    def of_unit(values):
        if chosen["unit"] == "mean over units":
            return values.mean("unit")
        return values.isel(unit=numbers(chosen["unit"])[0])

    mean, std = (of_unit(found[f"{what}_{moment}"]) for moment in ("mean", "std"))
    names = found["class"].values.tolist()
    around = enumerate(names if "deviation" in chosen["around"] else ())
    at = found[steps]
    bands = [band(c, at, mean.sel({"class": c}), std.sel({"class": c}), i) for i, c in around]
    return bands + by_class(found, at, mean)


def projection(found, chosen):
    state = numbers(chosen["t"])[0]
    deep = "three" in chosen["view"]
    sides = (1, 2, 3) if deep else numbers(chosen["view"])
    traces = []
    for i, name in enumerate(found["class"].values.tolist()):
        cloud = found.projected.sel({"class": name, "state": state})[:CLOUD]
        trail = found.projected_mean.sel({"class": name, "state": slice(0, state)})
        for kind, values in (("points", cloud), ("line", trail)):
            axes = along([values.sel(axis=k) for k in sides])
            traces.append(trace(kind, name, **axes, of=i))
    return traces


def fisher(found, chosen):
    return [
        line("states x_t", found.state, found.fisher),
        line("residuals y_t", found.layer, found.residual_fisher),
    ]


def class_distance(found, chosen):
    one, other = np.triu_indices(found.sizes["class"], 1)
    pairs = found.class_distance.transpose("state", "class", "class_b").values[:, one, other]
    names = "closest pair", "mean of all pairs", "farthest pair"
    ways = pairs.min(1), pairs.mean(1), pairs.max(1)
    return [line(name, found.state, way) for name, way in zip(names, ways, strict=True)]


def within_class(found, chosen):
    return by_class(found, found.state, found.state_std.mean("unit"))


def probes(found, chosen):
    return [
        line("probe of states x_t", found.state, found.probe_accuracy),
        line("probe of residuals y_t", found.layer, found.residual_probe_accuracy),
        line("the network's head on x_t", found.state, found.head_accuracy),
    ]


def phase(found, chosen):
    if "three" in chosen["plane"]:
        units = found.shown.values.tolist()
        return _paths(found, units) + _rests(found, units)
    units = numbers(chosen["plane"])[:2]  # and where the plane cuts the axis of the third
    plane = found.plane_unit.values.tolist().index(units)
    up, across = np.meshgrid(found.up, found.across, indexing="ij")
    angle = found.direction.transpose("plane", "up", "across")[plane].values.ravel()
    arrows = trace("points", "direction of eq. 3", x=across.ravel(), y=up.ravel(), angle=angle)
    ends = found.nullcline.transpose("plane", "of", "coordinate", "end").values[plane]
    nulls = [
        line(f"nullcline of the unit {s}", *ends[k])
        for k, s in enumerate(("across", "up"))
        if np.isfinite(ends[k]).all()
    ]
    rests = [*_rests(found, units), _crowds(found, units)]
    return [arrows, *nulls, *_paths(found, units), *rests]


def _crowds(found, units):
    """Return the places, to 0.02, where several fixed points are seen."""
    at = [found.shown.values.tolist().index(unit) for unit in units]
    places = Counter(map(tuple, (found.fixed_point.values[:, at] / 0.02).round().tolist()))
    several = sorted(place for place, n in places.items() if n > 1)
    x, y = np.array(several).T * 0.02 if several else ([], [])
    return trace("points", "points in one place", x=x, y=y)


def _paths(found, units):
    flat = len(units) == 2
    traces = []
    for i, name in enumerate(found["class"].values.tolist()):
        for path, said in (("map_path", "exact map"), ("ode_path", "eq. 3")):
            values = found[path].sel({"class": name})
            axes = along([values.sel(shown=unit) for unit in units])
            kind = "points" if path == "map_path" and not flat else "line"
            traces.append(trace(kind, f"{name}, {said}", **axes, of=i))
    return traces


def _rests(found, units):
    traces = []
    for verdict in np.unique(found.verdict):
        points = found.fixed_point.values[found.verdict.values == verdict]
        at = [found.shown.values.tolist().index(unit) for unit in units]
        traces.append(trace("points", str(verdict), **along([points[:, k] for k in at])))
    return traces


def _of_block(values, chosen):
    """Return the weights of the chosen layer, or of the only one."""
    return values.sel(block=numbers(chosen["block"])[0]) if "block" in chosen else values[0]


def interactions(found, chosen):
    z = _of_block(found.interaction, chosen)
    x, y = words(found.unit_j), words(found.unit_i)
    return [trace("heatmap", "w_ij", x=x, y=y, z=z, scale="diverging")]


def helpers(found, chosen):
    row, column = numbers(chosen["pixel"])
    pixel = found.pixel.values.tolist().index(row * found.sizes["column"] + column)
    z = _of_block(found.helper, chosen).isel(pixel=pixel)
    ring = trace("points", "chosen pixel", x=[column], y=[row])
    return [trace("heatmap", "w_ij", z=z, scale="diverging"), ring]


def own_contribution(found, chosen):
    return by_class(found, found.layer, found.own_contribution)


def mean_contribution(found, chosen):
    z = found.mean_contribution.sel({"class": chosen["true"]}).transpose("part", "class_b")
    x, y = words(found.class_b), words(found.part)
    return [trace("heatmap", "mean contribution", x=x, y=y, z=z, scale="diverging")]


def sample(found, chosen):
    k = numbers(chosen["sample"])[0]
    pushes = found.sample_contribution.isel(sample=k).transpose("class", "part")
    x, y = words(found.part), words(found["class"])
    colours = [trace("heatmap", "contribution", x=x, y=y, z=pushes, scale="diverging")]
    if "sample_image" in found:
        colours.append(trace("heatmap", "input", z=found.sample_image[k], scale="grey"))
    return by_class(found, found.state, found.sample_logit.isel(sample=k)) + colours


def decided(found, chosen):
    return by_class(found, found.state, found.decided_share)


def windows(found, chosen):
    z = found["window_accuracy_mean" if "mean" in chosen["others"] else "window_accuracy"]
    layers = [f"layer {t}" for t in [*found.layer.values, found.sizes["layer"] + 1]]
    both = [found[name] for name in ("window_accuracy", "window_accuracy_mean")]
    least = max(1 / found.sizes["class"], min(float(np.nanmin(b)) for b in both))
    x, y = ["nothing", "input", *layers[:-1]], ["input", *layers]
    z, ends = z.transpose("from", "to"), (min(least, 0.99), 1)
    return [trace("heatmap", "accuracy", x=x, y=y, z=z, scale=ends)]


def sensitive_unit(found, chosen):
    what, steps = shown_moment(chosen["what"])
    own, unit = chosen["unit"].rsplit(": unit ", 1)
    assert int(unit) == int(found.sensitive_unit.sel({"class": own}))
    mean = found[f"{what}_mean"].isel(unit=int(unit))
    return by_class(found, found[steps], mean)


def images(found, chosen):
    pictures = {
        "residual at layer 1,000": lambda: found.steady_residual,
        "residual at the last layer": lambda: found.residual_mean.isel(layer=-1),
        "residual at layer 1": lambda: found.residual_mean.isel(layer=0),
        "mean input": lambda: found.state_mean.isel(state=0),
    }
    rows, wide = found.attrs["image"]
    flat = pictures[chosen["what"]]().transpose("class", "unit").values[:, : rows * wide]
    z = side_by_side(flat.reshape(-1, rows, wide))
    return [trace("heatmap", chosen["what"], z=z, scale="grey")]


def side_by_side(pictures, across=5):
    """Return pictures (n, row, column), n a multiple of `across`, in lines: room above, and between."""
    above = round(0.4 * pictures.shape[1])
    framed = np.pad(pictures, ((0, 0), (above, 0), (0, 1)), constant_values=np.nan)
    lines = [np.hstack(framed[k : k + across]) for k in range(0, len(framed), across)]
    return np.vstack(lines)[:, :-1]


def gain(found, chosen):
    return [
        line("to x_T, worst direction", found.state, found.gain),
        line("to x_T, all directions", found.state, found.gain_rms),
        line("to the logits, worst", found.state, found.logit_gain),
    ]


def strength(found, kind, k):
    """Return how a strength of noise is called."""
    letter = {"gradient-sign": "ε", "salt-and-pepper": "share", "occlusion": "share"}.get(kind, "σ")
    return f"{letter} = {float(found.noise_strength.sel(noise=kind)[k]):g}"


def signal_to_noise(found, chosen):
    ratio = found.signal_to_noise.sel(noise=chosen["noise"]).transpose("level", "state")
    return [line(strength(found, chosen["noise"], k), found.state, y) for k, y in enumerate(ratio)]


def noise_accuracy(found, chosen):
    kinds = found.noise.values.tolist()
    return [_noise(found, kind, kind) for kind in kinds]


def _noise(found, kind, name):
    x, y, error = (
        found[f"noise_{array}"].sel(noise=kind)
        for array in ("strength", "accuracy", "accuracy_error")
    )
    return line(name, x, y, error=error)


def lesions(found, chosen):
    y, error = found.lesion_loss, found.lesion_loss_error
    return [trace("bar", "loss added", x=found.layer, y=y, error=error)]


def compared(array, steps):
    """Return what a figure of several runs shows: a line for each run that has the array."""

    def expected(runs, chosen):
        held = {name: found for name, found in runs.items() if array in found}
        return [line(name, found[steps], found[array]) for name, found in held.items()]

    return expected


def _noisy(runs):
    return {name: found for name, found in runs.items() if "noise_accuracy" in found}


def all_noise(runs, chosen):
    return [_noise(found, chosen["noise"], name) for name, found in _noisy(runs).items()]


def all_signal(runs, chosen):
    traces = []
    for name, found in _noisy(runs).items():
        ratio = found.signal_to_noise.sel(noise=chosen["alike"])
        traces.append(line(name, found.state, ratio.isel(level=numbers(chosen["level"])[0] - 1)))
    return traces


FIGURES = {
    "depth": depth,
    "history": history,
    "trajectories": trajectories,
    "projection": projection,
    "fisher": fisher,
    "class-distance": class_distance,
    "within-class": within_class,
    "probes": probes,
    "phase": phase,
    "interactions": interactions,
    "helpers": helpers,
    "own-contribution": own_contribution,
    "mean-contribution": mean_contribution,
    "sample": sample,
    "decided": decided,
    "windows": windows,
    "sensitive-unit": sensitive_unit,
    "images": images,
    "gain": gain,
    "signal-to-noise": signal_to_noise,
    "noise-accuracy": noise_accuracy,
    "lesions": lesions,
    "all-curve": compared("curve_loss", "state"),
    "all-settle": compared("settle_distance", "layer"),
    "all-spread": compared("spread", "layer"),
    "all-fisher": compared("fisher", "state"),
    "all-gain": compared("gain", "state"),
    "all-noise": all_noise,
    "all-signal": all_signal,
}
