import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import residua as rs
from problems import (
    LINE,
    ROCK_PAPER_SCISSORS,
    SLOW_DECAY,
    SYMMETRIC,
    TWO_UNITS,
    TWO_UNITS_MULTIPLIERS,
    drift,
    matrix,
    pitchfork,
    rotation,
)
from residua.dynamics.enumeration import enumerate_fixed_points
from residua.dynamics.interactions import energy, helpers, interactions, potential
from residua.dynamics.prolonged import prolong
from residua.dynamics.residual_map import first_pre_activation, residual_map
from residua.dynamics.search import SearchConfig, find_fixed_points
from residua.dynamics.stability import (
    eigenvalues,
    escape_time,
    finite_depth_exponents,
    leading_eigenvalues,
    map_jacobian,
    ode_jacobian,
    state_jacobians,
)
from residua.dynamics.sweep import critical_step_size, stability_sweep


def generic(n, seed, scale=1.0):
    g = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, n, dtype=torch.float64, generator=g)


@pytest.mark.parametrize("activation", ["logistic", "tanh", "relu", "gelu"])
@pytest.mark.parametrize("h", [1.0, 0.3])
def test_the_map_is_the_network(activation, h):
    net = rs.ResNet(6, 9, 3, depth=8, activation=activation, step_size=h).double()
    x = torch.randn(5, 6, dtype=torch.float64)
    seen = rs.trace(net, x).residuals.detach() / h
    residuals = residual_map(net)
    found = residuals.trajectory(first_pre_activation(net, x), 8)
    torch.testing.assert_close(found, seen, rtol=1e-11, atol=1e-13)
    if activation in ("logistic", "tanh"):
        torch.testing.assert_close(residuals(seen[0]), seen[1], rtol=1e-11, atol=1e-13)


def test_the_odds_are_multiplied():
    W, y = generic(4, 0), torch.rand(7, 4, dtype=torch.float64)
    after = residual_map(W)(y)
    torch.testing.assert_close(after / (1 - after), y / (1 - y) * torch.exp(y @ W.T))


def test_saturated_units_stay_and_nothing_overflows():
    vertices = matrix([[0, 1], [1, 0], [1, 1], [0, 0]])
    residuals = residual_map(1e4 * TWO_UNITS)
    assert torch.equal(residuals(vertices), vertices)
    z = residuals.step(matrix([[1e4, -1e4], [-1e4, 1e4]]))
    assert z.isfinite().all()
    assert residuals.residual(z).isfinite().all()
    assert map_jacobian(1e4 * TWO_UNITS, vertices).isnan().sum() == 0


def test_a_small_step_is_eq_3():
    """The map with h → 0 integrates eq. 3; the solver agrees with both, closed form for one unit."""
    times = torch.linspace(0, 3, 4, dtype=torch.float64)
    z = matrix([[0.4, -0.3, 0.1]])
    flow = residual_map(SYMMETRIC).flow(z, times)
    errors = []
    for steps in (100, 200):
        fine = residual_map(SYMMETRIC, step_size=1 / steps).trajectory(z, 3 * steps + 1)
        errors.append(float((fine[::steps] - flow).abs().max()))
    assert errors[0] < 0.01
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.05)  # first order in h
    # ẏ = w y²(1 − y) has z + e^{−…}: check by the implicit solution z − 1/… = ∫ dz / σ(z) = z − e^{−z}.
    one = residual_map(matrix([[0.7]])).flow(matrix([[0.2]]), times)[:, 0, 0]
    z_t = torch.logit(one)
    torch.testing.assert_close(z_t - torch.exp(-z_t), 0.2 - math.exp(-0.2) + 0.7 * times)


def test_what_eq_3_conserves_and_what_the_map_does_not():
    z = matrix([[0.4, -0.3, 0.1]])
    times = torch.linspace(0, 20, 50, dtype=torch.float64)
    flow = torch.logit(residual_map(ROCK_PAPER_SCISSORS).flow(z, times, tolerance=1e-10))
    torch.testing.assert_close(energy(flow), energy(flow[:1]).expand(50, 1), rtol=1e-7, atol=0)
    steps = torch.logit(residual_map(ROCK_PAPER_SCISSORS).trajectory(z, 20))
    assert (energy(steps).diff(dim=0) >= -1e-12).all()
    assert energy(steps)[-1] > 1.1 * energy(steps)[0]
    rising = potential(residual_map(SYMMETRIC).flow(z, times), SYMMETRIC)
    assert (rising.diff(dim=0) >= -1e-9).all()
    # In the map the potential falls where a step overshoots.
    overshoot = residual_map(matrix([[-30.0]])).trajectory(matrix([[2.0]]), 3)
    assert (potential(overshoot, matrix([[-30.0]])).diff(dim=0) > 0).any()
    big = 8 * SYMMETRIC
    assert (potential(residual_map(big).trajectory(z, 30), big).diff(dim=0) < 0).any()


def test_jacobians_are_the_derivatives():
    W, y = generic(5, 1), torch.rand(5, dtype=torch.float64)
    for h in (1.0, 0.2):
        residuals = residual_map(W, step_size=h)
        expected = torch.func.jacrev(residuals)(y)
        torch.testing.assert_close(map_jacobian(W, y, step_size=h), expected)
    expected = torch.func.jacrev(lambda v: v * (1 - v) * (W @ v))(y)
    torch.testing.assert_close(ode_jacobian(W, y), expected)


def test_interactions_of_a_matrix_on_paper():
    W = matrix([[1, 2, 0, -1], [3, -1, -1, 0], [0, -4, 0, 5], [1, 2, 0, -2]])
    found = interactions(W, strongest=2)
    # (0,1) + +; (0,2) none; (0,3) predation; (1,2) − −; (1,3) one-sided; (2,3) one-sided
    sixth = pytest.approx(1 / 6)
    assert found.counted == {
        "cooperation": sixth,
        "competition": sixth,
        "predation": sixth,
        "one-sided": pytest.approx(2 / 6),
        "none": sixth,
    }
    assert found.weighted["cooperation"] == pytest.approx(5 / 19)
    assert (found.self_help, found.self_hindrance) == (0.25, 0.5)
    assert [(p.i, p.j, p.kind) for p in found.strongest] == [
        (0, 1, "cooperation"),
        (1, 2, "competition"),
    ]
    assert interactions(SYMMETRIC).symmetric == pytest.approx(1)
    assert interactions(ROCK_PAPER_SCISSORS).symmetric == 0
    assert interactions(ROCK_PAPER_SCISSORS).counted["predation"] == 1
    assert helpers(W, 0, 3).tolist() == [1, 2, 0]


def index_of(found, point):
    gaps = (found.points - torch.tensor(point, dtype=torch.float64)).abs().amax(1)
    k = int(gaps.argmin())
    assert gaps[k] < 1e-9, f"{point} is not among {found.points}"
    return k


def test_multipliers_of_vertices():
    found = enumerate_fixed_points(TWO_UNITS)
    for vertex, expected in TWO_UNITS_MULTIPLIERS.items():
        got = sorted(found.multipliers[index_of(found, vertex)].real.tolist())
        assert got == pytest.approx(sorted(expected), rel=1e-12)
    assert found.verdicts[index_of(found, (1.0, 0.0))] == "stable"
    k = index_of(found, (1.0, 1.0))
    assert found.verdicts[k] == "saddle"
    assert int(found.unstable_dimension[k]) == 1
    assert found.verdicts[index_of(found, (0.0, 0.0))] == "marginal"


def test_a_line_of_points_is_a_family():
    found = enumerate_fixed_points(LINE)
    assert len(found) == 5
    k = index_of(found, (0.5, 0.5))
    assert int(found.family[k]) == 1
    assert found.verdicts[k] == "marginal"
    assert "family of dimension 1" in str(found)


def test_without_weights_everything_rests():
    """W = 0: each of the 3^N patterns is a family, one dimension for every free unit."""
    found = enumerate_fixed_points(torch.zeros(3, 3, dtype=torch.float64))
    assert found.family.bincount().tolist() == [8, 12, 6, 1]
    assert set(found.verdicts) == {"marginal"}
    # Unit 0 hinders itself, so only units 1 and 2 can be free: 2 · 3².
    assert len(enumerate_fixed_points(torch.diag(matrix([-1.0, 0.0, 0.0])))) == 18


def test_thousands_of_points_are_told_in_few_lines():
    found = enumerate_fixed_points(generic(9, 3))
    said = str(found).splitlines()
    assert len(said) == 32
    assert said[1].endswith("stable")
    assert said[-1].startswith(f"… and {len(found) - 30} more; of all: ")


@given(seed=st.integers(0, 10_000), n=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_the_number_and_truth_of_enumerated_points(seed, n):
    W = generic(n, seed)
    found = enumerate_fixed_points(W)
    assert 2**n <= len(found) <= 3**n - 2**n + 1
    velocity = found.points * (1 - found.points) * (found.points @ W.T)
    assert velocity.abs().max() < 1e-10
    assert len(torch.unique(found.points, dim=0)) == len(found)


@given(seed=st.integers(0, 10_000), n=st.integers(2, 6))
@example(seed=286, n=5)  # a stable vertex that 600 random starts do not reach
@settings(max_examples=15, deadline=None)
def test_search_and_enumeration_agree(seed, n):
    """All that were found are true; no vertex that is stable is missed, and no point that is reached."""
    W = generic(n, seed)
    listed = enumerate_fixed_points(W)
    inside = torch.rand(300, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    # A basin can be too small for 300 starts to hit, so one start lies beside every vertex.
    corners = torch.cartesian_prod(*[torch.tensor([1e-3, 1 - 1e-3], dtype=torch.float64)] * n)
    starts = torch.cat([inside, corners])
    found = find_fixed_points(residual_map(W), starts).fixed
    gaps = torch.cdist(found.points, listed.points, p=torch.inf)
    assert (gaps.amin(1) < 1e-6).all()
    same = gaps.argmin(1)
    for k, m in enumerate(same.tolist()):
        if listed.verdicts[m] != "marginal":
            assert (found.verdicts[k], found.ode_verdicts[k]) == (
                listed.verdicts[m],
                listed.ode_verdicts[m],
            )
    stable = torch.tensor([v == "stable" for v in listed.verdicts])
    vertices = ((listed.points == 0) | (listed.points == 1)).all(1)
    z = torch.logit(starts)
    for _ in range(1000):
        z = residual_map(W).step(z)
    reached = torch.cdist(residual_map(W).residual(z), listed.points, p=torch.inf).amin(0) < 1e-9
    assert (gaps[:, stable & (vertices | reached)].amin(0) < 1e-6).all()


def test_the_origin_is_reached_slowly_and_not_declared_settled():
    residuals = residual_map(SLOW_DECAY)
    z = matrix([[0.0, 0.0]])
    y = residuals.trajectory(z, 2000)[-1]
    assert y[0, 0] * 2 * 2000 == pytest.approx(1, rel=0.01)
    found = find_fixed_points(residuals, torch.full((3, 2), 0.3, dtype=torch.float64)).fixed
    assert len(found) == 1
    assert found.points.abs().max() < 1e-7
    assert found.verdicts == ("marginal",)


@pytest.mark.parametrize(("h", "a"), [(0.1, 1.0), (1.5, 1.0), (0.5, 3.0)])
def test_pitchfork(h, a):
    starts = torch.linspace(-2, 2, 41, dtype=torch.float64)[:, None]
    found = find_fixed_points(
        pitchfork(h, a), starts, ode_jacobian=lambda x: (a - 3 * x**2)[..., None]
    ).fixed
    assert sorted(found.points[:, 0].tolist()) == pytest.approx(
        [-math.sqrt(a), 0, math.sqrt(a)], abs=1e-10
    )
    for point, multiplier, verdict, ode in zip(
        found.points, found.multipliers, found.verdicts, found.ode_verdicts, strict=True
    ):
        at_zero = abs(float(point)) < 1e-6
        assert multiplier.real.item() == pytest.approx(1 + h * a if at_zero else 1 - 2 * h * a)
        assert ode == ("unstable" if at_zero else "stable")
        assert verdict == ("unstable" if at_zero or h * a > 1 else "stable")
    assert bool(found.disagree.any()) == (h * a > 1)


def test_a_map_that_rests_nowhere_has_no_points():
    done = find_fixed_points(drift, torch.randn(20, 3, dtype=torch.float64))
    assert len(done.fixed) == 0
    assert len(done.slow) == 0
    assert done.status == ("not converged",) * 20


def test_a_slow_point_is_no_fixed_point():
    """x → x + 0.01 + x² has no fixed point, and its speed is smallest, 0.01, at 0."""
    done = find_fixed_points(lambda x: x + 0.01 + x**2, torch.linspace(-1, 1, 9)[:, None])
    assert len(done.fixed) == 0
    assert done.slow.abs().max() < 1e-6
    assert done.slow_speed.tolist() == pytest.approx([0.01])
    assert set(done.status) == {"slow point"}


def test_eigenvalues_known():
    for angle in (0.1, 1.0, 2.5, math.pi):
        assert eigenvalues(rotation(angle, 0.95)).abs().max() == pytest.approx(0.95)
    J = generic(40, 3)
    exact = np.sort(abs(torch.linalg.eigvals(J).numpy()))[::-1]
    got = leading_eigenvalues(lambda v: J @ v, torch.zeros(40).double(), 6)
    assert abs(got)[:5] == pytest.approx(exact[:5], rel=1e-8)


def test_leading_eigenvalues_of_a_float32_network_as_it_comes():
    residuals, z = residual_map(rs.ResNet(5, 30, 3)), torch.randn(30)
    exact = eigenvalues(torch.func.jacrev(residuals.step)(z)).abs().sort(descending=True).values
    got = leading_eigenvalues(residuals.step, z, 3)
    assert abs(got).tolist() == pytest.approx(exact[:3].tolist(), rel=1e-3)


def test_a_huge_drive_is_unstable_and_not_nan():
    found = enumerate_fixed_points(1e4 * TWO_UNITS)
    assert found.multipliers.isfinite().all()
    assert found.verdicts == enumerate_fixed_points(TWO_UNITS).verdicts
    starts = torch.rand(50, 2, dtype=torch.float64)
    points = find_fixed_points(residual_map(1e4 * TWO_UNITS), starts).fixed
    assert points.multipliers.isfinite().all()


def test_what_only_looks_fixed_is_not():
    """x + e^{−x} rests nowhere and x − x⁵ at 0 alone, where small speeds say little."""
    done = find_fixed_points(lambda x: x + torch.exp(-x), torch.linspace(0, 20, 21)[:, None])
    assert (done.fixed.points > 30).all()  # where x + e^{−x} is x in float64
    flat = find_fixed_points(lambda x: x - x**5, torch.linspace(-0.9, 0.9, 21)[:, None]).fixed
    assert torch.equal(flat.points - flat.points**5, flat.points)  # equal in float64
    assert flat.points.abs().max() < 2e-4
    assert set(flat.verdicts) == {"marginal"}


def test_found_points_are_inside_and_attractors_are_found():
    """24 units: what the map leads to from the starts is found, and fits the rest of the library."""
    W = generic(24, 2, 0.6)
    y = torch.rand(100, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    residuals = residual_map(W)
    found = find_fixed_points(residuals, y, SearchConfig(warm_up=20_000)).fixed
    assert ((found.points >= 0) & (found.points <= 1)).all()
    torch.testing.assert_close(residuals(found.points), found.points, rtol=0, atol=1e-11)
    assert map_jacobian(W, found.points).isfinite().all()
    z = torch.logit(y)
    for _ in range(20_000):
        z = residuals.step(z)
    at_rest = (residuals.residual(residuals.step(z)) - residuals.residual(z)).abs().amax(1) < 1e-12
    assert at_rest.sum() >= 5
    gaps = torch.cdist(residuals.residual(z[at_rest]), found.points, p=torch.inf)
    assert (gaps.amin(1) < 1e-6).all()


def test_exponents_known():
    diagonal = [torch.diag(matrix([2.0, 0.5, 1e-3]))] * 40  # the product spans 10^132
    expected = [math.log(2.0), math.log(0.5), math.log(1e-3)]
    assert finite_depth_exponents(diagonal).tolist() == pytest.approx(expected)
    shear = [matrix([[1.0, 5.0], [0.0, 1.0]])]
    singular = torch.linalg.svdvals(shear[0]).log().tolist()
    assert finite_depth_exponents(shear).tolist() == pytest.approx(singular)
    turned = [rotation(0.3 * t, 0.9) for t in range(30)]
    assert finite_depth_exponents(turned, 1).tolist() == pytest.approx([math.log(0.9)])


def last_state(net, x):
    x = x[None]
    for t in range(net.depth):
        x = net.block(t)(x)
    return x[0]


def test_exponents_are_the_singular_values_of_the_networks_jacobian():
    net = rs.ResNet(5, 5, 3, depth=6).double()
    x = torch.randn(1, 5, dtype=torch.float64)
    product = torch.func.jacrev(lambda v: last_state(net, v))(x[0])
    factors = state_jacobians(residual_map(net), first_pre_activation(net, x)[0], 6)
    expected = torch.linalg.svdvals(product.detach()).log() / 6
    torch.testing.assert_close(finite_depth_exponents(factors), expected, rtol=1e-6, atol=1e-9)


def test_escape_from_a_saddle_takes_as_long_as_said():
    found = enumerate_fixed_points(TWO_UNITS)
    k = index_of(found, (1.0, 1.0))
    layers = escape_time(found.multipliers)[k]
    assert layers == pytest.approx(10, rel=1e-6)  # 1 / log e^{0.1}
    away = 1 - residual_map(TWO_UNITS).trajectory(matrix([[30.0, 20.0]]), 41)[:, 0, 1]
    assert away[40] / away[0] == pytest.approx(math.exp(40 / 10), rel=1e-4)
    assert escape_time(found.multipliers)[index_of(found, (1.0, 0.0))] == math.inf


@pytest.mark.parametrize("activation", ["logistic", "tanh"])
def test_a_prolonged_network_is_a_deep_one(activation):
    """Run on from 3 layers, measured in two batches, against the trace of the same net at 30."""
    net = rs.ResNet(6, 8, 3, depth=3, activation=activation, step_size=0.5).double()
    x = torch.randn(50, 6, dtype=torch.float64)
    labels = torch.arange(50) % 3
    done = prolong(net, [(x[:20], labels[:20]), (x[20:], labels[20:])], 30, at=[1, 2, 7, 30])
    long = done.to_dataset()
    net.steps = (0.5,) * 30
    y = rs.trace(net, x).residuals.detach()[[0, 1, 6, 29]].numpy() / 0.5
    before = rs.trace(net, x).residuals.detach()[[0, 5, 28]].numpy() / 0.5
    by_class = np.stack([y[:, labels == c].mean(1) for c in range(3)], 1)
    np.testing.assert_allclose(long.residual_mean, by_class, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(long.spread, y.std(1).mean(1), rtol=1e-10)
    steps, low = np.abs(y[1:] - before).mean(2), (y < 0.01).mean(2)
    for c in range(3):
        mine = long.isel({"class": c})
        np.testing.assert_allclose(
            mine.settle_distance[1:], steps[:, labels == c].mean(1), rtol=1e-9, atol=1e-14
        )
        np.testing.assert_allclose(mine.at_zero, low[:, labels == c].mean(1))
    assert np.isnan(long.settle_distance[0]).all()
    np.testing.assert_allclose(done.pooled(done.at_zero), low.mean(1))
    within = np.sqrt(
        sum(
            ((y[:, labels == c] - y[:, labels == c].mean(1, keepdims=True)) ** 2).sum(1)
            for c in range(3)
        )
        / 50
    )
    np.testing.assert_allclose(long.spread_within, within.mean(1), rtol=1e-9)


def test_the_frozen_block_is_prolonged_from_the_state_it_sees():
    net = rs.ResNet(4, 5, 2, depth=3, weights="variable").double()
    x = torch.randn(7, 4, dtype=torch.float64)
    found = prolong(net, [x], 1, layer=3).moments.mean[0, 0]
    np.testing.assert_allclose(found, rs.trace(net, x).residuals[2].detach().mean(0), rtol=1e-10)


def test_a_slow_decay_is_not_declared_settled():
    net = rs.ResNet(2, 2, 2).double()
    x = torch.zeros(1, 2, dtype=torch.float64)
    with torch.no_grad():
        net.blocks[0].linear.weight.copy_(SLOW_DECAY)
        net.blocks[0].linear.bias.zero_()
    long = prolong(net, [x], 2000)
    assert long.settle_distance[-1] < 1e-6
    assert (long.settled(), long.settled_by_class()) == (None, (None,))
    assert prolong(net, [x], 500, at=range(1, 501)).settled() is None  # however densely measured
    assert prolong(net, [x], 501, at=[500, 501]).settled() is None
    with torch.no_grad():
        net.blocks[0].linear.weight.zero_()
    assert prolong(net, [x], 5, at=[1, 2, 5]).settled() == 2


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: residual_map(torch.zeros(2, 3)), r"square matrix, not of shape \(2, 3\)"),
        (lambda: residual_map(matrix([[math.nan]])), "1 NaN or infinite entries"),
        (lambda: residual_map(TWO_UNITS.long()), "floating-point numbers, not torch.int64"),
        (lambda: residual_map(TWO_UNITS, step_size=-1.0), "step_size must be a positive number"),
        (lambda: residual_map(TWO_UNITS)(matrix([[0.5, 1.5]])), r"lie in \[0, 1\], and these span"),
        (lambda: residual_map(TWO_UNITS, activation="relu")(TWO_UNITS), "do not determine z"),
        (lambda: residual_map(rs.MLP(2, 3, 2)), "an MLP has no skip"),
        (
            lambda: residual_map(rs.ResNet(2, 3, 2, weights="variable")),
            "15 different weight matrices.*frozen map of one block",
        ),
        (
            lambda: residual_map(rs.ResNet(2, 3, 2, weights="variable"), layer=16),
            "layers 1…15, not 16",
        ),
        (lambda: enumerate_fixed_points(torch.zeros(40, 40)), r"3\^40 = 1.22e\+19 patterns"),
        (lambda: interactions(matrix([[1.0]])), "nobody to help"),
        (lambda: helpers(TWO_UNITS, 2, 1), "units 0…1, not 2"),
        (
            lambda: find_fixed_points(residual_map(TWO_UNITS), matrix([[0.2, 1.2]])),
            r"lie in \[0, 1\], and these span \[0.2, 1.2\]",
        ),
        (lambda: find_fixed_points(drift, matrix([[math.inf]])), "1 starts hold NaN"),
        (lambda: find_fixed_points(lambda y: y[:, :1], TWO_UNITS), "keeps the shape"),
        (lambda: SearchConfig(tolerance=0.0), "tolerance must be above 0"),
        (
            lambda: prolong(rs.ResNet(2, 3, 2), [torch.zeros(1, 2)], 5, at=[1, 9]),
            "must be in 1…5, not 1…9",
        ),
        (lambda: prolong(rs.ResNet(2, 3, 2), [], 5), "gave no batch"),
        (lambda: prolong(rs.ResNet(2, 3, 2), [torch.zeros(1, 3)], 5), "takes 2 input .* given 3"),
        (
            lambda: residual_map(TWO_UNITS.float()).step(matrix([[0, 0]])),
            "torch.float32 and was given torch.float64",
        ),
        (
            lambda: find_fixed_points(torch.nn.Linear(2, 2), torch.zeros(1, 2)),
            r"fails on float64 starts .* becomes float64 by \.double\(\)",
        ),
        (lambda: finite_depth_exponents([]), "at least one layer"),
        (lambda: leading_eigenvalues(drift, torch.zeros(4), 3), r"count must be 1…2 for 4 units"),
    ],
)
def test_bad_input(call, said):
    with pytest.raises(rs.InputError, match=said):
        call()


def test_the_frozen_map_of_one_block():
    net = rs.ResNet(2, 3, 2, weights="variable")
    assert torch.equal(residual_map(net, layer=4).W, net.blocks[3].linear.weight)


def test_a_free_unit_overshoots_beyond_its_critical_step():
    """W = [[−a, b], [0, 1]], unit 1 at 1: y_0 = b/a is free with λ = −a y_0 (1 − y_0), h* = 2/abs(λ)."""
    W = matrix([[-4.0, 2.0], [0.0, 1.0]])
    point = matrix([0.5, 1.0])
    critical = critical_step_size(W, point)
    assert critical == pytest.approx(2 / (4 * 0.25))
    swept = stability_sweep(W, point[None], [0.5 * critical, 0.99 * critical, 1.01 * critical])
    assert swept.stable.values.ravel().tolist() == [True, True, False]
    assert swept.ode_stable.values.all()
    # The map does it: nearby starts return below the critical step, and fall into period two above.
    for h, returns in ((0.9 * critical, True), (1.1 * critical, False)):
        y = residual_map(W, step_size=h).trajectory(matrix([[0.1, 8.0]]), 400)[-2:, 0, 0]
        assert (abs(y[1] - 0.5) < 1e-6) == returns
        assert (abs(y[1] - y[0]) < 1e-6) == returns
    assert stability_sweep(W, point[None], [1.01 * critical], over="gain").stable.item() is False
    assert math.isnan(critical_step_size(W, matrix([0.0, 1.0])))  # unit 0 is driven away from 0
    assert math.isnan(critical_step_size(W, matrix([1.0, 0.0])))
    assert critical_step_size(TWO_UNITS, matrix([1.0, 0.0])) == math.inf
    with pytest.raises(rs.InputError, match=r"positive numbers, at least one, not \[-1.0\]"):
        stability_sweep(W, point[None], [-1.0])


def test_a_flow_on_the_processor_is_that_of_torchdiffeq_which_brings_gradients():
    F, z = residual_map(SYMMETRIC), matrix([[0.4, -0.3, 0.1], [1.0, 0.2, -2.0]])
    times = torch.linspace(0, 5, 6, dtype=torch.float64)
    plain = F.flow(z, times, tolerance=1e-10)
    moving = z.clone().requires_grad_()
    flow = F.flow(moving, times, tolerance=1e-10)
    torch.testing.assert_close(flow.detach(), plain, atol=1e-8, rtol=0)
    (slope,) = torch.autograd.grad(flow[-1].sum(), moving)
    h = 1e-5
    up, down = (F.flow(z + s * h * torch.eye(3)[:1], times, tolerance=1e-12) for s in (1, -1))
    torch.testing.assert_close(slope[:, 0], ((up - down)[-1].sum(1) / (2 * h)), atol=1e-5, rtol=0)
    assert residual_map(SYMMETRIC.float()).flow(z.float(), times).dtype == torch.float32
    torch.testing.assert_close(F.flow(z, times[:1])[0], F.residual(z))
    ends = torch.logit(plain[-1])
    torch.testing.assert_close(F.flow(ends, times.flip(0)).flip(0), plain, atol=1e-6, rtol=0)
    late = times.clone().requires_grad_()
    (when,) = torch.autograd.grad(F.flow(z, late)[-1].sum(), late)
    y = plain[-1]
    torch.testing.assert_close(when[-1], (y * (1 - y) * (y @ SYMMETRIC.T)).sum())  # eq. 2


def test_what_a_flow_refuses():
    z = matrix([[0.4, -0.3, 0.1]])
    for times in (torch.tensor([1.0, 0.5, 2.0]), torch.zeros(0), torch.tensor([0.0, torch.nan])):
        with pytest.raises(
            rs.InputError, match="times must ascend or descend, and be one or more, not"
        ):
            residual_map(SYMMETRIC).flow(z, times)
    with pytest.raises(rs.InputError, match=r"the map is of torch\.float64 and was given"):
        residual_map(SYMMETRIC).flow(z.float(), torch.arange(3.0))
    growing = residual_map(matrix([[50.0]]), activation="relu")
    with pytest.raises(rs.InputError, match=r"eq\. 3 grows beyond all bounds by time 0\.7\d+"):
        growing.flow(matrix([[1e290]]), torch.tensor([0.0, 100.0]))
    with pytest.raises(rs.InputError, match=r"eq\. 3 grows beyond all bounds by time 100"):
        growing.flow(matrix([[1e290]]).requires_grad_(), torch.tensor([0.0, 100.0]).double())
    with pytest.raises(rs.InputError, match="z must be finite"):
        residual_map(SYMMETRIC).flow(z * torch.inf, torch.arange(3.0))
    with pytest.raises(rs.InputError, match="tolerance must be between 0 and 1, not -1"):
        residual_map(SYMMETRIC).flow(z, torch.arange(3.0), tolerance=-1.0)
