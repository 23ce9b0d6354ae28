import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import residua as rs
from processes import begun, ended
from residua import run_training, runs
from residua.augment import disturb
from residua.depth.adaptive import AdaptiveDepth
from residua.run_config import RunConfig
from residua.train_config import TrainConfig
from residua.training import Classifier, fit
from test_cli import residua


def config(**options):
    train = {"epochs": 6, "batch_size": 64, "accelerator": "cpu"} | options.pop("train", {})
    return RunConfig(
        **({"data": "digits", "width": 80, "depth": 6} | options), train=TrainConfig(**train)
    )


def start(folder, **options):
    return run_training.start(config(**options), folder, "test", progress=False)


ARGUMENTS = [
    *("fit", "digits", "--width", "80", "--depth", "8", "--epochs", "8", "--batch-size", "32"),
    *("--input-dropout", "0.1", "--threads", "1", "--quiet", "--out"),
]


def test_the_gpu_that_trained_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(run_training, "device_of", lambda accelerator: torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A GPU")
    said = start(tmp_path / "run", data="circles", depth=2, train={"epochs": 1}).summary["machine"]
    assert said.endswith(", A GPU")


@pytest.mark.parametrize(
    ("weights", "rule"),
    [("shared", "spans"), ("variable", "depth-curve")],
)
def test_killed_and_resumed_ends_with_the_same_weights(tmp_path, weights, rule):
    """A real process, killed by SIGKILL right after a depth change, and again epochs later."""
    extra = ["--weights", weights, "--adaptive", rule]
    assert residua(*ARGUMENTS, tmp_path / "whole", *extra).returncode == 0
    whole = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert whole["depth_final"] < 8
    change = whole["decisions"][0]["epoch"]

    folder = tmp_path / "killed"
    for later in (0, 2):
        begin = (
            ("resume", folder, "--threads", 1, "--quiet") if later else (*ARGUMENTS, folder, *extra)
        )
        kill_after_epoch(begun(*begin), folder, change + later)
    add_seconds(folder / "checkpoints" / "last.ckpt", 1000)
    assert residua("resume", folder, "--threads", 1, "--quiet").returncode == 0
    again = json.loads((folder / "summary.json").read_text())
    for key in ("depth_final", "test_error", "val_error", "decisions"):
        assert again[key] == whole[key]
    a, b = (rs.load(tmp_path / f / "model.safetensors").state_dict() for f in ("whole", "killed"))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert again["seconds"] > 1000  # of all starts
    metrics = [(tmp_path / f / "metrics.csv").read_text() for f in ("whole", "killed")]
    assert metrics[0].count("\n") == metrics[1].count("\n")


def add_seconds(path, seconds):
    """Make a checkpoint say that training has taken longer."""
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["callbacks"]["Timer"]["time_elapsed"]["train"] += seconds
    torch.save(checkpoint, path)


def wait_for_epoch(process, folder, epoch):
    """Wait until the checkpoint of an epoch (from 1) is there."""
    last = folder / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.is_alive():
        if last.exists():
            try:
                done = torch.load(last, weights_only=True)["epoch"] + 1
            except RuntimeError:  # it is being written
                continue
            if done >= epoch:
                return
        time.sleep(0.01)


def kill_after_epoch(process, folder, epoch):
    """Kill once the checkpoint of an epoch is there, and the row that Lightning logs after it."""
    wait_for_epoch(process, folder, epoch)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.is_alive():
        logs = [path.read_text() for path in folder.glob("logs/*/metrics.csv")]
        if any(f"\n,{epoch - 1}," in text for text in logs):
            break
        time.sleep(0.01)
    process.kill()
    assert ended(process) == -signal.SIGKILL, Path("said").read_text()


def test_the_papers_rule_in_training_removes_one_layer_an_epoch(tmp_path):
    run = start(tmp_path / "run", adaptive="paper", threshold=10.0)
    assert run.net.depth == 1
    assert run.analysis.depth_after_epoch.values.tolist() == [5, 4, 3, 2, 1, 1]
    kept = start(tmp_path / "kept", adaptive="paper", threshold=0.0)
    assert kept.net.depth == 6
    assert kept.summary["decisions"] == []


def test_depth_curve_in_training_leaves_a_smaller_network_that_is_as_good(tmp_path):
    options = {"train": {"epochs": 30}, "weights": "variable"}
    whole = start(tmp_path / "none", **options)
    small = start(tmp_path / "cut", adaptive="depth-curve", **options)
    assert small.net.depth < 6
    assert len(small.net.blocks) == small.net.depth
    assert small.summary["test_error"] <= whole.summary["test_error"] + 1.0
    first = small.summary["decisions"][0]
    assert first["epoch"] >= 8
    assert "within one standard error" in first["reason"]


def test_a_run_folder_reads_back(tmp_path):
    run = start(tmp_path / "run", adaptive="depth-curve")
    again = runs.read(tmp_path / "run")
    assert again.config == run.config
    assert again.summary == json.loads(json.dumps(run.summary))
    assert again.analysis.identical(run.analysis)
    x = rs.load_data("digits").test.x
    assert torch.equal(again.net(x), run.net(x))
    assert {
        "test_error",
        "depth_initial",
        "depth_final",
        "epochs",
        "seconds",
        "seed",
        "versions",
    } < {*again.summary}
    error = 100 * (again.net(x).argmax(1) != rs.load_data("digits").test.y).double().mean()
    assert again.summary["test_error"] == pytest.approx(float(error))


def test_an_existing_run_is_not_touched(tmp_path):
    start(tmp_path / "run", train={"epochs": 1})
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(rs.InputError, match="holds a run already; pass a new folder"):
        start(tmp_path / "run")
    with pytest.raises(rs.InputError, match="is finished"):
        run_training.resume(tmp_path / "run", progress=False)
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


def stopped(folder, **options):
    """A run without its summary, as a stop leaves it."""
    start(folder, **options)
    (folder / "summary.json").unlink()
    return folder / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    return tmp_path_factory.mktemp("once") / "run"


@pytest.fixture
def last(once, tmp_path):
    """The checkpoint of a stopped run of one epoch, in a copy at tmp_path / "run" to be damaged."""
    if not once.exists():
        stopped(once, train={"epochs": 1})
    return shutil.copytree(once, tmp_path / "run") / "checkpoints" / "last.ckpt"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(last, tmp_path, share):
    whole = last.read_bytes()
    last.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(rs.InputError, match=r"cannot continue from .*last\.ckpt.*truncated"):
        run_training.resume(tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"width": 90}, "network .ResNet.*depth=6"),
        ({"depth": 5}, "network"),  # with shared weights the tensors fit at any depth
        ({"activation": "tanh"}, "network"),
        ({"train": {"lr": 1e-4}}, "training"),
        ({"adaptive": "paper"}, "callbacks"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(last, tmp_path, options, what):
    train = {"epochs": 1} | options.get("train", {})
    runs.write_config(config(**options | {"train": train}), tmp_path / "run", "test")
    refused(last, what)


def refused(last, what):
    before = last.read_bytes()
    with pytest.raises(rs.InputError, match=f"of another {what}"):
        run_training.resume(last.parent.parent, progress=False)
    assert last.read_bytes() == before


def test_a_checkpoint_of_other_data_is_refused(tmp_path):
    digits = rs.load_data("digits")
    x, y = digits.train.x.numpy().copy(), digits.train.y.numpy()
    np.savez(tmp_path / "mine.npz", x=x, y=y)
    last = stopped(tmp_path / "run", train={"epochs": 1}, data=str(tmp_path / "mine.npz"))
    x[5, 3, 3] += 1
    np.savez(tmp_path / "mine.npz", x=x, y=y)
    refused(last, "data")


def test_divergence_is_said(tmp_path):
    with pytest.raises(rs.InputError, match=r"diverged: the validation loss is nan after epoch 1"):
        start(tmp_path / "run", activation="relu", depth=15, train={"epochs": 2, "lr": 1e30})


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_a_sentence_and_status_130(tmp_path, kind):
    folder = tmp_path / "run"
    process = begun("fit", "digits", "--epochs", 500, "--depth", 4, "--quiet", "--out", folder)
    wait_for_epoch(process, folder, 2)
    os.kill(process.pid, kind)
    status, said = ended(process), Path("said").read_text()
    assert status == 130, said
    assert "residua: training was stopped after" in said
    assert f"of 500 epochs; continue with: residua resume {folder}" in " ".join(said.split())
    assert "Traceback" not in said


def test_a_run_in_progress_is_left_alone(tmp_path):
    folder = tmp_path / "run"
    process = begun("fit", "digits", "--epochs", 500, "--depth", 4, "--quiet", "--out", folder)
    wait_for_epoch(process, folder, 1)
    with pytest.raises(rs.InputError, match="another process is working on the run"):
        run_training.resume(folder, progress=False)
    process.kill()
    ended(process)


def test_a_run_can_be_resumed_from_another_folder(tmp_path, monkeypatch):
    data = rs.load_data("digits")
    np.savez(tmp_path / "mine.npz", x=data.train.x.numpy(), y=data.train.y.numpy())
    monkeypatch.chdir(tmp_path)
    start(tmp_path / "run", data="mine.npz", train={"epochs": 1})
    (tmp_path / "run" / "summary.json").unlink()
    monkeypatch.chdir("/")
    assert run_training.resume(tmp_path / "run", progress=False).summary["epochs"] == 1


def test_other_data_is_standardised_as_the_training_data_was(tmp_path):
    """A shift of all inputs is seen by the network, not standardised away."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    y = (x[:, 0] > 0).astype(int)
    np.savez(tmp_path / "a.npz", x=x, y=y)
    np.savez(tmp_path / "b.npz", x=x + 5.0, y=y)
    data = {"data": str(tmp_path / "a.npz"), "width": 4}
    run = start(tmp_path / "run", **data, train={"epochs": 20, "lr": 0.02})
    same = runs.inspect(run, "val", str(tmp_path / "a.npz"), None)
    assert same.identical(runs.inspect(run, "val", None, None))
    shifted = runs.inspect(run, "val", str(tmp_path / "b.npz"), None)
    assert shifted.state_mean.sel(state=0).mean() > same.state_mean.sel(state=0).mean() + 2


def test_a_cut_checkpoint_is_tested_at_its_depth(tmp_path):
    """Lightning's own `trainer.test(ckpt_path=...)`, on a fresh module and on one cut already."""
    import lightning as L

    run = start(tmp_path / "run", adaptive="depth-curve", weights="variable")
    assert run.net.depth < 6
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    data = rs.load_data("digits")

    class Tested(Classifier):
        def test_step(self, batch, index):
            self.log("accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    for depth in (6, run.net.depth, 1):
        module = Tested(rs.ResNet(64, 80, 10, depth=depth, weights="variable"), run.config.train)
        trainer = L.Trainer(
            callbacks=[AdaptiveDepth("depth-curve")], logger=False, accelerator="cpu",
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        found = trainer.test(
            module, rs.loader(data.test, 1000), ckpt_path=path, weights_only=True, verbose=False
        )
        assert module.net.depth == run.net.depth
        assert found[0]["accuracy"] == pytest.approx(1 - run.summary["test_error"] / 100)
        assert "on_load_checkpoint" not in vars(module) or module.on_load_checkpoint is not None


def test_the_callback_says_when_it_cannot_work(tmp_path):
    data = rs.load_data("digits")

    def train(*callbacks, epochs=6):
        fit(
            rs.ResNet(64, 80, 10, depth=3),
            data,
            TrainConfig(epochs=epochs, accelerator="cpu"),
            tmp_path / "run",
            callbacks=callbacks,
            progress=False,
        )

    with pytest.raises(rs.InputError, match="was added twice"):
        train(AdaptiveDepth(), AdaptiveDepth("paper"))
    with pytest.raises(rs.InputError, match=r"no epoch of 1 lies in the window \(0.25, 0.8\)"):
        train(AdaptiveDepth("depth-curve"), epochs=1)


@pytest.mark.parametrize("detached", [True, False])
def test_a_lightning_module_without_a_forward_of_its_own(detached):
    import lightning as L

    class Bare(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = rs.ResNet(64, 80, 10, depth=6, weights="variable")

        def training_step(self, batch, index):
            loss = torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            self.last_loss = loss.detach() if detached else loss
            return loss

        def validation_step(self, batch, index):
            self.log("accuracy", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=2e-3)

    data, module = rs.load_data("digits"), Bare()
    trainer = L.Trainer(
        callbacks=[AdaptiveDepth(config=rs.AdaptiveConfig(window=(0.0, 1.0)))], max_epochs=2,
        logger=False, accelerator="cpu", enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    batches = rs.loader(data.train, 64, shuffle_seed=0), rs.loader(data.val, 1000)
    if detached:
        trainer.fit(module, *batches)
        assert module.net.depth < 6
        assert "forward" not in vars(module)
    else:
        with pytest.raises(
            rs.InputError, match="keeps a tensor that is still to be differentiated"
        ):
            trainer.fit(module, *batches)
        assert module.net.depth == 6


def test_a_pickle_in_a_checkpoint_is_not_executed(tmp_path):
    last = stopped(tmp_path / "run", train={"epochs": 2})
    torch.save({"state_dict": {}, "evil": os.system}, last)
    with pytest.raises(rs.InputError, match="cannot continue from"):
        run_training.resume(tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("64-true", torch.float64), ("bf16-true", torch.bfloat16)]
)
def test_a_run_in_another_precision_stays_in_it(tmp_path, precision, dtype):
    train = {"epochs": 2, "precision": precision}
    run = start(tmp_path / "run", adaptive="depth-curve", train=train)
    again = rs.load(tmp_path / "run" / "model.safetensors")
    assert {p.dtype for p in again.parameters()} == {dtype}
    measured = runs.inspect(runs.read(tmp_path / "run"), "val", None, None)
    assert np.array_equal(measured.settle_distance, run.analysis.settle_distance, equal_nan=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threshold": -0.1}, "threshold must be 0 or more, not -0.1"),
        ({"criterion": "luck"}, "unknown criterion 'luck'"),
        ({"threshold": float("nan")}, "threshold must be 0 or more, not nan"),
        ({"fit_samples": 0}, "fit_samples must be at least 1, not 0"),
        ({"window": (0.5, 0.2)}, "window must be two ascending shares"),
        ({"tolerance": -0.1}, "tolerance must be 0 or more, not -0.1"),
        ({"negligible": -1.0}, r"negligible must be 0 or more, not -1\.0"),
        ({"keep": 0}, "keep must be at least 1, not 0: a network needs a layer"),
        (
            {"criterion": "greedy"},
            "'greedy' is for trained networks; in training pass one of paper",
        ),
    ],
)
def test_bad_callback_arguments(options, said):
    with pytest.raises(rs.InputError, match=said):
        rs.AdaptiveConfig(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": 0}, "epochs and batch_size must be at least 1, not 0"),
        ({"lr": 0.0}, "lr must be a positive number, not 0.0"),
        ({"label_smoothing": 1.0}, "label_smoothing must be in"),
        ({"input_noise": -0.1}, "input_noise must be 0 or more"),
        ({"input_dropout": 1.0}, "input_dropout must be in"),
        ({"weight_decay": -1.0}, "weight_decay must be 0 or more, not -1.0"),
        ({"clip": 0.0}, "clip must be above 0"),
        ({"seed": -1}, "seed must be 0…2³²−1, not -1"),
    ],
)
def test_bad_training_arguments(options, said):
    with pytest.raises(rs.InputError, match=said):
        TrainConfig(**options)


def test_noise_in_training_is_of_the_size_asked_for_and_drawn_by_the_step():
    x = torch.zeros(200, 50)
    config = TrainConfig(input_noise=0.5)
    first, again, later = (disturb(x, config, (0, step)) for step in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert float(first.std()) == pytest.approx(0.5, rel=0.03)
    assert torch.equal(disturb(x, TrainConfig(), (0, 3)), x)
    both = disturb(torch.ones(200, 50), TrainConfig(input_noise=0.1, input_dropout=0.5), (0, 3))
    assert float((both.abs() < 0.5).double().mean()) == pytest.approx(0.5, abs=0.03)
