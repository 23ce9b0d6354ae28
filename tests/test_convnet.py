"""ConvResNet: shapes, the residual identity in every stage, tied convolutions, CIFAR-10."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

import residua as rs
from residua.running import renew_running_statistics


def net_of(weights="variable", depth=20, **options):
    torch.manual_seed(0)
    return rs.ConvResNet(3, 5, depth=depth, width=4, weights=weights, **options).eval()


X = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("depth", [8, 14, 20, 56])
def test_a_network_of_6n_plus_2_layers(depth):
    """As many convolutions, and the head; n, n − 1 and n − 1 blocks that keep the shape."""
    net = net_of(depth=depth)
    n = (depth - 2) // 6
    convolutions = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) + 1 == net.depth == depth
    assert net.blocks == (n, n - 1, n - 1)
    assert net(X).shape == (6, 5)


def test_every_stage_is_traced_with_what_its_blocks_add():
    net = net_of()
    for stage, channels, size in (("stages.0", 4, 16), ("stages.1", 8, 8), ("stages.2", 16, 4)):
        trace = rs.trace(net, X, stage=stage)
        s = int(stage[-1])
        assert trace.states.shape == (net.blocks[s] + 1, 6, channels, size, size)
        blocks = net.stages[s].blocks
        for t, block in enumerate(blocks):
            branch = block.branch(trace.states[t])
            torch.testing.assert_close(trace.residuals[t], branch, rtol=1e-4, atol=1e-5)
        assert trace.branch_is_residual
        found = trace.to_dataset()
        assert found.states.dims == ("state", "sample", "channel", "row", "column")
    torch.testing.assert_close(net.head(trace.states[-1]), net(X))


def test_statistics_of_a_stage_count_every_pixel_as_a_unit():
    net = net_of()
    labels = torch.arange(6) % 5
    found = rs.accumulate(net, [(X, labels)], stage="stages.1")
    y = rs.trace(net, X, stage="stages.1").residuals.detach().flatten(2).double()
    assert found.magnitude_sum / 6 == pytest.approx(y.abs().mean((1, 2)).tolist(), rel=1e-5)
    expected = (y[1] - y[0]).abs().mean()
    assert found.settle_distance[0] == pytest.approx(float(expected), rel=1e-5)


def test_what_needs_flat_states_or_one_stage_says_so():
    net = net_of()
    with pytest.raises(
        rs.StackError, match=r"has 3 stages .* stage='stages.0'\): stages.0, stages"
    ):
        rs.trace(net, X)
    with pytest.raises(
        rs.StackError, match=r"there is no stage 'stages.3'; the stages are stages.0"
    ):
        rs.trace(net, X, stage="stages.3")
    with pytest.raises(rs.StackError, match="has 3 stages"):
        rs.attribute(net, X)
    one = net_of(blocks=(2, 0, 0))
    with pytest.raises(rs.StackError, match="the states of a ConvResNet are images"):
        rs.attribute(one, X)
    with pytest.raises(rs.StackError, match="has 3 stages"):
        rs.depth_curve(net, [], [])


def test_tied_convolutions_are_one_set_of_weights_with_norms_of_their_own():
    tied, free = net_of("shared"), net_of()
    count = sum(p.numel() for p in tied.parameters())
    assert count < 0.7 * sum(p.numel() for p in free.parameters())
    first, second = tied.stages[0].blocks[:2]
    assert first.convolutions is second.convolutions
    assert first.norms[0] is not second.norms[0]


@pytest.mark.parametrize("weights", ["shared", "variable"])
def test_any_block_that_keeps_the_shape_goes_and_the_rest_is_saved(weights, tmp_path):
    """The raw cut is the network with these blocks replaced by the identity, bit for bit."""
    net = net_of(weights)
    names = rs.find_stages(net).names
    assert len(names) == 7
    plan = rs.DepthPlan(names, (2, 4, 6), "by hand", (None,) * 7, "")
    small = rs.apply(plan, net)
    stack = rs.find_stages(net)
    with stack.change(lambda t, before, after: after if t in plan.keep else before):
        expected = net(X)
    assert torch.equal(small(X), expected)
    assert small.depth == 12
    assert net.depth == 20
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(X).square().mean().backward()
    optimizer.step()
    rs.cut(net, plan, optimizers=[optimizer])
    assert set(optimizer.param_groups[0]["params"]) == set(net.parameters())
    assert set(optimizer.state) <= set(net.parameters())
    rs.save(net, tmp_path / "net.safetensors")
    again = rs.load(tmp_path / "net.safetensors").eval()
    assert torch.equal(again(X), net.eval()(X))
    assert again.blocks == net.blocks


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"depth": 15}, r"depth must be 6n \+ 2 \(8, 14, 20, …\), not 15"),
        ({"depth": 2}, r"depth must be 6n \+ 2"),
        ({"blocks": (0, 0, 0)}, "with at least one block in all"),
        ({"blocks": (1, 2)}, "blocks must be 3 counts"),
    ],
)
def test_bad_arguments(options, said):
    with pytest.raises(rs.InputError, match=said):
        rs.ConvResNet(3, 5, **options)


def test_bad_inputs():
    net = net_of()
    with pytest.raises(
        rs.InputError, match=r"takes images \(batch, 3, height, width\) and was given"
    ):
        net(X[:, 0])
    with pytest.raises(rs.InputError, match="inputs must be floating-point"):
        net(X.long())
    grey = rs.ConvResNet(1, 5, depth=8).eval()
    assert torch.equal(grey(X[:, 0]), grey(X[:, :1]))


def test_cifar10_comes_channel_first(tmp_path):
    folder = os.environ.get("RESIDUA_DATA")
    if folder is None or not (Path(folder) / "cifar10").exists():
        pytest.skip("CIFAR-10 is absent: set RESIDUA_DATA to a folder with cifar10/train*.parquet")
    (tmp_path / "cifar10").mkdir()
    for name in ("train", "test"):  # some of it: to decode all takes half a minute
        rows = pq.read_table(Path(folder) / "cifar10" / f"{name}.parquet").slice(0, 3000)
        pq.write_table(rows, tmp_path / "cifar10" / f"{name}.parquet")
    data = rs.load_data("cifar10", data_dir=tmp_path)
    assert data.shape == (3, 32, 32)
    assert len(data.train) + len(data.val) == 3000
    assert len(data.test) == 3000
    assert data.classes[:2] == ("airplane", "automobile")
    assert data.train.x.is_contiguous()
    # Skies and seas are bluer than they are red: the third channel is blue.
    planes = data.train.x[data.train.y == 0].mean((0, 2, 3))
    assert planes[2] > planes[0]


def test_running_statistics_are_taken_anew_and_nothing_changes():
    torch.manual_seed(0)
    net = rs.ConvResNet(1, 3, depth=8, width=4)
    x = torch.randn(64, 1, 8, 8)
    renew_running_statistics(net, [x])
    assert all(float(n.running_mean.abs().max()) == 0 for n in norms(net))  # as they began
    net.train()(x)
    net.eval()
    with torch.no_grad():
        for norm in norms(net):  # as after a cut: what they are given is not what they know
            norm.running_mean.add_(torch.randn_like(norm.running_mean))
            norm.running_var.mul_(3)
        before = net(x)
        frozen = {k: v.clone() for k, v in net.state_dict().items() if "conv" in k or "stem" in k}
        renew_running_statistics(net, [x[:30], x[30:]])
        torch.testing.assert_close(net(x), before, atol=1e-4, rtol=1e-4)
        # In training every norm uses the batch's statistics, which are its own now.
        torch.testing.assert_close(net.train()(x), before, atol=0.02, rtol=0.02)
    assert all(torch.equal(net.state_dict()[k], v) for k, v in frozen.items())


def norms(net):
    return [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]


def test_healing_begins_where_the_cut_model_was():
    torch.manual_seed(0)
    net = rs.ConvResNet(1, 3, depth=8, width=4)
    x, y = torch.randn(96, 1, 8, 8), torch.arange(96) % 3
    for _ in range(20):
        net.train()(x)
    net.eval()
    with torch.no_grad():
        for norm in norms(net):
            norm.running_var.mul_(0.2)
    before = net(x)
    rs.heal(net, [(x, y)], rs.HealConfig(1, lr=1e-9, accelerator="cpu"))
    torch.testing.assert_close(net(x), before, atol=0.02, rtol=0.02)


class Tied(torch.nn.Module):
    """Two norms with one γ and β; a frozen one; one that is called by keyword."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.frozen, self.named = (torch.nn.BatchNorm1d(4) for _ in range(4))
        self.b.weight, self.b.bias = self.a.weight, self.a.bias
        self.frozen.requires_grad_(False)

    def forward(self, x):
        return self.named(input=self.frozen(torch.relu(self.b(2 + torch.relu(self.a(x))))))


def test_norms_that_others_share_or_that_are_frozen_stay_as_they_are():
    torch.manual_seed(0)
    net, x = Tied(), 1 + torch.randn(50, 4)
    net.train()(x)
    net.eval()
    before, weights = net(x), {k: v.clone() for k, v in net.state_dict().items()}
    renew_running_statistics(net, [x])
    torch.testing.assert_close(net(x), before, atol=1e-4, rtol=1e-4)
    changed = {
        k.split(".")[0] for k, v in net.state_dict().items() if not torch.equal(v, weights[k])
    }
    assert changed == {"named"}


def test_a_unit_that_is_constant_keeps_its_statistics():
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(2))
    x = torch.stack([torch.randn(64), torch.full((64,), 3.0)], 1)
    net.train()(torch.randn(64, 2))
    net.eval()
    before = net(x)
    renew_running_statistics(net, [x])
    torch.testing.assert_close(net(x), before, atol=1e-4, rtol=1e-4)
    assert float(net[0].running_var[1]) > 0.5
