import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

import residua as rs
from processes import begun, ended
from residua import cli
from residua.data import balanced


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def residua(*arguments):
    """Run the command line in this process, as the entry point does."""
    out, err = io.StringIO(), io.StringIO()
    was = sys.argv
    sys.argv = ["residua", *map(str, arguments)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            cli.out.file = out
            cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        sys.argv = was
    return Done(code, out.getvalue(), err.getvalue())


def test_the_entry_point_is_a_process_with_an_exit_status(tmp_path):
    command = [sys.executable, "-m", "residua.cli", "inspect", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("residua: no run in")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "run"
    done = residua(
        "fit", "digits", "--epochs", 3, "--width", 70, "--depth", 4, "--json", "--out", folder
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["depth_final"] == 4
    return folder


def test_a_run_folder_holds_what_the_readme_says(run):
    names = {
        "config.json",
        "metrics.csv",
        "model.safetensors",
        "analysis.nc",
        "summary.json",
        "report.html",
    }
    assert names <= {p.name for p in run.iterdir()}
    page = (run / "report.html").read_text()
    for word in (
        "Settle distance",
        "Spread",
        "Depth curve",
        "Layers of the network after every epoch",
    ):
        assert word in page
    assert 'src="http' not in page


def test_inspect_shows_every_layer_and_writes_only_where_told(run, tmp_path):
    before = sorted(p.name for p in run.iterdir())
    tables = json.loads(residua("inspect", run, "--split", "test", "--json").stdout)
    assert list(tables) == ["layers", "transients", "perturbations", "noise"]
    for name in ("layers", "transients", "perturbations"):
        assert [r["layer"] for r in tables[name]] == ["input", "1", "2", "3", "4"]
    rows = tables["layers"]
    data, net = rs.load_data("digits"), rs.load(run / "model.safetensors")
    y = rs.trace(net, data.test.x).residuals
    assert float(rows[2]["settle"]) == pytest.approx(float((y[1] - y[0]).abs().mean()), abs=1e-4)
    assert sorted(p.name for p in run.iterdir()) == before
    found = rs.decisions(net, [(data.test.x, data.test.y)])
    heads = [float(r["head"].removesuffix("%")) / 100 for r in tables["transients"]]
    np.testing.assert_allclose(heads, found.accuracy, atol=6e-4)
    gain = np.median(rs.gains(net, balanced(data.test, 1000).x[:5]).state, 1)
    np.testing.assert_allclose([float(r["gain"]) for r in tables["perturbations"]], gain, rtol=0.01)
    assert [r["noise"] for r in tables["noise"]][-1] == "occlusion"
    done = residua("inspect", run, "--out", tmp_path / "new", "--quiet")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 80
    page = (tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    assert "signal to noise" in page
    foot = page[page.index("<footer>") : page.index("</footer>")]
    assert "This page: residua inspect" in foot  # it, and the run
    assert "residua fit" in foot
    assert page.count("<figure ") > 17
    assert {p.name for p in (tmp_path / "new").iterdir()} == {"analysis.nc", "report.html"}


def test_inspect_ends_in_a_page_that_no_later_one_overwrites(run, tmp_path):
    for name in (f"inspected-{run.name}", f"inspected-{run.name}-2"):
        done = residua("inspect", run, "--quiet")
        assert done.stdout.endswith(f"wrote {name}/analysis.nc and report.html\n"), done.stderr
        assert (tmp_path / name / "report.html").exists()
    residua("inspect", run, "--json")
    failing("has 2 input dimensions and 2 classes", "inspect", run, "--data", "circles")
    assert len([p for p in tmp_path.iterdir() if p.name.startswith("inspected")]) == 2


def failing(said, *arguments):
    done = residua(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in " ".join(done.stderr.split()), done.stderr
    assert "Traceback" not in done.stderr


def test_bad_input_ends_with_status_2_and_one_sentence(run, tmp_path):
    out = ["--out", tmp_path / "out"]
    failing("unknown data set 'mnits'; pass one of", "fit", "mnits", *out)
    failing("no such file or folder", "fit", "mnist", "--data-dir", tmp_path / "no", *out)
    failing("depth must be at least 1, not 0", "fit", "digits", "--depth", 0, *out)
    failing("width 3 is smaller than the 64 input dimensions", "fit", "digits", "--width", 3, *out)
    failing(
        "threshold must be 0 or more",
        "fit",
        "digits",
        "--adaptive",
        "paper",
        "--threshold",
        -1,
        *out,
    )
    failing("epochs and batch_size must be at least 1", "fit", "digits", "--epochs", 0, *out)
    failing("accelerator 'quantum'", "fit", "digits", "--accelerator", "quantum", *out)
    failing("and precision '7' cannot be used", "fit", "digits", "--precision", 7, *out)
    failing("seed must be 0…2³²−1, not -1", "fit", "digits", "--seed", -1, *out)
    failing("holds a run already", "fit", "digits", "--out", run)
    failing("no run in", "resume", tmp_path / "no")
    failing("no run in", "inspect", tmp_path / "no")
    failing("is finished", "resume", run)
    failing("has 2 input dimensions and 2 classes", "inspect", run, "--data", "circles")
    failing("holds a run already", "demo", "--out", run)
    (tmp_path / "file").write_text("")
    failing("is a file; pass a new folder", "fit", "digits", "--out", tmp_path / "file")
    failing("cannot be made (Not a directory)", "fit", "digits", "--out", tmp_path / "file" / "x")
    failing("Invalid value for '--net'", "fit", "digits", "--net", "cnn", *out)
    assert not (tmp_path / "out").exists()


def test_a_damaged_run_is_refused(run, tmp_path):
    import shutil

    for name, said in [
        ("model.safetensors", "is truncated or no safetensors file"),
        ("analysis.nc", "is truncated or damaged"),
        ("summary.json", "is not readable JSON"),
        ("config.json", "is not readable JSON"),
    ]:
        copy = tmp_path / name
        shutil.copytree(run, copy)
        whole = (copy / name).read_bytes()
        (copy / name).write_bytes(whole[: len(whole) // 2])
        failing(said, "inspect", copy)


def test_users_own_data(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5))
    np.savez(tmp_path / "mine.npz", x=x, y=(x[:, 0] > 0).astype(int))
    done = residua(
        "fit", tmp_path / "mine.npz", "--epochs", 40, "--lr", 0.02, "--depth", 3, "--batch-size", 32,
        "--json", "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["test_error"] < 15
    assert rs.load(tmp_path / "run" / "model.safetensors")(torch.zeros(1, 5)).shape == (1, 2)


def test_the_main_job_cuts_depth_at_the_same_accuracy(tmp_path):
    """In a process without the checks of shapes, that says nothing but its JSON."""
    status = ended(begun("demo", "--out", tmp_path / "demo", "--json"), 300)
    said = Path("said").read_text()
    assert status == 0, said
    got = json.loads(said)
    assert got["none"]["depth_final"] == 15
    assert got["depth-curve"]["depth_final"] <= 5
    assert got["depth-curve"]["test_error"] <= got["none"]["test_error"] + 1
    page = (tmp_path / "demo" / "report.html").read_text("utf-8")
    assert "layers were cut while it trained" in page


def test_an_error_of_guessing_is_told(tmp_path):
    options = ("--width", 3, "--depth", 2, "--epochs", 1, "--lr", 1e-6, "--quiet")
    done = residua("fit", "circles", *options, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "that is close to guessing one of 2 classes (50 %)" in done.stdout


def test_dynamics_of_a_matrix(tmp_path):
    np.save(tmp_path / "W.npy", np.array([[1.2, -0.7], [-0.9, 0.8]]))
    np.save(tmp_path / "b.npy", np.array([1.0, -1.0]))
    arguments = ("dynamics", tmp_path / "W.npy", "--bias", tmp_path / "b.npy", "--layers", 300)
    found = json.loads(residua(*arguments, "--json").stdout)
    verdicts = {tuple(p["y"]): p["verdict"] for p in found["fixed_points"] if max(p["y"]) == 1}
    assert verdicts[(1.0, 0.0)] == verdicts[(0.0, 1.0)] == "stable"
    assert verdicts[(1.0, 1.0)] == "saddle"
    assert found["interactions"]["counted"]["competition"] == 1
    assert found["path"][-1] == pytest.approx([1, 0], abs=1e-6)
    shown = residua(*arguments)
    assert shown.returncode == 0
    assert "(1, 0): stable" in shown.stdout
    assert "after 300 layers: (1," in shown.stdout


def test_dynamics_of_a_run_and_of_what_is_none(run, tmp_path):
    found = json.loads(residua("dynamics", run, "--json", "--starts", 4, "--layers", 3).stdout)
    assert found["units"] == 70
    assert len(found["path"]) == 3
    np.save(tmp_path / "W.npy", np.full((2, 3), 0.5))
    np.save(tmp_path / "nan.npy", np.full((2, 2), np.nan))
    np.save(tmp_path / "ok.npy", np.eye(2))
    (tmp_path / "text.npy").write_text("W")
    failing("must be a square matrix, not of shape (2, 3)", "dynamics", tmp_path / "W.npy")
    failing("W holds 4 NaN or infinite entries", "dynamics", tmp_path / "nan.npy")
    failing("cannot be read as an array", "dynamics", tmp_path / "text.npy")
    failing("no such file", "dynamics", tmp_path / "none.npy")
    np.save(tmp_path / "complex.npy", np.eye(2) * 1j)
    failing("real numbers, but holds complex128", "dynamics", tmp_path / "complex.npy")
    np.save(tmp_path / "b.npy", np.array([0.0, np.nan]))
    failing("holds NaN or infinite", "dynamics", tmp_path / "ok.npy", "--bias", tmp_path / "b.npy")
    failing("layers must be at least 1, not 0", "dynamics", tmp_path / "ok.npy", "--layers", 0)
    failing("where W has 2 units", "dynamics", tmp_path / "ok.npy", "--bias", tmp_path / "nan.npy")
    failing("pass --layer with a run only", "dynamics", tmp_path / "ok.npy", "--layer", 1)
    failing("step_size must be a positive", "dynamics", tmp_path / "ok.npy", "--step-size", -1)


def test_dynamics_of_one_unit_and_its_page(run, tmp_path):
    out = tmp_path / "portrait"
    done = residua("dynamics", run, "--starts", 2, "--unit", 20, "--layers", 5, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "unit 20 is helped most by" in done.stdout
    stored = json.loads((out / "portrait.json").read_text())
    W = rs.load(run / "model.safetensors").block(0).linear.weight[20].detach()
    W[20] = 0
    assert stored["influences"]["helps"][0] == [int(W.argmax()), pytest.approx(float(W.max()))]
    assert sum(stored["ends"].values()) == 3  # two random starts, and the end of the path
    assert "who hinders input dimension 20" in (out / "report.html").read_text("utf-8")
    failing("is not empty; pass a new folder", "dynamics", run, "--out", out)
    failing("units 0…69, not 70", "dynamics", run, "--unit", 70, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()
