"""Experiments of the paper from the command line: kept by seed, continued, refused."""

import json

import numpy as np
import pytest
import torch
import xarray as xr

import residua as rs
from problems import TWO_UNITS
from residua import runs
from residua.data import balanced
from residua.dynamics.residual_map import residual_map
from residua.errors import InputError
from residua.studies import e1, e3
from residua.studies.reproduction import Reproduction, repeat
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
    with pytest.raises(InputError, match=r"result a in .* is damaged"):
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
    assert page.count("<figure>") == 7
    failing("holds run-0 already", *command)
    failing(
        "pass --run with E3 only", "reproduce", "E1", "--run", run.folder, "--out", tmp_path / "n"
    )
    failing("no run in", "reproduce", "E3", "--run", tmp_path, "--out", tmp_path / "n")
    assert not (tmp_path / "n").exists()
