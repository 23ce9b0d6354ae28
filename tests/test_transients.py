"""Attribution behind other heads, decisions, separability: where the answers are on paper."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import residua as rs
from problems import identity_chain, linear_chain


def batch(samples=40, inputs=5, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, inputs, generator=generator, dtype=torch.float64)
    return x, torch.arange(samples) % classes


def network(**options):
    torch.manual_seed(0)
    return rs.ResNet(5, 7, 3, depth=4, weights="variable", **options).double().eval()


# Heads.


@pytest.mark.parametrize("norm", [nn.LayerNorm(7), nn.RMSNorm(7), nn.LayerNorm(7, bias=False)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_a_norm_before_the_head_is_frozen_and_said(norm, dtype, tolerance):
    net = network()
    nn.init.normal_(norm.weight)
    net.head = nn.Sequential(norm, nn.Identity(), net.head)
    net.to(dtype)
    x, labels = batch()
    found = rs.attribute(net, x.to(dtype))
    assert found.method == "frozen norm"
    assert found.to_dataset().attrs["method"] == "frozen norm"
    error = (found.contributions.sum(0) - net(x.to(dtype))).abs().max()
    assert error <= tolerance * found.logits.abs().max()
    states = rs.trace(net, x.to(dtype)).states
    last = states[-1]
    centre = last.mean(1, keepdim=True) if isinstance(norm, nn.LayerNorm) else 0
    scale = (last - centre).square().mean(1, keepdim=True).sqrt()
    y = states[2] - states[1]
    y = y - (y.mean(1, keepdim=True) if isinstance(norm, nn.LayerNorm) else 0)
    by_hand = (y / scale * norm.weight) @ net.head[2].weight.T
    torch.testing.assert_close(found.contributions[2], by_hand.detach(), rtol=1e-4, atol=1e-4)
    classes = rs.attribute_classes(net, [(x[:9], labels[:9]), (x[9:], labels[9:])])
    assert classes.method == "frozen norm"
    mean = found.contributions[:, labels == 1].mean(1)
    np.testing.assert_allclose(classes.mean[:, 1], mean, atol=1e-4)


def test_a_head_that_is_not_linear_is_refused_and_offered_the_gradient():
    net = network()
    net.head = nn.Sequential(nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    x, labels = batch()
    with pytest.raises(
        rs.InputError, match=r"Sequential is not linear.*attribute_gradient\(model, x\)"
    ):
        rs.attribute(net, x)
    with pytest.raises(rs.InputError, match="is not linear"):
        rs.attribute_classes(net, [(x, labels)])
    with pytest.raises(rs.StackError, match="one linear map K x"):
        rs.divide(net, rs.trace(net, x), x.new_zeros(len(x), 7))
    found = rs.attribute_gradient(net, x)
    assert found.method == "gradient"
    assert found.parts[-1] == "remainder"
    torch.testing.assert_close(found.contributions.sum(0), found.logits)
    states = rs.trace(net, x).states
    J = torch.func.vmap(torch.func.jacrev(net.head))(states[-1])
    by_hand = torch.einsum("scu,su->sc", J, states[3] - states[2])
    torch.testing.assert_close(found.contributions[3], by_hand.detach())
    assert rs.gains(net, x[:3]).state.shape == (5, 3)  # any head will do
    with pytest.raises(rs.InputError, match="a head of the kind Sequential cannot be described"):
        rs.save(net, "nowhere.safetensors")


def test_the_gradient_version_of_a_linear_head_is_the_exact_one():
    net, (x, _) = network(), batch()
    exact, gradient = rs.attribute(net, x), rs.attribute_gradient(net, x)
    assert exact.method == "exact"
    torch.testing.assert_close(exact.contributions, gradient.contributions)


def test_a_head_without_a_linear_map_is_refused():
    net = network()
    net.head = nn.Tanh()
    with pytest.raises(rs.StackError, match=r"holds no nn\.Linear"):
        rs.trace(net, batch()[0])


def test_a_class_that_is_absent_has_no_mean_attribution():
    net, (x, labels) = network(), batch()
    found = rs.attribute_classes(net, [(x[labels != 1], labels[labels != 1])])
    assert np.isnan(found.mean[:, 1]).all()
    np.testing.assert_allclose(
        found.overall, rs.attribute(net, x[labels != 1]).contributions.mean(1), atol=1e-12
    )


@pytest.mark.parametrize("call", ["trace", "attribute", "attribute_gradient", "gains", "noise"])
def test_measures_leave_the_model_as_it_was(call):
    net, (x, labels) = network(), batch()
    net.head = nn.Sequential(nn.Dropout(0.5), net.head)
    net.train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    getattr(rs, call)(net, [(x, labels)] if call == "noise" else x)
    assert net.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    hooks = [(m._forward_hooks, m._forward_pre_hooks) for m in net.modules()]
    assert not any(a or b for a, b in hooks)


# Transient and steady parts.


def test_transient_and_steady_parts_add_up():
    net, (x, _) = network(), batch()
    found = rs.trace(net, x)
    steady = torch.rand(40, 7, dtype=torch.float64)
    parts = rs.divide(net, found, steady)
    assert parts.parts == ("input", "transient", "steady", "bias")
    torch.testing.assert_close(parts.contributions.sum(0), found.logits)
    torch.testing.assert_close(
        parts.contributions[2], (4 * steady @ net.head.weight.T).detach(), rtol=1e-12, atol=0
    )
    # A network whose residuals rest from the first layer on has no transient part.
    same = rs.divide(net, found, found.residuals.mean(0))
    assert same.contributions[1].abs().max() < 1e-12
    with pytest.raises(rs.InputError, match=r"of the shape \(40, 7\), not \(3, 7\)"):
        rs.divide(net, found, steady[:3])


# Decisions.


def test_decisions_are_those_of_the_head_on_states_and_windows():
    net, (x, labels) = network(), batch(90)
    means = rs.attribute_classes(net, [(x + 0.1, labels)])
    found = rs.decisions(net, [(x[:50], labels[:50]), (x[50:], labels[50:])], means=means)
    states = rs.trace(net, x).states
    K, c = net.head.weight.detach(), net.head.bias.detach()

    def accuracy(z):
        return float((z.argmax(1) == labels).double().mean())

    for t in range(5):
        assert found.accuracy[t] == pytest.approx(accuracy(states[t] @ K.T + c))
    assert found.window(-1, 4) == pytest.approx(found.accuracy[4])
    assert found.window(-1, 0) == pytest.approx(found.accuracy[0])
    assert found.window(3, 4) == pytest.approx(accuracy((states[4] - states[3]) @ K.T + c))
    whole = rs.trace(net, x + 0.1).states.mean(1)
    rest = whole[4] - (whole[3] - whole[1])
    filled = (states[3] - states[1] + rest) @ K.T + c
    assert found.window(1, 3, others="mean") == pytest.approx(accuracy(filled))
    assert found.window(-1, 4, others="mean") == pytest.approx(found.accuracy[4])
    margins = rs.attribute(net, x).margins(labels)
    np.testing.assert_allclose(found.margin[:, 1], margins[:, labels == 1].mean(1))
    chosen = (states @ K.T + c).argmax(2)
    for s in range(90):
        first = next(t for t in range(5) if (chosen[t:, s] == chosen[-1, s]).all())
        found.decided[first, labels[s]] -= 1
    assert not found.decided.any()
    assert np.isnan(found.alone[np.tri(6, dtype=bool)]).all()
    with pytest.raises(rs.InputError, match=r"no window \(3, 3\]; bounds are -1, 0, 1, 2, 3, 4"):
        found.window(3, 3)
    without = rs.decisions(net, [(x, labels)])
    with pytest.raises(rs.InputError, match="need `means`"):
        without.window(0, 1, others="mean")
    with pytest.raises(rs.InputError, match="a decision's accuracy needs the class of each sample"):
        rs.decisions(net, [x])
    with pytest.raises(rs.InputError, match="means are of 4 layers and 3 classes"):
        rs.decisions(rs.ResNet(5, 7, 3, depth=2), [(x, labels)], means=means)


def test_a_chain_that_adds_nothing_decides_at_the_input():
    x, labels = batch(30, 3, 2)
    found = rs.decisions(identity_chain(), [(x, labels)])
    assert found.median_layer == 0
    assert found.decided[0].tolist() == [15, 15]
    assert len(set(found.accuracy)) == 1


def test_windows_of_a_deep_network_are_on_a_coarser_grid():
    net = identity_chain(100)
    found = rs.decisions(net, [batch(4, 3, 2)])
    assert found.bounds[:3].tolist() == [-1, 0, 4]
    assert found.bounds[-1] == 100
    assert len(found.accuracy) == 101
    assert found.window(-1, 100) == found.accuracy[-1]


# Separability.


def two_gaussians(distance, sigma, samples=20000, units=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(samples) % 2
    x = sigma * rng.standard_normal((samples, units))
    x[:, 0] += np.where(labels, 0.5, -0.5) * distance
    return torch.from_numpy(x), torch.from_numpy(labels)


def test_fisher_ratio_and_probe_of_two_gaussians():
    """J = d²/4 over N σ²; Bayes' accuracy Φ(d / 2σ). Layers scale, so nothing changes over depth."""
    d, sigma = 2.0, 0.8
    net = linear_chain(2 * torch.eye(4, dtype=torch.float64), 3)
    train, val, test = (two_gaussians(d, sigma, seed=s) for s in range(3))
    stats = rs.accumulate(net, [test])
    found = rs.separability(stats.states)
    np.testing.assert_allclose(found.fisher, d**2 / 4 / (4 * sigma**2), rtol=0.05)
    np.testing.assert_allclose(found.unit_fisher[:, 0], d**2 / 4 / sigma**2, rtol=0.05)
    assert found.unit_fisher[:, 1:].max() < 0.005
    np.testing.assert_allclose(found.distance[:, 0, 1], d * 2.0 ** np.arange(4), rtol=0.05)
    residuals = rs.separability(stats.residuals)  # y_t = 2^{t−1} x_0
    np.testing.assert_allclose(residuals.fisher, found.fisher[:3])
    bayes = 0.5 * (1 + math.erf(d / 2 / sigma / math.sqrt(2)))
    for curve in (
        rs.depth_curve(net, [train], [val], score_batches=[test], target="labels"),
        rs.residual_probe(net, [train], [val], score_batches=[test]),
    ):
        np.testing.assert_allclose(curve.accuracy, bayes, atol=0.02)
    assert len(rs.residual_probe(net, [train], [val]).accuracy) == 3


def test_separability_against_covariances_by_hand():
    net, (x, labels) = network(), batch(31)
    stats = rs.accumulate(net, [(x[:11], labels[:11]), (x[11:], labels[11:])])
    found = rs.separability(stats.states)
    for t, state in enumerate(rs.trace(net, x).states.numpy()):
        means = np.stack([state[labels == c].mean(0) for c in range(3)])
        p = np.bincount(labels) / 31
        between = np.cov(means.T, aweights=p, bias=True)
        within = sum(p[c] * np.cov(state[labels == c].T, bias=True) for c in range(3))
        assert found.between[t] == pytest.approx(np.trace(between))
        assert found.within[t] == pytest.approx(np.trace(within))
        assert found.distance[t, 0, 2] == pytest.approx(np.linalg.norm(means[0] - means[2]))
    with pytest.raises(rs.InputError, match="at least two classes, and these statistics have 1"):
        rs.separability(rs.accumulate(net, [x]).states)
    with pytest.raises(rs.InputError, match="at least two classes"):
        rs.separability(rs.accumulate(net, [(x, torch.zeros(31).long())]).states)


def test_sensitive_units_have_the_largest_weights():
    net, (x, labels) = network(), batch(60)
    stats = rs.accumulate(net, [(x, labels)])
    K = net.head.weight.detach()
    found = rs.sensitive_units(stats, K)
    trace = rs.trace(net, x)
    for c in range(3):
        assert K[c, found.unit[c]] == K[c].max() == found.weight[c]
        of = found.unit[c]
        for other in range(3):
            y = trace.residuals[:, labels == other, of].mean(1)
            np.testing.assert_allclose(found.residual[:, c, other], y)
            np.testing.assert_allclose(found.cumulative[1:, c, other], y.cumsum(0))
        last = [float(trace.states[-1, labels == o, of].mean()) for o in range(3)]
        assert found.own_largest[c] == (int(np.argmax(last)) == c)
    with pytest.raises(
        rs.InputError, match=r"K has the shape \(2, 7\) and the statistics are of 3"
    ):
        rs.sensitive_units(stats, K[:2])


# Captures.


class InPlace(nn.Module):
    """Adds to the state it was given, and returns that."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        y = self.layer(x) - x
        x += y
        return x


@pytest.mark.parametrize("reused", [False, True])
def test_blocks_in_place_and_blocks_used_again_are_captured_right(reused):
    net, (x, labels) = network(), batch(20)
    if reused:
        net.blocks[2] = net.blocks[0]  # one module, the first and the third layer
    expected = rs.trace(net, x)
    stats, noise = rs.accumulate(net, [(x, labels)]), rs.NoiseConfig("layers", (0.1,))
    noisy, lesioned = rs.noise(net, [(x, labels)], noise), rs.lesions(net, [(x, labels)])
    gains = rs.gains(net, x[:4])
    for t in range(4):
        net.blocks[t] = InPlace(net.blocks[t])
    if reused:
        net.blocks[2] = net.blocks[0]
    found = rs.trace(net, x)
    torch.testing.assert_close(found.states, expected.states)
    torch.testing.assert_close(found.residuals, expected.residuals)
    again = rs.accumulate(net, [(x, labels)])
    np.testing.assert_allclose(again.residuals.mean, stats.residuals.mean)
    np.testing.assert_allclose(again.settle_distance, stats.settle_distance)
    np.testing.assert_allclose(rs.noise(net, [(x, labels)], noise).noise, noisy.noise)
    np.testing.assert_allclose(rs.lesions(net, [(x, labels)]).loss, lesioned.loss)
    np.testing.assert_allclose(rs.gains(net, x[:4]).state, gains.state)


def test_a_model_called_twice_in_one_forward_is_refused():
    class Twice(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x) + self.net(-x)

    with pytest.raises(rs.StackError, match="ran 8 layers where the model has 4"):
        rs.trace(Twice(network()), batch()[0])


# What every measure refuses.


def test_parts_of_a_model_keep_their_modes():
    net, (x, labels) = network(), batch()
    net.train()
    net.head.eval()
    rs.noise(net, [(x, labels)])
    rs.trace(net, x)
    assert net.training
    assert not net.head.training
    assert net.blocks[0].training


def test_inputs_that_no_measure_can_use_are_refused_alike():
    net, (x, labels) = network(), batch()
    bad = x.clone()
    bad[3, 2] = torch.nan
    for call in (rs.trace, rs.attribute, rs.attribute_gradient, rs.gains, rs.sampled_gains):
        with pytest.raises(rs.InputError, match="x holds 1 NaN or infinite values"):
            call(net, bad)
        with pytest.raises(rs.InputError, match=r"shape \(sample, …\) with at least one sample"):
            call(net, x[:0])
        with pytest.raises(rs.InputError, match=r"shape \(sample, …\)"):
            call(net, x[0])
    for call in (rs.accumulate, rs.decisions, rs.measures, rs.lesions, rs.swaps, rs.noise):
        with pytest.raises(rs.InputError, match="x holds 1 NaN or infinite values"):
            call(net, [(bad, labels)])
        with pytest.raises(
            rs.InputError, match=r"pass batches, such as \[x\] or \[\(x, labels\)\]"
        ):
            call(net, x)
    with pytest.raises(rs.InputError, match="x holds 1 NaN"):
        rs.noise_covariances(net, bad[3], 0.1)
    empty = (x[:0], labels[:0])
    assert rs.noise(net, [(x, labels), empty]).samples == 40
    assert rs.lesions(net, [empty, (x, labels)]).samples == 40


def test_a_network_that_has_diverged_is_named():
    net, (x, labels) = network(), batch()
    with torch.no_grad():
        net.blocks[1].linear.bias[0] = torch.nan
    for call in (rs.trace, rs.gains, rs.sampled_gains):
        with pytest.raises(rs.StackError, match="outputs hold NaN or infinite values"):
            call(net, x)
    for call in (rs.measures, rs.noise, rs.lesions, rs.swaps):
        with pytest.raises(rs.StackError, match="outputs hold NaN or infinite values"):
            call(net, [(x, labels)])


def test_a_head_of_one_output_has_no_decision():
    net, (x, labels) = network(), batch()
    net.head = nn.Linear(7, 1).double()
    found = rs.gains(net, x[:3])
    assert np.isfinite(found.logits).all()
    assert np.isnan(found.margin).all()
    assert np.isnan(rs.noise(net, [x]).agreement).all()
    with pytest.raises(rs.InputError, match="a margin needs at least two classes"):
        rs.attribute(net, x).margins(labels)
    with pytest.raises(rs.InputError, match="decisions need at least two classes"):
        rs.decisions(net, [(x, labels * 0)])


def test_a_wrapper_that_changes_the_logits_is_refused():
    class Tripled(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return 3 * self.net(x)

    net, (x, _) = network(), batch()
    for call in (rs.trace, rs.gains):
        with pytest.raises(
            rs.StackError, match="the head must be applied to the last state itself"
        ):
            call(Tripled(net), x)
    torch.manual_seed(5)
    other = rs.ResNet(5, 7, 3, depth=4).double()
    with pytest.raises(rs.StackError, match="add up to logits that are off"):
        rs.divide(other, rs.trace(net, x), torch.zeros(40, 7))
    with pytest.raises(rs.InputError, match="the trace has 7 units and the head takes 9"):
        rs.divide(rs.ResNet(5, 9, 3).double(), rs.trace(net, x), torch.zeros(40, 7))


def test_states_that_differ_by_rounding_alone_have_no_ratios():
    """A deep MLP with W = 0.05: its states become one point, in float32 sooner than in float64."""
    torch.manual_seed(0)
    net = rs.MLP(20, 30, 3, depth=12)
    with torch.no_grad():
        net.block(0).linear.weight.mul_(0.05)
    x, labels = torch.randn(90, 20), torch.arange(90) % 3
    single = rs.measures(net, [(x, labels)]).states.fisher
    noisy = rs.noise(net, [(x, labels)], rs.NoiseConfig("gaussian", (0.5,)))
    net.double()
    double = rs.measures(net, [(x, labels)]).states.fisher
    assert np.isnan(single[-1])
    assert np.isnan(noisy.signal_to_noise[0, -1])
    known = np.isfinite(single)
    assert known[:3].all()
    np.testing.assert_allclose(single[known], double[known], rtol=0.05)


def test_half_precision_is_measured_in_single():
    torch.manual_seed(0)
    net = rs.ResNet(64, 128, 10, depth=3)
    x = torch.randn(300, 64)
    config = rs.NoiseConfig("gaussian", (2.0,))
    expected = rs.noise(net, [x], config)
    for dtype in (torch.float16, torch.bfloat16):
        found = rs.noise(net.to(dtype), [x], config)
        np.testing.assert_allclose(found.noise, expected.noise, rtol=0.03)
        assert np.isfinite(found.displacement).all()
        assert rs.sampled_gains(net, x[:2]).state.shape == (4, 8, 2)
        assert rs.attribute(net, x[:2]).to_dataset().logits.shape == (2, 10)
