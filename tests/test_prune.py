"""`residua prune` and convolutional networks from the command line, on real runs."""

import json

import numpy as np
import pytest
import torch

import residua as rs
from residua import pruned, runs, training
from residua.depth import pruning
from test_cli import residua  # the command line, in this process


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prune") / "run"
    done = residua(
        *("fit", "digits", "--epochs", 8, "--width", 80, "--depth", 8, "--weights", "variable"),
        *("--batch-size", 64, "--quiet", "--out", folder),
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_prune_writes_a_run_of_its_own(run, tmp_path):
    done = residua("prune", run, "--keep", 3, "--quiet", "--out", tmp_path / "cut")
    assert done.returncode == 0, done.stderr
    assert "the plan, by spans" in done.stdout
    assert "cut, readers+weighted" in done.stdout
    assert max(map(len, done.stdout.splitlines()[:-2])) <= 80
    names = {p.name for p in (tmp_path / "cut").iterdir()}
    assert {"model.safetensors", "plan.json", "summary.json", "analysis.nc", "report.html"} <= names
    page = (tmp_path / "cut" / "report.html").read_text("utf-8")
    assert "<h2>side by side</h2>" in page
    assert "<h2>the plan, by spans</h2>" in page
    cut = runs.read(tmp_path / "cut")
    assert cut.net.depth == 3
    plan = rs.DepthPlan.from_json((tmp_path / "cut" / "plan.json").read_text())
    assert len(plan.keep) == 3
    uncut = runs.read(run)
    before, after = (cut.summary["pruned"][k] for k in ("before", "after"))
    assert before["layers"] == 8
    assert after["layers"] == 3
    assert cut.summary["test_error_uncut"] == uncut.summary["test_error"]
    held = rs.load_data("digits").test
    wrong = (cut.net(held.x).argmax(1) != held.y).double().mean()
    assert cut.summary["test_error"] == pytest.approx(100 * float(wrong))
    assert cut.summary["test_error"] <= uncut.summary["test_error"] + 3
    shown = residua("inspect", tmp_path / "cut")
    assert shown.returncode == 0, shown.stderr
    again = json.loads(
        residua("prune", tmp_path / "cut", "--keep", 2, "--json", "--out", tmp_path / "2").stdout
    )
    assert again["depth_final"] == 2


def test_an_aim_in_points_and_a_head_that_reads_the_last_residual(run, tmp_path):
    done = residua(
        *("prune", run, "--max-drop-points", 2, "--compensation", "steps+affine-pair", "--json"),
        *("--criterion", "last", "--out", tmp_path / "pair"),
    )
    assert done.returncode == 0, done.stderr
    cut = json.loads(done.stdout)["pruned"]
    assert 100 * (cut["before"]["accuracy"] - cut["after"]["accuracy"]) <= 2 + 1e-9
    assert runs.read(tmp_path / "pair").net.residual_head is not None
    shown = residua("inspect", tmp_path / "pair")
    assert shown.returncode == 0, shown.stderr
    assert "settle" in shown.stdout


def test_healing_is_stopped_and_goes_on_to_the_same_network(run, tmp_path, monkeypatch):
    found = runs.read(run)
    aim, heal = pruned.PruneConfig(keep=2), pruned.Healing(4)
    whole = pruned.prune_run(found, tmp_path / "whole", aim, "c", healing=heal, progress=False)
    assert whole.healed.loss < whole.report.after.loss

    class StopError(Exception):
        pass

    def stop(module):
        if module.trainer.current_epoch == 2:
            raise StopError

    monkeypatch.setattr(training.Distiller, "on_train_epoch_start", stop)
    with pytest.raises(StopError):
        pruned.prune_run(found, tmp_path / "cut", aim, "c", healing=heal, progress=False)
    monkeypatch.undo()
    assert (tmp_path / "cut" / "checkpoints" / "last.ckpt").exists()
    with pytest.raises(rs.InputError, match="holds an unfinished cut with other settings"):
        pruned.prune_run(
            found, tmp_path / "cut", pruned.PruneConfig(keep=3), "c", healing=heal, progress=False
        )
    again = pruned.prune_run(found, tmp_path / "cut", aim, "c", healing=heal, progress=False)
    for name, value in whole.run.net.state_dict().items():
        assert torch.equal(value, again.run.net.state_dict()[name]), name
    # How many layers are fast enough is measured; a healing goes on with those that it began with.
    fast = pruned.PruneConfig(speedup=1.5)
    monkeypatch.setattr(training.Distiller, "on_train_epoch_start", stop)
    for seconds in (1.0, 1.5):
        monkeypatch.setattr(
            pruning,
            "latencies",
            lambda models, x, s=seconds: [s * rs.find_stages(m).depth ** s for m in models],
        )
        if seconds == 1.5:
            monkeypatch.setattr(training.Distiller, "on_train_epoch_start", lambda module: None)
            done = pruned.prune_run(
                found, tmp_path / "fast", fast, "c", healing=heal, progress=False
            )
            assert done.run.net.depth == 5
            assert pruned.prune(found.net, *_digits(), fast)[0].depth == 6
        else:
            with pytest.raises(StopError):
                pruned.prune_run(found, tmp_path / "fast", fast, "c", healing=heal, progress=False)


def _digits():
    data = rs.load_data("digits")
    return rs.loader(data.train, 500), rs.loader(data.val, 500)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "by one of keep, max_loss_increase, max_drop_points, speedup; got none"),
        (["--keep", 9], "keep must be at most 8, the layers there are, not 9"),
        (["--keep", 0], "keep must be a number of at least 1, not 0"),
        (["--max-loss-increase", -1], "max_loss_increase must be a number of at least 0, not -1.0"),
        (["--keep", 2, "--speedup", 2], "got keep, speedup"),
        (["--keep", 2, "--criterion", "luck"], "unknown criterion 'luck'; pass one of paper"),
        (["--keep", 2, "--compensation", "luck"], "unknown compensation 'luck'"),
        (["--keep", 2, "--heal", -1], "heal must be 0 epochs or more, not -1"),
        (["--keep", 2, "--data", "circles"], "'circles' has 2 input dimensions and 2 classes"),
        (["--keep", 2, "--criterion", "paper"], "'paper' decides by itself how many layers go"),
    ],
)
def test_bad_aims_end_with_status_2_and_write_nothing(run, tmp_path, arguments, said):
    done = residua("prune", run, *arguments, "--quiet", "--out", tmp_path / "cut")
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "cut").exists()


def test_prune_overwrites_nothing(run, tmp_path):
    (tmp_path / "mine").write_text("kept")
    done = residua("prune", run, "--keep", 2, "--quiet", "--out", tmp_path)
    assert done.returncode == 2
    assert "is not empty; pass a new folder" in done.stderr
    assert (tmp_path / "mine").read_text() == "kept"
    missing = residua("prune", tmp_path / "no", "--keep", 2, "--out", tmp_path / "x")
    assert "no run in" in missing.stderr


# Convolutional networks -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Colour images whose class is their colour, channel first, as an .npz."""
    path = tmp_path_factory.mktemp("pictures") / "colours.npz"
    rng = np.random.default_rng(0)
    y = np.arange(240) % 3
    x = rng.normal(size=(240, 3, 8, 8)).astype(np.float32)
    x[np.arange(240), y] += 1.5
    np.savez(path, x=x, y=y)
    return path


def test_a_convolutional_run_is_trained_inspected_and_cut(pictures, tmp_path):
    folder = tmp_path / "conv"
    done = residua(
        *("fit", pictures, "--net", "conv", "--width", 4, "--epochs", 3, "--batch-size", 32),
        *("--optimizer", "sgd", "--lr", 0.1, "--augment", "crop-flip", "--adaptive", "spans"),
        *("--tolerance", 3.0, "--quiet", "--out", folder),
    )
    assert done.returncode == 0, done.stderr
    assert "20 → " in done.stdout
    net = runs.read(folder).net
    assert isinstance(net, rs.ConvResNet)
    shown = residua("inspect", folder, "--split", "test")
    assert shown.returncode == 0, shown.stderr
    assert "mean |y|" in shown.stdout
    cut = residua("prune", folder, "--keep", 3, "--quiet", "--out", tmp_path / "cut")
    assert cut.returncode == 0, cut.stderr
    assert sum(runs.read(tmp_path / "cut").net.blocks) == 3
    wrong = residua("fit", "circles", "--net", "conv", "--out", tmp_path / "no")
    assert wrong.returncode == 2
    assert (
        "a network 'conv' takes images, and 'circles' has inputs of the shape (2,)" in wrong.stderr
    )
    odd = residua("fit", pictures, "--net", "conv", "--depth", 15, "--out", tmp_path / "no")
    assert "depth must be 6n + 2 (8, 14, 20, …), not 15" in odd.stderr


def colours(n=96):
    """Images whose class is their brightest channel, as batches."""
    g = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 3
    x = torch.randn(n, 3, 8, 8, generator=g)
    x[torch.arange(n), y] += 2.0
    return [(x, y)]


def test_an_aim_of_a_convolutional_network_leaves_a_layer_in_each_stage():
    torch.manual_seed(0)
    net, data = rs.ConvResNet(3, 3, depth=14, width=4), colours()
    small, _ = rs.prune(net, data, data, rs.PruneConfig(max_loss_increase=99.0, criterion="spans"))
    assert small.blocks == (1, 1, 1)
    with pytest.raises(rs.InputError, match="3 layers are not 99 times as fast as 4"):
        rs.prune(net, data, data, rs.PruneConfig(speedup=99.0))


def test_what_prune_is_given_is_checked_before_it_works():
    net, data = rs.ResNet(6, 8, 3, depth=4), [(torch.randn(30, 6), torch.arange(30) % 3)]
    with pytest.raises(rs.InputError, match=r"keep must be a whole number, not True"):
        rs.PruneConfig(keep=True)
    with pytest.raises(rs.InputError, match="an iterator gives them once"):
        rs.prune(net, data, iter(data), rs.PruneConfig(keep=2))
    with torch.no_grad():
        net.blocks[0].linear.weight.fill_(float("nan"))
    with pytest.raises(rs.InputError, match="hold NaN or infinite values"):
        rs.prune(net, data, data, rs.PruneConfig(keep=2))


def test_the_default_for_another_loss_weights_no_probabilities():
    def squared(outputs, targets):
        return (outputs - targets).square().mean(1)

    torch.manual_seed(0)
    x = torch.randn(60, 6)
    data = [(x, x[:, :3])]
    config = rs.PruneConfig(keep=2, loss=squared)
    _, report = rs.prune(rs.ResNet(6, 8, 3, depth=4, weights="variable"), data, data, config)
    assert report.compensation.kind == "readers+affine"
