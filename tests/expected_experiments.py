"""Sections of experiments, of a matrix and of a model, drawn from arrays at random; and what each of
their figures must show, as in expected_figures.py."""  # fmt: skip

from functools import partial

import numpy as np
import torch
import xarray as xr

from expected_figures import by_class, line, numbers, phase, side_by_side, trace, words
from problems import matrix
from residua.dynamics.planes import portrait_planes
from residua.dynamics.portrait import portrait
from residua.dynamics.residual_map import ResidualMap
from residua.report.comparison_figures import comparison_section
from residua.report.dynamics_figures import overlay_section, rest_section
from residua.report.evidence_figures import Dots, Lines, evidence_section
from residua.report.model_figures import model_section
from residua.report.portrait_figures import portrait_section
from residua.report.tables import Table

SIZES = {"layer": 4, "class": 5, "unit": 18, "input": 16, "gain": 3, "step_size": 3, "mode": 6}
COORDS = {
    "layer": [1, 2, 5, 9],
    "class": list("abcde"),
    "gain": [0.5, 1, 2],
    "step_size": [1, 0.5, 0.25],
}
MEASURES = {
    "|y|": "ratio",
    "1": "influence",
    "spread": "spread",
    "settle": "settle",
    "mean": "magnitude",
}
RESIDUALS = "network", "map", "ode"


def at_random(arrays):
    """Return arrays of the dimensions that are named for each."""
    generator = np.random.default_rng(0)
    drawn = {
        name: (dims, generator.uniform(0.1, 1, [SIZES[d] for d in dims]))
        for name, dims in arrays.items()
    }
    used = {dim for dims in arrays.values() for dim in dims}
    return xr.Dataset(drawn, coords={dim: at for dim, at in COORDS.items() if dim in used})


def everything():
    """Return by name each section, and by figure what it must show."""
    return {
        "E1": _overlay(), "E3": _rest(), "E8": _noise(), "matrix": _matrix(), "model": _model(),
        "evidence": _evidence(),
    }  # fmt: skip


def _overlay():
    dims = ("layer", "class", "unit")
    arrays = {f"{name}{end}": dims for name in RESIDUALS for end in ("", "_sum")}
    found = at_random(arrays | {"departure": ("gain", "step_size")})
    expected = {"overlay": overlay, "departure": departure}
    return overlay_section(found), {name: partial(f, found) for name, f in expected.items()}


def overlay(found, chosen):
    end = "_sum" if "sums" in chosen["what"] else ""
    unit = numbers(chosen["unit"])[0]
    traces = []
    for i, name in enumerate(COORDS["class"]):
        for array, said in zip(RESIDUALS, ("network", "exact map", "eq. 3"), strict=True):
            y = found[array + end].sel({"class": name}).isel(unit=unit)
            kind = "points" if array == "map" else "line"
            traces.append(trace(kind, f"{said}, {name}", x=found.layer, y=y, of=i))
    return traces


def departure(found, chosen):
    gaps = found.departure
    return [line(f"W times {g:g}", found.step_size, gaps.sel(gain=g)) for g in COORDS["gain"]]


def _rest():
    names = ("spread", "spread_within", "impulse_strength", "step_strength")
    arrays = dict.fromkeys(names, ("layer",))
    arrays |= {"moved_share": ("layer", "class"), "residual_mean": ("layer", "class", "unit")}
    arrays |= {"input_mean": ("class", "input"), "helpers": ("input",)}
    arrays |= dict.fromkeys(("impulse_change", "step_change"), ("layer", "input"))
    arrays |= dict.fromkeys(("eigenvalue_real", "eigenvalue_imag"), ("class", "mode"))
    found = at_random(arrays).assign_attrs(pixel=6)  # row 1, column 2 of 4
    t, real, imag = found.layer, found.eigenvalue_real, found.eigenvalue_imag
    ends = {
        "residual at layer 9": found.residual_mean[-1, :, :16],
        "mean input": found.input_mean,
    }
    pushes = np.stack([found[f"{p}_change"][k] for p in ("impulse", "step") for k in (0, -1)])
    helpers = found.helpers.values.reshape(4, 4)
    spreads = {"over all samples": "spread", "within a class": "spread_within"}
    expected = {
        "moved": lambda _: by_class(found, t, found.moved_share),
        "rest-spread": lambda _: [line(name, t, found[a]) for name, a in spreads.items()],
        "push": lambda _: [line(p, t, found[f"{p}_strength"]) for p in ("impulse", "step")],
        "rest-images": lambda chosen: _pictures(chosen["what"], ends[chosen["what"]], 5, "grey"),
        "rest-pushes": lambda _: _pictures("change", pushes, 2, "diverging"),
        "rest-helpers": lambda _: [
            trace("heatmap", "w_ij", z=helpers, scale="diverging"),
            trace("points", "itself", x=[2], y=[1]),
        ],
        "eigenvalues": lambda _: [
            trace("points", name, x=real[i], y=imag[i], of=i)
            for i, name in enumerate(COORDS["class"])
        ],
    }
    return rest_section(found), expected


def _evidence():
    over = {"shared": [0.5, 0.2, 0.1], "variable": [0.9, 0.7]}
    seeds = {"a net": [1.0, 3.0, 2.0], "one seed": [4.0]}
    figures = [
        Lines("spread", "Spread", "layer", "y", "What it is.", over, 2),
        Dots("left", "Layers", "layers", "What it is.", seeds),
    ]
    places = {"a net": [-0.25, 0, 0.25], "one seed": [1]}
    expected = {
        "spread": lambda _: [line(n, np.arange(2, 2 + len(v)), v) for n, v in over.items()],
        "left": lambda _: [trace("points", n, x=places[n], y=v) for n, v in seeds.items()],
    }
    table = Table("A table", ["what", "how"], [["one", "a cell so long that its lines must break"]])
    return evidence_section(figures, ("A paragraph.",), (table,)), expected


def _pictures(name, flat, across, scale):
    z = side_by_side(np.asarray(flat).reshape(-1, 4, 4), across)
    return [trace("heatmap", name, z=z, scale=scale)]


def _noise():
    generator = np.random.default_rng(1)

    def kind():
        middle = generator.uniform(-5, 5)
        of = {name: generator.uniform(50, 99, 3).tolist() for name in ("resnet", "mlp")}
        strengths = np.sort(generator.uniform(0.1, 1, 3)).tolist()
        gap = {"difference": [middle, middle - 1, middle + generator.uniform(0.5, 2)]}
        return gap | of | {"strengths": strengths, "verdict": "neither"}

    cells = [
        {
            "name": name, "depth": depth, "equal": True, "signal_to_noise": [0.5, 0.4],
            "kinds": {"gaussian": kind(), "occlusion": kind()},
            "signal_to_noise_by_state": generator.uniform(1, 9, (2, depth + 1)).tolist(),
        }
        for name, depth in (("wide", 3), ("deep", 5))
    ]  # fmt: skip
    for cell in cells:  # the strengths of a kind are those of the first
        for name in cell["kinds"]:
            cell["kinds"][name]["strengths"] = cells[0]["kinds"][name]["strengths"]
    by_name = {c["name"]: c for c in cells}

    def differences(_):
        gaps = {
            k: np.array([c["kinds"][k]["difference"] for c in cells]) for k in cells[0]["kinds"]
        }
        return [
            trace("points", k, y=gap[:, 0], error=gap[:, 2] - gap[:, 0]) for k, gap in gaps.items()
        ]

    def by_strength(chosen):
        of = by_name[chosen["cell"]]["kinds"][chosen["kind"]]
        return [line(name, of["strengths"], of[name.lower()]) for name in ("ResNet", "MLP")]

    def by_state(chosen):
        both = np.full((2, 6), np.nan)
        values = np.array(by_name[chosen["cell"]]["signal_to_noise_by_state"])
        both[:, : values.shape[1]] = values
        return [line(name, range(6), y) for name, y in zip(("ResNet", "MLP"), both, strict=True)]

    expected = {"differences": differences, "by-strength": by_strength, "by-state": by_state}
    return comparison_section(cells), expected


def _matrix():
    W = matrix(np.random.default_rng(2).normal(size=(4, 4)).tolist())
    start = torch.tensor([0.3, -0.2, 0.1, 0.4], dtype=torch.float64)
    found = portrait(ResidualMap(W), start=start)
    planes = portrait_planes(found.residuals, found.fixed, start)
    path, of_each = found.path.numpy(), found.fixed.multipliers.numpy().round(6)
    verdicts = np.array(found.fixed.verdicts)
    circle = np.exp(2j * np.pi * np.arange(181) / 180)

    def multipliers(_):
        values = {v: of_each[verdicts == v].ravel() for v in np.unique(verdicts)}
        points = [trace("points", str(v), x=m.real, y=m.imag) for v, m in values.items()]
        return [line("radius 1", circle.real, circle.imag), *points]

    expected = {
        "phase": partial(phase, planes),
        "helpers": lambda _: _helpers(W[2].numpy(), 2),
        "multipliers": multipliers,
        "path": lambda _: [
            line(f"unit {k}", range(1, len(path) + 1), path[:, k]) for k in range(4)
        ],
    }
    return portrait_section(found, planes, 4, 2), expected


def _helpers(row, unit):
    others = np.arange(len(row)) != unit
    bars = {"helps": (row > 0) & others, "hinders": (row < 0) & others, "itself": ~others}
    x = range(len(row))
    return [trace("bar", n, x=x, y=np.where(kept, row, np.nan)) for n, kept in bars.items()]


def _model():
    found = at_random(dict.fromkeys(MEASURES.values(), ("layer",)))
    names = [f"block {t}" for t in found.layer.values]
    found = found.assign(kept=("layer", [1, 0, 1, 1])).assign_coords(block=("layer", names))

    def layers(chosen):
        y = found[next(a for start, a in MEASURES.items() if chosen["measure"].startswith(start))]
        return [trace("bar", "layer", x=words(names), y=y)]

    return model_section(found), {"layers": layers}
