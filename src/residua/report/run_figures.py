"""All figures of one run, in the order of reading."""

from dataclasses import replace

import xarray as xr

from residua.report.attribution_figures import attribution_figures, sensitive_figures
from residua.report.cooperation_figures import cooperation_figures, with_pixels
from residua.report.depth_figures import Cut, depth_figures
from residua.report.noise_figures import noise_figures
from residua.report.parting_figures import parting_figures
from residua.report.phase_figures import phase_figures, with_planes
from residua.report.picture_figures import image_arrays, image_figures
from residua.report.shown import Group, Missing, Shown
from residua.report.thinned import Limits, thinned
from residua.report.trajectory_figures import trajectory_figures, with_unit_choice

_FEW = 5  # layers


def run_data(analysis: xr.Dataset, limits: Limits) -> tuple[xr.Dataset, list[str]]:
    """Return the arrays that the figures of a run draw, and what was left out of them, in words."""
    whole = analysis.assign(image_arrays(analysis))
    whole = whole.assign_attrs(units=int(analysis.sizes.get("unit", 0)))
    data, left_out = thinned(whole, limits)
    return with_pixels(with_planes(with_unit_choice(data))), left_out


def without_samples(whole: xr.Dataset) -> list[str]:
    """Return a sentence that names the classes without samples; nothing where all have some."""
    if "samples" not in whole or "class" not in whole.coords:
        return []
    names = [str(c) for c in whole["class"].values[whole.samples.values == 0].tolist()]
    if not names:
        return []
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return [
        f"There are no samples of class {', '.join(names[:10])}{more}: nothing is drawn of them, and "
        "means over classes are over the others."
    ]


def run_figures(data: xr.Dataset, whole: xr.Dataset, cut: Cut | None = None) -> dict[str, Group]:
    """Return the figures of a run by heading; what cannot be drawn says why.

    Args:
        data: what :func:`run_data` gives.
        whole: all arrays of the run, of which captions speak.
        cut: what was cut, to be marked.
    """
    groups = {"Depth": depth_figures(data, whole, cut), **_rest(data, whole)}
    if data.sizes.get("layer", 0) > _FEW:
        return groups
    return {heading: [_whole_ticks(f) for f in group] for heading, group in groups.items()}


def _whole_ticks(figure: Shown | Missing) -> Shown | Missing:
    """Return a figure over layers with a tick at each, where plotly would put some between them."""
    if isinstance(figure, Missing):
        return figure
    axis = figure.layout["xaxis"]
    if not axis["title"]["text"].startswith(("layer", "state")) or "type" in axis:
        return figure
    return replace(figure, layout={**figure.layout, "xaxis": axis | {"dtick": 1}})


def _rest(data: xr.Dataset, whole: xr.Dataset) -> dict[str, Group]:
    if "missing_most" in data.attrs:
        why = f"{data.attrs['missing_most']}, so there are figures by layer alone"
        return {"What is missing": [Missing("Trajectories, portrait, attribution, noise", why)]}
    return {
        "Trajectories": [*trajectory_figures(data, whole), *parting_figures(data, whole)],
        "Phase portrait": phase_figures(data),
        "Cooperation and competition": cooperation_figures(data),
        "Attribution": [*attribution_figures(data, whole), *sensitive_figures(data, whole)],
        "Residuals as images": image_figures(data, whole),
        "Noise and perturbation": noise_figures(data, whole),
    }
