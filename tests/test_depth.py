import copy

import numpy as np
import pytest
import torch

import residua as rs
from residua.depth.least_squares import AffineHead
from residua.depth.planners import errors_spent


def test_a_depth_curve_takes_a_loss_and_targets_that_are_no_classes():
    """Heads fitted to the old outputs, scored by a squared error to targets that are those outputs."""
    net = net_of()
    x = torch.randn(300, net.inputs, dtype=torch.float64)
    target = net(x).detach()

    def squared(outputs, targets):
        return (outputs - targets).square().sum(1)

    curve = rs.depth_curve(net, [x], [(x, target)], loss=squared, ridges=[1e-9])
    assert curve.loss[-1] < 1e-4
    assert curve.loss[0] > curve.loss[-1]
    assert np.isnan(curve.accuracy).all()
    with pytest.raises(rs.InputError, match=r"cross-entropy .* needs the class of each sample"):
        rs.depth_curve(net, [x], [(x, target)])
    with pytest.raises(rs.InputError, match="a probe needs the class of each sample"):
        rs.depth_curve(net, [(x, target)], [(x, target)], target="labels")
    with pytest.raises(rs.InputError, match="a probe needs the class of each sample"):
        rs.residual_probe(net, [x], [x])


def net_of(weights="shared", depth=5, **options):
    torch.manual_seed(2)
    return rs.ResNet(6, 8, 3, depth=depth, weights=weights, **options).double()


def batches(n=60, seed=0, size=17):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, dtype=torch.float64, generator=g)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    return list(zip(x.split(size), y.split(size), strict=True))


def together(parts):
    return (torch.cat(p) for p in zip(*parts, strict=True))


@pytest.mark.parametrize("target", ["logits", "labels"])
def test_depth_curve_is_ridge_regression(target):
    net, fit, held = net_of(), batches(), batches(40, seed=1)
    curve = rs.depth_curve(net, fit, held, target=target, ridges=[1e-3])
    x, y = together(fit)
    xv, yv = (v.numpy() for v in together(held))
    t, v = rs.trace(net, x), rs.trace(net, torch.from_numpy(xv))
    z = t.logits.numpy() if target == "logits" else np.eye(3)[y.numpy()]
    for s in range(6):
        a, b = t.states[s].numpy(), v.states[s].numpy()
        mean = a.mean(0)
        scale = 1e-3 * ((a - mean) ** 2).sum(0).mean()
        K = np.linalg.solve(
            (a - mean).T @ (a - mean) + scale * np.eye(8), (a - mean).T @ (z - z.mean(0))
        )
        out = (b - mean) @ K + z.mean(0)
        if target == "labels":
            losses = ((out - np.eye(3)[yv]) ** 2).sum(1)
        else:
            losses = np.log(np.exp(out).sum(1)) - out[np.arange(40), yv]
        np.testing.assert_allclose(curve.loss[s], losses.mean(), rtol=1e-8)
        np.testing.assert_allclose(curve.loss_error[s], losses.std(ddof=1) / np.sqrt(40), rtol=1e-6)
        assert curve.accuracy[s] == (out.argmax(1) == yv).mean()


def test_wide_states_use_the_same_algebra():
    """300 units are split into blocks above the diagonal; the result must not know."""
    torch.manual_seed(0)
    net = rs.ResNet(6, 300, 3, depth=1).double()
    x, _ = together(batches(900))
    curve = rs.depth_curve(net, [(x, torch.zeros(900).long())], batches(), ridges=[1e-9])
    K = net.head.weight.detach()
    state = rs.trace(net, x).states[1]
    head = curve.heads[1]
    torch.testing.assert_close(
        state @ head.weight.T + head.bias, state @ K.T + net.head.bias.detach(), rtol=0, atol=1e-5
    )


def test_one_standard_error_rule():
    def curve(loss, error):
        n = len(loss)
        head = AffineHead(torch.zeros(2, 3), torch.zeros(2))
        return rs.DepthCurve(
            "logits", np.array(loss), np.array(error), np.zeros(n), np.zeros(n), (head,) * n,
            tuple(f"b{i}" for i in range(n - 1)),
        )  # fmt: skip

    plan = rs.plan_depth(curve([2.0, 1.0, 0.5, 0.42, 0.4, 0.41], [0.1] * 6), "depth-curve")
    assert plan.keep == (1, 2)
    assert plan.refit_head
    assert "0.5000 after layer 2" in plan.reason
    assert rs.plan_depth(curve([2.0, 1.0, 0.5], [0.01] * 3), "depth-curve").removed == ()
    # An input that is good enough still leaves one layer.
    assert rs.plan_depth(curve([0.1, 0.1, 0.1], [0.0] * 3), "depth-curve").keep == (1,)


def test_the_papers_rule_removes_one_layer_below_the_threshold():
    statistics = rs.accumulate(net_of(), batches())
    last = statistics.settle_distance[-1]
    cut = rs.plan_depth(statistics, "paper", threshold=last * 1.01)
    assert cut.removed == (5,)
    assert not cut.refit_head
    assert rs.plan_depth(statistics, "paper", threshold=last * 0.99).removed == ()
    one = rs.accumulate(net_of(depth=1), batches())
    assert rs.plan_depth(one, "paper", threshold=9.0).keep == (1,)


def test_wrong_evidence_and_unknown_criterion():
    statistics = rs.accumulate(net_of(), batches())
    with pytest.raises(
        rs.InputError, match=r"reads Similarity, not Statistics; pass what residua\.similarity"
    ):
        rs.plan_depth(statistics)
    with pytest.raises(
        rs.InputError, match="unknown criterion 'best'; pass one of paper, depth-curve"
    ):
        rs.plan_depth(statistics, "best")
    with pytest.raises(rs.InputError, match="threshold must be 0 or more, not -1"):
        rs.plan_depth(statistics, "paper", threshold=-1.0)


def plan_for(net, keep, **options):
    stack = rs.find_stack(net)
    return rs.DepthPlan(stack.names, keep, "by hand", (None,) * stack.depth, "", **options)


def test_plans_round_trip_and_print():
    plan = plan_for(net_of("variable"), (1, 3))
    assert rs.DepthPlan.from_json(plan.to_json()) == plan
    assert str(plan).startswith("by hand: 5 → 2 layers, without blocks.1, blocks.3, blocks.4")
    for bad in ["{}", "[1]", "no"]:
        with pytest.raises(rs.InputError, match="this is not a depth plan"):
            rs.DepthPlan.from_json(bad)
    for keep in [(), (0, 1), (2, 1), (6,)]:
        with pytest.raises(rs.InputError, match="must keep at least one layer"):
            plan_for(net_of(), keep)
    text = plan.to_json().replace("[1, 3]", "[1.0, 3.0]")
    # Types that are checked at run time, as in these tests, refuse it first.
    with pytest.raises(rs.InputError, match=r"layers are named by whole numbers|not a depth plan"):
        rs.DepthPlan.from_json(text)


def trained(net):
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    for x, y in batches():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return optimizer


def test_removal_with_variable_weights_is_physical():
    net = net_of("variable")
    optimizer = trained(net)
    kept = [net.blocks[i] for i in (0, 2)]
    gone = [p for i in (1, 3, 4) for p in net.blocks[i].parameters()]
    rs.cut(net, plan_for(net, (1, 3)), optimizers=[optimizer])
    assert list(net.blocks) == kept
    assert {k for k in net.state_dict() if "blocks" in k} == {
        f"blocks.{i}.linear.{p}" for i in (0, 1) for p in ("weight", "bias")
    }
    held = {id(p) for g in optimizer.param_groups for p in g["params"]}
    assert held == {id(p) for p in net.parameters()}
    assert not {id(p) for p in gone} & ({id(p) for p in optimizer.state} | held)
    assert len(optimizer.state) == 6
    before = copy.deepcopy(net.state_dict())
    x, y = batches()[0]
    torch.nn.functional.cross_entropy(net(x), y).backward()
    optimizer.step()  # training goes on
    assert not torch.equal(before["blocks.1.linear.weight"], net.blocks[1].linear.weight)


def test_removal_with_shared_weights_is_one_iteration_less():
    net = net_of()
    optimizer = trained(net)
    x, _ = batches()[0]
    parameters, state = list(net.parameters()), dict(optimizer.state)
    fourth = rs.trace(net, x).states[4]
    rs.cut(net, plan_for(net, (1, 2, 3, 4)), optimizers=[optimizer])
    assert net.depth == 4
    assert all(p is q for p, q in zip(net.parameters(), parameters, strict=True))
    assert dict(optimizer.state) == state
    torch.testing.assert_close(net(x), net.head(fourth))


def test_refit_head_replaces_the_head_and_forgets_its_optimizer_state():
    net = net_of()
    optimizer = trained(net)
    curve = rs.depth_curve(net, batches(), batches(seed=1))
    plan = plan_for(net, (1, 2), refit_head=True)
    x, _ = batches()[0]
    fitted = curve.compensation(2)
    small = rs.apply(plan, net, compensation=fitted)
    state = rs.trace(net, x).states[2]
    torch.testing.assert_close(small(x), state @ curve.heads[2].weight.T + curve.heads[2].bias)
    assert net.depth == 5
    rs.cut(net, plan, compensation=fitted, optimizers=[optimizer])
    assert not any(v.any() for v in optimizer.state[net.head.weight].values())
    assert optimizer.state[net.blocks[0].linear.weight]["exp_avg"].any()
    assert net.blocks[0].linear.weight in optimizer.state


def unchanged(net, call, said):
    before, depth = copy.deepcopy(net.state_dict()), net.depth
    with pytest.raises(rs.InputError, match=said):
        call()
    assert net.depth == depth
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_refused_cuts_leave_the_model_whole():
    net = net_of("variable")
    other = plan_for(net_of("variable", depth=4), (1,))
    unchanged(net, lambda: rs.cut(net, other), "the plan is for a stack of 4 layers")
    refit = plan_for(net, (1,), refit_head=True)
    unchanged(net, lambda: rs.cut(net, refit), "pass the compensation fitted for this plan")
    wrong = rs.Compensation("affine", {"head.weight": torch.zeros(3, 9)})
    unchanged(
        net,
        lambda: rs.cut(net, refit, compensation=wrong),
        r"'head.weight' of the shape \(3, 9\) where the cut model's has \(3, 8\)",
    )
    groups = [{"params": b.parameters()} for b in net.blocks] + [{"params": net.head.parameters()}]
    lone = torch.optim.SGD(groups, lr=0.1)
    plan = plan_for(net, (1, 2))
    unchanged(
        net, lambda: rs.cut(net, plan, optimizers=[lone]), "would leave parameter group 2 of SGD"
    )
    assert all(g["params"] for g in lone.param_groups)
    shared = net_of()
    unchanged(
        shared, lambda: rs.cut(shared, plan_for(shared, (1, 3))), "only layers at the end can go"
    )


def test_the_input_is_no_candidate_of_one_standard_error():
    """A network whose input is classified best keeps its best layer, not the first."""
    loss = np.array([0.10, 0.50, 0.20, 0.13])
    curve = rs.DepthCurve("logits", loss, np.full(4, 0.01), loss, loss, (), ("1", "2", "3"))
    plan = rs.plan_depth(curve, "depth-curve")
    assert plan.keep == (1, 2, 3)
    assert "of the best, 0.1300 ± 0.0100 after layer 3" in plan.reason


def test_what_is_left_of_the_standard_error_decides():
    """Asked again with what the first cut left over, the rule gives away one error in all."""
    loss = np.array([9.0, 0.50, 0.43, 0.40, 0.38])
    curve = rs.DepthCurve("logits", loss, np.full(5, 0.1), loss, loss, (), tuple("1234"))
    first = rs.plan_depth(curve, "depth-curve")
    assert first.keep == (1, 2)
    assert errors_spent(curve, first) == pytest.approx(0.5)
    assert rs.plan_depth(curve, "depth-curve", errors=0.3).keep == (1, 2, 3)
    assert rs.plan_depth(curve, "depth-curve", errors=0.0).removed == ()
    assert (
        "within 0.3 standard errors of the best"
        in rs.plan_depth(curve, "depth-curve", errors=0.3).reason
    )
    with pytest.raises(rs.InputError, match=r"errors must be 0 or more, not -1\.0"):
        rs.plan_depth(curve, "depth-curve", errors=-1.0)


def test_a_target_that_is_neither_is_refused():
    with pytest.raises(rs.InputError, match="target must be 'logits' or 'labels', not 'label'"):
        rs.depth_curve(net_of(), [], [], target="label")


def test_scores_can_be_taken_elsewhere_than_the_ridge():
    """The ridge comes from the held-out batches, loss and accuracy from the batches to score."""
    model = net_of()
    x, y = torch.randn(90, 6, dtype=torch.float64), torch.arange(90) % 3
    fit, held, test = [(x[:30], y[:30])], [(x[30:60], y[30:60])], [(x[60:], y[60:])]
    chosen = rs.depth_curve(model, fit, held)
    scored = rs.depth_curve(model, fit, held, score_batches=test)
    assert np.array_equal(scored.ridge, chosen.ridge)
    for t, head in enumerate(chosen.heads):
        state = rs.trace(model, x[60:]).states[t].detach()
        logits = state @ head.weight.T + head.bias
        expected = torch.nn.functional.cross_entropy(logits, y[60:])
        assert scored.loss[t] == pytest.approx(float(expected))


def test_states_that_no_head_fits_are_refused():
    model = net_of()
    x, y = torch.randn(30, 6, dtype=torch.float64), torch.arange(30) % 3
    with torch.no_grad():
        model.blocks[0].linear.bias.fill_(torch.nan)
    with pytest.raises(rs.InputError, match="on the state after layer 0: it holds NaN"):
        rs.depth_curve(model, [(x, y)], [(x, y)])
