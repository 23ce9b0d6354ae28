"""What the report draws, array by array, against numpy; and that the page draws each where it says."""

import numpy as np
import pytest
import torch
from scipy.special import expit as sigmoid

import residua as rs
from pages import array, captions, drawn, held, page_of, small
from residua.analysis import analyse
from residua.report.run_tables import run_tables
from residua.report.shown import signed
from residua.weights_seen import see_weights

PRESENT = [0, 2, 3]  # class 1 has no samples in the test split


class Made:
    """The network, its data and its analysis; states (state, sample, unit) by numpy."""

    def __init__(self):
        self.net, self.data = small()
        self.found = analyse(self.net, self.data, "test")
        layer = self.net.blocks[0].linear
        self.W, b = (p.detach().numpy() for p in (layer.weight, layer.bias))
        self.K = self.net.head.weight.detach().numpy()
        flat = self.data.test.x.flatten(1).numpy().astype(float)
        states = [np.c_[flat, np.zeros(len(flat))]]
        self.z1 = states[0] @ self.W.T + b
        for _ in range(3):
            states.append(states[-1] + sigmoid(states[-1] @ self.W.T + b))
        self.states, self.y = np.stack(states), self.data.test.y.numpy()

    def means(self, values):
        """Return the mean over the samples of each class that has some."""
        return np.stack([values[..., self.y == c, :].mean(-2) for c in PRESENT], -2)


@pytest.fixture(scope="module")
def made():
    return Made()


@pytest.fixture(scope="module")
def page(made, tmp_path_factory):
    found = made.found.assign(depth_after_epoch=("epoch", [3])).assign_coords(epoch=[1])
    return page_of(tmp_path_factory.mktemp("page") / "report.html", found)


def test_of_a_class_without_samples_all_is_unknown(made, page):
    found = made.found
    assert found.samples.values[1] == 0
    names = [n for n, v in found.items() if "class" in v.dims and v.dtype.kind == "f"]
    for name in set(names) - {"samples", "sample_logit", "sample_contribution"}:
        one = found[name].isel({"class": 1})
        if name == "sensitive_state" or name == "sensitive_residual":
            one = found[name].isel(class_b=1)  # of a unit, over the samples of the class
        assert np.isnan(one).all(), name
        assert np.isfinite(found[name].isel({"class": 2})).any(), name
    states, residuals = made.states, np.diff(made.states, axis=0)
    np.testing.assert_allclose(found.state_mean[:, PRESENT], made.means(states), rtol=1e-6)
    np.testing.assert_allclose(found.residual_mean[:, PRESENT], made.means(residuals), rtol=1e-6)
    spread = np.stack([states[:, made.y == c].std(1) for c in PRESENT], 1)
    np.testing.assert_allclose(found.state_std[:, PRESENT], spread, rtol=1e-6)
    np.testing.assert_allclose(found.state_std_over_units[:, PRESENT], spread.mean(2), rtol=1e-6)
    over = found.residual_mean_over_units[:, PRESENT]
    np.testing.assert_allclose(over, made.means(residuals).mean(2), rtol=1e-6)
    assert "There are no samples of class b: nothing is drawn of them" in page
    adds = found.own_contribution.values[:, PRESENT].mean(1)
    rows = run_tables("", found)["transients"].records()
    assert [row["adds"] for row in rows[1:]] == [f"{v:+.3g}" for v in adds]


def test_units_are_ordered_by_how_much_classes_differ(made):
    apart = made.means(made.states)[-1].std(0)
    moved = made.means(np.diff(made.states, axis=0)).std(1).mean(0)
    both = apart / apart.max() + moved / moved.max()
    assert made.found.unit_order.values.tolist() == np.argsort(-both).tolist()


def test_distances_of_pairs(made):
    means = made.means(made.states)
    pairs = [np.linalg.norm(means[:, i] - means[:, j], axis=1) for i, j in ((0, 1), (0, 2), (1, 2))]
    expected = np.stack([np.min(pairs, 0), np.mean(pairs, 0), np.max(pairs, 0)], 1)
    np.testing.assert_allclose(made.found.pair_distance, expected, rtol=1e-6)
    labels = made.found.gap.values.tolist()
    assert labels == ["closest pair", "mean of all pairs", "farthest pair"]


def test_decisions_of_states_and_samples(made):
    chosen = (made.states @ made.K.T).argmax(2)  # the head's bias is 0
    final = np.stack([(chosen[t:] == chosen[-1]).all(0) for t in range(4)])
    share = np.stack([final[:, made.y == c].mean(1) for c in PRESENT], 1)
    assert share[0].max() < 0.9
    np.testing.assert_allclose(made.found.decided_share[:, PRESENT], share)
    found = made.found
    x = found.sample_image.values.reshape(60, 4)
    where = [int(np.abs(made.states[0, :, :4] - one).sum(1).argmin()) for one in x]
    assert found.sample_decision.values.tolist() == chosen[-1, where].tolist()
    assert found.sample_label.values.tolist() == made.y[where].tolist()
    logits = made.states[:, where] @ made.K.T
    np.testing.assert_allclose(found.sample_logit, logits, atol=1e-4)


def test_the_words_of_a_sample_are_those_of_its_label_and_decision(made, page):
    label, decision = made.found.sample_label.values, made.found.sample_decision.values
    assert 0 < (label != decision).sum() < 30
    choices = {c["name"]: c["options"] for c in held(page)["figures"]["r0-sample"]["choices"]}
    for k, told in enumerate(choices["sample"]):
        right = "right" if label[k] == decision[k] else f"taken for {'abcd'[decision[k]]}"
        assert told == f"{k}: class {'abcd'[label[k]]}, {right}"
    said = f"{(label == decision).sum()} of the 60 samples shown are classified right; wrong: "
    wrong = [str(k) for k in np.flatnonzero(label != decision)[:5]]
    assert captions(made.found)["sample"].startswith(said + ", ".join(wrong))


def test_states_in_projection(made):
    found, y = made.found, made.y
    centred = made.states - made.states.mean(1, keepdims=True)
    means = np.stack([centred[-1, y == c].mean(0) for c in PRESENT])
    means -= means.mean(0)
    axes = list(np.linalg.svd(means)[2][:2])  # three class means span a plane
    rest = centred[-1] - centred[-1] @ np.stack(axes).T @ np.stack(axes)
    axes.append(np.linalg.svd(rest)[2][0])
    for k, axis in enumerate(axes):
        seen = centred @ axis
        sign = np.sign(seen[0, y == 0][0] * found.projected[0, 0, 0, k].item())
        for c in PRESENT:
            mine = sign * seen[:, y == c]
            got = found.projected[:, c, : mine.shape[1], k]
            np.testing.assert_allclose(got, mine, atol=1e-4)
            np.testing.assert_allclose(found.projected_mean[:, c, k], mine.mean(1), atol=1e-4)
        for name, values in (("between_share", means), ("total_share", centred[-1])):
            share = ((values @ axis) ** 2).sum() / (values**2).sum()
            np.testing.assert_allclose(found[name][k], share, atol=1e-9)


def test_the_matrix_stands_like_units_beside_each_other_and_counts_pairs(made):
    W = made.W
    order = made.found.unit_i.values
    assert sorted(order) == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(made.found.interaction[0], W[np.ix_(order, order)], rtol=1e-6)
    pairs = [(W[i, j], W[j, i]) for i in range(5) for j in range(i)]
    kinds = {
        "cooperation": sum(a > 0 and b > 0 for a, b in pairs) / 10,
        "competition": sum(a < 0 and b < 0 for a, b in pairs) / 10,
        "predation": sum(a * b < 0 for a, b in pairs) / 10,
    }
    shares = made.found.kind_share[0].to_series().to_dict()
    assert {k: shares[k] for k in kinds} == pytest.approx(kinds)
    assert (
        "20.00 % cooperation, 10.00 % competition, 70.00 % predation"
        in captions(made.found)["interactions"]
    )
    net = rs.ResNet(6, 6, 2, depth=2)
    with torch.no_grad():  # even units help each other and hinder the odd ones, which do the same
        sign = torch.tensor([1.0, -1] * 3)
        net.blocks[0].linear.weight.copy_(sign[:, None] * sign * (1 + 0.01 * torch.rand(6, 6)))
    order = see_weights(net, (2, 3)).unit_i.values
    assert len({int(i) % 2 for i in order[:3]}) == len({int(i) % 2 for i in order[3:]}) == 1


def test_the_pixel_that_helps_most_is_named(made):
    found, W = made.found, made.W
    pixel = int(found.pixel[3])  # nearest to the middle of 2 × 2
    row = W[pixel, :4].copy()
    np.testing.assert_allclose(found.helper[0, 3].values.ravel(), row, rtol=1e-6)
    row[pixel] = 0
    best, worst = divmod(int(row.argmax()), 2), divmod(int(row.argmin()), 2)
    said = captions(found)["helpers"]
    assert f"is helped most by row {best[0]}, column {best[1]} ({signed(row.max())})" in said
    assert f"hindered most by row {worst[0]}, column {worst[1]} ({signed(row.min())})" in said


def test_images_are_the_residuals_in_their_place(made, page):
    residuals = made.means(np.diff(made.states, axis=0))[..., :4].reshape(3, 3, 2, 2)
    steady = made.found.steady_residual.values[PRESENT, :4].reshape(3, 2, 2)
    arrays = held(page)["sections"][0]["arrays"]
    expected = {"first_image": residuals[0], "last_image": residuals[-1], "steady_image": steady}
    for name, values in expected.items():
        got = array(arrays[name])
        np.testing.assert_allclose(got[PRESENT], values, rtol=1e-6, err_msg=name)
        assert np.isnan(got[1]).all()
    z = made.z1.copy()
    for _ in range(999):
        z = z + sigmoid(z) @ made.W.T
    mean = made.means(sigmoid(z))
    np.testing.assert_allclose(made.found.steady_residual[PRESENT], mean, atol=1e-9)


def test_a_depth_curve_names_the_best_state_and_the_first_that_is_enough(made):
    found = made.found
    loss, error = found.curve_loss.values, found.curve_loss_error.values
    best = loss.argmin()
    enough = next(t for t in range(4) if loss[t] <= loss[best] + error[best])
    assert 0 < enough < best
    assert (found.attrs["curve_best_state"], found.attrs["curve_enough_state"]) == (best, enough)


def plane(made, k):
    """Return the units of a plane, and y on it: others stay at the mean of the classes' ends."""
    a, b = made.found.plane_unit.values[k]
    ends = made.found.steady_residual.values[PRESENT].clip(0, 1).mean(0)

    def at(point):
        y = ends.copy()
        y[[a, b]] = point
        return y

    return a, b, at


@pytest.mark.parametrize("k", range(3))
def test_a_nullcline_is_there_where_it_crosses_the_square(made, page, k):
    a, b, at = plane(made, k)
    corners = np.stack([at(p) for p in ((0, 0), (0, 1), (1, 0), (1, 1))])
    for unit, words in ((a, "across"), (b, "up")):
        push = corners @ made.W[unit]
        x, y = (
            drawn(page, "phase", f"nullcline of the unit {words}", key, plane=k) for key in "xy"
        )
        stored = made.found.nullcline.values[k, (a, b).index(unit)]
        np.testing.assert_allclose(np.stack([x, y], 1), stored, atol=1e-12)
        crosses = push.min() < 0 < push.max()
        assert np.isfinite(stored).all() == crosses
        if crosses:
            assert max(abs(made.W[unit] @ at(end)) for end in stored) < 1e-9
            assert np.abs(stored * (1 - stored)).min(1).max() < 1e-9  # both ends on the border
            assert np.abs(stored[0] - stored[1]).max() > 1e-3


def test_some_nullclines_cross_and_others_do_not(made):
    finite = np.isfinite(made.found.nullcline.values).all((2, 3))
    assert 0 < finite.sum() < finite.size


def test_paths_start_where_the_network_does_and_follow_map_and_flow(made, page):
    found, shown = made.found, made.found["shown"].values
    start = made.means(made.z1)
    z, path = start, [sigmoid(start)]
    for _ in range(59):
        z = z + sigmoid(z) @ made.W.T
        path.append(sigmoid(z))
    path = np.stack(path, 1)[..., shown]
    np.testing.assert_allclose(found.map_path[PRESENT], path, atol=1e-9)
    z, flow, steps = start, [sigmoid(start)], 200
    for _ in range(10 * steps):  # by the midpoint rule, up to layer 11
        half = z + sigmoid(z) @ made.W.T / (2 * steps)
        z = z + sigmoid(half) @ made.W.T / steps
        flow.append(sigmoid(z))
    flow = np.stack(flow[:: steps // 4], 1)[..., shown]
    np.testing.assert_allclose(found.ode_path[PRESENT][:, :41], flow, atol=1e-4)
    for k in range(3):
        sides = [list(shown).index(unit) for unit in found.plane_unit.values[k]]
        for name, words in (("map_path", "exact map"), ("ode_path", "eq. 3")):
            for key, side in zip("xy", sides, strict=True):
                got = drawn(page, "phase", f"d, {words}", key, plane=k)
                np.testing.assert_allclose(got, found[name][3, :, side], atol=1e-6)


def test_fixed_points_are_drawn_by_their_verdict(made, page):
    found, shown = made.found, made.found["shown"].values.tolist()
    points, verdicts = found.fixed_point.values, found.verdict.values
    assert {"stable", "saddle", "unstable"} <= set(verdicts)
    told = found.attrs["fixed_points"].split(", ")
    assert {t.split()[1]: int(t.split()[0]) for t in told} == {
        v: int((verdicts == v).sum()) for v in set(verdicts)
    }
    assert found.attrs["fixed_points_count"] == len(verdicts)
    corners = np.array(np.meshgrid(*[[0, 1]] * 5)).reshape(5, -1).T  # all of them rest
    growth = np.exp((1 - 2 * corners) * (corners @ made.W.T))
    counts = {"stable": (growth < 1).all(1), "unstable": (growth > 1).all(1)}
    at_corners = np.isin(points, (0, 1)).all(1)
    for verdict, which in counts.items():  # every corner of three units stands for some of five
        seen = {tuple(p) for p in corners[which & (corners.sum(1) > 0)][:, shown].tolist()}
        assert seen <= {tuple(p) for p in points[at_corners & (verdicts == verdict)].tolist()}
    for k in range(3):
        sides = [shown.index(unit) for unit in found.plane_unit.values[k]]
        for verdict in set(verdicts):
            for key, side in zip("xy", sides, strict=True):
                got = drawn(page, "phase", verdict, key, plane=k)
                np.testing.assert_allclose(got, points[verdicts == verdict][:, side])
