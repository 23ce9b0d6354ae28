"""The report page as a file: what it holds, says and refuses to draw. What it does: test_browser.py."""

import numpy as np
import pytest
import torch
import xarray as xr

import residua as rs
from pages import SUMMARY, analysis_of, array, held, network, page_of
from residua.analysis import analyse
from residua.data import DataSplits
from residua.dynamics.planes import portrait_planes
from residua.dynamics.portrait import portrait
from residua.report.headline import headline
from residua.report.noise_figures import noise_figures
from residua.report.page import LARGEST, Words, write_page, write_sections
from residua.report.palette import COLOURS, DARK, VERDICTS
from residua.report.parting_figures import parting_figures
from residua.report.picture_figures import image_figures
from residua.report.portrait_figures import portrait_section
from residua.report.run_figures import run_data
from residua.report.shown import (
    Missing,
    Plot,
    Section,
    Shown,
    Take,
    laid_out,
    number,
    percent,
    signed,
)
from residua.report.thinned import Limits
from residua.sources import Split


@pytest.fixture(scope="module")
def found():
    return analysis_of(network())


def test_a_page_holds_the_stored_arrays_and_no_address(found, tmp_path):
    page = page_of(tmp_path / "page.html", found)
    words = page[: page.index("plotly.js")]
    assert not [w for w in ("src=", "@import", "http://", "https://") if w in words]
    section = held(page)["sections"][0]
    for name in ("settle_distance", "spread", "curve_loss", "own_contribution", "interaction"):
        values = found[name].values
        np.testing.assert_allclose(array(section["arrays"][name]), values, rtol=1e-6, err_msg=name)
    seen = array(
        section["arrays"]["residual_mean_seen"]
    )  # (layer, class, mean over units and units)
    units = [int(label.split()[-1]) for label in section["labels"]["seen"][1:]]
    np.testing.assert_allclose(seen[..., 0], found.residual_mean.mean("unit"), rtol=1e-6)
    np.testing.assert_allclose(seen[..., 1:], found.residual_mean[..., units], rtol=1e-6)
    figures = held(page)["figures"]
    assert {"r0-depth", "r0-trajectories", "r0-projection", "r0-phase", "r0-sample"} <= set(figures)
    assert page.count("<figure ") == len(figures)


def test_the_stored_overview_is_what_the_parts_give(found):
    data, net = rs.load_data("digits"), network()
    np.testing.assert_allclose(
        found.sample_contribution.sum("part"), found.sample_logit[-1], atol=1e-5
    )
    x = data.val.x[data.val.y == 3][:1]  # the fourth sample is the first of class 3
    logits = net(x).detach()[0]
    np.testing.assert_allclose(found.sample_logit[-1, 3], logits, atol=1e-5)
    np.testing.assert_allclose(found.sample_image[3], x[0], atol=1e-6)
    # The axes hold all variance of three class means at most, and are the same for all states.
    assert float(found.between_share.sum()) <= 1 + 1e-9
    assert (np.diff(found.between_share) <= 1e-9).all()
    W = net.blocks[0].linear.weight.detach().numpy()
    order = found.unit_i.values
    np.testing.assert_allclose(found.interaction[0], W[np.ix_(order, order)])
    pixel = int(found.pixel[5])
    np.testing.assert_allclose(found.helper[0, 5].values.ravel(), W[pixel, :64])
    long = rs.prolong(net, rs.loader(data.val, 500), 3)
    np.testing.assert_allclose(found.residual_mean, long.moments.mean, atol=1e-4)


def test_a_phase_plane_is_that_of_eq_3(found):
    W = network().blocks[0].linear.weight.detach().double().numpy()
    a, b = found.plane_unit.values[0]
    ends = found.steady_residual.values.clip(0, 1).mean(0)
    line = found.nullcline.values[0]
    for of, unit in enumerate((a, b)):
        for end in line[of]:
            if np.isfinite(end).all():
                y = ends.copy()
                y[[a, b]] = end
                assert abs(W[unit] @ y) < 1e-9
    y = ends.copy()
    y[a], y[b] = found.across.values[4], found.up.values[2]
    rate = y * (1 - y) * (W @ y)
    assert float(found.speed[0, 2, 4]) == pytest.approx(np.hypot(rate[a], rate[b]))
    assert float(found.direction[0, 2, 4]) == pytest.approx(
        np.degrees(np.arctan2(rate[a], rate[b]))
    )


def test_text_from_data_cannot_leave_its_place(found, tmp_path):
    evil = "</script><script>alert(1)</script>"
    named = found.assign_coords({"class": [evil, *map(str, range(1, 10))]})
    named = named.assign_coords(class_b=named["class"].values)
    page = page_of(tmp_path / "page.html", named, name=f"<img src=x onerror=alert(1)>{evil}")
    assert evil not in page
    assert "<img" not in page
    assert held(page)["sections"][0]["labels"]["class"][0] == evil


def test_what_is_missing_is_said_and_the_rest_is_shown(found, tmp_path):
    path = tmp_path / "page.html"
    page = page_of(path, found.drop_vars(["projected", "fisher"]))
    assert "the arrays hold no projected" in page
    assert "the arrays hold no fisher" in page
    assert 'id="r0-depth"' in page
    page = page_of(path, found.assign(settle_distance=found.settle_distance * np.nan))
    assert 'id="r0-depth"' in page
    holes = found.spread.copy(data=[0.1, np.nan, 0.1])
    assert "Not a number in: spread" in page_of(path, found.assign(spread=holes))
    page = page_of(path, found.assign(own_contribution=found.own_contribution * np.nan))
    assert "no value of own_contribution is a number" in page
    variable = analysis_of(network(weights="variable"))
    page = page_of(path, variable)
    assert "its layers have weights or steps of their own" in page
    assert ">layer 2</option>" in page  # whose weights are shown


def test_one_layer_no_labels_and_summaries_that_lack_things(tmp_path):
    path = tmp_path / "page.html"
    page = page_of(path, analysis_of(network(depth=1)))
    assert "settle distance: not drawn, because the network has one layer" in page
    bare = rs.accumulate(network(), [rs.load_data("digits").val.x]).to_dataset()
    write_page(path, "bare", {"bare": ({}, bare)})
    page = path.read_text("utf-8")
    assert 'id="r0-depth"' in page
    assert "Nothing is known of layers and errors" in page
    assert "the arrays hold no projected" in page


def test_many_classes_and_layers_are_thinned_and_it_is_said(tmp_path):
    classes, layers, units = 200, 1000, 30
    rng = np.random.default_rng(0)
    state = ("state", "class", "unit")
    found = xr.Dataset(
        {
            "state_mean": (state, rng.random((layers + 1, classes, units)).astype("f4")),
            "state_std": (state, rng.random((layers + 1, classes, units)).astype("f4")),
            "residual_mean": (("layer", *state[1:]), rng.random((layers, classes, units)).astype("f4")),
            "residual_std": (("layer", *state[1:]), rng.random((layers, classes, units)).astype("f4")),
            "spread": ("layer", rng.random(layers)),
            "own_contribution": (("layer", "class"), rng.random((layers, classes))),
            "input_contribution": ("class", rng.random(classes)),
        },
        coords={
            "state": range(layers + 1), "layer": range(1, layers + 1),
            "class": [f"class {c}" for c in range(classes)],
        },
        attrs={"split": "val"},
    )  # fmt: skip
    for name in ("state_mean", "state_std", "residual_mean", "residual_std"):
        found[f"{name}_over_units"] = found[name].mean("unit")
    page = page_of(tmp_path / "page.html", found)
    assert (tmp_path / "page.html").stat().st_size <= LARGEST
    assert "60 of 1000 layers, the first 40 of 200 classes" in page
    kept = array(held(page)["sections"][0]["arrays"]["layer"])
    assert kept[0] == 1
    assert kept[-1] == 1000
    np.testing.assert_allclose(
        array(held(page)["sections"][0]["arrays"]["spread"]),
        found.spread.sel(layer=kept),
        rtol=1e-6,
    )
    assert page.count('data-class="') == 40


@pytest.mark.parametrize("shape", [(1, 1, 300), (1, 5, 7), (3, 5, 7), (1, 40)])
def test_images_of_any_shape_are_seen(shape):
    torch.manual_seed(0)
    x, y = torch.rand(90, *shape), torch.arange(90) % 3
    split = Split(x, y)
    data = DataSplits("images", split, split, split, ("a", "b", "c"))
    net = rs.ResNet(data.inputs, data.inputs + 1, 3, depth=2).eval()
    whole = analyse(net, data, "val")
    run = run_data(whole, Limits())[0]
    y_T = rs.trace(net, x.flatten(1)).residuals[-1, :, : data.inputs].reshape(90, *shape)
    colours = y_T.mean(1) if len(shape) == 3 else y_T
    means = torch.stack([colours[y == c].mean(0) for c in range(3)]).detach()
    np.testing.assert_allclose(run.last_image, means.reshape(run.last_image.shape), atol=1e-5)
    assert ("helper" in run) == (shape[0] != 3)
    assert isinstance(image_figures(run, whole)[0], Shown)


def test_a_page_stays_small_whatever_it_is_of(found, tmp_path):
    wide = {f"run {k}": (SUMMARY, found.assign(noise=2 * found.spread)) for k in range(3)}
    write_page(tmp_path / "page.html", "many", wide)
    assert (tmp_path / "page.html").stat().st_size <= LARGEST
    values = np.random.default_rng(0).random((60, 60, 100))
    data = xr.Dataset({"much": (("layer", "class", "unit"), values)})
    plot = Plot()
    plot.add("scatter", "much", {}, y=Take("much", {"class": 0, "unit": 0}))
    figure = Shown("much", "much", "caption", "definition", plot, laid_out("t", "much"))
    parts = {f"part {k}": Section({"all": [figure]}, data) for k in range(4)}
    write_sections(tmp_path / "sections.html", Words("title", "said", "lead"), parts)
    page = (tmp_path / "sections.html").read_bytes()
    assert len(page) <= LARGEST
    assert b"So that the page stays small it shows 1 of 4 parts." in page


def test_several_runs_stand_side_by_side(found, tmp_path):
    deeper = analysis_of(network(depth=4))
    runs = {"three": (SUMMARY, found), "four": (SUMMARY | {"depth_final": 5}, deeper)}
    write_page(tmp_path / "page.html", "both", runs)
    both = held((tmp_path / "page.html").read_text("utf-8"))["sections"][0]["arrays"]
    np.testing.assert_allclose(array(both["four: curve_loss"]), deeper.curve_loss)
    np.testing.assert_allclose(array(both["three: spread"]), found.spread)
    # Noise of a ResNet beside that of an MLP, where it was measured for both.
    torch.manual_seed(0)
    nets = {"resnet": network(depth=2), "mlp": rs.MLP(64, 70, 10, depth=2).eval()}
    noisy = {name: (SUMMARY, analysis_of(net, noisy=True)) for name, net in nets.items()}
    write_page(tmp_path / "page.html", "both", noisy)
    page = (tmp_path / "page.html").read_text("utf-8")
    both = held(page)["sections"][0]["arrays"]
    for name, (_, one) in noisy.items():
        for measure in ("noise_accuracy", "signal_to_noise"):
            np.testing.assert_allclose(array(both[f"{name}: {measure}"]), one[measure], rtol=1e-6)
    assert "an MLP has no residual map" in page


def test_the_headline_says_what_was_cut_at_what_accuracy_and_how_much_faster():
    whole = SUMMARY | {"depth_final": 5, "test_error": 3.0, "seconds": 6.0}
    said = headline({"none": whole, "rule": SUMMARY})
    assert said == (
        "rule: 2 of 5 layers were cut while it trained, at 4.20 % test error (uncut 3.00 %), trained in "
        "2 s instead of 6 s, 3.0 times as fast."
    )
    assert headline({"a": whole}) == "Nothing was cut: 5 layers at 3.00 % test error."
    pruned = {"before": {"seconds": 0.2}, "after": {"seconds": 0.1}, "healed": None}
    said = headline({"a": SUMMARY | {"pruned": pruned, "test_error_uncut": 3.0}})
    assert said.startswith(
        "2 of 5 layers were cut at 4.20 % test error (uncut 3.00 %): 2.0 times as"
    )


def test_the_headline_compares_like_with_like():
    whole = SUMMARY | {"depth_final": 5, "test_error": 3.0, "seconds": 6.0}
    said = headline({"whole": whole | {"data": "mnist"}, "cut": SUMMARY})
    assert said == (
        "whole: Nothing was cut: 5 layers at 3.00 % test error. cut: 2 of 5 layers were cut while it "
        "trained, at 4.20 % test error; no uncut run of the same data, seed and machine is here to "
        "compare it with."
    )
    assert "no uncut run" in headline({"whole": whole | {"seed": 1}, "cut": SUMMARY})
    assert "instead of 6 s" in headline({"whole": whole, "cut": SUMMARY})
    assert "nan" not in headline({"a": whole | {"test_error": float("nan")}})


def test_planes_of_a_matrix_alone_follow_its_map_and_keep_what_eq_3_keeps():
    W = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]])  # rock, paper, scissors
    residuals, fixed = rs.residual_map(W), rs.enumerate_fixed_points(W)
    found = portrait_planes(residuals, fixed, None, layers=20)
    assert found.plane_unit.values.tolist() == [[0, 1], [0, 2], [1, 2]]
    y = torch.tensor([0.1, 0.1, 0.9], dtype=torch.float64)
    walk = rs.residual_map(W.double()).trajectory(torch.logit(y), 20)
    where = list(found["class"].values).index("y(1) = (0.1, 0.1, 0.9)")
    np.testing.assert_allclose(found.map_path[where], walk)
    # Antisymmetric W: eq. 3 keeps H = −Σ log(1 − y_i); the map does not.
    H = -np.log1p(-found.ode_path[where].values).sum(-1)
    np.testing.assert_allclose(H, H[0], rtol=1e-5)
    assert -np.log1p(-found.map_path[where].values[-1]).sum() > H[0] * 1.1
    assert found.verdict.values.tolist() == list(fixed.verdicts)


def test_samples_are_numbered_as_in_the_arrays(found, tmp_path):
    page = page_of(tmp_path / "page.html", found)
    wrong = np.flatnonzero(found.sample_label.values != found.sample_decision.values)[:5]
    assert f"; wrong: {', '.join(map(str, wrong))}." in page
    assert f'<option value="0" selected>0: class {int(found.sample_label[0])}, ' in page


def luminance(colour):
    shares = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_every_colour_can_be_seen_on_its_paper():
    for colours, paper in ((COLOURS, "#FFFFFF"), (DARK.values(), "#171B21")):
        for colour in colours:
            dark, light = sorted([luminance(colour), luminance(paper)])
            assert (light + 0.05) / (dark + 0.05) >= 3, colour
    assert len(set(COLOURS)) == len(set(DARK.values())) == 9


def drawn(figures, name):
    return next(f for f in figures if not isinstance(f, Missing) and f.name == name)


def test_a_matrix_alone_has_one_colour_a_verdict_and_says_who_helps_whom(tmp_path):
    W = torch.tensor([[0.5, 1.0, -2.0], [0.4, 3.0, -0.3], [-1.0, 0.2, 0.7]])
    found = portrait(rs.residual_map(W))
    planes = portrait_planes(found.residuals, found.fixed, None)
    assert planes.plane_at.values.tolist() == [0.5] * 3
    section = portrait_section(found, planes, 3, 1)
    figures = section.groups["portrait"]
    phase = drawn(figures, "phase")
    assert phase.choices[0].options[0] == "units 0 and 1, unit 2 at 0.5"
    seen = set(found.fixed.verdicts)
    assert len(seen) > 1
    for figure in (phase, drawn(figures, "multipliers")):
        flat = [t for t in figure.plot.traces if t["type"] == "scatter"]
        marks = {t["name"]: t["marker"] for t in flat if t["name"] in seen}
        assert {v: (m["symbol"], m["color"]) for v, m in marks.items()} == {
            v: VERDICTS[v][:2] for v in seen
        }
    row = drawn(figures, "helpers")
    said = "Unit 1 is helped most by unit 0 (+0.4) and hindered most by unit 2 (−0.3); its own weight is"
    assert row.caption == f"{said} +3."
    shown = {name: section.data[name].values for name in ("helps", "hinders", "itself")}
    np.testing.assert_allclose(shown["helps"], [0.4, np.nan, np.nan])
    np.testing.assert_allclose(shown["hinders"], [np.nan, np.nan, -0.3])
    np.testing.assert_allclose(shown["itself"], [np.nan, 3, np.nan])
    write_sections(tmp_path / "page.html", Words("a matrix", ""), {"one": section})
    page = (tmp_path / "page.html").read_text("utf-8")
    assert 'aria-label="Starts"' in page
    assert 'aria-label="Classes"' not in page


def test_what_is_the_same_for_all_is_drawn_once(found):
    two = xr.Dataset(
        {"pair_distance": (("state", "gap"), [[1.0, 1, 1], [2, 2, 2]])},
        coords={"state": [0, 1], "class": ["a", "b"], "gap": ["closest", "mean", "farthest"]},
    )
    distances = drawn(parting_figures(two, two), "class-distance")
    assert len(distances.plot.traces) == 1
    assert distances.caption == (
        "From the input to the last state the distance of the two class means goes from 1 to 2."
    )
    lesions = xr.Dataset(
        {
            "gain": ("state", [1.0, 1]),
            "lesion_loss": ("layer", [0.0115, 0.0115]),
            "lesion_loss_error": ("layer", [0.001, 0.001]),
        },
        coords={"layer": [1, 2], "state": [0, 1]},
    )
    assert "the same for every layer, +0.0115 nats" in noise_figures(lesions, lesions)[-1].why
    uneven = lesions.assign(lesion_loss=("layer", [0.0115, -0.02]))
    assert drawn(noise_figures(uneven, uneven), "lesions").caption.endswith("least −0.02 nats.")


def test_a_run_cut_after_training_has_no_history_of_depth(found, tmp_path):
    pruned = {"before": {"seconds": 0.2}, "after": {"seconds": 0.1}, "healed": None}
    one = analysis_of(network(depth=1))
    page = page_of(tmp_path / "page.html", one, pruned=pruned, depth_initial=15, depth_final=1)
    assert "Depth over training: not drawn, because the layers went after training" in page
    assert "There is one layer" in page
    layout = held(page)["figures"]["r0-depth"]["layout"]
    assert layout["xaxis"]["range"] == [-0.5, 1.5]  # not up to the 15 that there were


def test_numbers_are_written_as_on_axes():
    assert [number(v) for v in (-0.1064, 1.79e-5, float("nan"))] == [
        "−0.106",
        "1.79·10⁻⁵",
        "unknown",
    ]
    assert [signed(-2.0), signed(0.5)] == ["−2", "+0.5"]
    assert [percent(0.569), percent(0.7055)] == ["56.90 %", "70.55 %"]
