"""Systems whose answers are on paper."""

import torch

import residua as rs


def matrix(rows):
    return torch.tensor(rows, dtype=torch.float64)


# Vertices' multipliers are exp((1 − 2 v_i)(W v)_i).
TWO_UNITS = matrix([[1.2, -0.7], [-0.9, 0.8]])
TWO_UNITS_MULTIPLIERS = {
    (1.0, 0.0): (0.30119421191220214, 0.4065696597405991),
    (1.0, 1.0): (0.6065306597126334, 1.1051709180756475),
}
# y = (c, c) rests for every c in [0, 1].
LINE = 0.5 * matrix([[-1, 1], [1, -1]])
# The origin is approached like 1 / (2 t).
SLOW_DECAY = -2 * torch.eye(2, dtype=torch.float64)
# Rock, paper, scissors: antisymmetric with the positive null vector (1, 1, 1).
ROCK_PAPER_SCISSORS = matrix([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
SYMMETRIC = matrix([[0.3, -1.1, 0.4], [-1.1, 0.2, 0.7], [0.4, 0.7, -0.5]])


def pitchfork(h, a):
    """Return x → x + h(a x − x³): rests at 0 and ±√a with multipliers 1 + h a and 1 − 2 h a."""
    return lambda x: x + h * (a * x - x**3)


def drift(y):
    """Rest nowhere; the speed is 0.1 everywhere."""
    return y + 0.1


def rotation(angle, gain=1.0):
    """Return gain·R(θ), whose spectral radius is the gain at any angle."""
    angle = torch.tensor(angle, dtype=torch.float64)
    c, s = angle.cos(), angle.sin()
    return gain * torch.stack([torch.stack([c, -s]), torch.stack([s, c])])


def linear_chain(A, depth, classes=2):
    """Return a ResNet whose every layer is x → A x: the block is a linear map of one's own."""
    units = len(A)
    net = rs.ResNet(units, units, classes, depth=depth).double()
    block = torch.nn.Linear(units, units, bias=False).double()
    with torch.no_grad():
        block.weight.copy_(A)
    net.blocks[0] = block
    return net.eval()


def identity_chain(depth=5, units=3, classes=2):
    """Return a ResNet whose every layer adds nothing: ReLU of a bias of −1 and no weights."""
    net = rs.ResNet(units, units, classes, depth=depth, activation="relu").double()
    with torch.no_grad():
        net.block(0).linear.weight.zero_()
        net.block(0).linear.bias.fill_(-1)
    return net.eval()
