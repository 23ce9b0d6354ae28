"""What makes up for removed layers: systems in which the answer is exact, and numpy beside the fits."""

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import residua as rs
from residua.depth.compensation import kind_named
from residua.depth.least_squares import LeastSquares
from residua.depth.plan import DepthPlan, lowest_go, may_go
from residua.depth.spans import best_spans, span_errors
from residua.streaming import first


def net_of(weights="variable", depth=6, **options):
    torch.manual_seed(2)
    return rs.ResNet(6, 8, 3, depth=depth, weights=weights, **options).double()


def batches(n=90, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, dtype=torch.float64, generator=g)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    return list(zip(x.split(40), y.split(40), strict=True))


def plan_for(net, keep, **options):
    names = rs.find_stages(net).names
    return DepthPlan(names, keep, "by hand", (None,) * len(names), "", **options)


def fitted(net, keep, kind, *, firsts=None, ridges=(1e-12,), data=None):
    plan = plan_for(net, keep, firsts=firsts)
    data = data or batches()
    options = rs.FitOptions(ridges=ridges)
    found = rs.compensate(net, plan, data, data, kind=kind, options=options)
    before = copy.deepcopy(net.state_dict())
    small = rs.apply(plan, net, compensation=found)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    return small.eval(), found


def x_of(data=None):
    return torch.cat([x for x, _ in data or batches(seed=5)])


def constant(block, value):
    """Let a dense block add the same to every sample."""
    with torch.no_grad():
        block.linear.weight.zero_()
        block.linear.bias.copy_(value)


@pytest.mark.parametrize("kind", ["repeat", "steps"])
@pytest.mark.parametrize("weights", ["shared", "variable"])
def test_residuals_that_repeat_are_multiplied_exactly(kind, weights):
    """y_1 = … = y_6: two layers of three steps each are the whole network."""
    net = net_of(weights)
    for block in net.blocks:
        constant(block, torch.linspace(-2, 2, 8, dtype=torch.float64))
    keep, firsts = ((1, 2), (1, 4)) if weights == "shared" else ((1, 4), None)
    small, found = fitted(net, keep, kind, firsts=firsts)
    assert found.steps == pytest.approx((3.0, 3.0), rel=1e-12)
    torch.testing.assert_close(small(x_of()), net(x_of()), rtol=1e-12, atol=1e-12)


def test_a_step_is_the_least_squares_one():
    """h = E⟨y, x_b − x⟩ / E⟨y, y⟩, in numpy, first of the first layer, then of the next."""
    net = net_of("shared")
    small, found = fitted(net, (1, 2), "steps", firsts=(1, 3))
    x = torch.cat([x for x, _ in batches()])
    states = rs.trace(net, x).states.detach().numpy()
    W, b = (p.detach().numpy() for p in net.blocks[0].linear.parameters())
    state = states[0]
    for target, h in ((states[2], found.steps[0]), (states[6], found.steps[1])):
        y = 1 / (1 + np.exp(-(state @ W.T + b)))
        expected = (y * (target - state)).sum() / (y * y).sum()
        assert h == pytest.approx(expected, rel=1e-10)
        state = state + h * y
    np.testing.assert_allclose(rs.trace(small, x).states[-1].detach(), state, rtol=1e-10)


def test_constant_residuals_go_without_loss_by_their_mean():
    """Dense: folded into later biases and the head. Layers 2 and 6 add constants."""
    net = net_of()
    for t in (2, 6):
        constant(net.blocks[t - 1], torch.randn(8, dtype=torch.float64))
    small, found = fitted(net, (1, 3, 4, 5), "mean")
    torch.testing.assert_close(small(x_of()), net(x_of()), rtol=1e-11, atol=1e-11)
    assert "head.bias" in found.weights
    assert "head.weight" not in found.weights
    assert small.steps == (1.0,) * 4


def test_shared_weights_take_a_mean_at_the_end_alone():
    net = net_of("shared")
    constant(net.blocks[0], torch.randn(8, dtype=torch.float64))
    small, found = fitted(net, (1, 2, 3), "mean")
    torch.testing.assert_close(small(x_of()), net(x_of()), rtol=1e-11, atol=1e-11)
    assert list(found.weights) == ["head.bias"]


def trained_conv(weights="variable", depth=20):
    torch.manual_seed(0)
    net = rs.ConvResNet(2, 3, depth=depth, width=4, weights=weights)
    x = torch.randn(64, 2, 8, 8)
    for _ in range(3):  # norms with statistics of their own
        net(x)
    return net.double().eval()


def images(n=24, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, 8, 8, dtype=torch.float64, generator=g)
    return [(x, torch.arange(n) % 3)]


@pytest.mark.parametrize(("stage", "t", "channels"), [(0, 1, 4), (1, 0, 8), (2, 2, 16)])
def test_a_constant_in_a_convolutional_stage_is_folded_into_later_norms(stage, t, channels):
    net = trained_conv()
    m = torch.randn(channels, 1, 1, dtype=torch.float64).expand(channels, 2, 2)
    x = images()[0][0]
    first = sum(net.blocks[:stage]) + t + 1
    stack = rs.find_stages(net)

    def shifted(u, before, after):
        return after + m[:, :1, :1] if u == first - 1 else after

    if t > 0:
        with stack.change(shifted):
            expected = net(x)
    else:  # at the begin of a stage, through the transition
        handle = net.stages[stage].transition.register_forward_hook(
            lambda module, inputs, out: out + m[:, :1, :1]
        )
        expected = net(x)
        handle.remove()
    net.add_constant(f"stages.{stage}", t, m)
    torch.testing.assert_close(net(x), expected, rtol=1e-10, atol=1e-10)


def test_convolutional_steps_and_means_are_folded_exactly():
    """Blocks 1 and 2 add the same; block 6 adds one constant to each channel."""
    net = trained_conv()
    first, second = net.stages[0].blocks[:2]
    for block in (first, second):
        block.norms[
            0
        ].weight.data.zero_()  # what the first convolution reads no longer depends on x
        block.norms[0].bias.data.fill_(0.5)
    second.load_state_dict(first.state_dict())
    data = images()
    small, found = fitted(net, (1, 3, 4, 5, 6, 7), "steps", data=data)
    torch.testing.assert_close(small(data[0][0]), net(data[0][0]), rtol=1e-9, atol=1e-9)
    assert found.steps is None
    repeated = fitted(net, (1, 3, 4, 5, 6, 7), "repeat", data=data)[0]
    torch.testing.assert_close(repeated(data[0][0]), net(data[0][0]), rtol=1e-9, atol=1e-9)


def test_tied_convolutions_take_no_step_of_their_own():
    net = trained_conv("shared")
    with pytest.raises(rs.InputError, match="one of them cannot take a longer step"):
        fitted(net, (1, 3, 4, 5, 6, 7), "steps", data=images())


def features(small, x, pair):
    trace = rs.trace(small, x)
    parts = [trace.states[-1], trace.residuals[-1]] if pair else [trace.states[-1]]
    return torch.cat(parts, 1).detach().numpy()


@pytest.mark.parametrize("kind", ["affine", "affine-pair", "weighted", "repeat+affine"])
@pytest.mark.parametrize("weights", ["shared", "variable"])
def test_heads_are_ridge_regression_in_numpy(kind, weights):
    net = net_of(weights)
    ridge = 1e-3
    small, found = fitted(net, (1, 2), kind, ridges=(ridge,))
    raw = rs.apply(plan_for(net, (1, 2)), net)
    if kind.startswith("repeat"):
        raw.scale_layer(2, 5.0)
    x = torch.cat([x for x, _ in batches()])
    a = features(raw, x, kind == "affine-pair")
    z = net(x).detach().numpy()
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    new = features(raw, x_of(), kind == "affine-pair")
    out = np.empty((len(new), 3))
    for c in range(3):
        w = p[:, c] * (1 - p[:, c]) if kind == "weighted" else np.ones(len(a))
        mean, zm = w @ a / w.sum(), w @ z[:, c] / w.sum()
        d = a - mean
        gram = d.T @ (d * w[:, None])
        k = np.linalg.solve(
            gram + ridge * np.diag(gram).mean() * np.eye(len(gram)), d.T @ (w * (z[:, c] - zm))
        )
        out[:, c] = (new - mean) @ k + zm
    np.testing.assert_allclose(small(x_of()).detach(), out, rtol=1e-7, atol=1e-9)
    assert found.ridge == ridge


@pytest.mark.parametrize("kind", ["affine", "weighted"])
def test_a_head_that_reads_the_residual_keeps_that_part(kind):
    """What L y_T adds is not for K x_T to fit as well: where states stay alike, so do the logits."""
    net = net_of(reads_residual=True)
    with torch.no_grad():
        net.residual_head.weight.normal_()
        net.blocks[1].linear.bias.fill_(-40.0)  # adds nothing
    small, _ = fitted(net, (1, 3, 4, 5, 6), kind)
    torch.testing.assert_close(small(x_of()), net(x_of()), rtol=1e-6, atol=1e-6)


def test_a_head_without_bias_is_fitted_through_the_origin():
    net = net_of()
    net.head = nn.Linear(8, 3, bias=False, dtype=torch.float64)
    _, found = fitted(net, (1, 2, 4), "affine")
    x = x_of(batches())
    with torch.no_grad():
        small = rs.apply(plan_for(net, (1, 2, 4)), net)
        state, z = rs.trace(small, x).states[-1].numpy(), net(x).numpy()
    weight = np.linalg.lstsq(state, z, rcond=None)[0].T
    np.testing.assert_allclose(found.weights["head.weight"], weight, rtol=1e-5, atol=1e-7)
    with pytest.raises(rs.InputError, match="folded into biases, and a layer or the head has none"):
        fitted(net, (1, 2, 4), "mean")


def test_a_model_that_changes_its_networks_outputs_takes_no_head():
    class Halved(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net_of()

        def forward(self, x):
            return self.net(x) / 2

    with pytest.raises(rs.InputError, match="the Halved changes what its ResNet puts out"):
        fitted(Halved(), (1, 2, 4), "readers+affine")
    small, _ = fitted(Halved(), (1, 2, 4), "readers")
    assert small(x_of()).shape == (90, 3)
    for model in (Halved(), net_of(reads_residual=True)):
        with pytest.raises(rs.InputError, match="cannot take the place of the model's own"):
            rs.depth_curve(model, batches(), batches()).compensation(3)
    probe = rs.depth_curve(net_of(), batches(), batches(), target="labels")
    with pytest.raises(rs.InputError, match="they are fitted to labels, or"):
        probe.compensation(3)


def test_sums_of_a_half_precision_model_add_up_in_single_precision():
    g = torch.Generator().manual_seed(0)
    x, z = (torch.randn(3000, n, generator=g).bfloat16() for n in (4, 2))
    fit = LeastSquares(x[:100], z[:100])
    for a, b in zip(x.split(100), z.split(100), strict=True):
        fit.add(a, b)
    normal = fit.result()
    np.testing.assert_allclose(
        normal.gram.numpy(), 3000 * np.cov(x.double().numpy().T, bias=True), rtol=1e-4, atol=0.02
    )


def test_fits_use_as_many_samples_as_they_say():
    x = torch.randn(50, 6)
    kept = first([(x[:20], x[:20, 0]), (x[20:], x[20:, 0])], 30)
    assert [len(a) for a, _ in kept] == [20, 10]
    assert torch.equal(torch.cat([b for _, b in kept]), x[:30, 0])
    assert [len(a) for a in first([x, x], 60)] == [50, 10]


def test_a_compensation_is_for_its_plan_alone():
    net = net_of()
    _, found = fitted(net, (1, 2, 3), "readers")
    with pytest.raises(
        rs.InputError, match=r"keeps the layers \(1, 2, 3\), and this one keeps \(4, 5, 6\)"
    ):
        rs.apply(plan_for(net, (4, 5, 6)), net, compensation=found)


def test_the_ridge_is_chosen_on_held_out_data():
    net, plan = net_of(), None
    plan = plan_for(net, (1, 2))
    ridges = (1e-8, 1e-1, 10.0)
    fit, held = batches(20), batches(300, seed=9)

    def loss_at(ridge):
        one = rs.compensate(
            net, plan, fit, held, kind="affine", options=rs.FitOptions(ridges=(ridge,))
        )
        small = rs.apply(plan, net, compensation=one)
        parts = [nn.functional.cross_entropy(small(x), y, reduction="sum") for x, y in held]
        return sum(float(p.detach()) for p in parts)

    chosen = rs.compensate(
        net, plan, fit, held, kind="affine", options=rs.FitOptions(ridges=ridges)
    )
    assert chosen.ridge == min(ridges, key=loss_at)


def test_readers_recover_what_a_constant_layer_hid():
    """Without layer 2, which adds a constant, layer 3 can be fitted to put out the same as before."""
    net = net_of(depth=3)
    constant(net.blocks[1], torch.randn(8, dtype=torch.float64))
    _, found = fitted(net, (1, 3), "readers")
    names = {"blocks.1.linear.weight", "blocks.1.linear.bias"}
    assert names <= set(found.weights)
    raw = fitted(net, (1, 3), "steps")[0]
    small = fitted(net, (1, 3), "readers")[0]
    x = x_of()

    def last(net):
        return rs.trace(net, x).residuals[-1] / net.steps[-1]

    wanted = rs.trace(net, x).residuals[-1]
    assert (last(small) - wanted).norm() < 0.2 * (last(raw) - wanted).norm()


def test_readers_of_an_mlp_are_ridge_regression_in_numpy():
    """Without its second layer the third reads the first state, and is fitted to what it put out."""
    torch.manual_seed(1)
    net = rs.MLP(6, 8, 3, depth=3, weights="variable").double()
    x = x_of(batches())
    _, found = fitted(net, (1, 3), "readers")
    with torch.no_grad():
        first, second = rs.trace(net, x).states[1:3].numpy()
        z = net.blocks[2].linear(torch.as_tensor(second)).numpy()
    A, B = first - first.mean(0), z - z.mean(0)
    gram = A.T @ A
    ridge = 1e-4 * np.diag(gram).mean()
    W = np.linalg.solve(gram + ridge * np.eye(8), A.T @ B).T
    np.testing.assert_allclose(found.weights["blocks.1.linear.weight"], W, rtol=1e-7, atol=1e-9)


def test_convolutional_readers_are_least_squares_in_numpy():
    """The block before the cut adds what comes nearest to what it and the removed one added."""
    net = trained_conv()
    data = images(48)
    x = data[0][0]
    small, found = fitted(net, (1, 3, 4, 5, 6, 7), "readers", data=data)
    states = rs.trace(net, x, stage="stages.0").states
    block, inputs = net.stages[0].blocks[0], []
    handle = block.convolutions.second.register_forward_pre_hook(
        lambda _, args: inputs.append(args[0])
    )
    net(x)
    handle.remove()
    padded = np.pad(inputs[0].detach().numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    A = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 4 * 9)  # a row for each image and pixel
    b = (states[2] - states[0]).numpy().transpose(0, 2, 3, 1).reshape(-1, 4)
    gram = A.T @ A
    solved = np.linalg.solve(gram + 1e-4 * np.diag(gram).mean() * np.eye(36), A.T @ b)
    weight = found.weights["stages.0.blocks.0.convolutions.second.weight"]
    np.testing.assert_allclose(weight, solved.T.reshape(4, 4, 3, 3), rtol=1e-8, atol=1e-10)
    raw = rs.apply(plan_for(net, (1, 3, 4, 5, 6, 7)), net)
    wanted = rs.trace(net, x, stage="stages.2").states[-1]

    def off(cut):
        return float((rs.trace(cut, x, stage="stages.2").states[-1] - wanted).norm())

    assert off(small) < 0.5 * off(raw)
    assert not any("running" in name for name in found.weights)


def test_convolutional_readers_mend_a_stage_without_blocks():
    """The transition behind a stage of which nothing stays takes over what the stage added."""
    net = trained_conv()
    data = images(48)
    _, found = fitted(net, (1, 2, 3, 6), "readers", data=data)
    names = [name for name in found.weights if name.endswith("second.weight")]
    assert names == [
        "stages.2.transition.convolutions.second.weight",
        "stages.2.blocks.0.convolutions.second.weight",
    ]


def test_compensated_networks_are_saved_and_come_back(tmp_path):
    """Steps of every layer, a head that reads the last residual, convolutions that are shared."""
    cases = [
        fitted(net_of("shared"), (1, 2), "steps+affine-pair", firsts=(1, 3))[0],
        fitted(net_of(), (2, 5), "readers+weighted")[0],
        fitted(trained_conv(), (2, 4, 6), "steps+affine", data=images())[0],
        fitted(trained_conv("shared"), (1, 4, 6, 7), "mean+affine", data=images())[0],
    ]
    for i, net in enumerate(cases):
        rs.save(net, tmp_path / f"{i}.safetensors")
        again = rs.load(tmp_path / f"{i}.safetensors").eval()
        x = images()[0][0] if isinstance(net, rs.ConvResNet) else x_of()
        assert torch.equal(again(x), net(x))
    assert rs.load(tmp_path / "0.safetensors").steps == cases[0].steps


def test_a_head_that_reads_the_last_residual_is_traced_and_otherwise_refused():
    small, _ = fitted(net_of("shared"), (1, 2), "affine-pair")
    assert rs.trace(small, x_of()).depth == 2
    with pytest.raises(rs.StackError, match="the head reads the last residual beside the last"):
        rs.attribute(small, x_of())


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("magic", "unknown compensation 'magic'; pass one of none, mean, repeat, steps, readers"),
        ("steps+", "unknown compensation 'steps\\+'"),
        ("affine+steps", "unknown compensation 'affine\\+steps'"),
    ],
)
def test_unknown_compensations(kind, said):
    with pytest.raises(rs.InputError, match=said):
        kind_named(kind)


def test_what_a_compensation_cannot_do_is_said():
    shared, net = net_of("shared"), net_of()
    with pytest.raises(rs.InputError, match="these share their weights; pass 'steps'"):
        fitted(shared, (1, 2), "readers")
    for kind in ("steps", "repeat"):
        with pytest.raises(
            rs.InputError, match="an MLP have no skip, so none can take a longer step"
        ):
            fitted(rs.MLP(6, 8, 3, depth=4, weights="variable").double(), (1, 2), kind)
    with pytest.raises(rs.InputError, match="an iterator gives them once; pass a list"):
        rs.compensate(net, plan_for(net, (1,)), iter(batches()), batches())
    with pytest.raises(rs.InputError, match="held-out batches must be"):
        rs.compensate(net, plan_for(net, (1,)), batches(), [x_of()])
    with pytest.raises(rs.InputError, match="the plan is for a stack of 4 layers"):
        rs.compensate(net, plan_for(net_of(depth=4), (1,)), batches(), batches())
    wrong = [(torch.randn(5, 7, dtype=torch.float64), torch.zeros(5).long())]
    with pytest.raises(rs.InputError, match="takes 6 input dimensions and was given 7"):
        rs.compensate(net, plan_for(net, (1,)), wrong, wrong)
    with pytest.raises(rs.InputError, match=r"only a residua\.ResNet can read its last residual"):
        fitted(trained_conv(), (1, 4, 6), "affine-pair", data=images())
    with pytest.raises(rs.InputError, match="ridges must be positive numbers"):
        rs.FitOptions(ridges=(0.0,))
    steps = rs.Compensation("steps", {}, steps=(1.0, 1.0))
    with pytest.raises(rs.InputError, match="has 2 step sizes and the plan keeps 1 layers"):
        rs.apply(plan_for(net, (1,)), net, compensation=steps)


# Plans ----------------------------------------------------------------------------------------------


def test_plans_can_be_vetoed_and_edited():
    net = net_of()
    plan = plan_for(net, (1, 4))
    other = plan.veto(2)
    assert other.keep == (1, 2, 4)
    assert "Vetoed: blocks.1 stay" in str(other)
    assert DepthPlan.from_json(other.to_json()) == other
    with pytest.raises(rs.InputError, match="there is no layer 7; the layers are 1…6"):
        plan.veto(7)
    shared = plan_for(net_of("shared"), (1, 2), firsts=(1, 4))
    assert DepthPlan.from_json(shared.to_json()) == shared
    assert shared.spans(["blocks"] * 6) == [(1, 3), (4, 6)]
    with pytest.raises(rs.InputError, match=r"layer 3 .* cannot go while layer 4"):
        shared.veto(4)
    with pytest.raises(rs.InputError, match="firsts must name one layer for each of the 2"):
        plan_for(net, (1, 4), firsts=(1,))


def test_layers_stand_for_those_that_go_within_their_stage():
    stack = rs.find_stages(trained_conv())
    assert stack.stages == ("stages.0",) * 3 + ("stages.1",) * 2 + ("stages.2",) * 2
    plan = DepthPlan(stack.names, (2, 4, 7), "by hand", (None,) * 7, "")
    assert plan.spans(stack.stages) == [(1, 3), (4, 5), (6, 7)]


def test_of_layers_that_share_a_module_the_last_go():
    names = ["a, call 1", "a, call 2", "b", "a, call 3"]
    assert may_go(names, [1, 2, 3, 4]) == [3, 4]
    assert may_go(names, [1, 2, 3]) == [2, 3]
    assert lowest_go(names, [0.0, 1.0, 5.0, 9.0], keep=2) == (1, 2)
    assert lowest_go(["a", "b", "c"], [3.0, 1.0, 2.0], keep=1) == (1,)
    assert lowest_go(["a", "b", "c"], [3.0, 1.0, 2.0], below=2.5) == (1,)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 7), st.integers(0, 10_000), st.data())
def test_spans_are_the_best_of_all_divisions(T, seed, data):
    """Dynamic programming against every division, errors against least squares on the residuals."""
    y = np.random.default_rng(seed).normal(size=(T, 5, 3))
    k = data.draw(st.integers(1, T))
    errors = span_errors(np.einsum("tnu,snu->ts", y, y) / 5)
    for a, b in itertools.combinations_with_replacement(range(T), 2):
        total, own = y[a : b + 1].sum(0), y[a]
        h = (own * total).sum() / (own * own).sum()
        assert errors[a, b] == pytest.approx(((total - h * own) ** 2).sum() / 5, abs=1e-9)
    firsts, error = best_spans(errors, k)

    def cost(begins):
        ends = [*begins[1:], T]
        return sum(errors[b, e - 1] for b, e in zip(begins, ends, strict=True))

    every = [(0, *c) for c in itertools.combinations(range(1, T), k - 1)]
    assert error == pytest.approx(min(map(cost, every)), abs=1e-9)
    assert cost(firsts) == pytest.approx(error, abs=1e-9)
