"""The network as a nonlinear filter: first order anywhere, answers to a push, what rests share."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr

import residua as rs
from problems import TWO_UNITS, matrix
from residua.dynamics.enumeration import enumerate_fixed_points
from residua.dynamics.features import coupling, covariance, mantel, permuted, shares
from residua.dynamics.interactions import influences
from residua.dynamics.linearised import linearise
from residua.dynamics.prolonged import prolong
from residua.dynamics.residual_map import check_points, first_pre_activation, residual_map
from residua.dynamics.response import response
from residua.moments import Moments


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def symmetric(n, seed):
    A = normal(n, n, seed=seed)
    return A + A.T


def test_first_order_is_that_of_a_fixed_point_there():
    fixed = enumerate_fixed_points(TWO_UNITS)
    here = linearise(residual_map(TWO_UNITS.float()), fixed.points)
    torch.testing.assert_close(here.speed, fixed.speed, atol=1e-7, rtol=0)
    torch.testing.assert_close(here.multipliers, fixed.multipliers, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(here.ode_eigenvalues, fixed.ode_eigenvalues, rtol=1e-6, atol=1e-7)
    outside = [2 if v == "unstable" else 1 if v == "saddle" else 0 for v in fixed.verdicts]
    assert here.map_outside.tolist() == outside


def test_first_order_away_from_fixed_points_is_the_derivative():
    W, h = normal(5, 5), 0.3
    y = torch.rand(3, 5, dtype=torch.float64)
    residuals = residual_map(W, step_size=h)
    here = linearise(residuals, y)
    for k, point in enumerate(y):
        largest = torch.linalg.eigvals(torch.func.jacrev(residuals)(point)).abs().max()
        assert here.radius[k] == pytest.approx(float(largest))
        velocity = torch.func.jacrev(lambda v: v * (1 - v) * (W @ v))(point)
        rates = torch.linalg.eigvals(velocity).real
        assert here.growth[k] == pytest.approx(float(rates.max()))
        assert here.ode_positive[k] == (rates > 1e-6).sum()
    torch.testing.assert_close(here.speed, (residuals(y) - y).abs().amax(1))


def test_an_impulse_is_another_input():
    net = rs.ResNet(4, 6, 3, depth=12).double()
    x = normal(7, 4)
    pushed = x.clone()
    pushed[:, 2] += 0.7
    change = rs.trace(net, pushed).residuals - rs.trace(net, x).residuals
    found = response(
        residual_map(net), first_pre_activation(net, x), 2, size=0.7, layers=12, at=range(1, 13)
    )
    np.testing.assert_allclose(found.change, change.detach().mean(1), atol=1e-14)
    np.testing.assert_allclose(found.strength, change.detach().abs().mean((1, 2)), atol=1e-14)


def test_a_step_is_an_input_at_every_layer():
    net = rs.ResNet(4, 6, 3, step_size=0.5).double()
    x, kick = normal(7, 4), 0.3 * torch.eye(6, dtype=torch.float64)[1]
    plain, pushed = net.lift(x), net.lift(x)
    change = []
    with torch.no_grad():
        for _ in range(9):
            pushed = pushed + kick
            after = net.advance(0, plain), net.advance(0, pushed)
            change.append((after[1] - pushed - after[0] + plain) / 0.5)
            plain, pushed = after
    z = first_pre_activation(net, x)
    options = {"push": "step", "size": 0.3, "layers": 9, "at": range(1, 10)}
    found = response(residual_map(net), z, 1, **options)
    np.testing.assert_allclose(found.change, torch.stack(change).mean(1), atol=1e-14)


@pytest.mark.parametrize("h", [0.5, 1.0, 1.5])
def test_answers_at_a_fixed_point_are_geometric(h):
    """W = [[−4, 2], [0, 1]] at (½, 1): a push of unit 1 decays in unit 0 by 1 − h each layer."""
    residuals = residual_map(matrix([[-4.0, 2.0], [0.0, 1.0]]), step_size=h)
    z, s, layers = matrix([[0.0, 80.0]]), 1e-7, np.arange(1, 21)
    found = {
        push: response(residuals, z, 1, push=push, size=s, layers=20, at=layers.tolist()).change[
            :, 0
        ]
        for push in ("impulse", "step")
    }
    first = 0.25 * 2 * s  # f′(0) w_01 s
    np.testing.assert_allclose(found["impulse"], first * (1 - h) ** (layers - 1), atol=1e-13)
    np.testing.assert_allclose(found["step"], found["impulse"].values.cumsum(), atol=1e-13)


def test_shares_on_paper():
    """Two classes at (1, 0) and (0, 1): half is common, half differs by class, nothing within."""
    moments = Moments(
        np.array([5.0, 5.0]), np.array([[[1.0, 0.0], [0.0, 1.0]]]), np.zeros((1, 2, 2))
    )
    assert shares(moments) == shares(moments, 0)
    assert (shares(moments).common, shares(moments).between, shares(moments).within) == (
        0.5,
        0.5,
        0,
    )
    y = normal(60, 4) + 0.3
    labels = torch.arange(60) % 3
    by_class = [y[labels == c] for c in range(3)]
    mean = np.stack([part.mean(0) for part in by_class])[None]
    m2 = np.stack([((part - part.mean(0)) ** 2).sum(0) for part in by_class])[None]
    found = shares(Moments(np.full(3, 20.0), mean, m2))
    total = float((y**2).sum(1).mean())
    assert found.common == pytest.approx(float((y.mean(0) ** 2).sum()) / total)
    assert found.common + found.between + found.within == pytest.approx(1)
    with pytest.raises(rs.InputError, match="all residuals are 0"):
        shares(Moments(np.ones(1), np.zeros((1, 1, 2)), np.zeros((1, 1, 2))))


def test_coactivity_and_covariance_are_the_moments():
    net = rs.ResNet(4, 5, 2).double()
    x = normal(30, 4)
    y = residual_map(net).trajectory(first_pre_activation(net, x), 6)[-1]
    found = prolong(net, [x[:11], x[11:]], 6, at=[1, 6]).coactivity
    torch.testing.assert_close(found, y.T @ y / 30)
    np.testing.assert_allclose(covariance(y), np.cov(y.numpy(), rowvar=False, bias=True))
    assert torch.equal(coupling(TWO_UNITS), matrix([[1.2, -0.8], [-0.8, 0.8]]))


def test_a_permuted_matrix_keeps_its_weights_and_loses_its_places():
    W = normal(30, 30)
    found = permuted(W, 3)
    for part in (torch.eye(30, dtype=torch.bool), ~torch.eye(30, dtype=torch.bool)):
        assert torch.equal(found[part].sort().values, W[part].sort().values)
    assert abs(np.corrcoef(found.ravel(), W.ravel())[0, 1]) < 0.2
    assert torch.equal(found, permuted(W, 3))
    assert not torch.equal(found, permuted(W, 4))


@given(seed=st.integers(0, 10_000), n=st.integers(4, 9))
@settings(max_examples=20, deadline=None)
def test_mantels_correlation_is_spearmans_over_pairs(seed, n):
    a, b = symmetric(n, seed), symmetric(n, seed + 1)
    found = mantel(a, b, permutations=20)
    upper = np.triu_indices(n, 1)
    assert found.correlation == pytest.approx(spearmanr(a.numpy()[upper], b.numpy()[upper])[0])
    assert found.pairs == n * (n - 1) // 2
    linear = mantel(a, b, ranks=False, permutations=20).correlation
    assert linear == pytest.approx(pearsonr(a.numpy()[upper], b.numpy()[upper])[0])
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    same = mantel(a[order][:, order], b[order][:, order], permutations=20)
    assert same.correlation == pytest.approx(found.correlation)


def test_mantels_p_is_small_where_matrices_agree_and_uniform_where_not():
    A = symmetric(12, 0)
    agrees = mantel(A, torch.exp(A), permutations=99)  # any rising function: ranks decide
    assert (agrees.correlation, agrees.p) == (pytest.approx(1), 0.01)
    assert mantel(A, -A, permutations=99).correlation == pytest.approx(-1)
    assert abs(agrees.null_mean) < 0.05
    p = [
        mantel(symmetric(8, 2 * k), symmetric(8, 2 * k + 1), permutations=39).p for k in range(200)
    ]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.04)
    assert np.mean(p) == pytest.approx(0.5125, abs=0.07)


def test_influences_name_the_strongest_and_not_oneself():
    found = influences(matrix([[9, 2, -3, 1], [0, 0, 0, 0], [0, 0, 0, 0], [1, -1, -2, 5]]), 0)
    assert found.helps == ((1, 2.0), (3, 1.0))
    assert found.hinders == ((2, -3.0),)
    assert influences(TWO_UNITS, 1).helps == ()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: response(residual_map(TWO_UNITS), matrix([[0, 0]]), 2), "units 0…1, not 2"),
        (lambda: response(residual_map(TWO_UNITS), matrix([[0, 0]]), 0, size=math.nan), "not nan"),
        (lambda: response(residual_map(TWO_UNITS), matrix([[0, 0]]), 0, layers=0), "at least 1"),
        (
            lambda: response(residual_map(TWO_UNITS), matrix([[0, 0]]), 0, layers=3, at=[4]),
            "in 1…3",
        ),
        (lambda: linearise(residual_map(TWO_UNITS, activation="tanh"), TWO_UNITS), "not tanh"),
        (lambda: check_points(torch.zeros(2, 3), 2), r"shape \(number, 2\), not \(2, 3\)"),
        (lambda: linearise(residual_map(TWO_UNITS), 2 * TWO_UNITS), r"lie in \[0, 1\]"),
        (lambda: mantel(TWO_UNITS, TWO_UNITS), "3 or more units"),
        (lambda: mantel(torch.ones(3, 3), symmetric(3, 0)), "all pairs of a matrix are equal"),
        (lambda: mantel(symmetric(3, 0), symmetric(3, 0), permutations=0), "at least 1, not 0"),
        (lambda: influences(TWO_UNITS, -1), "units 0…1, not -1"),
    ],
)
def test_bad_input(call, said):
    with pytest.raises(rs.InputError, match=said):
        call()
