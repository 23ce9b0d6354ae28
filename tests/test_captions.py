"""Captions are true of the whole run, also where the page holds a part of it or values are missing."""

import warnings

import numpy as np
import pytest
import xarray as xr

import residua as rs
from pages import captions, page_of, small
from problems import TWO_UNITS
from residua.analysis import analyse, perturb
from residua.dynamics.planes import judged
from residua.report.phase_figures import phase_figures, with_planes
from residua.report.shown import number, percent, signed
from residua.report.side_by_side import side_by_side
from residua.report.thinned import Limits

FEW = Limits(steps=2, classes=2, units=2, samples=5, members=5)


@pytest.fixture(scope="module")
def found():
    net, data = small()
    whole = analyse(net, data, "test")
    with warnings.catch_warnings():  # as for tests, see conftest.py; this runs in a fixture
        warnings.filterwarnings("ignore", module=r"torch\.jit.*")
        more = perturb(net, data, "test")
    return whole.assign(more).assign_attrs(whole.attrs | more.attrs)


def given(values, dims="state"):
    return (dims, np.asarray(values, dtype=float))


def without(found, name, at):
    """Return the arrays with one value that is not a number."""
    values = found[name].copy(deep=True)
    values[at] = np.nan
    return found.assign({name: values})


@pytest.mark.parametrize("limits", [Limits(), FEW])
def test_captions_are_of_the_whole_run(found, limits):
    found = found.assign(lesion_loss=given([0.1, 0.3, 0.2], "layer"))  # most at a layer left out
    said = captions(found, limits)
    known = found.isel({"class": [0, 2, 3]})
    own = known.own_contribution.values.mean(1)
    assert said["own-contribution"] == (
        f"On average over classes layer {own.argmax() + 1} adds most, {number(own.max())}; the input "
        f"itself gives {number(known.input_contribution.values.mean())}, all 3 layers together "
        f"{number(own.sum())}."
    )
    pushes = np.nan_to_num(found.mean_contribution.values[1:-1])
    t, true, logit = np.unravel_index(np.abs(pushes).argmax(), pushes.shape)
    assert said["mean-contribution"] == (
        f"The strongest push: layer {t + 1} changes the logit of class {'abcd'[logit]} by "
        f"{pushes[t, true, logit]:+.3g} in samples of class {'abcd'[true]}."
    )
    last = found.residual_mean_over_units.values[-1]
    high, low = np.nanargmax(last), np.nanargmin(last)
    assert said["trajectories"].startswith(
        f"At the last layer the mean residual over units is largest for class {'abcd'[high]}, "
        f"{number(last[high])}, and smallest for class {'abcd'[low]}, {number(last[low])}."
    )
    within = known.state_std_over_units.values.mean(1)
    assert said["within-class"] == (
        f"Mean over classes: {number(within[0])} on the input, {number(within[-1])} at the end."
    )
    fisher, probe = found.fisher.values, found.probe_accuracy.values
    assert (
        f"{number(fisher.max())}, at state {fisher.argmax()}; it is {number(fisher[0])} on"
        in (said["fisher"])
    )
    assert f"the best, of state {probe.argmax()}, in {percent(probe.max())}." in said["probes"]
    first, end = found.pair_distance.values[[0, -1]]
    assert said["class-distance"] == (
        "From the input to the last state the distance of the closest class means goes from "
        f"{number(first[0])} to {number(end[0])}, the mean over all pairs from {number(first[1])} to "
        f"{number(end[1])}."
    )
    lesion = found.lesion_loss.values
    assert said["lesions"] == (
        f"Most with layer {lesion.argmax() + 1}, {signed(lesion.max())} nats; "
        f"least {signed(lesion.min())} nats."
    )
    shown = known.steady_residual.values[:, :4]
    assert f"lie between {number(shown.min())} and {number(shown.max())}; where" in said["images"]
    assert f"differ most, by {number(shown.std(0).max())} (standard" in said["images"]
    whole, enough = found.window_accuracy.values, found.sensitive_state.values[-1]
    assert (
        f"the input alone {percent(whole[0, 1])}, both together {percent(whole[0, -1])}."
        in (said["windows"])
    )
    assert f"input reach {percent(whole[1, -1])}, " in said["windows"]
    most = sum(int(np.nanargmax(enough[c])) == c for c in (0, 2, 3))
    assert said["sensitive-unit"].startswith(f"In {most} of 3 classes the unit with the largest")
    loss = found.curve_loss.values
    assert said["depth"].startswith(
        f"The test loss is {number(loss[0])} nats on the input and lowest, {number(loss[3])}, on state "
        "3, within one standard error of that first on state 1. The last layer's residual"
    )


def test_the_sensitive_units_of_classes_that_are_not_drawn_count(found):
    classes = [str(c) for c in range(200)]
    means = np.random.default_rng(0).random((2, 200, 200))
    for c in range(200):  # the largest mean is that of another class, which the page may leave out
        means[-1, c, (c + 100) % 200], means[-1, c, c] = 5, 2
    many = xr.Dataset(
        {
            "sensitive_unit": ("class", np.zeros(200, int)),
            "sensitive_state": (("state", "class", "class_b"), means),
            "sensitive_residual": (("layer", "class", "class_b"), means[1:]),
        },
        coords={"state": [0, 1], "layer": [1], "class": classes, "class_b": classes},
    )
    assert captions(many)["sensitive-unit"].startswith("In 0 of 200 classes the unit")


def test_the_best_state_of_a_deep_network_is_named_where_it_is_not_drawn():
    loss = np.r_[np.full(500, 2.0), 0.1, np.full(500, 1.0)]
    deep = xr.Dataset(
        {
            "curve_loss": ("state", loss),
            "curve_loss_error": ("state", np.full(1001, 0.01)),
            "decided_share": (("state", "class"), np.linspace(0, 1, 1001)[:, None]),
            "head_accuracy": ("state", np.linspace(0.1, 0.9, 1001)),
        },
        coords={"state": range(1001), "layer": range(1, 1001), "class": ["a"]},
        attrs={"split": "val", "curve_best_state": 500, "curve_enough_state": 500},
    )
    said = captions(deep)
    assert (
        said["depth"] == "The validation loss is 2 nats on the input and lowest, 0.1, on state 500."
    )
    assert (
        "are final from state 500 on; the network's own head is right in 50.00 % there and in 90.00 %"
        in (said["decided"])
    )


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (
            [0.1, 0.5, 0.8, 1],
            "final from state 1 on; the network's own head is right in 20.00 % there",
        ),
        (
            [0.1, 0.2, 0.3, 0.4],
            "never final; the network's own head is right in 90.00 % at the end.",
        ),
        ([0.1, 0.2, np.nan, 0.9], "final from state 3 on; "),
    ],
)
def test_from_which_state_on_half_of_all_decisions_are_final(found, share, words):
    decided = np.repeat(np.array(share)[:, None], 4, 1)
    decided[:, 1] = np.nan  # no samples
    made = found.assign(
        decided_share=given(decided, ("state", "class")), head_accuracy=given([0.1, 0.2, 0.3, 0.9])
    )
    assert f"Half of all decisions, mean over classes, are {words}" in captions(made)["decided"]


def test_a_value_that_is_not_a_number_decides_nothing(found):
    settle = found.settle_distance.copy(data=[np.nan, 0.5, 0.004])
    assert (
        "by 0.004 per unit, below the paper's 0.01"
        in (captions(found.assign(settle_distance=settle))["depth"])
    )
    settle[-1] = 0.02
    assert (
        "by 0.02 per unit, above the paper's 0.01"
        in (captions(found.assign(settle_distance=settle))["depth"])
    )
    said = captions(without(found, "settle_distance", -1))["depth"]
    assert "the paper's" not in said
    assert "Not a number in: settle_distance" in said
    falling = found.assign(gain=given([4, 3, 2, 1]))
    assert captions(falling)["gain"].endswith("early perturbations cost more than late ones.")
    growing = captions(found.assign(gain=given([0.5, 0.6, 0.8, 1])))["gain"]
    assert growing.endswith("early perturbations cost no more than late ones.")
    for at in (0, -1):
        assert "late ones" not in captions(without(falling, "gain", at))["gain"]
    assert "not a number" in captions(without(falling, "gain", 0))["gain"]
    unknown = captions(without(found, "residual_mean_over_units", -1))["trajectories"]
    assert unknown.startswith("At the last layer no mean residual is a number.")


def test_noise_is_told_figure_by_figure_and_beside_the_same_samples(found, tmp_path):
    worst = found.noise_accuracy.values[:, -1]
    kind, strength = (
        found.noise.values[worst.argmin()],
        found.noise_strength.values[worst.argmin(), -1],
    )
    assert kind == "gradient-sign"
    assert captions(found)["noise-accuracy"] == (
        f"{percent(found.attrs['clean_accuracy'])} of the same samples are right without noise. At the "
        f"largest strengths {kind} (ε = {strength:g}) hurts most: {percent(worst.min())}."
    )
    assert found.attrs["clean_accuracy"] == pytest.approx(float(found.head_accuracy[-1]))
    said = captions(without(found, "noise_accuracy", (slice(None), -1)))["noise-accuracy"]
    assert said.endswith("At the largest strengths no accuracy is a number.")
    page = page_of(tmp_path / "page.html", found.drop_vars("gain"))
    assert "it is the same for every layer" in page  # of one map
    uneven = found.assign(lesion_loss=found.lesion_loss + 0.01 * found.layer)
    assert "the arrays hold no gain" in page
    assert "was not perturbed" not in page
    assert {"noise-accuracy", "signal-to-noise", "lesions"} <= set(
        captions(uneven.drop_vars("gain"))
    )
    names = ["gain", "noise_accuracy", "signal_to_noise", "lesion_loss"]
    assert "this run was not perturbed" in page_of(tmp_path / "page.html", found.drop_vars(names))


def test_noise_of_several_runs_is_of_what_all_have(found):
    other = found.isel(noise=[5, 0, 1]).copy(deep=True)
    other.noise_strength[2] += 0.05
    data, figures = side_by_side({"a": found, "b": other})
    by_name = {f.name: f for f in figures}
    kinds = by_name["all-noise"].choices[0].options
    assert list(kinds) == ["gaussian", "uniform", "occlusion"]
    np.testing.assert_allclose(data["a: noise_accuracy"], found.noise_accuracy.sel(noise=kinds))
    np.testing.assert_allclose(data["b: noise_accuracy"], other.noise_accuracy.sel(noise=kinds))
    assert "not all runs have it: layers, gradient-sign, salt-and-pepper." in (
        by_name["all-noise"].caption
    )
    # Signal to noise is beside each other by strength, so the strengths must be the same.
    assert list(by_name["all-signal"].choices[0].options) == ["gaussian", "occlusion"]
    np.testing.assert_allclose(
        data["b: signal_to_noise"], other.signal_to_noise.sel(noise=["gaussian", "occlusion"])
    )
    fewer = found.isel(level=[0, 2])
    names = {f.name for f in side_by_side({"a": found, "b": fewer})[1]}
    assert "all-noise" in names
    assert "all-signal" not in names


@pytest.mark.parametrize(
    ("split", "words"),
    [("train", "training loss"), ("val", "validation loss"), ("test", "test loss"), ("", "loss")],
)
def test_a_loss_is_called_after_the_split_it_is_of(found, tmp_path, split, words):
    of_split = found.assign_attrs(split=split)
    assert captions(of_split)["depth"].startswith(f"The {words} is ")
    if split == "train":
        page = page_of(tmp_path / "page.html", of_split)
        assert "Depth curve: cross-entropy on the training split of a head" in page
        assert "held-out" not in page[: page.index("plotly.js")]


def test_the_shares_of_the_axes_are_told_apart(found):
    between, total = given([0.5, 0.3, 0.1], "axis"), given([0.2, 0.1, 0.05], "axis")
    said = captions(found.assign(between_share=between, total_share=total))["projection"]
    assert (
        "axes 1 and 2 hold 80.00 %, all three 90.00 %; of all its variance over samples, the three"
        in said
    )
    assert "hold 35.00 %. " in said


def test_fixed_points_are_counted_before_some_are_stored(found):
    points = rs.enumerate_fixed_points(TWO_UNITS)
    some = judged(points, [0, 1], most=2)
    assert some.sizes["point"] == 2 < len(points.verdicts)
    apart = sum(a != b for a, b in zip(points.verdicts, points.ode_verdicts, strict=True))
    assert some.attrs["fixed_points_apart"] == apart
    fewer = found.drop_vars(["fixed_point", "verdict", "ode_verdict"]).isel(shown=[0, 1], plane=[0])
    fewer = fewer.assign_coords(shown=[0, 1]).assign(
        plane_unit=given([[0, 1]], ("plane", "coordinate"))
    )
    one = fewer.merge(some).assign_attrs(found.attrs | some.attrs)
    said = phase_figures(with_planes(one))[0].caption
    assert f"{points.verdicts.count('saddle')} saddle" in said
    assert said.endswith(f"2 of {len(points.verdicts)} are drawn.")
    far = one.assign_attrs(fixed_points_apart=7)
    assert "differ in the verdict on 7; 2 of" in phase_figures(with_planes(far))[0].caption
