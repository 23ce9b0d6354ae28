import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import residua as rs


def nets(weights="shared", **options):
    torch.manual_seed(1)
    return rs.ResNet(6, 8, 3, depth=5, weights=weights, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("make", [rs.ResNet, rs.MLP])
@pytest.mark.parametrize("weights", ["shared", "variable"])
def test_identities(dtype, make, weights):
    torch.manual_seed(0)
    net = make(6, 8, 3, depth=5, weights=weights).to(dtype)
    t = rs.trace(net, torch.randn(7, 6, dtype=dtype))
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    whole = t.states[0] + t.residuals.sum(0)
    assert (whole - t.states[-1]).abs().max() <= tolerance * t.states[-1].abs().max()
    K, c = net.head.weight, net.head.bias
    total = t.states[0] @ K.T + (t.residuals @ K.T).sum(0) + c
    assert (total - t.logits).abs().max() <= tolerance * t.logits.abs().max()
    assert t.states.shape == (6, 7, 8)
    assert t.branch_is_residual == (make is rs.ResNet)


def test_residual_is_the_branch_output():
    net = nets().double()
    x = torch.randn(4, 6, dtype=torch.float64)
    t = rs.trace(net, x)
    y = torch.sigmoid(net.blocks[0].linear(t.states[2]))
    torch.testing.assert_close(t.residuals[2], y, rtol=1e-12, atol=1e-14)


def test_a_head_on_something_else_is_refused():
    class Scaled(rs.ResNet):
        def forward(self, x):
            return 2 * super().forward(x)

    with pytest.raises(rs.StackError, match="add up to logits that are off by"):
        rs.trace(Scaled(3, 4, 2), torch.randn(5, 3))


def test_labelled_arrays():
    data = rs.trace(nets("variable"), torch.randn(4, 6)).to_dataset(torch.tensor([0, 1, 2, 0]))
    assert data.residuals.dims == ("layer", "sample", "unit")
    assert list(data.layer.values) == [1, 2, 3, 4, 5]
    assert data.block.values[4] == "blocks.4"
    assert list(data.label.values) == [0, 1, 2, 0]


def test_a_model_without_a_stack_is_refused():
    with pytest.raises(rs.StackError, match="no residual blocks were found in Linear"):
        rs.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))


def exact(net, x, y):
    """Statistics of one batch, by numpy from the trace."""
    t = rs.trace(net, x)
    states, residuals = t.states.numpy(), t.residuals.numpy()
    return {
        "state_mean": np.stack([states[:, y == c].mean(1) for c in range(3)], 1),
        "residual_std": np.stack([residuals[:, y == c].std(1) for c in range(3)], 1),
        "settle_distance": np.abs(np.diff(residuals, axis=0)).mean((1, 2)),
        "spread": residuals.std(1).mean(1),
        "relative_spread": residuals.std(1).mean(1) / states[:-1].std(1).mean(1),
        "magnitude": np.abs(residuals).mean((1, 2)),
    }


@settings(max_examples=20, deadline=None)
@given(batch=st.integers(1, 41), shared=st.booleans(), seed=st.integers(0, 999))
def test_streaming_equals_batch_statistics(batch, shared, seed):
    net = nets("shared" if shared else "variable").double()
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(40, 6, dtype=torch.float64, generator=generator)
    y = torch.arange(40).sort().values // 14  # sorted: single batches lack classes
    got = rs.accumulate(net, zip(x.split(batch), y.split(batch), strict=True)).to_dataset()
    for name, expected in exact(net, x, y.numpy()).items():
        found = got[name].values[1:] if name == "settle_distance" else got[name].values
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13, err_msg=name)


def test_merging_two_parts_is_the_whole():
    net = nets().double()
    x, y = torch.randn(30, 6, dtype=torch.float64), torch.arange(30) % 3
    whole = rs.accumulate(net, [(x, y)]).to_dataset()
    merged = (
        rs.accumulate(net, [(x[:11], y[:11])]) + rs.accumulate(net, [(x[11:], y[11:])])
    ).to_dataset()
    for name in whole.data_vars:
        np.testing.assert_allclose(merged[name], whole[name], rtol=1e-10, atol=1e-14, err_msg=name)
    with pytest.raises(rs.InputError, match="different stacks, or with and without"):
        rs.accumulate(net, [x]) + rs.accumulate(rs.ResNet(6, 8, 3, depth=2).double(), [x])
    with pytest.raises(
        rs.InputError, match=r"cannot be merged: .* are \(6, 3, 8\) and \(6, 1, 8\)"
    ):
        rs.accumulate(net, [(x, y)]) + rs.accumulate(net, [x])


def test_a_tiny_spread_survives_float32():
    """Residuals near 1 with a spread of 1e-4: sums of squares in float32 would lose it."""
    net = rs.ResNet(6, 8, 3, depth=3)
    with torch.no_grad():
        net.blocks[0].linear.weight.mul_(1e-3)
        net.blocks[0].linear.bias.fill_(2.0)
    x, y = torch.randn(500, 6), torch.arange(500) % 3
    got = rs.accumulate(net, zip(x.split(100), y.split(100), strict=True))
    reference = rs.accumulate(copy.deepcopy(net).double(), [(x.double(), y)])
    assert reference.spread.max() < 1e-3
    np.testing.assert_allclose(got.spread, reference.spread, rtol=0.02)


def test_far_classes_one_after_the_other_keep_their_tiny_spread():
    """Batches of one class each, means 4 apart, spread 1e-4: a common origin would lose it."""
    net = rs.ResNet(6, 8, 3, depth=3)
    y = torch.arange(600) // 200
    x = 4.0 * y[:, None] + 1e-4 * torch.randn(600, 6)
    got = rs.accumulate(net, zip(x.split(100), y.split(100), strict=True))
    reference = rs.accumulate(copy.deepcopy(net).double(), [(x.double(), y)])
    np.testing.assert_allclose(got.states.std, reference.states.std, rtol=0.02, atol=1e-9)
    # Residuals are differences of float32 states near 8, rounded to 5e-7.
    np.testing.assert_allclose(got.residuals.std, reference.residuals.std, rtol=0.02, atol=5e-7)


def test_an_empty_batch_counts_for_nothing():
    net, x = nets(), torch.randn(4, 6)
    assert np.array_equal(rs.accumulate(net, [x[:0], x]).spread, rs.accumulate(net, [x]).spread)


def test_the_model_keeps_its_mode_and_an_empty_loader_is_refused():
    net = nets()
    net.train()
    rs.accumulate(net, [torch.randn(3, 6)])
    assert net.training
    with pytest.raises(rs.InputError, match="gave no batch"):
        rs.accumulate(net, [])


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (
            torch.tensor([0, 1, 3]),
            "labels must be 0…2, as the head has 3 classes, and these span 0…3",
        ),
        (torch.tensor([0, -1, 2]), "span -1…2"),
        (
            torch.tensor([0.0, 1.0, 2.0]),
            "whole numbers, one for each of the 3 samples, not torch.float32",
        ),
        (torch.tensor([0, 1]), r"of shape \(2,\)"),
        ({"y": 1}, r"x or \(x, labels\), tensors or arrays, not \(Tensor, dict\)"),
    ],
)
def test_bad_labels(labels, said):
    with pytest.raises(rs.InputError, match=said):
        rs.accumulate(nets(), [(torch.randn(3, 6), labels)])


def test_a_batch_that_cannot_be_traced():
    with pytest.raises(rs.InputError, match="at least one sample"):
        rs.trace(nets(), torch.zeros(0, 6))
    with pytest.raises(rs.InputError, match="1 NaN or infinite"):
        rs.trace(nets(), torch.tensor([[0.0, 0, 0, 0, 0, torch.nan]]))


class SometimesInPlace(torch.nn.Module):
    """Overwrites the state of batches that are large enough."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x):
        y = self.linear(x).tanh()
        return x.add_(y) if len(x) > 3 else x + y


def test_states_that_are_overwritten_in_some_batches_only_are_not_summed_wrongly():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), SometimesInPlace(), SometimesInPlace()).eval()
    x = torch.randn(20, 4)
    with torch.no_grad():
        stack = rs.find_blocks(net, x[:2])
        whole = rs.accumulate(stack, [x])
        parts = rs.accumulate(stack, [x[:7], x[7:9], x[9:]])
        np.testing.assert_allclose(parts.residuals.mean, whole.residuals.mean, atol=1e-6)
        with pytest.raises(rs.InputError, match="overwrote the state it was given in one batch"):
            rs.accumulate(stack, [x[:2], x[2:]])
