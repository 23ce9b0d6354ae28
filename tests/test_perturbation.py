"""Gains, lesions and noise where the answers are on paper."""

import copy
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import residua as rs
from problems import identity_chain, linear_chain, rotation

EIGENVALUES = (1.5, 0.8, 0.5)
T = 6


def diagonal_chain():
    return linear_chain(torch.diag(torch.tensor(EIGENVALUES, dtype=torch.float64)), T)


def inputs(samples, units=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, units, generator=generator, dtype=torch.float64)


def test_gains_of_a_linear_chain_are_powers_of_its_eigenvalues():
    net = diagonal_chain()
    found = rs.gains(net, inputs(4))
    K = net.head.weight.detach().numpy()
    for t in range(T + 1):
        left = np.array(EIGENVALUES) ** (T - t)
        np.testing.assert_allclose(found.state[t], max(left), rtol=1e-9)
        np.testing.assert_allclose(found.state_rms[t], np.sqrt((left**2).mean()), rtol=1e-9)
        np.testing.assert_allclose(found.logits[t], np.linalg.norm(K * left, 2), rtol=1e-9)
        slope = np.linalg.norm((K[0] - K[1]) * left)
        np.testing.assert_allclose(found.margin[t], slope, rtol=1e-9)
        if t < T:
            np.testing.assert_allclose(abs(found.worst[t]), [[1, 0, 0]] * 4, atol=1e-9)
    logits = net(inputs(4)).detach().numpy()
    margin = abs(logits[:, 0] - logits[:, 1])
    np.testing.assert_allclose(found.distance, margin / found.margin)


def test_a_rotation_has_gain_one_at_every_layer():
    net = linear_chain(rotation(0.7), 9)
    found = rs.gains(net, inputs(3, 2))
    np.testing.assert_allclose(found.state, 1, rtol=1e-9)
    np.testing.assert_allclose(found.state_rms, 1, rtol=1e-9)
    sampled = rs.sampled_gains(net, inputs(3, 2), size=0.5, draws=3)
    np.testing.assert_allclose(sampled.state, 1, rtol=1e-9)


def test_a_chain_that_adds_nothing_has_gain_one_and_noise_stays_as_it_is():
    net = identity_chain()
    x = inputs(5)
    np.testing.assert_allclose(rs.gains(net, x).state, 1, rtol=1e-12)
    config = rs.NoiseConfig("gaussian", (0.3,), draws=2)
    found = rs.noise(net, [x], config)
    np.testing.assert_allclose(found.noise, found.noise[0, 0], rtol=1e-12)
    labels = torch.arange(5) % 2
    lesion = rs.lesions(net, [(x, labels)])
    assert lesion.more.tolist() == [0] * 5


def test_steps_of_a_cut_network_count_in_gains_and_swaps():
    """Three layers of one map with steps of 1, 4 and 2, against autograd through the network."""
    torch.manual_seed(0)
    net = rs.ResNet(5, 5, 3, depth=3, step_size=(1.0, 4.0, 2.0)).double()
    x = inputs(2, 5)
    J = torch.func.jacrev(lambda s: net.advance(2, net.advance(1, net.advance(0, s[None])))[0])(
        x[1]
    )
    found = rs.gains(net, x)
    assert found.state[0, 1] == pytest.approx(float(torch.linalg.svdvals(J.detach())[0]), rel=1e-8)
    labels = torch.arange(2)
    swapped = rs.swaps(net, [(x, labels)])
    exchanged = copy.deepcopy(net)
    exchanged.steps = (4.0, 1.0, 2.0)
    before, after = (nn.functional.cross_entropy(n(x), labels) for n in (net, exchanged))
    assert swapped.more[0] == pytest.approx(float((after - before).detach()), rel=1e-6)


def test_gains_are_the_first_singular_values():
    torch.manual_seed(0)
    net = rs.ResNet(150, 150, 3, depth=2, weights="variable").double()
    with torch.no_grad():
        net.blocks[0].linear.weight.mul_(10)
    x = inputs(2, 150)
    found = rs.gains(net, x)

    def run(start, t):
        for block in net.blocks[t:]:
            start = block(start)
        return start

    state = x[1]
    for t in range(3):
        J = torch.func.jacrev(lambda s, t=t: run(s[None], t)[0])(state).detach()
        _, s, vh = torch.linalg.svd(J)
        assert found.state[t, 1] == pytest.approx(float(s[0]), rel=1e-8)
        if t < 2:
            assert abs(float(vh[0] @ torch.tensor(found.worst[t, 1]))) == pytest.approx(1, abs=1e-6)
            state = net.blocks[t](state[None])[0].detach()


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["resnet", "mlp"]))
def test_small_perturbations_answer_as_the_jacobian_says(seed, kind):
    torch.manual_seed(seed)
    net = rs.build(rs.NetConfig(kind, 4, 6, 3, depth=4, weights="variable")).double()
    x = inputs(3, 4, seed % 1000)
    exact, sampled = rs.gains(net, x), rs.sampled_gains(net, x, size=1e-5, draws=60, seed=seed)
    assert (sampled.state <= exact.state[:, None] * (1 + 1e-3)).all()
    rms = np.sqrt((sampled.state**2).mean(1))
    np.testing.assert_allclose(rms, exact.state_rms, rtol=0.5)
    assert not sampled.flipped.any()


def test_a_step_along_the_margins_gradient_flips_at_the_distance_of_a_linear_chain():
    net = diagonal_chain()
    x = inputs(1)
    found = rs.gains(net, x)
    K = net.head.weight.detach()
    sign = 1 if net(x)[0].argmax() == 0 else -1
    toward = sign * (K[0] - K[1]) * torch.tensor(EIGENVALUES) ** T
    for much, flipped in ((0.999, False), (1.001, True)):
        moved = x - much * found.distance[0, 0] * toward / toward.norm()
        assert (net(moved).argmax() != net(x).argmax()) == flipped


def test_lesions_scaling_and_swaps_are_what_they_say():
    torch.manual_seed(1)
    net = rs.ResNet(4, 6, 3, depth=3, weights="variable").double()
    x, labels = inputs(20, 4), torch.arange(20) % 3
    state = net.lift(x)

    def loss(*blocks):
        s = state
        for b in blocks:
            s = b(s)
        return nn.functional.cross_entropy(net.head(s), labels).item()

    a, b, c = net.blocks
    parts = [(x[:7], labels[:7]), (x[7:], labels[7:])]
    lesion = rs.lesions(net, parts)
    assert lesion.names == ("layer 1", "layer 2", "layer 3")
    np.testing.assert_allclose(lesion.loss, [loss(b, c), loss(a, c), loss(a, b)])
    assert lesion.base_loss == pytest.approx(loss(a, b, c))
    np.testing.assert_allclose(lesion.more, lesion.loss - lesion.base_loss)
    doubled = rs.lesions(net, parts, scale=2.0, layers=[2])
    assert doubled.loss[0] == pytest.approx(loss(a, lambda s: s + 2 * (b(s) - s), c))
    swapped = rs.swaps(net, parts, pairs=[(1, 3)])
    assert swapped.loss[0] == pytest.approx(loss(c, b, a))
    assert rs.swaps(net, parts).names == ("1 and 2", "2 and 3")
    each = nn.functional.cross_entropy(net(x), labels, reduction="none")
    gone = nn.functional.cross_entropy(net.head(c(b(state))), labels, reduction="none")
    error = (gone - each).detach().std(correction=1) / math.sqrt(20)
    assert lesion.more_error[0] == pytest.approx(float(error))
    shared = rs.ResNet(4, 6, 3, depth=3).double()
    assert rs.swaps(shared, parts).more.tolist() == [0, 0]


def test_losses_of_a_regression_need_no_classes():
    net = rs.ResNet(4, 6, 2, depth=3).double()
    net.head = nn.Linear(6, 1).double()
    x = inputs(10, 4)
    y = x.sum(1, keepdim=True)

    def squared(outputs, targets):
        return (outputs - targets).square().sum(1)

    found = rs.lesions(net, [(x, y)], loss=squared)
    expected = (net(x).detach() - y).square().mean()
    assert found.base_loss == pytest.approx(float(expected))
    assert math.isnan(found.base_accuracy)
    assert rs.accumulate(net, [(x, y)]).samples == 10
    with pytest.raises(rs.InputError, match=r"cross-entropy \(pass another loss.*needs the class"):
        rs.lesions(net, [(x, y)])
    with pytest.raises(rs.InputError, match="one value for each of the 10 samples"):
        rs.lesions(net, [(x, y)], loss=lambda o, t: squared(o, t).mean())


# tr C_t = σ² Σ λ^{2t} for noise of the input, plus the layers' own noise that each later layer scales.
def test_covariances_of_a_linear_chain_in_closed_form_and_by_sampling():
    net, x = diagonal_chain(), inputs(3000)
    lam2 = np.array(EIGENVALUES) ** 2
    both = rs.noise_covariances(net, x[0], 0.2, layer_sigma=0.1)
    expected = 0.04 * np.ones(3)
    for t in range(T + 1):
        np.testing.assert_allclose(np.diag(both[t].numpy()), expected, rtol=1e-9)
        assert abs(both[t] - both[t].diag().diag()).max() < 1e-12
        expected = lam2 * expected + 0.01
    exact = [float(c.trace()) for c in rs.noise_covariances(net, x[0], 0.2)]
    sampled = rs.noise(net, [x], rs.NoiseConfig("gaussian", (0.2,), draws=4))
    np.testing.assert_allclose(sampled.noise[0], exact, rtol=0.05)
    np.testing.assert_allclose(sampled.displacement[0], exact, rtol=0.05)
    uniform = rs.noise(net, [x], rs.NoiseConfig("uniform", (0.2,), draws=4))
    np.testing.assert_allclose(uniform.noise[0], exact, rtol=0.05)
    layers = rs.noise(net, [x], rs.NoiseConfig("layers", (0.1,), draws=4))
    own = [float(c.trace()) for c in rs.noise_covariances(net, x[0], 0.0, layer_sigma=0.1)]
    np.testing.assert_allclose(layers.noise[0, 1:], own[1:], rtol=0.05)
    assert layers.noise[0, 0] == 0


def test_covariances_of_independent_noise_add_up_exactly():
    net, x = identity_chain(7), inputs(1)[0]
    found = rs.noise_covariances(net, x, 0.5, layer_sigma=0.25)
    for t, C in enumerate(found):
        assert torch.equal(C, (0.25 + t * 0.0625) * torch.eye(3, dtype=torch.float64))


def test_signal_to_noise_of_a_linear_chain_in_closed_form():
    """Two points ±e_2: the signal is λ_2^{2t}, the noise σ² Σ λ^{2t}."""
    net = diagonal_chain()
    x = torch.tensor([[0.0, 1, 0], [0, -1, 0]], dtype=torch.float64).repeat(3000, 1)
    found = rs.noise(net, [(x, torch.arange(6000) % 2)], rs.NoiseConfig("gaussian", (0.2, 0.4)))
    lam2 = np.array(EIGENVALUES)[None] ** (2 * np.arange(T + 1)[:, None])
    expected = lam2[:, 1] / lam2.sum(1)
    np.testing.assert_allclose(found.signal, lam2[:, 1], rtol=1e-9)
    np.testing.assert_allclose(found.signal_to_noise[0], expected / 0.04, rtol=0.05)
    np.testing.assert_allclose(found.signal_to_noise[1], expected / 0.16, rtol=0.05)


def test_accuracy_under_noise_is_the_normal_distributions():
    """Decide the sign of x_1 = ±1 under noise σ: right with probability Φ(1/σ)."""
    net = identity_chain(2)
    with torch.no_grad():
        net.head.weight.copy_(torch.tensor([[1.0, 0, 0], [-1, 0, 0]]))
        net.head.bias.zero_()
    x = torch.tensor([[1.0, 0, 0], [-1, 0, 0]], dtype=torch.float64).repeat(2000, 1)
    labels = torch.arange(4000) % 2
    found = rs.noise(net, [(x, labels)], rs.NoiseConfig("gaussian", (0.0, 1.0, 2.0)))
    assert found.clean_accuracy == found.accuracy[0] == found.agreement[0] == 1
    for k, sigma in ((1, 1.0), (2, 2.0)):
        right = 0.5 * (1 + math.erf(1 / sigma / math.sqrt(2)))
        assert found.accuracy[k] == pytest.approx(right, abs=4 * found.accuracy_error[k])
        expected_error = math.sqrt(right * (1 - right) / 4 / 4000)
        assert found.accuracy_error[k] == pytest.approx(expected_error, rel=0.1)
    worst = rs.noise(net, [(x, labels)], rs.NoiseConfig("gradient-sign", (0.9, 1.1)))
    assert worst.accuracy.tolist() == [1, 0]  # the sign of the gradient is against x_1
    assert np.isnan(worst.noise).all()


def test_shares_of_inputs_that_are_hidden_or_set():
    net = identity_chain(1, units=64)
    x = torch.full((200, 8, 8), 0.5, dtype=torch.float64)

    def states(kind, strength, x=x):
        config = rs.NoiseConfig(kind, (strength,), value_range=(-1.0, 3.0), draws=2)
        return rs.noise(net, [x], config).displacement[0, 0]

    assert states("occlusion", 0.25) == pytest.approx(16 * 0.25)  # a 4 × 4 square of ½s
    assert states("occlusion", 1.0) == pytest.approx(64 * 0.25)
    assert states("occlusion", 0.5, x.flatten(1)) == pytest.approx(32 * 0.25)  # a run of 32
    expected = 64 * 0.4 * (1.5**2 + 2.5**2) / 2
    assert states("salt-and-pepper", 0.4) == pytest.approx(expected, rel=0.05)


def test_the_same_draws_for_the_same_seed_and_none_shared_by_strengths_sums():
    net, x = rs.ResNet(4, 6, 3, depth=3).double(), inputs(30, 4)
    first, again, other = (
        rs.noise(net, [x], rs.NoiseConfig("gaussian", (0.5, 1.0), seed=s)) for s in (0, 0, 1)
    )
    assert np.array_equal(first.noise, again.noise)
    assert not np.array_equal(first.noise, other.noise)
    np.testing.assert_allclose(first.noise[1, 0], 4 * first.noise[0, 0])
    assert first.accuracy is None
    assert first.to_dataset().noise.dims == ("strength", "state")
    with pytest.raises(rs.InputError, match="signal-to-noise needs classes"):
        _ = first.signal_to_noise


def test_bad_noise_layers_and_sizes_are_refused():
    net, x = rs.ResNet(4, 6, 3, depth=3), torch.randn(5, 4)
    for options, said in (
        ({"strengths": (-0.1,)}, r"must be 0 or more, at least one, not \[-0.1\]"),
        ({"strengths": ()}, "at least one, not"),
        ({"strengths": (1.5,), "kind": "occlusion"}, "must be 0…1, a share of the input"),
        ({"draws": 1}, "draws must be at least 2"),
        ({"seed": -1}, "seed must be a whole number, 0 or more, not -1"),
        ({"value_range": (3.0, -1.0)}, r"value_range must be \(lowest, highest\)"),
        ({"value_range": (math.nan, 1.0)}, "value_range must be"),
    ):
        with pytest.raises(rs.InputError, match=said):
            rs.NoiseConfig(**options)
    with pytest.raises(rs.InputError, match=r"gradient-sign noise needs the class of each sample"):
        rs.noise(net, [x], rs.NoiseConfig("gradient-sign"))
    with pytest.raises(rs.InputError, match="some batches have labels and others have none"):
        rs.noise(net, [(x, torch.zeros(5, dtype=torch.long)), x])
    with pytest.raises(rs.InputError, match="gave no batch"):
        rs.noise(net, [])
    with pytest.raises(rs.InputError, match="standard deviation must be 0 or more, not -1"):
        rs.noise_covariances(net, x[0], -1.0)
    labels = torch.zeros(5, dtype=torch.long)
    named = r"no layer 4; the layers are 1 \(blocks.0, call 1\), 2 \(blocks.0, call 2\), 3 \("
    with pytest.raises(rs.StackError, match=named):
        rs.lesions(net, [(x, labels)], layers=[4])
    with pytest.raises(rs.StackError, match=r"no layer 0"):
        rs.swaps(net, [(x, labels)], pairs=[(0, 1)])
    with pytest.raises(
        rs.StackError, match=r"no layer -1; the layers are 0 \(the lifted input\), 1"
    ):
        rs.sampled_gains(net, x, states=[-1])
    with pytest.raises(rs.InputError, match="size must be above 0"):
        rs.sampled_gains(net, x, size=0.0)
    with pytest.raises(rs.InputError, match="scale must be a finite number, not nan"):
        rs.lesions(net, [(x, labels)], scale=math.nan)
    with pytest.raises(rs.InputError, match="states must name at least one"):
        rs.sampled_gains(net, x, states=[])
    with pytest.raises(rs.InputError, match="at least one sample"):
        rs.gains(net, x[:0])
    with pytest.raises(rs.InputError, match="labels or targets"):
        rs.lesions(net, [x])


LIMITED = """
import resource, sys, torch, residua as rs
torch.set_num_threads(1)
torch.manual_seed(0)
net = rs.ResNet(256, 300, 3, depth=3)
x, y = torch.randn(6000, 256), torch.arange(6000) % 3
large = (x.repeat(6, 1), y.repeat(6))
config = rs.NoiseConfig("gaussian", (0.5,), draws=2)
rs.noise(net, [(x[:50], y[:50])], config); rs.gains(rs.ResNet(8, 8, 2, depth=2), x[:2, :8])
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + 100 * 2**20,) * 2)
"""


CALLS = """
print(rs.noise(net, [(x, y)], config).samples, rs.gains(net, x[:60]).state.shape)
for call in (rs.accumulate, rs.lesions):
    try: call(net, [large])
    except rs.InputError as error: print(error)
for call in (rs.attribute, rs.sampled_gains):
    try: call(net, large[0])
    except rs.InputError as error: print(error)
"""


def test_a_batch_too_large_for_memory_is_halved_or_named():
    """In a process that may take 100 MB more than it has after a first small use."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED + CALLS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    halved, *named = done.stdout.splitlines()
    assert halved == "6000 (4, 60)"
    assert len(named) == 4
    for said in named:
        assert said.startswith(
            "a batch of 36000 samples does not fit into memory; pass batches of "
        )


def test_gradient_sign_works_in_inference_mode():
    net, x = identity_chain(2), inputs(6)
    labels = torch.arange(6) % 2
    config = rs.NoiseConfig("gradient-sign", (0.5,))
    expected = rs.noise(net, [(x, labels)], config)
    with torch.inference_mode():
        found = rs.noise(net, [(x.clone(), labels)], config)
    assert found.displacement.tolist() == expected.displacement.tolist()
