"""Networks, analyses and pages that the tests of the report look at."""

import base64
import json
import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import residua as rs
from residua.analysis import analyse, perturb
from residua.data import DataSplits
from residua.report.page import write_page
from residua.report.run_figures import run_data, run_figures
from residua.report.shown import Shown
from residua.report.thinned import Limits
from residua.sources import Split

SUMMARY = {
    "data": "digits", "adaptive": "none", "depth_initial": 5, "depth_final": 3, "test_error": 4.2,
    "val_error": 4.0, "seconds": 2.0, "seed": 0, "machine": "a machine", "versions": {"residua": "0"},
    "command": "residua fit digits", "decisions": [],
}  # fmt: skip
TYPES = {"f4": "<f4", "f8": "<f8", "i4": "<i4"}


def network(*, depth=3, weights="shared", width=70, inputs=64, classes=10):
    torch.manual_seed(0)
    return rs.ResNet(inputs, width, classes, depth=depth, weights=weights).eval()


def analysis_of(net, *, noisy=False, data=None) -> xr.Dataset:
    data = data or rs.load_data("digits")
    found = analyse(net, data, "val").assign(depth_after_epoch=("epoch", [5, 5, net.depth]))
    found = found.assign_coords(epoch=[1, 2, 3])
    if noisy:
        with warnings.catch_warnings():  # as for tests, see conftest.py; this runs in a fixture
            warnings.filterwarnings("ignore", module=r"torch\.jit.*")
            more = perturb(net, data, "val")
        found = found.assign(more).assign_attrs(more.attrs)
    return found


def quarters() -> rs.DataSplits:
    """Return the circles told apart by left and right, too: four classes of two inputs."""
    data = rs.load_data("circles")

    def told(split):
        return replace(split, y=2 * split.y + (split.x[:, 0] > 0))

    names = tuple(f"{circle}, {side}" for circle in data.classes for side in ("left", "right"))
    parts = {name: told(getattr(data, name)) for name in ("train", "val", "test")}
    return replace(data, **parts, classes=names)


def page_of(path: Path, found: xr.Dataset, name="a run", **summary) -> str:
    write_page(path, f"residua: {name}", {name: (SUMMARY | summary, found)})
    return path.read_text("utf-8")


def held(page: str) -> dict:
    """Return the JSON that a page holds."""
    found = re.search(r'<script type="application/json" id="residua-data">(.*?)</script>', page)
    return json.loads(found[1])


def array(stored: dict) -> np.ndarray:
    values = np.frombuffer(base64.b64decode(stored["data"]), TYPES[stored["type"]])
    return values.reshape(stored["shape"])


def drawn(page: str, figure: str, trace: str, key: str, **chosen: int) -> np.ndarray:
    """Return what a page draws for a property of a trace, found by its name, with these choices."""
    whole = held(page)
    of = whole["figures"][f"r0-{figure}"]
    where = [t["name"] for t in of["data"]].index(trace)
    source = next(s for s in of["sources"] if (s["trace"], s["property"]) == (where, key))
    name = source["names"][chosen[source["by"]]] if "by" in source else source["array"]
    stored = whole["sections"][of["section"]]["arrays"][name]

    def index(dim: str) -> int | slice:
        place = source["at"].get(dim, slice(None))
        if isinstance(place, list):  # a choice, and what each of its options means
            return place[1][chosen[place[0]]]
        return chosen[place[1:]] if isinstance(place, str) else place

    return array(stored)[tuple(index(dim) for dim in stored["dims"])]


def captions(found: xr.Dataset, limits: Limits | None = None) -> dict[str, str]:
    """Return what the figures of a run say, by name."""
    data, _ = run_data(found, limits or Limits())
    groups = run_figures(data, found).values()
    return {f.name: f.caption for group in groups for f in group if isinstance(f, Shown)}


def small():
    """Return a network of five units, its four pixels, and four classes, one absent in the test split.

    Most labels are the network's own decisions, so that the depth curve falls.
    """
    torch.manual_seed(0)
    net = rs.ResNet(4, 5, 4, depth=3).double().eval()
    with torch.no_grad():
        net.blocks[0].linear.weight.copy_(1.5 * torch.randn(5, 5))
        net.head.weight.copy_(2 * torch.randn(4, 5))
        net.head.bias.zero_()

    def split(samples: int, absent: int = -1) -> Split:
        x = torch.randn(samples, 2, 2)
        y = net(x.double()).argmax(1)
        y[::7] = (y[::7] + 1) % 4
        return Split(x[y != absent], y[y != absent])

    return net, DataSplits("small", split(400), split(100), split(90, 1), tuple("abcd"))
