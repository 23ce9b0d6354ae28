"""Labelled arrays and figures as the page's scripts read them: JSON that no text can leave."""

import base64
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from residua.report.shown import Shown, Take

_EXACT = 4096  # arrays of up to so many values keep double precision


def packed(data: xr.Dataset, names: Iterable[str]) -> dict[str, Any]:
    """Return arrays by name in base64, and the labels of their dimensions."""
    arrays, labels = {}, {}
    for name in dict.fromkeys(names):
        values = data[name]
        for dim in values.dims:
            if dim in data.coords:
                labels[str(dim)] = data[dim].values.tolist()
        if values.dtype.kind in "OUST":
            labels[name] = [str(v) for v in values.values.tolist()]
        else:
            arrays[name] = _array(values)
    return {"arrays": arrays, "labels": labels}


def _array(values: xr.DataArray) -> dict[str, Any]:
    kind = "f8" if values.size <= _EXACT else "f4"
    whole = values.dtype.kind in "iub" and (not values.size or abs(values.values).max() < 2**31)
    kind = "i4" if whole else kind
    plain = np.ascontiguousarray(values.values, dtype=f"<{kind}")
    return {
        "dims": list(values.dims),
        "shape": list(values.shape),
        "type": kind,
        "data": base64.b64encode(plain.tobytes()).decode("ascii"),
    }


def drawn_by(figure: Shown) -> list[str]:
    """Return the names of the arrays that a figure draws."""
    names = [n for _, _, take in figure.plot.sources for n in take.names]
    names += [figure.click[side] for side in "xy"] if figure.click else []
    return list(dict.fromkeys(names))


def described(figure: Shown, section: int, file: str) -> dict[str, Any]:
    """Return a figure as the scripts read it."""
    return {
        "section": section,
        "file": file,
        "title": figure.title,
        "variables": list(figure.stored) or drawn_by(figure),
        "data": figure.plot.traces,
        "layout": dict(figure.layout),
        "narrow": dict(figure.narrow),
        "click": figure.click,
        "sources": [_source(*source) for source in figure.plot.sources],
        "choices": [
            {"name": c.name, "label": c.label, "start": c.start, "options": list(c.options)}
            for c in figure.choices
        ],
        "settings": [
            {"path": s.path, "by": s.by, "values": list(s.values)} for s in figure.settings
        ],
    }


def _source(trace: int, key: str, take: Take) -> dict[str, Any]:
    found: dict[str, Any] = {"trace": trace, "property": key, "at": dict(take.at)}
    several = take.by is not None
    found |= {"by": take.by, "names": take.array} if several else {"array": take.array}
    for name in ("spread", "mirror", "transpose", "tile"):
        if getattr(take, name):
            found[name] = getattr(take, name)
    return found


def as_script(value: Any) -> str:
    """Return JSON that can stand in a <script>: nothing in it ends the element or opens a comment."""
    text = json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _plain(value: Any) -> Any:
    """Return a value without numpy's types; what is not finite becomes null."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
