"""Adaptive depth in training: loops of one's own, guard, averages, precision, compiled blocks, DDP."""

import copy
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import residua as rs
from residua import streaming
from residua.depth.adaptive_config import AdaptiveConfig
from residua.depth.controller import DepthController

HERE = Path(__file__).parent


def task(n=240, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=g)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


TRAIN, HELD = task(), task(120, seed=1)


def batches(data=TRAIN, size=40):
    return list(zip(data[0].split(size), data[1].split(size), strict=True))


def net_of(weights="variable", depth=8):
    torch.manual_seed(2)
    return rs.ResNet(6, 12, 3, depth=depth, weights=weights)


def epoch(model, optimizer, scheduler=None, average=None, *, accumulate=1, dtype=None):
    for i, (x, y) in enumerate(batches()):
        with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
            loss = nn.functional.cross_entropy(model(x).float(), y)
        loss.backward()
        if (i + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
            if scheduler is not None:
                scheduler.step()
            if average is not None:
                average.update_parameters(model)


ALWAYS = AdaptiveConfig(window=(0.0, 1.0), tolerance=0.5)


@pytest.mark.parametrize("weights", ["shared", "variable"])
def test_three_lines_in_a_loop_of_ones_own(weights):
    """Momentum of weights that stay goes on, of those fitted anew it starts anew; schedule, averages
    and half precision go on."""
    net = net_of(weights)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=6 * 3)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    control = DepthController(net, [optimizer], averages=[average], config=ALWAYS)
    for e in range(1, 7):
        epoch(net, optimizer, scheduler, average, accumulate=2, dtype=torch.bfloat16)
        values = {p: p.detach().clone() for p in net.parameters()}
        moments = {p: s["exp_avg"].clone() for p, s in optimizer.state.items()}
        decision = control.step(e, 6, batches(), batches(HELD))
        assert decision is not None
        if decision.depth_after < decision.depth_before:
            kept = list(net.parameters())
            assert net.depth == decision.depth_after
            assert average.module.depth == net.depth
            same = {p for p in kept if torch.equal(p, values[p])}
            assert set(optimizer.state) == same
            assert all(torch.equal(optimizer.state[p]["exp_avg"], moments[p]) for p in same)
            assert sum(len(g["params"]) for g in optimizer.param_groups) == len(kept)
    assert net.depth < 8
    assert scheduler.last_epoch == 18
    x = HELD[0]
    assert average(x).shape == net(x).shape == (120, 3)


def test_the_rule_keeps_the_fewest_layers_within_the_tolerance():
    net = net_of("shared")
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    epoch(net, optimizer)
    loss = _loss(net)
    control = DepthController(net, [optimizer], config=ALWAYS)
    decision = control.step(1, 1, batches(), batches(HELD))
    assert net.depth == decision.depth_after < 8
    assert _loss(net) <= 1.5 * loss
    assert f"held-out loss {loss:.4f} with 8 layers, {_loss(net):.4f} with {net.depth}" in (
        decision.reason
    )
    assert max(net.steps) > 1
    floor = DepthController(
        net_of("shared"), config=AdaptiveConfig(window=(0.0, 1.0), tolerance=9.0, keep=3)
    )
    assert floor.step(1, 1, batches(), batches(HELD)).depth_after == 3
    eager = AdaptiveConfig("paper", threshold=9.0, keep=7)
    paper = DepthController(net_of("shared"), config=eager)
    depths = [paper.step(e, 2, batches(), batches(HELD)).depth_after for e in (1, 2)]
    assert depths == [7, 7]
    assert paper.decisions[1].reason.endswith("< 9, but 7 layers are to stay")
    sure = AdaptiveConfig(window=(0.0, 1.0), tolerance=0.0, negligible=9.0)  # no rise counts
    assert (
        DepthController(net_of("shared"), config=sure)
        .step(1, 1, batches(), batches(HELD))
        .depth_after
        == 1
    )


def _loss(net):
    return streaming.held_out_figures(net, batches(HELD)).loss


@pytest.mark.parametrize("weights", ["shared", "variable"])
def test_the_guard_undoes_a_removal_that_cost_too_much(weights):
    """Weights, steps, optimizer state and averages are those of before, and no other cut is tried."""
    net = net_of(weights)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    average = AveragedModel(net)
    control = DepthController(net, [optimizer], averages=[average], config=ALWAYS)
    epoch(net, optimizer, average=average)
    state = copy.deepcopy(net.state_dict())
    moments = copy.deepcopy(optimizer.state_dict())
    control.step(1, 3, batches(), batches(HELD))
    assert net.depth < 8
    with torch.no_grad():  # a training that went wrong
        net.head.weight.mul_(50)
    undone = control.step(2, 3, batches(), batches(HELD))
    assert undone.depth_after == net.depth == average.module.depth == 8
    assert undone.reason.startswith("the removal is undone: held-out loss ")
    assert net.steps == (1.0,) * 8
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    again = optimizer.state_dict()
    assert again["param_groups"] == moments["param_groups"]
    for i, values in moments["state"].items():
        assert all(torch.equal(v, again["state"][i][k]) for k, v in values.items())
    epoch(net, optimizer, average=average)  # what was put back trains on
    assert not torch.equal(net.head.weight, state["head.weight"])
    assert control.step(3, 3, batches(), batches(HELD)) is None


@pytest.mark.parametrize("weights", ["shared", "variable"])
@pytest.mark.parametrize("spoil", [False, True], ids=["kept", "undone"])
def test_a_loop_resumed_after_a_cut_ends_with_the_same_weights(tmp_path, weights, spoil):
    """Through torch.save, right after the cut, with the guard still to judge it."""

    def begin():
        net = net_of(weights)
        return net, DepthController(net, config=ALWAYS)

    def optimizer_of(net):
        return torch.optim.AdamW(net.parameters(), lr=1e-2)

    def go_on(net, optimizer, control, epochs):
        for e in epochs:
            epoch(net, optimizer)
            if spoil and e == 2:
                with torch.no_grad():
                    net.head.weight.mul_(50)
            control.step(e, 4, batches(), batches(HELD))

    net, control = begin()
    optimizer = optimizer_of(net)
    control.optimizers = [optimizer]
    go_on(net, optimizer, control, [1])
    assert net.depth < 8
    saved = {"net": net.state_dict(), "opt": optimizer.state_dict(), "depth": control.state_dict()}
    torch.save(saved, tmp_path / "a.pt")
    go_on(net, optimizer, control, [2, 3, 4])

    found = torch.load(tmp_path / "a.pt", weights_only=True)
    again, resumed = begin()
    resumed.load_state_dict(found["depth"])
    again.load_state_dict(found["net"])
    second = optimizer_of(again)
    second.load_state_dict(found["opt"])
    resumed.optimizers = [second]
    go_on(again, second, resumed, [2, 3, 4])
    assert again.steps == net.steps
    assert (net.depth == 8) == spoil
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in net.state_dict().items())
    assert resumed.decisions == control.decisions


COMPILED = """
import torch
from torch import nn
import residua as rs

torch.manual_seed(2)
x = torch.randn(120, 6)
y = (x[:, 0] > 0).long()
net = rs.ResNet(6, 12, 2, depth=4, weights="variable")
for block in net.blocks:
    block.compile(backend="eager")
optimizer = torch.optim.SGD(net.parameters(), lr=1e-2)
rule = rs.AdaptiveConfig(window=(0.0, 1.0), tolerance=0.5)
control = rs.DepthController(net, [optimizer], config=rule)

def compiled():
    return all(block._compiled_call_impl is not None for block in net.blocks)

nn.functional.cross_entropy(net(x), y).backward()
optimizer.step()
control.step(1, 3, [(x, y)], [(x, y)])
assert net.depth < 4 and compiled()
plain = rs.build(rs.NetConfig(**control.state_dict()["structure"]))
plain.load_state_dict(net.state_dict())
torch.testing.assert_close(net(x), plain(x))
with torch.no_grad():
    net.head.weight.mul_(50)
control.step(2, 3, [(x, y)], [(x, y)])
assert net.depth == 4 and compiled()
"""


def test_blocks_compiled_one_by_one_stay_so():
    """In a process of its own: shapes are checked at run time in this one, which cannot be compiled."""
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_convolutional_network_is_cut_in_training():
    torch.manual_seed(0)
    x, y = torch.randn(96, 3, 8, 8), torch.arange(96) % 3
    x[torch.arange(96), y] += 1.0  # the class is in the colour
    data = list(zip(x.split(32), y.split(32), strict=True))
    net = rs.ConvResNet(3, 3, depth=20, width=4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(4):
        for a, b in data:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(a), b).backward()
            optimizer.step()
    control = DepthController(net, [optimizer], config=ALWAYS)
    decision = control.step(1, 2, data, data)
    assert 3 <= decision.depth_after < 7
    assert sum(net.blocks) == decision.depth_after
    nn.functional.cross_entropy(net(x), y).backward()
    optimizer.step()


def test_what_cannot_work_is_refused_and_nothing_is_cut():
    net = net_of()
    with pytest.raises(rs.InputError, match="trains parameters that are not the model's"):
        DepthController(net, [torch.optim.SGD(net_of().parameters(), lr=0.1)])
    flat = DepthController(nn.Linear(6, 3), config=AdaptiveConfig(window=(0.0, 1.0)))
    with pytest.raises(rs.StackError, match="no residual blocks were found in Linear"):
        flat.step(1, 1, batches(), batches(HELD))
    with pytest.raises(rs.StackError, match="are found with the first batch; ask after that"):
        print(DepthController(nn.Linear(6, 3)).depth)
    groups = [{"params": b.parameters()} for b in net.blocks] + [{"params": net.head.parameters()}]
    lone = torch.optim.SGD(groups, lr=0.1)
    control = DepthController(net, [lone], config=AdaptiveConfig(window=(0.0, 1.0), tolerance=9.0))
    with pytest.raises(rs.InputError, match=r"would leave parameter group . of SGD empty"):
        control.step(1, 1, batches(), batches(HELD))
    assert net.depth == 8
    assert control.before is None
    with pytest.raises(rs.InputError, match="the training loader gave no batch"):
        control.step(1, 1, [], batches(HELD))
    with pytest.raises(rs.InputError, match="the data loader gave no batch"):
        control.step(1, 1, batches(), [])


def test_a_rule_that_cannot_work_on_a_model_is_refused_at_once():
    for rule in ("paper", "depth-curve"):
        with pytest.raises(rs.StackError, match="has 3 stages whose states differ"):
            DepthController(rs.ConvResNet(3, 3, depth=14, width=4), config=AdaptiveConfig(rule))


def test_undoing_leaves_alone_what_is_not_the_networks():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.seen = net_of(), 0

        def forward(self, x):
            self.seen += 1
            return self.net(x)

    model = Counts()
    optimizer = torch.optim.AdamW(model.parameters())
    control = DepthController(model, [optimizer], config=ALWAYS)
    assert control.step(1, 4, batches(), batches(HELD)).depth_after < 8
    seen = model.seen
    with torch.no_grad():
        model.net.head.weight.mul_(50)
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))]})
    with pytest.raises(rs.InputError, match=r"have \[2\] parameter groups where they had \[1\]"):
        control.step(2, 4, batches(), batches(HELD))
    assert model.net.depth < 8
    optimizer.param_groups.pop()
    assert "undone" in control.step(2, 4, batches(), batches(HELD)).reason
    assert model.net.depth == 8
    assert model.seen > seen


@pytest.mark.parametrize("weights", ["shared", "variable"])
def test_an_optimizer_of_before_a_resume_goes_on_or_is_refused(weights):
    """With shared weights the parameters are the same ones; with others some are gone."""
    control = DepthController(net_of(weights), config=ALWAYS)
    control.step(1, 4, batches(), batches(HELD))
    net = net_of(weights)
    resumed = DepthController(net, [torch.optim.AdamW(net.parameters())], config=ALWAYS)
    before = set(net.parameters())
    if weights == "variable":
        with pytest.raises(rs.InputError, match="Build the optimizer after this"):
            resumed.load_state_dict(control.state_dict())
    else:
        resumed.load_state_dict(control.state_dict())
        assert set(net.parameters()) == before
    assert net.depth == control.depth < 8


def torchrun(script, *arguments):
    """Run a script of this folder on two processes."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
        *("--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"),
        *(str(HERE / script), *map(str, arguments)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Return what both ranks had at the end, by script and weights; each script is run once."""
    folder = tmp_path_factory.mktemp("ranks")

    @cache
    def of(script, weights):
        if not (folder / script).exists():
            (folder / script).mkdir()
            torchrun(script, folder / script)
        files = [folder / script / f"{weights}-{rank}.pt" for rank in (0, 1)]
        return tuple(torch.load(file, weights_only=True) for file in files)

    return of


@pytest.mark.parametrize("weights", ["shared", "variable"])
def test_two_processes_cut_alike(ranks, weights):
    """Two gloo ranks with different batches: one decision, equal weights, gradients still averaged."""
    first, second = ranks("distributed_loop.py", weights)
    assert first["depths"] == second["depths"]
    assert first["depths"][-1] < 8
    assert first["reasons"] == second["reasons"]
    assert first["steps"] == second["steps"]
    for name, value in first["net"].items():
        assert torch.equal(value, second["net"][name]), name
    assert first["loss"] != second["loss"]  # each saw data of its own


@pytest.mark.parametrize("weights", ["shared", "variable"])
def test_lightning_on_two_processes_with_an_average(ranks, weights):
    """The callback wraps the cut model anew, the ranks stay equal, the average is cut alike."""
    first, second = ranks("distributed_lightning.py", weights)
    for name in ("depths", "last", "reasons", "steps"):
        assert first[name] == second[name], name
    assert first["last"] < 8
    assert all(own == average for own, average in first["depths"])
    assert len({own for own, _ in first["depths"]}) > 1
    assert first["net"].keys() == second["net"].keys()
    assert all(torch.equal(value, second["net"][name]) for name, value in first["net"].items())
