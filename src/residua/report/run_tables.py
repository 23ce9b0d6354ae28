"""Tables of one run as text: its residuals by layer, its transients, its accuracy under noise."""

from typing import Any

import numpy as np
import xarray as xr

from residua.report.tables import Table

_LAYERS = (
    "mean |y|: what the layer adds; settle: how far that is from the layer before; spread: how much of "
    "it depends on the input; loss, accuracy: of a head fitted on the state after it."
)
_TRANSIENTS = (
    "Fisher: variance between classes over that within, of the state and of y_t; head: accuracy of the "
    "network's own head there; adds: to the true class's logit, less the others'; decided: decisions "
    "that do not change any more."
)
_PERTURBATIONS = (
    "probe: accuracy of a linear probe of the state and of y_t; gain: worst growth of a small "
    "perturbation of the state up to the last; lesion: loss added without the layer (nats); S/N: signal "
    "to Gaussian noise of σ = 1."
)
_NOISE = (
    "strength: accuracy. Strength: standard deviation (layers: after every layer), largest change "
    "(gradient-sign), share of the input (salt-and-pepper, occlusion)."
)


def run_tables(title: str, found: xr.Dataset) -> dict[str, Table]:
    """Return what `residua inspect` shows, by name."""
    tables = {"layers": Table(title, *layer_rows(found), _LAYERS)}
    if "fisher" in found:
        transients = Table("when the classes part", *_transients(found), _settling(found))
        tables["transients"] = transients
    if "gain" in found:
        few = found.attrs.get("jacobian_samples", "some")
        said = f"{_PERTURBATIONS} Gains: median of {few} samples."
        tables["perturbations"] = Table("perturbations", *_perturbations(found), said)
        tables["noise"] = Table("accuracy under noise", *_noise(found), _NOISE)
    return tables


def layer_rows(found: xr.Dataset) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the per-layer table that the terminal shows."""
    columns = {
        "mean |y|": ("magnitude", "{:.4f}"),
        "settle": ("settle_distance", "{:.4f}"),
        "spread": ("spread", "{:.4f}"),
        "loss": ("curve_loss", "{:.4f}"),
        "accuracy": ("curve_accuracy", "{:.2%}"),
    }
    return _by_layer(found, columns)


def _settling(found: xr.Dataset) -> str:
    """Return the note of the table, with whether the residuals come to rest."""
    if "settled_from" in found.attrs:
        layer = int(found.settled_from)
        rest = f"rest from layer {layer} on" if layer else "still move after 1,000 layers"
        return f"{_TRANSIENTS} Run on, the residuals {rest}."
    if "missing_rest" in found.attrs:
        return f"{_TRANSIENTS} The network is not run on: {found.missing_rest}."
    return _TRANSIENTS


def _by_layer(
    found: xr.Dataset, columns: dict[str, tuple[str, str]]
) -> tuple[list[str], list[list[str]]]:
    """Return a column for each measure: its name in the data and how it is written."""

    def at(name: str, pattern: str, t: int) -> str:
        values = found[name]
        dim = "state" if "state" in values.dims else "layer"
        if t == 0 and dim == "layer":
            return ""
        value: Any = values.sel({dim: t}).item()
        return "" if np.isnan(value) else pattern.format(value)

    columns = {title: of for title, of in columns.items() if of[0] in found}
    steps = found["state" if "state" in found.coords else "layer"].values.tolist()
    rows = [
        ["input" if t == 0 else str(t), *(at(*of, t) for of in columns.values())] for t in steps
    ]
    return ["layer", *columns], rows


def _transients(found: xr.Dataset) -> tuple[list[str], list[list[str]]]:
    adds = np.concatenate([[found.input_contribution], found.own_contribution])
    total = found.decided.sum(("state", "class"))
    whole = found.assign(
        adds=("state", np.nanmean(adds, 1)),  # of a class without samples nothing is known
        share_decided=found.decided.sum("class").cumsum("state") / total,
    )
    columns = {
        "Fisher": ("fisher", "{:.3g}"),
        "Fisher y": ("residual_fisher", "{:.3g}"),
        "head": ("head_accuracy", "{:.1%}"),
        "adds": ("adds", "{:+.3g}"),
        "decided": ("share_decided", "{:.1%}"),
    }
    return _by_layer(whole, columns)


def _perturbations(found: xr.Dataset) -> tuple[list[str], list[list[str]]]:
    columns = {
        "probe": ("probe_accuracy", "{:.1%}"),
        "probe y": ("residual_probe_accuracy", "{:.1%}"),
        "gain": ("gain", "{:.3g}"),
        "lesion": ("lesion_loss", "{:+.3g}"),
        "S/N": ("snr", "{:.3g}"),
    }
    snr = found.signal_to_noise.sel(noise="gaussian").isel(level=-1)
    return _by_layer(found.assign(snr=snr), columns)


def _noise(found: xr.Dataset) -> tuple[list[str], list[list[str]]]:
    rows = []
    for kind in found["noise"].values:
        one = found.sel(noise=kind)
        pairs = zip(one.noise_strength.values, one.noise_accuracy.values, strict=True)
        rows.append([str(kind), *(f"{s:g}: {a:.1%}" for s, a in pairs)])
    return ["noise", *(f"level {k + 1}" for k in range(found.sizes["level"]))], rows
