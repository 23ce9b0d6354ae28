import numpy as np
import pytest
import torch

import residua as rs


def oracle(net, x, skip):
    """The paper's network in numpy float64, written from its formula."""
    blocks = [net.block(t) for t in range(net.depth)]
    state = np.zeros((len(x), net.head.in_features))
    state[:, : x.shape[1]] = x
    for block in blocks:
        W, b = (p.detach().numpy() for p in (block.linear.weight, block.linear.bias))
        y = 1 / (1 + np.exp(-(state @ W.T + b)))
        state = state + skip * y if skip else y
    K, c = (p.detach().numpy() for p in (net.head.weight, net.head.bias))
    return state @ K.T + c


@pytest.mark.parametrize("weights", ["shared", "variable"])
@pytest.mark.parametrize("skip", [0.0, 1.0, 0.25])
def test_forward_is_the_papers_formula(weights, skip):
    torch.manual_seed(0)
    if skip:
        net = rs.ResNet(5, 9, 3, depth=6, weights=weights, step_size=skip).double()
    else:
        net = rs.MLP(5, 9, 3, depth=6, weights=weights).double()
    x = torch.randn(4, 5, dtype=torch.float64)
    np.testing.assert_allclose(net(x).detach().numpy(), oracle(net, x.numpy(), skip), rtol=1e-12)


def test_shared_weights_have_one_matrix_and_variable_one_each():
    assert len(rs.ResNet(3, 4, 2, depth=7).blocks) == 1
    assert len(rs.ResNet(3, 4, 2, depth=7, weights="variable").blocks) == 7


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
def test_other_activations(activation):
    net = rs.ResNet(3, 4, 2, depth=1, activation=activation).double()
    x = torch.randn(6, 3, dtype=torch.float64)
    state = torch.nn.functional.pad(x, (0, 1))
    f = {"tanh": torch.tanh, "relu": torch.relu, "gelu": torch.nn.functional.gelu}[activation]
    torch.testing.assert_close(net(x), net.head(state + f(net.blocks[0].linear(state))))


def test_linear_lift_takes_more_inputs_than_units():
    assert rs.ResNet(10, 4, 2, lift="linear")(torch.randn(3, 10)).shape == (3, 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"depth": 0}, "depth must be at least 1, not 0"),
        ({"weights": "both"}, "weights must be 'shared' or 'variable', not 'both'"),
        (
            {"activation": "sine"},
            "activation must be one of logistic, tanh, relu, gelu, not 'sine'",
        ),
        ({"step_size": -1.0}, "step_size must be a positive number, not -1"),
        ({"lift": "copy"}, "lift must be 'pad' or 'linear', not 'copy'"),
        ({"width": 2}, "width 2 is smaller than the 3 input dimensions"),
        ({"classes": 1}, "classes must be at least 2, not 1"),
    ],
)
def test_bad_arguments(arguments, said):
    # Literal types are checked by beartype before the function runs; call what it guards.
    shape = {"inputs": 3, "width": 4, "classes": 2} | arguments
    from residua.nets import _check

    if "step_size" in arguments:
        with pytest.raises(rs.InputError, match=said):
            rs.ResNet(**shape)
        return
    defaults = {"depth": 15, "weights": "shared", "activation": "logistic", "lift": "pad"}
    with pytest.raises(rs.InputError, match=said):
        _check(**(defaults | shape))


def test_wrong_input_size_is_named():
    with pytest.raises(rs.InputError, match="takes 3 input dimensions and was given 5"):
        rs.ResNet(3, 4, 2)(torch.zeros(1, 5))


def test_save_and_load_a_cut_network(tmp_path):
    net = rs.ResNet(3, 4, 2, depth=5, weights="variable", activation="tanh")
    plan = rs.DepthPlan(rs.find_stack(net).names, (1, 4), "by hand", (None,) * 5, "")
    small = rs.apply(plan, net)
    rs.save(small, tmp_path / "net.safetensors")
    again = rs.load(tmp_path / "net.safetensors")
    x = torch.randn(6, 3)
    assert again.depth == 2
    assert torch.equal(again(x), small(x))
    with pytest.raises(rs.InputError, match="exists already"):
        rs.save(small, tmp_path / "net.safetensors")


def test_damaged_weights_are_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "net.safetensors"
    rs.save(rs.ResNet(3, 4, 2), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(rs.InputError, match="truncated or no safetensors file"):
        rs.load(path)
    path.write_bytes(b"\x80\x04K\x01.")  # a pickle
    with pytest.raises(rs.InputError, match="truncated or no safetensors file"):
        rs.load(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(rs.InputError, match="was not written by residua"):
        rs.load(path)
    with pytest.raises(rs.InputError, match="no such file"):
        rs.load(tmp_path / "absent")


def test_whole_numbers_are_refused():
    with pytest.raises(rs.InputError, match=r"floating-point, not torch.int64; .*x.float"):
        rs.ResNet(6, 8, 3)(torch.zeros(1, 6, dtype=torch.int64))
