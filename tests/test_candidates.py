"""Of the plans of several criteria held-out data choose; each kind of evidence is gathered once."""

import pytest
import torch

import residua as rs
from residua.depth import candidates
from residua.depth.candidates import TRIED, Candidates
from residua.losses import cross_entropy
from residua.streaming import held_out_figures


@pytest.fixture(scope="module")
def trained():
    """A network of six layers on digits, and batches of training and validation data."""
    torch.manual_seed(0)
    data = rs.load_data("digits")
    net = rs.ResNet(data.inputs, 66, 10, depth=6, weights="variable")
    fit, held_out = rs.loader(data.train, 300), rs.loader(data.val, 300)
    rs.heal(net, rs.loader(data.train, 64, shuffle_seed=0), rs.HealConfig(200, lr=2e-3))
    return net.eval(), fit, held_out


@pytest.mark.parametrize("compensation", ["none", "steps+affine"])
def test_the_plan_is_that_of_the_lowest_held_out_loss(trained, compensation):
    net, fit, held_out = trained
    config = {"keep": 3, "compensation": compensation}
    losses = {}
    for name in TRIED:
        small, report = rs.prune(net, fit, held_out, rs.PruneConfig(**config, criterion=name))
        losses[report.plan.keep] = held_out_figures(small, held_out).loss
        assert report.plan.criterion == name
    small, report = rs.prune(net, fit, held_out, rs.PruneConfig(**config, criterion="best"))
    assert len(losses) > 1
    assert held_out_figures(small, held_out).loss == min(losses.values()) == report.after.loss
    assert losses[report.plan.keep] == min(losses.values())
    assert report.plan.criterion in TRIED


def test_evidence_is_gathered_once_and_plans_that_agree_are_one(trained, monkeypatch):
    net, fit, held_out = trained
    gathered = []
    whole = candidates.evidence
    monkeypatch.setattr(candidates, "evidence", lambda *a: gathered.append(a[1]) or whole(*a))
    found = Candidates(rs.find_stack(net), "best", fit, held_out, cross_entropy)
    assert len(gathered) == 3  # similarity, an oracle, names
    plans = found.plans(5)
    assert len({(p.keep, p.firsts or p.keep) for p in plans}) == len(plans) <= len(TRIED)
    assert plans[0].criterion == "spans"
    shared = rs.ResNet(64, 66, 10, depth=4)
    alike = Candidates(rs.find_stack(shared), "best", fit, held_out, cross_entropy).plans(2)
    assert {p.keep for p in alike} == {(1, 2)}


def test_losses_without_layers_are_taken_once_for_all_depths(trained, monkeypatch):
    net, fit, held_out = trained
    asked = []

    def counting(*arguments):
        found = whole(*arguments)
        evaluate = found.evaluate
        return rs.Oracle(found.names, lambda gates: asked.append(gates) or evaluate(gates))

    whole = candidates.evidence
    monkeypatch.setattr(candidates, "evidence", counting)
    given = (rs.find_stack(net), "greedy", fit, held_out, cross_entropy)
    found = Candidates(*given)
    plans = {keep: found.plans(keep)[0] for keep in (2, 4, 3)}
    assert len(asked) == 6 + 5 + 4 + 3  # of six layers to two, each once
    fresh = whole(*given)
    for keep, plan in plans.items():
        assert plan == rs.plan_depth(fresh, "greedy", keep=keep)


def test_what_no_criterion_can_do_is_refused(trained):
    net, fit, held_out = trained
    with pytest.raises(rs.InputError, match="unknown criterion 'worst'; pass one of"):
        rs.PruneConfig(keep=2, criterion="worst")
    with pytest.raises(rs.InputError, match="'paper' decides by itself how many layers go"):
        rs.PruneConfig(keep=2, criterion="paper")
    with pytest.raises(rs.InputError, match="keep must be"):
        rs.prune(net, fit, held_out, rs.PruneConfig(keep=9))
