"""Analyses and pages that the tests of the report look at."""

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
from residua.report.page import write_page

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
