"""Tables of any model: what every layer of it adds."""

import xarray as xr

from residua.report.tables import Table

_COLUMNS = {
    "mean |y|": "magnitude",
    "|y|/|x|": "ratio",
    "1-cos": "influence",
    "spread": "spread",
    "settle": "settle",
}


def model_layers(title: str, found: xr.Dataset) -> Table:
    """Return one row a layer."""
    rows = []
    for t, name in enumerate(found.block.values.tolist()):
        cells = [float(found[variable][t]) for variable in _COLUMNS.values()]
        rows.append([name, *("" if v != v else f"{v:.4f}" for v in cells)])
    stages = list(dict.fromkeys(found.stage.values.tolist()))
    relation = "what its branch puts out" if found.branch_is_residual else "a difference of states"
    note = (
        f"y is {relation}. |y|/|x|: how much it adds to the state; 1-cos: how far it turns it; spread: "
        "how much of it depends on the input; settle: how far it is from the layer before, both "
        f"relative. Stages: {', '.join(stages)}. Head: {found.attrs['head']}."
    )
    return Table(title, ["layer", *_COLUMNS], rows, note)
