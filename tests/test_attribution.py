"""Logits as sums of what each layer added."""

import numpy as np
import pytest
import torch

import residua as rs
from problems import identity_chain
from residua.transients.attribution import attribute, attribute_classes


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("net", [rs.ResNet, rs.MLP])
def test_contributions_add_up_to_the_logits(net, dtype, tolerance):
    model = net(6, 9, 4, depth=11).to(dtype)
    found = attribute(model, torch.randn(8, 6, dtype=dtype))
    assert found.parts == ("input", *(f"layer {t}" for t in range(1, 12)), "bias")
    error = (found.contributions.sum(0) - found.logits).abs().max()
    assert error <= tolerance * found.logits.abs().max()
    data = found.to_dataset("abcd")
    assert data.contribution.sel(part="bias", **{"class": "c"})[0] == model.head.bias[2]


def test_a_chain_that_adds_nothing_contributes_nothing():
    net, x = identity_chain(), torch.randn(4, 3, dtype=torch.float64)
    found = attribute(net, x)
    assert torch.equal(found.contributions[1:-1], torch.zeros(5, 4, 2, dtype=torch.float64))
    torch.testing.assert_close(found.contributions[0] + net.head.bias, net.head(x).detach())


def test_a_known_layer_adds_what_it_should():
    """With W = 0 and a ReLU of the bias (1, 2, 0), every layer adds K (1, 2, 0)."""
    net = identity_chain()
    with torch.no_grad():
        net.block(0).linear.bias.copy_(torch.tensor([1.0, 2, 0]))
    found = attribute(net, torch.randn(4, 3, dtype=torch.float64)).contributions
    expected = net.head.weight @ torch.tensor([1.0, 2, 0], dtype=torch.float64)
    torch.testing.assert_close(found[1:-1], expected.expand(5, 4, 2))


def test_margins_are_those_of_the_head_on_every_state():
    net, x = rs.ResNet(5, 7, 3, depth=4).double(), torch.randn(20, 5, dtype=torch.float64)
    labels = torch.arange(20) % 3
    found = attribute(net, x).margins(labels)
    logits = net.head(rs.trace(net, x).states).detach().numpy()
    for s, label in enumerate(labels.tolist()):
        others = np.delete(logits[:, s], label, axis=1).max(1)
        np.testing.assert_allclose(found[:, s], logits[:, s, label] - others)
    right = (found[-1] > 0).double().mean()
    assert right == (net(x).argmax(1) == labels).double().mean()
    with pytest.raises(rs.InputError, match="whole numbers 0…2, one for each of the 20 samples"):
        attribute(net, x).margins(labels + 1)


def test_means_by_class_are_the_means_of_the_samples():
    net, x = rs.ResNet(5, 7, 3, depth=4).double(), torch.randn(50, 5, dtype=torch.float64)
    labels = torch.arange(50) % 3
    found = attribute_classes(net, [(x[:13], labels[:13]), (x[13:], labels[13:])])
    each = attribute(net, x).contributions
    for c in range(3):
        np.testing.assert_allclose(found.mean[:, c], each[:, labels == c].mean(1), atol=1e-12)
    own = found.mean[:, 1, 1] - (found.mean[:, 1, 0] + found.mean[:, 1, 2]) / 2
    np.testing.assert_allclose(found.own[:, 1], own)
    with pytest.raises(rs.InputError, match=r"by class needs the class of each sample; pass"):
        attribute_classes(net, [x])
