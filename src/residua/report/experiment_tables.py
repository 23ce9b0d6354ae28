"""The tables of every experiment that `residua reproduce` knows."""

from typing import Any

from residua.choices import Experiment
from residua.report.dynamics_tables import e1_tables, e3_tables
from residua.report.tables import Table
from residua.report.transient_tables import e5_tables, e6_tables, e8_tables

_MAKERS = {"E1": e1_tables, "E3": e3_tables, "E5": e5_tables, "E6": e6_tables, "E8": e8_tables}


def experiment_tables(name: Experiment, found: dict[str, Any]) -> list[Table]:
    """Return what an experiment gave for each seed or run, beside the paper."""
    return _MAKERS[name](found)
