"""Sections of two experiments on transients: what decides the class (E5), how classes part (E6)."""

import xarray as xr

from residua.report.attribution_figures import attribution_figures, sensitive_figures
from residua.report.parting_figures import parting_figures
from residua.report.run_figures import run_data, without_samples
from residua.report.shown import Group, Section, Shown
from residua.report.thinned import Limits
from residua.report.trajectory_figures import trajectory_figures


def deciding_section(found: xr.Dataset) -> Section:
    """Return E5's figures: what decides the class, and the most sensitive units."""
    data, left_out = run_data(found, Limits())
    figures = [*sensitive_figures(data, found), *attribution_figures(data, found)]
    return Section({"What decides": _drawn(figures)}, data, _said(found, left_out))


def parting_section(found: xr.Dataset) -> Section:
    """Return E6's figures: how far apart the classes are at every layer."""
    data, left_out = run_data(found, Limits())
    figures = [*parting_figures(data, found), *trajectory_figures(data, found)]
    return Section({"How classes part": _drawn(figures)}, data, _said(found, left_out))


def _drawn(figures: Group) -> list[Shown]:
    """Return the figures that an experiment has the arrays for; others are not its own."""
    return [figure for figure in figures if isinstance(figure, Shown)]


def _said(found: xr.Dataset, left_out: list[str]) -> list[str]:
    held = [f"The page holds {', '.join(left_out)}; all are in the .nc."] if left_out else []
    return [*without_samples(found), *held]
