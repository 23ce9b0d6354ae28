"""Experiments of the paper from the command line: kept by seed, continued, refused."""

import json

import numpy as np
import pytest
import torch
import xarray as xr

import residua as rs
from problems import TWO_UNITS
from residua import runs
from residua.analysis import settles
from residua.data import balanced
from residua.dynamics.residual_map import residual_map
from residua.errors import InputError
from residua.studies import c7, e1, e3, e8, e8_training
from residua.studies.reproduction import Reproduction, repeat
from residua.studies.tables import interval
from residua.train_config import TrainConfig
from test_cli import failing, residua


def made(name, calls):
    calls.append(name)
    return Reproduction({"name": name}, xr.Dataset({"y": ("layer", [1.0, float("nan")])}))


def test_a_stopped_experiment_goes_on_and_a_finished_one_is_kept(tmp_path):
    calls, done = [], []
    what = {"experiment": "E0"}

    def stop():
        raise KeyboardInterrupt

    first = {"a": lambda: made("a", calls), "b": stop}
    with pytest.raises(KeyboardInterrupt):
        repeat(what, tmp_path / "out", first, done.append)
    assert done == []
    jobs = {name: lambda name=name: made(name, calls) for name in "ab"}
    repeat(what, tmp_path / "out", jobs, done.append)
    assert calls == ["a", "b"]
    assert {n: r.summary["name"] for n, r in done[0].items()} == {"a": "a", "b": "b"}
    assert np.isnan(done[0]["a"].arrays.y[1])
    with pytest.raises(InputError, match="holds a, b already; pass a new folder, or more seeds"):
        repeat(what, tmp_path / "out", jobs, done.append)
    with pytest.raises(InputError, match=r"holds \{'experiment': 'E0'\}, and this is"):
        repeat({"experiment": "E9"}, tmp_path / "out", jobs, done.append)
    repeat(what, tmp_path / "out", jobs | {"c": lambda: made("c", calls)}, done.append)
    assert calls == ["a", "b", "c"]
    (tmp_path / "out" / "a.nc").write_bytes(b"no")
    with pytest.raises(
        InputError, match=r"a.nc' is truncated or damaged .*; remove a.json to make"
    ):
        repeat(what, tmp_path / "out", jobs | {"d": jobs["a"]}, done.append)
    with pytest.raises(KeyboardInterrupt):
        repeat(what, tmp_path / "nothing", {"b": stop}, done.append)
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "experiment.json").write_text("[1]")
    with pytest.raises(InputError, match=r"holds a list, not named values"):
        repeat(what, tmp_path / "list", jobs, done.append)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(InputError, match="is not empty"):
        repeat(what, tmp_path / "full", jobs, done.append)


def test_where_samples_end():
    z = torch.tensor([[30.0, -30], [30, -30], [-30, 30], [0, 0.3]], dtype=torch.float64)
    ends, moving = e1.where_samples_end(residual_map(TWO_UNITS), z, torch.tensor([0, 1, 1, 1]))
    assert [(e["point"], e["verdict"]) for e in ends] == [([1, 0], "stable"), ([0, 1], "stable")]
    assert ends[0]["shares"] == [1, pytest.approx(1 / 3)]
    assert moving == [0, pytest.approx(1 / 3)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("e3") / "run"
    options = ("--epochs", 6, "--batch-size", 64, "--width", 80, "--accelerator", "cpu", "--quiet")
    assert residua("fit", "digits", *options, "--out", folder).returncode == 0
    return runs.read(folder)


def test_e3_measures_what_the_parts_measure(run):
    done = []
    found = e3.reproduce(run, samples=150, layers=60, advance=done.append)
    assert sum(done) == pytest.approx(1)
    s, arrays = found.summary, found.arrays
    data = runs.data_of(run)
    chosen = balanced(data.test, 150)
    assert chosen.y.bincount().tolist() == [15] * 10
    y = residual_map(run.net).trajectory(rs.first_pre_activation(run.net, chosen.x), 60)[-1]
    assert s["at_zero"] == pytest.approx(float((y < 0.01).double().mean()))
    means = torch.stack([y[chosen.y == c].mean(0) for c in range(10)])
    np.testing.assert_allclose(arrays.residual_mean[-1], means, atol=1e-5)
    assert s["units_that_differ"] == int((np.ptp(means.numpy(), 0) > 0.01).sum())
    step = (residual_map(run.net.double())(means.double()) - means).abs().amax(1)
    run.net.float()
    assert [c["speed"] for c in s["classes"]] == pytest.approx(step.tolist(), rel=1e-3)
    assert s["single_samples"]["patterns"] == len((y > 0.5).unique(dim=0))
    parts = s["features"]
    assert list(parts) == ["trained", "permuted W", "untrained"]
    assert all(sum(p["shares"].values()) == pytest.approx(1) for p in parts.values())
    assert parts["untrained"]["shares"]["common"] > parts["trained"]["shares"]["common"]
    pixel = s["pixel"]
    assert pixel == int(data.train.x.flatten(1).var(0).argmax())
    np.testing.assert_allclose(arrays.helpers, residual_map(run.net).W[pixel, :64])


def test_e3_is_refused_where_it_is_not_defined(run, tmp_path):
    def other(**options):
        nets = {"weights": "shared", "activation": "logistic", "lift": "pad"} | options
        return runs.Run(
            tmp_path, run.config, rs.ResNet(64, 80, 10, **nets), run.analysis, run.summary
        )

    for options, said in (
        ({"weights": "variable"}, "no one map"),
        ({"activation": "tanh"}, "logistic residuals, and this run has tanh"),
        ({"lift": "linear"}, "a trained lift; pass a run with lift 'pad'"),
    ):
        with pytest.raises(InputError, match=said):
            e3.check(other(**options))


def test_e3_of_a_run_from_the_command_line(run, tmp_path):
    out = tmp_path / "e3"
    command = ("reproduce", "E3", "--run", run.folder, "--layers", 40, "--out", out)
    done = residua(*command)
    assert done.returncode == 0, done.stderr
    assert "does the steady state follow the training covariance?" in done.stdout
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 80
    stored = json.loads((out / "e3.json").read_text())
    assert stored["results"]["run-0"]["test_error"] == run.summary["test_error"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<figure ") == 7
    failing("holds run-0 already", *command)
    said = "pass --run with E3, E5 or E6 only"
    failing(said, "reproduce", "E1", "--run", run.folder, "--out", tmp_path / "n")
    failing("no run in", "reproduce", "E3", "--run", tmp_path, "--out", tmp_path / "n")
    assert not (tmp_path / "n").exists()


def test_e5_and_e6_of_a_run_from_the_command_line(run, tmp_path):
    out = tmp_path / "e5"
    done = residua("reproduce", "E5", "--run", run.folder, "--out", out, "--quiet")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 80
    stored = json.loads((out / "e5.json").read_text())["results"]["run-0"]
    data = runs.data_of(run)
    K = run.net.head.weight.detach()
    stats = rs.accumulate(run.net, rs.loader(data.test, 500))
    assert stored["units"] == K.argmax(1).tolist()
    last = stats.states.mean[-1]  # (class, unit)
    own = [int(last[:, u].argmax()) == c for c, u in enumerate(stored["units"])]
    assert stored["own_largest"] == own
    assert stored["windows"]["whole"][0] == pytest.approx(100 - stored["test_error"])
    assert stored["windows"]["input"][0] < stored["windows"]["whole"][0]
    assert (out / "report.html").read_text(encoding="utf-8").count("<figure ") == 5
    out = tmp_path / "e6"
    done = residua("reproduce", "E6", "--run", run.folder, "--out", out, "--quiet")
    assert done.returncode == 0, done.stderr
    assert "do the classes part?" in done.stdout
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 80
    stored = json.loads((out / "e6.json").read_text())["results"]["run-0"]
    means = stats.states.mean
    gaps = [np.linalg.norm(means[:, a] - means[:, b], axis=1) for a in range(10) for b in range(a)]
    np.testing.assert_allclose(stored["distance"], np.mean(gaps, 0))
    assert stored["pairs_closer"] == sum(g[-1] < g[1] for g in gaps)


def test_transient_and_steady_parts_of_a_network_that_settles():
    """y_∞ = (1, 0, 0) within rounding: 4 (1, 0, 0) is the steady part, the rest the transient."""
    torch.manual_seed(0)
    net = rs.ResNet(3, 3, 2, depth=4).double()
    with torch.no_grad():
        net.block(0).linear.weight.copy_(torch.diag(torch.tensor([2.0, -2, -2])))
        net.block(0).linear.weight[1:, 0] = -1.0
        net.block(0).linear.bias.fill_(-1.0)
    x = torch.randn(40, 3, dtype=torch.float64)
    split = rs.Split(x, torch.arange(40) % 2)
    data = rs.DataSplits("mine", split, split, split, ("a", "b"))
    assert settles(net, split) is not None
    found = c7.parts(net, data)
    assert list(found) == ["input", "transient", "steady"]
    K, c = net.head.weight.detach(), net.head.bias.detach()
    trace = rs.trace(net, x)
    steady = 4 * K[:, 0] + c
    assert found["steady"][0] == pytest.approx(
        100 * float((split.y == int(steady.argmax())).double().mean())
    )
    transient = (trace.residuals.sum(0) - torch.tensor([4.0, 0, 0])) @ K.T + c
    right = (transient.argmax(1) == split.y).double().mean()
    assert found["transient"][0] == pytest.approx(100 * float(right))
    filled = transient + 4 * K[:, 0] + (trace.states[0] @ K.T).mean(0)
    assert found["transient"][1] == pytest.approx(
        100 * float((filled.argmax(1) == split.y).double().mean())
    )
    assert settles(rs.MLP(3, 3, 2), split) is None


@pytest.fixture
def small_e8(monkeypatch):
    """E8 with one cell, two settings and short trainings of real networks on the digits."""
    cell = e8_training.Cell("variable", 2, 0.5)
    train = TrainConfig(epochs=3, batch_size=64, label_smoothing=0.0, accelerator="cpu")
    settings = e8_training.SETTINGS[1:8:6]
    task = e8_training.Task("digits", 70, (cell,), train, settings=settings)
    monkeypatch.setitem(e8_training.TASKS, "digits", task)
    return task


def test_e8_from_the_command_line_searches_once_and_goes_on(small_e8, tmp_path):
    out = tmp_path / "e8"
    done = residua("reproduce", "E8", "--seeds", 1, "--out", out, "--quiet")
    assert done.returncode == 0, done.stderr
    kept = {p.name: p.stat().st_mtime_ns for p in (out / "training" / "digits").glob("*.json")}
    assert sum("search" in name for name in kept) == 4
    done = residua("reproduce", "E8", "--seeds", 3, "--out", out, "--quiet")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 80
    for path in (out / "training" / "digits").glob("*.json"):
        assert kept.get(path.name, path.stat().st_mtime_ns) == path.stat().st_mtime_ns
    found = json.loads((out / "e8.json").read_text())
    (cell,) = found["compared"]
    nets = [found["results"][f"seed-{s}"]["networks"] for s in range(3)]
    for kind, one in cell["kinds"].items():
        each = [
            np.mean(
                np.subtract(*(n[f"variable-2-noisy-{k}"]["noisy_accuracy"][kind] for k in e8.NETS))
            )
            for n in nets
        ]
        assert one["difference"] == pytest.approx(interval(np.array(each)))
    first = rs.load(out / "training" / "digits" / "variable-2-noisy-mlp-1.safetensors")
    test = e8_training.data_for(small_e8, 1).test
    assert nets[1]["variable-2-noisy-mlp"]["test_accuracy"] == 100 * rs.evaluate(first, test)
    command = ("reproduce", "E5", "--run", tmp_path, "--out", tmp_path / "none")
    failing("--data is an option of E8, not of E5", *command, "--data", "mnist")
    failing("--seeds trains networks, and --run measures finished ones", *command, "--seeds", 2)
    failing("E8 is made for digits and mnist, not 'circles'", "reproduce", "E8", "--data", "circles",
            "--out", tmp_path / "none")  # fmt: skip
    assert (out / "report.html").read_text(encoding="utf-8").count("<figure ") == 3


def test_what_a_killed_training_of_e8_left_is_cleared_by_the_next(small_e8, tmp_path):
    left = tmp_path / ".variable-2-noisy-mlp-0.008-0.3--3-0" / "checkpoints"
    left.mkdir(parents=True)
    (left / "last.ckpt").write_text("of a killed one")
    data = e8_training.data_for(small_e8, 0)
    what = ("mlp", e8_training.Setting(0.008, 0.3, -3.0), 0)
    e8_training.train(small_e8, small_e8.cells[0], what, data, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_e8s_seeds_share_their_test_data_and_nothing_else_is_test_data(small_e8):
    a, b = (e8_training.data_for(small_e8, seed) for seed in (0, 1))
    assert torch.equal(a.test.x, b.test.x)
    assert not torch.equal(a.val.x, b.val.x)
    rows = {tuple(r) for s in (a.train, a.val) for r in s.x.flatten(1).tolist()}
    assert rows == {tuple(r) for s in (b.train, b.val) for r in s.x.flatten(1).tolist()}
    assert a.val.y.bincount().tolist() == b.val.y.bincount().tolist()


def test_e8_decides_by_the_interval_and_only_between_equals():
    def network(clean, noisy):
        kinds = dict.fromkeys(e8.STRENGTHS, noisy)
        travel = {"noise_by_state": [1.0, 2.0, 4.0], "signal_by_state": [1.0, 1.0, 2.0]}
        gain = {"gain_by_state": [3.0, 2.0, 1.0], "logit_gain_by_state": [4.0, 2.0, 1.0]}
        return {"test_accuracy": clean, "noisy_accuracy": kinds} | travel | gain

    def seed(resnet, mlp):
        cells = [{"name": "c", "weights": "shared", "depth": 2, "noise": 0.0}]
        return {"cells": cells, "networks": {"c-resnet": resnet, "c-mlp": mlp}}

    def verdict(*pairs):
        return e8.compare([seed(network(*r), network(*m)) for r, m in pairs])[0]

    better = verdict(*(((98.0, [70.0 + s]), (98.0, [60.0])) for s in range(3)))
    assert better["kinds"]["gaussian"]["verdict"] == "ResNet"
    assert better["kinds"]["gaussian"]["difference"][0] == pytest.approx(11)
    assert better["signal_to_noise"] == pytest.approx([0.5, 0.5])
    assert better["noise_growth"] == pytest.approx([4, 4])
    assert better["early_over_late"][0] == pytest.approx([2, 2, 2])
    worse = verdict(*(((98.0, [60.0]), (98.4, [70.0 + s])) for s in range(3)))
    assert worse["kinds"]["gaussian"]["verdict"] == "MLP"
    unsure = verdict(*(((98.0, [60.0 + s]), (98.0, [61.0])) for s in range(3)))
    assert unsure["kinds"]["gaussian"]["verdict"] == "neither"
    unequal = verdict(*(((98.0, [70.0]), (97.4, [60.0 + s])) for s in range(3)))
    assert unequal["kinds"]["gaussian"]["verdict"] == "unequal"
    assert not unequal["equal"]
