"""Criteria against numpy, enumeration and finite differences; oracles; pruning by an aim."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import residua as rs
from residua.depth.criteria import CRITERIA
from residua.depth.evidence import evidence
from residua.depth.latency import latencies
from residua.depth.pruning import PruneConfig


def net_of(weights="variable", depth=5, **options):
    torch.manual_seed(2)
    return rs.ResNet(6, 8, 3, depth=depth, weights=weights, **options).double().eval()


def batches(n=60, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, dtype=torch.float64, generator=g)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    return list(zip(x.split(25), y.split(25), strict=True))


def trained(weights="variable", depth=6):
    torch.manual_seed(0)
    net = rs.ResNet(6, 12, 3, depth=depth, weights=weights).double()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(25):
        for x, y in batches(300):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
    return net.eval()


def loss_of(net, data=None):
    x, y = (torch.cat(p) for p in zip(*(data or batches()), strict=True))
    return float(nn.functional.cross_entropy(net(x), y).detach())


def without(net, *layers):
    names = rs.find_stages(net).names
    keep = tuple(t for t in range(1, len(names) + 1) if t not in layers)
    return rs.apply(rs.DepthPlan(names, keep, "", (None,) * len(names), ""), net)


def test_similarity_is_that_of_numpy():
    net = net_of()
    found = rs.similarity(net, batches())
    x = torch.cat([x for x, _ in batches()])
    trace = rs.trace(net, x)
    s, y = trace.states.detach().numpy(), trace.residuals.detach().numpy()
    size = np.linalg.norm(s, axis=2)
    cosine = np.einsum("anu,bnu->abn", s, s) / (size[:, None] * size[None])
    np.testing.assert_allclose(found.cosine["blocks"], cosine.mean(2), rtol=1e-10)
    angle = np.arccos(np.clip(cosine, -1, 1)).mean(2) / np.pi
    np.testing.assert_allclose(found.angle["blocks"], angle, atol=1e-7)
    np.testing.assert_allclose(
        found.products["blocks"], np.einsum("anu,bnu->ab", y, y) / 60, rtol=1e-10
    )
    ratio = (np.linalg.norm(y, axis=2) / size[:-1]).mean(1)
    np.testing.assert_allclose(found.ratio, ratio, rtol=1e-10)
    influence = rs.plan_depth(found, "block-influence", keep=2)
    np.testing.assert_allclose(influence.scores, 1 - np.diagonal(cosine.mean(2), 1), rtol=1e-8)
    assert rs.plan_depth(found, "residual-ratio", keep=2).scores == pytest.approx(list(ratio))
    runs = {t: angle[t - 1, t + 1] for t in range(1, 5)}  # two layers go
    worst = min(runs, key=runs.get)
    assert rs.plan_depth(found, "angular", keep=3).removed == (worst, worst + 1)


def test_parts_of_a_data_set_add_up():
    net, data = net_of(), batches()
    whole, parts = rs.similarity(net, data), [rs.similarity(net, [b]) for b in data]
    merged = parts[0] + parts[1] + parts[2]
    for stage in whole.cosine:
        np.testing.assert_allclose(merged.cosine[stage], whole.cosine[stage], rtol=1e-10)
        np.testing.assert_allclose(merged.products[stage], whole.products[stage], rtol=1e-10)
    np.testing.assert_allclose(merged.ratio, whole.ratio, rtol=1e-10)
    assert merged.rows == whole.rows == {"blocks": 60}
    with pytest.raises(rs.InputError, match="similarities of different stacks"):
        whole + rs.similarity(net_of(depth=3), data)


@pytest.mark.parametrize("weights", ["shared", "variable"])
def test_a_gate_of_zero_is_a_layer_less(weights):
    net = net_of(weights)
    found = rs.oracle(net, batches())
    assert found.without() == pytest.approx(loss_of(net), rel=1e-6)
    assert found.without(5) == pytest.approx(loss_of(without(net, 5)), rel=1e-6)
    if weights == "variable":
        assert found.without(2, 3) == pytest.approx(loss_of(without(net, 2, 3)), rel=1e-6)


def test_taylor_is_the_derivative_of_the_loss_by_the_gates():
    net = net_of(step_size=1.0)
    found = rs.oracle(net, batches())
    scores = rs.plan_depth(found, "taylor", keep=2).scores
    for t in range(5):
        gates = torch.ones(5, dtype=torch.float64)
        high, low = gates.clone(), gates.clone()
        high[t], low[t] = 1.01, 0.99
        with torch.no_grad():
            slope = float(found.evaluate(high) - found.evaluate(low)) / 0.02
        assert scores[t] == pytest.approx(abs(slope), rel=2e-3)


def test_leave_one_out_and_greedy_are_those_of_enumeration():
    net = net_of()
    found = rs.oracle(net, batches())
    alone = [loss_of(without(net, t)) - loss_of(net) for t in range(1, 6)]
    plan = rs.plan_depth(found, "leave-one-out", keep=4)
    assert plan.scores == pytest.approx(alone, rel=1e-4, abs=1e-6)
    assert plan.removed == (1 + int(np.argmin(alone)),)
    gone = []
    for _ in range(3):
        rest = [t for t in range(1, 6) if t not in gone]
        gone.append(min(rest, key=lambda t: loss_of(without(net, *gone, t))))
    greedy = rs.plan_depth(found, "greedy", keep=2)
    assert greedy.removed == tuple(sorted(gone))
    assert f"without {', '.join(map(str, gone))}, in this order" in greedy.reason
    best = min(loss_of(without(net, *c)) for c in itertools.combinations(range(1, 6), 1))
    assert rs.plan_depth(found, "greedy", keep=4).scores[gone[0] - 1] == pytest.approx(
        best, rel=1e-5
    )


def test_statistics_score_as_they_say():
    net = net_of()
    found = rs.accumulate(net, batches())
    x = torch.cat([x for x, _ in batches()])
    y = rs.trace(net, x).residuals.detach().numpy()
    magnitude = rs.plan_depth(found, "magnitude", keep=2)
    assert magnitude.scores == pytest.approx(list(np.abs(y).mean((1, 2))))
    assert rs.plan_depth(found, "spread", keep=2).scores == pytest.approx(
        list(found.relative_spread)
    )
    settle = rs.plan_depth(found, "settle", keep=2)
    assert settle.scores[0] is None
    assert settle.scores[1:] == pytest.approx(list(found.relative_settle_distance))
    assert 1 in settle.keep
    below = sorted(magnitude.scores)[2]
    by_threshold = rs.plan_depth(found, "magnitude", threshold=below)
    assert len(by_threshold.removed) == 2


def evidence_of(name, net, data):
    return evidence(net, name, data, data)


@pytest.mark.parametrize("name", [n for n in CRITERIA if n not in ("paper",)])
@pytest.mark.parametrize("weights", ["shared", "variable"])
def test_every_criterion_plans_for_every_network(name, weights):
    net = net_of(weights)
    plan = rs.plan_depth(evidence_of(name, net, batches()), name, keep=3)
    assert len(plan.keep) == 3
    assert plan.criterion == name
    if weights == "shared":
        assert plan.keep == (1, 2, 3)
    assert rs.DepthPlan.from_json(plan.to_json()) == plan
    assert rs.apply(plan, net, compensation=rs.Compensation("none", {})).depth == 3


def test_last_and_random_layers():
    names = [f"b{i}" for i in range(5)]
    assert rs.plan_depth(names, "last", keep=2).keep == (1, 2)
    kept = {rs.plan_depth(names, "random", keep=2, seed=s).keep for s in range(20)}
    assert len(kept) > 3
    assert rs.plan_depth(names, "random", keep=2, seed=4) == rs.plan_depth(
        names, "random", keep=2, seed=4
    )


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("magnitude", {}, "'magnitude' needs keep=… or threshold=…, one of the two"),
        ("magnitude", {"keep": 2, "threshold": 0.1}, "needs keep=… or threshold=…, one of the two"),
        ("magnitude", {"keep": 0}, "keep must be at least 1, not 0: a network needs a layer"),
        ("magnitude", {"keep": 6}, "keep must be at most 5, the layers there are, not 6"),
        ("magnitude", {"threshold": -0.1}, "threshold must be 0 or more, not -0.1"),
        ("magnitude", {"keep": 2, "seed": 1}, "'magnitude' takes no options, not seed=…"),
        ("paper", {"keep": 2}, "'paper' takes threshold=…, not keep=…"),
        ("spans", {}, "'spans' needs keep=…"),
        ("luck", {}, "unknown criterion 'luck'; pass one of paper, depth-curve, settle"),
    ],
)
def test_options_that_do_not_fit(name, options, said):
    found = rs.similarity(net_of(), batches()) if name == "spans" else rs.accumulate(
        net_of(), batches()
    )  # fmt: skip
    with pytest.raises(rs.InputError, match=said):
        rs.plan_depth(found, name, **options)


def test_residuals_that_are_no_numbers_are_refused():
    net = net_of()
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        for block in net.blocks:
            block.linear.bias.fill_(-float("inf"))
    found = rs.accumulate(net, batches())
    with pytest.raises(rs.InputError, match="'settle' gives scores that are no numbers"):
        rs.plan_depth(found, "settle", keep=2)


def test_stages_are_scored_together_and_cut_apart():
    torch.manual_seed(0)
    net = rs.ConvResNet(2, 3, depth=20, width=4).eval()
    x = torch.randn(20, 2, 8, 8)
    data = [(x, torch.arange(20) % 3)]
    for name in ("magnitude", "settle", "spans", "block-influence", "greedy", "taylor"):
        plan = rs.plan_depth(evidence_of(name, net, data), name, keep=4)
        small = rs.apply(plan, net)
        assert sum(small.blocks) == 4
        assert small(x).shape == (20, 3)
    with pytest.raises(rs.InputError, match="'spans' leaves a layer in each of the 3 stages"):
        rs.plan_depth(rs.similarity(net, data), "spans", keep=2)
    with pytest.raises(rs.InputError, match="removes one run of layers within a stage, and no"):
        rs.plan_depth(rs.similarity(net, data), "angular", keep=2)


# Pruning --------------------------------------------------------------------------------------------


def accuracy(net, data):
    x, y = (torch.cat(p) for p in zip(*data, strict=True))
    return float((net(x).argmax(1) == y).double().mean())


@pytest.mark.parametrize("weights", ["shared", "variable"])
def test_pruning_reaches_its_aim_with_the_fewest_layers(weights):
    net, train, held = trained(weights), batches(300), batches(200, seed=3)
    before = loss_of(net, held)
    told = []
    small, report = rs.prune(net, train, held, PruneConfig(max_loss_increase=0.02), told.append)
    assert report.after.loss == pytest.approx(loss_of(small, held), rel=1e-6)
    assert report.before.loss == pytest.approx(before, rel=1e-6)
    assert report.after.loss <= before + 0.02
    assert report.after.layers == small.depth < net.depth == 6
    fewer = [m for m in report.tried if m.layers == small.depth - 1]
    assert small.depth == 1 or fewer[0].loss > before + 0.02
    assert 0 < sum(told) <= 1.0001
    drop, found = rs.prune(net, train, held, PruneConfig(max_drop_points=1.0))
    assert accuracy(net, held) - accuracy(drop, held) <= 0.01 + 1e-9
    assert found.after.accuracy == pytest.approx(accuracy(drop, held))
    kept, _ = rs.prune(net, train, held, PruneConfig(keep=2))
    assert kept.depth == 2
    whole, nothing = rs.prune(net, train, held, PruneConfig(keep=6))
    assert whole.depth == 6
    assert nothing.compensation is None


def test_an_accuracy_needs_classes():
    net, (x, _) = net_of(), batches()[0]
    data = [(x, net(x).detach())]

    def squared(outputs, targets):
        return (outputs - targets).square().sum(1)

    with pytest.raises(rs.InputError, match="max_drop_points needs the class of each sample"):
        rs.prune(net, data, data, PruneConfig(max_drop_points=1.0, loss=squared))
    _, report = rs.prune(
        net, data, data, PruneConfig(max_loss_increase=1e3, loss=squared, compensation="steps")
    )
    assert np.isnan(report.before.accuracy)
    assert report.after.layers == 1
    by_loss = PruneConfig(keep=2, criterion="greedy", loss=squared, compensation="steps")
    _, report = rs.prune(net, data, data, by_loss)
    exact = rs.oracle(net, data, loss=squared).without(*report.plan.removed)
    assert report.plan.reason.endswith(f"the loss is {exact:.4f}")


def test_a_speedup_is_measured():
    torch.manual_seed(0)
    net = rs.ResNet(6, 400, 3, depth=12, weights="variable")
    g = torch.Generator().manual_seed(0)
    x = torch.randn(400, 6, generator=g)
    data = [(x, (x[:, 0] > 0).long())]
    small, report = rs.prune(
        net, data, data, PruneConfig(criterion="last", speedup=1.5, compensation="none")
    )
    assert small.depth < 12
    assert report.before.seconds / report.after.seconds >= 1.5
    with pytest.raises(rs.InputError, match="a single layer is not 1e\\+06 times as fast as 12"):
        rs.prune(net, data, data, PruneConfig(criterion="last", speedup=1e6, compensation="none"))


def test_latencies_tell_a_slow_model():
    deep, flat = rs.ResNet(6, 300, 3, depth=30), rs.ResNet(6, 300, 3, depth=1)
    slow, quick = latencies([deep, flat], torch.randn(100, 6), rounds=5)
    assert slow > 2 * quick > 0
    with pytest.raises(rs.InputError, match="rounds must be at least 1, not 0"):
        latencies([deep], torch.randn(2, 6), rounds=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "by one of keep, max_loss_increase, max_drop_points, speedup; got none"),
        ({"keep": 2, "speedup": 2.0}, "got keep, speedup"),
        ({"keep": 0}, "keep must be a number of at least 1, not 0"),
        ({"max_loss_increase": -0.1}, "max_loss_increase must be a number of at least 0, not -0.1"),
        ({"speedup": 0.5}, "speedup must be a number of at least 1, not 0.5"),
        ({"max_drop_points": float("nan")}, "max_drop_points must be a number of at least 0"),
        ({"keep": 2, "criterion": "luck"}, "unknown criterion 'luck'"),
        ({"keep": 2, "compensation": "luck"}, "unknown compensation 'luck'"),
    ],
)
def test_aims_that_are_refused(options, said):
    with pytest.raises(rs.InputError, match=said):
        PruneConfig(**options)


def test_pruning_refuses_what_it_cannot_judge():
    net = net_of()
    with pytest.raises(rs.InputError, match="keep must be at most 5, the layers there are, not 9"):
        rs.prune(net, batches(), batches(), PruneConfig(keep=9))
    with torch.no_grad():
        net.head.weight.zero_()
    with pytest.raises(rs.InputError, match="with all layers and with a single one, so it cannot"):
        rs.prune(net, batches(), batches(), PruneConfig(max_drop_points=0.1))
    with pytest.raises(rs.InputError, match="held-out batches must be"):
        rs.prune(net_of(), batches(), [x for x, _ in batches()], PruneConfig(keep=2))
    wrong = [(torch.randn(4, 5, dtype=torch.float64), torch.zeros(4).long())]
    with pytest.raises(rs.InputError, match="takes 6 input dimensions and was given 5"):
        rs.prune(net_of(), wrong, batches(), PruneConfig(keep=2))
