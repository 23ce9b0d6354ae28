"""Verdicts on the paper's claims: criteria with known answers, values of results, jobs."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from multiprocessing.util import Finalize
from pathlib import Path

import numpy as np
import pytest
import torch

import residua as rs
from residua.errors import DamagedError, InputError, ResiduaError
from residua.run_config import RunConfig
from residua.studies import (
    c1,
    circles,
    claim_values,
    e4,
    evidence_experiments,
    evidence_page,
    evidence_questions,
    kinds,
    map_checks,
    networks,
    parallel,
    suite,
    verdicts,
)
from residua.studies.claims import CLAIMS
from residua.studies.e8_training import SETTINGS
from residua.studies.evidence_page import headline
from residua.studies.evidence_tables import claim_table, counts, shown, verdict_table
from residua.studies.layers_seen import weight_change
from residua.studies.verdicts import (
    Claim,
    Finding,
    Mean,
    Part,
    Rate,
    Tolerance,
    decide,
)
from residua.train_config import TrainConfig
from test_cli import failing, residua

HERE = Path(__file__).parent.parent


def test_an_interval_decides_and_tells_the_opposite():
    values = np.array([1.0, 2.0, 3.0])  # 2 ± 2.4841
    above = Mean("above", -0.5)(values)
    assert above.answer == "yes"
    assert (above.value, above.low, above.high) == pytest.approx((2, -0.4841, 4.4841), abs=1e-4)
    assert [Mean("above", b)(values).answer for b in (-0.5, 0.0, 4.4, 4.5)] == [
        "yes",
        "no",
        "no",
        "reversed",
    ]
    assert [Mean("below", b)(values).answer for b in (4.5, 4.4, -0.4, -0.5)] == [
        "yes", "no", "no", "reversed",
    ]  # fmt: skip
    assert [Mean("without", b)(values).answer for b in (-0.5, 0.0, 4.5)] == ["yes", "no", "yes"]
    assert Mean("above", 0.0)(np.array([5.0])) == (5, None, None, "too few")
    assert Mean("above", 0.5).said == "95 % interval above 0.5"


def test_a_rate_has_an_interval_and_a_tolerance_the_worst_seed():
    rate = Rate(0.5)(np.array([1.0] * 20))
    assert rate.low == pytest.approx(20 / (20 + 1.959964**2))  # Wilson's, all of n: n / (n + z²)
    assert (rate.value, rate.high, rate.answer) == (1, 1, "yes")
    assert Rate(0.5)(np.array([1.0, 1.0, 0.0])).answer == "no"
    assert Rate(0.5)(np.ones(2)).answer == "too few"
    assert Mean("above", 0.0)(np.array([1.0, 1.0])).answer == "too few"
    for broken_seed in (math.nan, math.inf):  # of one seed, meets nothing, and is not left out
        for meets in (Mean("above", 0.0), Mean("below", 0.0), Mean("without", 0.0), Tolerance(1.0)):
            given = np.array([0.0, 0.0, broken_seed, 0.0])
            assert meets(given) == (None, None, None, "no")
    assert Rate(0.5)(np.zeros(20)).answer == "reversed"
    assert Tolerance(1e-9)(np.array([1e-12, 1e-9])).answer == "yes"
    assert Tolerance(1e-9)(np.array([1e-12, 2e-9])) == (2e-9, None, None, "no")


def value(name):
    return claim_values.each(lambda result: result[name])


CLAIM = Claim(
    "C0",
    "Something.",
    (
        Part("a", ("e1/circles", "e2/digits"), value("a"), Mean("above", 0.0), "some"),
        Part("b", ("e1/circles",), value("b"), Mean("below", 0.0)),
    ),
)


def results(a, b, more=None):
    circles = {seed: {"a": x, "b": y} for seed, (x, y) in enumerate(zip(a, b, strict=True))}
    return {"e1": {"circles": circles}} | ({"e2": {"digits": more}} if more else {})


def test_a_claim_holds_in_part_where_some_criteria_are_met():
    up, down = [1.0, 1.1, 0.9, 1.0, 1.05], [-1.0, -1.1, -0.9, -1.0, -1.05]
    assert decide(CLAIM, results(up, down)).said == "holds"
    part = decide(CLAIM, results(up, [-1.0, 1.0, 0.0, 1.0, -1.0]))
    assert part.said == "holds in part"
    assert [f.answer for f in part.findings] == ["yes", "no"]
    assert part.missing == ("e2/digits",)
    assert decide(CLAIM, results(down, up)).said == "does not hold"
    assert decide(CLAIM, results(down, down)).said == "does not hold"  # one met, one clearly not
    assert decide(CLAIM, results([-1.0, 1.0, 0.0, 1.0, -1.0], down)).said == "holds in part"
    assert decide(CLAIM, {}).said == "not decided"
    assert decide(CLAIM, results([1.0, 1.0], [1.0, 1.0])).said == "not decided"
    three = decide(CLAIM, results(up[:3], down[:3]))
    assert (three.said, three.again) == ("holds", 1)  # no draw of these crosses 0
    none = Claim("C0", "", (Part("a", ("e1/circles",), lambda seeds: {}, Mean("above", 0.0)),))
    told = decide(none, results(up, down))
    assert (told.said, told.findings[0].seeds) == ("not decided", 0)
    assert claim_table(told).rows[0][3] == "no such network"
    bad = {s: {"a": v} for s, v in enumerate(down)}
    assert decide(CLAIM, results(up, down, bad)).said == "holds in part"  # each data set for itself
    rows = claim_table(part)
    assert rows.rows[0][:3] == ["a", "e1/circles", "95 % interval above 0"]
    assert rows.rows[1][-1] == "not met"
    against = decide(CLAIM, results(up, up))  # as many met as clearly not
    assert (against.said, counts(against)) == ("does not hold", "1 of 2, 1 clearly not")
    assert claim_table(against).rows[1][-1] == "clearly not"
    zero = decide(CLAIM, results([-0.1, 0.3, -0.2], down[:3]))  # their mean is -9e-18
    assert claim_table(zero).rows[0][3] == "0 [-0.657, 0.657]"
    assert rows.note == "Not run: e2/digits."
    assert headline([three]) == "Of 1 claims 1 hold, 0 hold in part, 0 do not hold."


def test_a_verdict_that_other_seeds_may_change_says_so():
    down = [-1.0, -1.1, -0.9, -1.0, -1.05]
    shaky = [
        0.5,
        0.05,
        0.6,
        0.1,
        0.5,
    ]  # the interval of all lies above 0, that of many draws does not
    found = decide(CLAIM, results(shaky, down))
    assert found.said == "holds"
    assert 0.5 < found.again < 0.9
    assert not found.steady
    assert verdict_table([found]).rows[0][2:4] == [
        "holds; depends on the seed",
        f"{found.again:.0%}",
    ]
    assert headline([found]).endswith("; of 1 the verdict depends on the seed.")
    assert decide(CLAIM, results(shaky, down)).again == found.again  # drawn alike each time
    steady = decide(CLAIM, results([1.0, 1.01, 1.02, 0.99, 1.0], down))
    assert (steady.said, steady.again) == ("holds", 1)


def test_draws_of_the_seeds_vary_as_new_ones_would():
    """The variance of a mean over n seeds is 2 s² / (n + 1): population and seeds are both drawn."""
    n, rng = 20, np.random.default_rng(1)
    values = rng.normal(size=n)
    seeds = {seed: {"a": v} for seed, v in enumerate(values)}
    drawn = [[values[s] for s in verdicts._drawn(seeds, rng).values()] for _ in range(4000)]
    means = np.mean(drawn, axis=1)
    expected = 2 * values.var() / (n + 1)
    assert means.var() == pytest.approx(expected, rel=0.08)
    assert means.mean() == pytest.approx(values.mean(), abs=4 * (expected / 4000) ** 0.5)


def test_an_end_that_looks_like_the_bound_has_another_digit():
    def said(low, criterion):
        return shown(Finding("w", "e1/circles", criterion, "–", 3, 0.8415, low, 0.8832, "no"))

    assert said(0.79984, "95 % interval above 0.8") == "0.8415 [0.7998, 0.8832]"
    assert said(0.79984, "95 % interval above 0.5") == "0.842 [0.8, 0.883]"


def test_tables_have_means_over_seeds_beside_the_paper():
    def layers(error, change=1.0):
        return {
            "test_error": error, "units": 256, "settle_distance": [0.4, 0.2],
            "spread": [1.0, 1.0, 1.0, 1.0, 0.5], "at_one": [0.0, 0.25],
            "class_share": 0.125, "weight_change": [1.0, change],
        }  # fmt: skip

    (two,) = evidence_experiments.e2_tables(
        {"digits": dict(enumerate(map(layers, (1.0, 3.0, 2.0))))}
    )
    assert two.rows[0][:2] == ["paper, MNIST", "1.4"]
    assert two.rows[1] == [
        "digits, 256 units", "2 [-0.484, 4.48]", "0.4 → 0.2", "1 → 0.5", "0.25 [0.25, 0.25]", "3",
    ]  # fmt: skip  # t = 4.3027
    one = layers(2.0, 0.5) | {"shared": layers(1.5)}
    starts = {"networks": {"shared-quiet": {"test_error": 3.0, "class_share": 0.5}}}
    four = evidence_experiments.e4_tables({"digits": {0: one}, "digits-starts": {0: starts}})
    assert four[0].rows[1] == ["digits", "2", "1.5", "0.5", "0.5", "0.125", "0.25; 0.25", "1"]
    assert four[1].rows == [["shared-quiet", "3", "0.5"]]
    cut = {"uncut": {"layers": 15, "test_error": 1.0}, "paper": {"layers": 5, "test_error": 2.0}}
    other = cut | {"paper": {"layers": 9, "test_error": 2.0}}
    (seven,) = evidence_experiments.e7_tables({"circles-shared": {0: cut, 1: other}})
    assert seven.rows[2:] == [
        ["circles-shared", "none", "15 (15 to 15)", "1", "2"],
        ["circles-shared", "paper's, in training", "7 (5 to 9)", "2", "2"],
    ]


def test_open_questions_are_answered_from_the_same_results():
    def circle(share, settled, starts):
        ends = [{"verdict": "stable" if settled else "saddle"}]
        return {
            "starts": starts, "accuracy": 100.0, "one_point": True, "ends": ends, "settled": settled,
            "symmetric_share": share, "eq3": {"map_mean": 0.0, "ode": 0.1},
        }  # fmt: skip

    circles = {0: circle(0.9, 20, 1), 1: circle(0.2, None, 1), 2: circle(0.8, 30, 3)}
    needed = {
        "uncut": {"layers": 15, "test_error": 1.0},
        "needed": {"layers": 4, "test_error": 1.5},
    }
    rows = evidence_questions.questions(
        {"e1": {"circles": circles}, "e7": {"digits": {0: needed}}}
    ).rows
    said = {row[0]: row[2] for row in rows}
    assert said["How often does E1 come out as reported: fitted at the first start?"] == (
        "2 of 3 [21%, 94%]"
    )
    assert said[
        "How often does E1 come out as reported: all test points at one stable fixed point?"
    ] == ("2 of 3 [21%, 94%]")
    assert (
        "map 0 [0, 0], eq. 3 0.1 [0.1, 0.1]"
        in said["Exact map or eq. 3, which predicts the network better?"]
    )
    assert said["Does the symmetric share of W predict settling?"].startswith(
        "mean share 0.85 where it settles (2 seeds), 0.20 where not; chance that the first is larger"
    )
    assert said["How much depth does the network need?"] == (
        "4 of 15 layers in the median (4 to 4), at 0.5 points of test error"
    )


def test_every_claim_of_the_paper_has_criteria_and_jobs_that_make_its_results():
    assert [claim.name for claim in CLAIMS] == [f"C{k}" for k in range(1, 15)]
    full = {f"{j.experiment}/{j.network}" for j in suite.jobs(suite.Form())}
    quick = {f"{j.experiment}/{j.network}" for j in suite.jobs(suite.Form(quick=True))}
    for claim in CLAIMS:
        assert set(claim.sources()) <= full
        for part in claim.parts:
            assert part.of
            assert part.meets.said
        assert set(claim.sources()) & quick  # no claim without a verdict in the quick form


def test_values_are_read_as_the_claims_say():
    def net(accuracy, noisy, gain, noise=(1.0, 1.0), signal=(1.0, 1.0)):
        return {
            "test_accuracy": accuracy,
            "noisy_accuracy": {"gaussian": noisy},
            "logit_gain_by_state": gain,
            "noise_by_state": noise,
            "signal_by_state": signal,
        }

    one = {
        "cells": [{"name": "a", "depth": 3}, {"name": "b", "depth": 1}],
        "networks": {
            "a-resnet": net(97.0, [90.0, 80.0], [8.0, 4.0, 2.0, 1.0], (1, 2), (1, 8)),
            "a-mlp": net(96.8, [80.0, 70.0], [1.0, 1.0, 2.0, 1.0], (1, 4), (1, 4)),
            "b-resnet": net(99.0, [50.0, 50.0], [1.0, 1.0]),
            "b-mlp": net(90.0, [10.0, 10.0], [1.0, 1.0]),
        },
    }
    seeds = {4: one}
    # Cell b is unequal: 9 points of clean accuracy.
    assert claim_values.more_robust("gaussian")(seeds) == {4: 10.0}
    assert claim_values.early_over_late("resnet")(seeds) == {4: pytest.approx(math.log(4))}
    fallen = claim_values.between_nets(claim_values.gain_fallen)(seeds)
    assert fallen == {4: pytest.approx(math.log(4) - math.log(0.5))}
    kept = claim_values.between_nets(claim_values.signal_kept)(seeds)
    assert kept == {4: pytest.approx(math.log(4) / 2)}  # cell b keeps the same in both
    moved = {0: {"settled": None, "fisher": [9.0, 1.0, math.e]}, 1: {"settled": 30, "fisher": []}}
    assert claim_values.growth("fisher", unsettled=True)(moved) == {0: pytest.approx(1)}
    nets = [(1.0, 0.9), (2.0, 0.5), (3.0, 0.1)]
    rest = {
        "networks": {str(k): {"test_error": e, "class_share": s} for k, (e, s) in enumerate(nets)}
    }
    assert claim_values.with_rest(rest) == pytest.approx(-1)
    nulls = {"trained": 0.5, "permuted W": 0.1, "untrained": 0.2}
    features = {n: {"coupling": {"correlation": r}} for n, r in nulls.items()}
    assert claim_values.over_nulls("coupling")({2: {"features": features}}) == {
        2: pytest.approx(0.3)
    }
    parts = {"steady": [0, 60.0], "transient": [0, 90.0]}
    told = {0: {"parts": parts, "whole": 99.0}, 1: {"parts": None}}
    assert claim_values.of_parts("transient")(told) == {0: 30.0}
    assert claim_values.of_parts("whole")(told) == {0: 39.0}


def test_pushes_follow_the_signs_of_the_weights_and_verdicts_are_confirmed_by_the_map():
    torch.manual_seed(0)
    net = rs.ResNet(4, 6, 3, depth=5).double().eval()
    x = torch.randn(40, 4, dtype=torch.float64)
    with torch.no_grad():
        # Two units that help each other, two that hinder, one that hunts: w_ij of blocks, no other.
        W = torch.zeros(6, 6, dtype=torch.float64)
        W[0, 1], W[1, 0], W[2, 3], W[3, 2], W[4, 5], W[5, 4] = 0.1, 0.2, -0.1, -0.2, 0.1, -0.1
        net.block(0).linear.weight.copy_(W)
    found = map_checks.signs(net, x, seed=0)
    assert found == {"cooperation": 1, "competition": 1, "predation": 1}  # too weak to come back
    with torch.no_grad():
        net.block(0).linear.weight.copy_(W.abs())
    assert map_checks.signs(net, x, seed=0)["competition"] is None
    three = map_checks.points(torch.tensor([[-2.0, 1.0], [0.5, -1.0]], dtype=torch.float64), seed=0)
    assert three["confirmed"] == 1
    assert three["found"] == 1
    assert three["residual"] < 1e-12
    labels = torch.arange(40) % 3
    gaps = map_checks.against_eq3(net, x, labels)
    assert gaps["map"] < 1e-12
    assert gaps["constant"] > gaps["ode"] > 1e-7
    W = torch.tensor([[0.0, 2.0], [-2.0, 0.0]])
    assert map_checks.symmetric_share(W) == 0
    assert map_checks.symmetric_share(W.abs()) == 1
    assert map_checks.symmetric_share(torch.tensor([[0.0, 2.0], [0.0, 0.0]])) == 0.5


def test_neighbouring_weights_are_compared():
    net = rs.ResNet(2, 3, 2, depth=3, weights="variable")
    with torch.no_grad():
        for t, scale in enumerate((1.0, 1.0, 2.0)):
            net.block(t).linear.weight.copy_(scale * torch.eye(3))
    assert weight_change(net) == pytest.approx([0, 0.5])


def test_all_families_are_told_apart_to_rounding():
    found = c1.measure(3)["families"]
    assert {"ResNet, shared, logistic", "ConvResNet", "GPT-2", "Llama", "ViT"} <= set(found)
    assert all(f["logits"] < 1e-9 for f in found.values())
    assert max(f["branch"] for f in found.values() if "branch" in f) < 1e-12


def test_jobs_are_named_chosen_and_refused():
    every = suite.jobs(suite.Form(quick=True, first_seed=7, seeds=2))
    names = [job.name for job in every]
    assert len(set(names)) == len(names)
    assert {name.rsplit("-", 1)[1] for name in names} == {"7", "8"}
    assert [j.name for j in suite.chosen(every, ["C1", "e1/circles-8"])] == [
        "c1/families-7", "c1/families-8", "e1/circles-8",
    ]  # fmt: skip
    assert suite.chosen(every, []) == every
    with pytest.raises(
        InputError, match=r"there is no job 'e99'; pass one that --list shows, or an"
    ):
        suite.chosen(every, ["e99"])
    with pytest.raises(
        InputError, match="seeds must be 1 or more, from 0 to 100000000, not 0 from 7"
    ):
        suite.jobs(suite.Form(first_seed=7, seeds=0))
    long = sum(job.minutes for job in suite.jobs(suite.Form())) / 60 / 2
    assert long < 12  # hours on two cores, as guessed


def test_one_job_that_breaks_costs_no_other(tmp_path):
    def job(seed, make):
        return suite.Job("c1", "families", seed, make, 1.0)

    done = []
    failed = parallel.run_all(
        [job(0, broken), job(1, kinds._c1)],
        tmp_path,
        workers=1,
        data_dir=None,
        command="a command",
        done=done.append,
    )
    assert failed == [("c1/families-0", "ZeroDivisionError: division by zero")]
    assert len(done) == 2
    assert json.loads((tmp_path / "c1/families-1.json").read_text())["command"] == "a command"
    assert not (tmp_path / "c1/families-0.json").exists()
    assert (tmp_path / "networks/tidied").exists()  # it came to its end: a killed one does not


def broken(seed, work, data_dir):
    Finalize(None, (work / "tidied").touch, exitpriority=1)
    return {"value": 1 / 0}


def test_a_process_that_is_ended_from_outside_is_told(tmp_path):
    job = suite.Job("c1", "families", 0, killed, 1.0)
    said = r"ended from outside, perhaps for its memory; the same command goes on, with fewer --workers"
    with pytest.raises(ResiduaError, match=said):
        parallel.run_all(
            [job], tmp_path, workers=1, data_dir=None, command="a command", done=lambda job: None
        )


def killed(seed, work, data_dir):
    os.kill(os.getpid(), signal.SIGKILL)


def test_networks_that_are_compared_are_of_one_precision_wherever_they_are_trained(monkeypatch):
    half = replace(networks.MNIST["shared-none"], train=TrainConfig(precision="bf16-mixed"))
    monkeypatch.setitem(networks.MNIST, "shared-none", half)
    assert networks.config_of("mnist", "shared", "paper").train.precision == "32-true"


QUICK = ("reproduce", "all", "--quick", "--seeds", "2", "--workers", "1")


def test_the_same_results_give_the_same_bytes_and_what_is_finished_is_kept():
    out = Path("out")
    one = residua(*QUICK, "--seeds", "3", "--only", "c1", "--out", "out")
    assert "3 new results in out; --pages writes the verdicts" in one.stdout
    assert not (out / "evidence.md").exists()
    stamp = (out / "c1/families-0.json").stat().st_mtime_ns
    assert "0 new results in out" in residua(*QUICK, "--only", "c1", "--out", "out").stdout
    assert (out / "c1/families-0.json").stat().st_mtime_ns == stamp
    done = residua(*QUICK, "--pages", "--out", "out")
    assert "wrote evidence.json and evidence.html into out, and out/evidence.md" in done.stdout
    pages = {n: (out / n).read_bytes() for n in ("evidence.json", "evidence.md", "evidence.html")}
    verdict = json.loads(pages["evidence.json"])["verdicts"][0]
    assert (verdict["claim"], verdict["said"]) == ("C1", "holds")
    assert verdict["findings"][0]["seeds"] == 3  # all that are there, whatever --seeds says
    assert b"Not run yet, seeds in brackets: e8/digits (2)" in pages["evidence.md"]
    again = residua(*QUICK, "--pages", "--out", "out", "--json")
    assert json.loads(again.stdout) == json.loads(pages["evidence.json"])
    assert {n: (out / n).read_bytes() for n in pages} == pages
    with pytest.raises(
        InputError, match=r"residua reproduce all; its verdicts are in evidence.json"
    ):
        rs.load(out)
    said = "remove it, and `residua reproduce all` without --pages makes it anew"
    for text in ("{", '{"format": -1}'):
        (out / "c1/families-0.json").write_text(text)
        failing(said, *QUICK, "--pages", "--out", "out")
    (out / "c1/families-0.json").write_bytes((out / "c1/families-1.json").read_bytes())
    said = "c1/families-0.json' holds the result of seed 1; remove it, and"
    failing(said, *QUICK, "--pages", "--out", "out")
    (out / "c1/families-0.json").write_text('{"format": 2}')
    failing("was written by a newer residua (format 2", *QUICK, "--pages", "--out", "out")
    (out / "c1/families-0.json").write_text("{}")
    said = "c1/families-0.json' is damaged: it lacks 'command', which other seeds have; remove it"
    failing(said, *QUICK, "--pages", "--out", "out")
    for seed in range(3):
        (out / f"c1/families-{seed}.json").write_text("{}")
    said = "results of c1/families lack 'families': they are damaged, or of another version; remove"
    failing(said, *QUICK, "--pages", "--out", "out")
    assert {n: (out / n).read_bytes() for n in pages} == pages


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("E1", "--quick"), "--quick is an option of 'all', not of 'E1'; leave it out"),
        (("E1", "--only", "e1"), "--only is an option of 'all', not of 'E1'"),
        (
            ("E7",),
            "E7 has no command of its own; run: residua reproduce all --only e7 --out FOLDER",
        ),
        (("all", "--data", "mnist"), "--data is an option of single experiments, not of 'all'"),
        (("all", "--run", "x"), "--run is an option of single experiments, not of 'all'"),
        (("all", "--only", "e77"), "there is no job 'e77'"),
        (("all", "--pages"), "'out' holds no results; make some without --pages"),
        (
            ("all", "--pages", "--only", "e1"),
            "--pages shows all results, and --only does some jobs",
        ),
        (("all", "--markdown", "no/x.md"), "there is no folder 'no' for the page; make it first"),
    ],
)
def test_options_of_the_other_form_are_refused(given, said):
    failing(said, "reproduce", *given, "--out", "out")
    assert not Path("out").exists()


def test_a_folder_of_another_form_is_refused():
    suite.begin(Path("out"), suite.Form(quick=True))
    said = "'out' holds {'experiment': 'all', 'quick': True, 'first_seed': 0}, and this is"
    failing(said, *QUICK, "--first-seed", "3", "--only", "c1", "--out", "out")
    Path("full").mkdir()
    Path("full/x").write_text("1")
    failing("'full' is not empty; pass a new folder", *QUICK, "--out", "full")


def test_the_jobs_are_listed_one_a_line_and_nothing_is_made():
    done = residua(*QUICK, "--only", "e3", "--list", "--out", "out")
    assert done.stdout.split() == ["e3/digits-0", "e3/digits-1"]
    assert not Path("out").exists()


def children(pid):
    told = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(c) for c in told.read_text().split()] if told.exists() else []


def gone(pid):
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are told by /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_suite_keeps_what_is_finished_and_leaves_no_process(number):
    command = [sys.executable, "-m", "residua.cli", *QUICK, "--only", "c1", "--only", "e1"]
    first = subprocess.Popen(
        [*command, "--out", "out"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    training = Path("out/networks/circles-shared-none-0/checkpoints")
    until = time.monotonic() + 120
    while not training.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert training.exists()
    below = children(first.pid)
    first.send_signal(number)
    _, said = first.communicate(timeout=60)
    if number == signal.SIGTERM:
        assert first.returncode == 130
        assert "stopped; the same command goes on where it was" in said
    until = time.monotonic() + 20
    while not all(map(gone, below)) and time.monotonic() < until:
        time.sleep(0.1)
    assert len(below) >= 1
    assert all(map(gone, below))
    assert [p.name for p in Path("out/c1").iterdir()] == ["families-0.json"]
    assert not Path("out/e1/circles-0.json").exists()


def test_the_page_in_the_docs_is_what_its_results_give(tmp_path):
    stored = HERE / "docs/evidence/paper"
    mark = json.loads((stored / "experiment.json").read_text())
    form = suite.Form(mark["quick"], mark["first_seed"])
    page = tmp_path / "page.md"
    (tmp_path / "out").mkdir()
    every = suite.jobs(form)
    evidence_page.write(tmp_path / "out", suite.results(stored, form), every, form.command, page)
    assert page.read_bytes() == (HERE / "docs/evidence.md").read_bytes()
    written = (tmp_path / "out/evidence.json").read_bytes()
    assert written == (stored / "evidence.json").read_bytes()
    sections = (tmp_path / "out/evidence.html").read_text("utf-8").split("<section ")
    (mnist,) = (s for s in sections if "<h2>E8, mnist</h2>" in s)
    assert "mnist: every setting tried" in mnist
    assert "digits: every setting tried" not in mnist


@pytest.fixture
def small(monkeypatch):
    """Networks of the suite, small and trained for one epoch, and fewer repetitions."""
    train = TrainConfig(epochs=1, batch_size=256, accelerator="cpu")

    def config_of(data, weights, rule="none"):
        return RunConfig(data=data, width=64, depth=6, weights=weights, adaptive=rule, train=train)

    monkeypatch.setattr(networks, "config_of", config_of)
    monkeypatch.setattr(circles, "EPOCHS", 2)
    monkeypatch.setattr(networks, "fitted_start", lambda *a: circles.fitted_start(*a[:-1], 1))
    monkeypatch.setattr(map_checks, "STARTS", 20)
    monkeypatch.setattr(map_checks, "STEPS", 200)
    monkeypatch.setattr(verdicts, "DRAWS", 20)
    starts = replace(e4.TASK, width=64, train=train)
    cells = kinds.QUICK_E8.cells[1:2]
    task = replace(kinds.QUICK_E8, width=64, cells=cells, train=train, settings=SETTINGS[:1])
    return {job.name: job for job in suite.jobs(suite.Form(quick=True, seeds=1))} | {
        "e8/digits-0": suite.Job("e8", "digits", 0, partial(kinds._e8, task), 1.0),
        "e4/digits-starts-0": suite.Job(
            "e4", "digits-starts", 0, partial(kinds._starts, starts), 1.0
        ),
    }


def _without(key, seeds):
    return {seed: {k: v for k, v in result.items() if k != key} for seed, result in seeds.items()}


def test_every_claim_is_decided_by_what_the_jobs_measure(small, tmp_path):
    for job in small.values():
        suite.run(job, tmp_path, None, "a command")
    found = suite.results(tmp_path, suite.Form(quick=True))
    three = {
        e: {n: dict.fromkeys(range(3), of[0]) for n, of in nets.items()}
        for e, nets in found.items()
    }
    assert sum(len(nets) for nets in three.values()) == len(small)
    every = suite.jobs(suite.Form(quick=True))
    judged = evidence_page.write(tmp_path, three, every, "a command", tmp_path / "page.md")
    for verdict in judged:
        assert verdict.findings
        assert all(source.endswith(("mnist", "-shared", "-variable")) for source in verdict.missing)
    assert [v.claim for v in judged] == [claim.name for claim in CLAIMS]
    pages = {p.name: p.read_bytes() for p in (tmp_path / "page.md", tmp_path / "evidence.json")}
    for lost, of in (
        ("windows", "e5"),
        ("one_point", "e1/circles"),
        ("at_zero", "e3"),
    ):
        less = {
            e: {n: _without(lost, seeds) for n, seeds in nets.items()} for e, nets in three.items()
        }
        with pytest.raises(DamagedError, match=f"results of {of} lack '{lost}': they are damaged"):
            evidence_page.write(tmp_path, less, every, "a command", tmp_path / "page.md")
    assert pages == {name: (tmp_path / name).read_bytes() for name in pages}
    needed = found["e7"]["digits-shared"][0]
    assert needed["half"]["layers"] == 3
    assert needed["needed"]["val_loss"] <= needed["needed"]["val_loss_uncut"] + 0.01
    assert len(found["e4"]["digits"][0]["weight_change"]) == 5
    at_one, at_zero = (np.array(found["e2"]["digits"][0][k]) for k in ("at_one", "at_zero"))
    assert ((at_one >= 0) & (at_one + at_zero <= 1)).all()
    assert "## E7: adaptive depth" in (tmp_path / "page.md").read_text()


def test_a_network_that_was_stopped_or_damaged_is_made_whole(small, tmp_path):
    run = networks.network("digits", "shared", 0, tmp_path)
    again = networks.network("digits", "shared", 0, tmp_path)
    assert again.summary == run.summary
    weights = run.folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    whole = networks.network("digits", "shared", 0, tmp_path)
    torch.testing.assert_close(whole.net.state_dict(), run.net.state_dict(), rtol=0, atol=0)
    start, losses = networks.circles_start("shared", 0, tmp_path)
    (tmp_path / "circles-shared-none-0.safetensors").unlink()
    same, _ = networks.circles_start("shared", 0, tmp_path)
    assert losses == [start.train_loss]
    torch.testing.assert_close(same.net.state_dict(), start.net.state_dict(), rtol=0, atol=0)
