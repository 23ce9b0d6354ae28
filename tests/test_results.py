"""Stored results: they come back as they were, damage is named, a killed process leaves nothing half."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import residua as rs
from processes import begun, ended, forked
from residua import run_training, runs
from residua.atomic import written_whole
from residua.stored import FORMAT, read_arrays, read_json, write_arrays, write_json
from test_cli import failing, residua

OPTIONS = [
    *("--width", 66, "--depth", 3, "--epochs", 2, "--batch-size", 64, "--accelerator", "cpu"),
    "--quiet",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "run"
    done = residua("fit", "digits", *OPTIONS, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "a copy – 副本" / "run [1]")


def fresh(code, *arguments):
    """Run code in a new process."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_run_comes_back_bit_for_bit_after_a_move_in_a_fresh_process(copy):
    found = rs.load(copy)
    assert isinstance(found, rs.Run)
    assert repr(found).startswith(f"Run({str(copy)!r}: digits, 3 → 3 layers, test error ")
    assert not found.net.training
    assert found.summary["format"] == found.analysis.attrs["format"] == FORMAT
    code = """
import contextlib, hashlib, io, json, sys
sys.modules["lightning"] = sys.modules["filelock"] = None  # the extra `train` is not needed
import residua as rs
run = rs.load(sys.argv[1])
weights = {n: hashlib.sha256(v.numpy().tobytes()).hexdigest() for n, v in run.net.state_dict().items()}
arrays = {n: hashlib.sha256(v.values.tobytes()).hexdigest() for n, v in run.analysis.items()}
del sys.modules["filelock"]  # the command line has it from torch
from residua import cli
sys.argv = ["residua", "dynamics", sys.argv[1], "--starts", "2", "--layers", "3", "--json"]
with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
    cli.main()
units = json.loads(out.getvalue())["units"]
print(json.dumps([weights, arrays, run.summary, run.config.train.epochs, units]))
"""
    moved = copy.parent / "moved"
    copy.rename(moved)
    weights, arrays, summary, epochs, units = fresh(code, moved)
    for name, value in found.net.state_dict().items():
        assert weights[name] == hashlib.sha256(value.numpy().tobytes()).hexdigest()
    for name, value in found.analysis.items():
        assert arrays[name] == hashlib.sha256(value.values.tobytes()).hexdigest()
    assert (summary, epochs, units) == (found.summary, 2, 66)


def test_what_start_returns_is_what_load_gives(tmp_path):
    train = rs.TrainConfig(epochs=1, accelerator="cpu")
    config = rs.RunConfig("circles", depth=1, width=3, weights="variable", train=train)
    made = run_training.start(config, tmp_path / "one layer", "c", progress=False)
    found = rs.load(tmp_path / "one layer")
    assert found.config == made.config
    assert found.summary == made.summary
    xr.testing.assert_identical(found.analysis, made.analysis)
    assert np.isnan(found.analysis.settle_distance).all()  # there is no layer before
    x = rs.load_data("circles").test.x
    assert torch.equal(found.net(x), made.net(x))


def test_files_give_what_is_in_them(run):
    assert rs.load(str(run / "model.safetensors")).depth == 3
    assert rs.load(run / "analysis.nc").identical(rs.load(run).analysis)
    with xr.open_dataset(run / "analysis.nc", engine="h5netcdf") as plain:  # without residua
        assert plain.attrs["format"] == FORMAT
    with pytest.raises(rs.InputError, match=r"model= is for a model.safetensors, and .* is none"):
        rs.load(run, rs.ResNet(2, 3, 2))
    with pytest.raises(rs.InputError, match=r"no such file or folder: 'gone'; pass a run folder"):
        rs.load("gone")


def test_no_labels_200_classes_one_layer_and_nan_survive(tmp_path):
    torch.manual_seed(0)
    names = [f"<b>{i}</b> é" for i in range(200)]
    x, y = torch.randn(400, 6), torch.arange(400) % 200
    for name, data, classes in (("none", x, None), ("many", (x, y), names)):
        net = rs.ResNet(6, 8, 200, depth=1)
        arrays = rs.accumulate(net, [data]).to_dataset(classes)
        arrays["spread"][0] = float("nan")
        write_arrays(arrays, tmp_path / f"{name}.nc")
        found = rs.load(tmp_path / f"{name}.nc")
        xr.testing.assert_identical(found.drop_attrs(), arrays.drop_attrs())
        assert np.isnan(found.settle_distance).all()
        assert np.isnan(found.spread[0])
    assert found["class"].values.tolist() == names


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
@pytest.mark.parametrize(
    "name", ["analysis.nc", "summary.json", "config.json", "model.safetensors"]
)
def test_a_truncated_file_is_named_with_what_is_wrong_and_what_to_do(copy, name, share):
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(rs.DamagedError) as error:
        rs.load(copy)
    said = str(error.value)
    assert said.startswith(repr(str(copy / name)))
    if name == "config.json":
        assert "make the run anew in a new folder; it was made by: residua fit digits" in said
    else:
        assert said.endswith(f"write it anew with: residua resume '{copy}'")
    assert "Traceback" not in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "name", ["analysis.nc", "summary.json", "config.json", "model.safetensors"]
)
def test_what_is_no_file_is_left_where_it_is(copy, name):
    (copy / name).unlink()
    (copy / name).mkdir()
    for command in ("inspect", "resume"):
        failing(f"{name}' is no file; move it away, then", command, copy)
    assert (copy / name).is_dir()


@pytest.mark.parametrize("name", ["analysis.nc", "model.safetensors"])
def test_resume_writes_a_damaged_or_missing_result_anew(copy, name):
    before, model = rs.load(copy), (copy / "model.safetensors").read_bytes()
    (copy / name).unlink()
    with pytest.raises(rs.DamagedError, match=rf"{name}' is missing; write it anew with: residua"):
        rs.load(copy)
    done = residua("resume", copy, "--quiet")
    assert done.returncode == 0, done.stderr
    after = rs.load(copy)
    assert after.analysis.identical(before.analysis)
    assert (copy / "model.safetensors").read_bytes() == model
    failing("is finished; see residua inspect", "resume", copy)
    shutil.rmtree(copy / "checkpoints")
    (copy / name).write_bytes(b"no")
    failing("make the run anew in a new folder; it was made by: residua fit digits", "resume", copy)
    assert (copy / name).read_bytes() == b"no"


def test_a_missing_summary_or_config_is_told_apart_from_no_run(copy):
    (copy / "summary.json").unlink()
    with pytest.raises(rs.InputError, match="is not finished; continue it with: residua resume"):
        rs.load(copy)
    (copy / "config.json").rename(copy / "summary.json")
    with pytest.raises(rs.InputError, match=r"its config.json is missing; put it back, or make"):
        rs.load(copy)


def test_noise_in_a_file_is_an_error_of_residua(copy):
    rng = np.random.default_rng(0)
    path = copy / "analysis.nc"
    whole = path.read_bytes()
    for _ in range(20):
        damaged = bytearray(whole)
        at = int(rng.integers(len(whole)))
        damaged[at : at + 200] = rng.bytes(len(damaged[at : at + 200]))
        path.write_bytes(damaged)
        with suppress(rs.DamagedError):  # noise among the values themselves cannot be told
            rs.load(copy)


def stored_as(copy, version, drop=()):
    """Write a run's results as an older or newer residua would have."""
    arrays = read_arrays(copy / "analysis.nc").drop_vars(drop)
    arrays.attrs.pop("format")
    summary = read_json(copy / "summary.json")
    del summary["format"], summary["files"]
    if version is not None:
        arrays.attrs["format"] = summary["format"] = version
    arrays.to_netcdf(copy / "analysis.nc", engine="h5netcdf")
    write_json(copy / "summary.json", summary)


def test_results_of_before_there_were_versions_are_read_where_they_can_be(copy):
    stored_as(copy, None, ["fisher"])
    found = rs.load(copy)
    assert "format" not in found.summary
    assert residua("inspect", copy, "--quiet").returncode == 0
    stored_as_before = found.analysis.drop_vars("spread")
    stored_as_before.to_netcdf(copy / "analysis.nc", engine="h5netcdf")
    said = "was written by an older residua and lacks spread; write it anew with: residua resume"
    failing(said, "inspect", copy)
    assert residua("resume", copy, "--quiet").returncode == 0
    assert rs.load(copy).summary["format"] == FORMAT
    assert "spread" in rs.load(copy).analysis


@pytest.mark.parametrize("version", [FORMAT + 1, -1, "new", 1.5])
def test_results_of_another_format_are_refused(copy, version):
    stored_as(copy, version)
    said = "update residua to read it" if version == FORMAT + 1 else "which is no version"
    failing(said, "inspect", copy)
    if version == FORMAT + 1:
        config = read_json(copy / "config.json")
        write_json(copy / "config.json", config | {"a setting of then": 1})
        failing(said, "inspect", copy)
        before = (copy / "analysis.nc").read_bytes()
        failing(said, "resume", copy)  # what a newer one wrote is not replaced
        assert (copy / "analysis.nc").read_bytes() == before


def test_files_of_different_runs_are_refused(copy):
    (copy / "model.safetensors").unlink()
    rs.save(rs.ResNet(64, 66, 10, depth=5), copy / "model.safetensors")
    failing("model.safetensors has 5 layers, analysis.nc has 3 layers", "inspect", copy)
    failing("put the run's own back", "resume", copy)
    summary = read_json(copy / "summary.json")
    write_json(copy / "summary.json", summary | {"test_error": "low", "seed": None})
    failing("lacks test_error, seed, or has it in another form", "inspect", copy)


def test_files_of_another_run_of_the_same_shape_are_told(run, copy):
    arrays = read_arrays(copy / "analysis.nc")
    spread = arrays.spread.values.copy()
    spread[0] += 1e-9  # within its values, where no form tells
    write_arrays(arrays.assign(spread=("layer", spread)), copy / "analysis.nc")
    failing("analysis.nc in", "inspect", copy)
    with pytest.raises(
        rs.DamagedError, match=r"changed after summary\.json was written, or belong"
    ):
        rs.load(copy)
    shutil.copy(run / "analysis.nc", copy / "analysis.nc")
    net = rs.load(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    with torch.no_grad():
        net.head.bias[0] += 1
    rs.save(net, copy / "model.safetensors")
    with pytest.raises(rs.DamagedError, match=r"^model\.safetensors in .* write it anew with"):
        rs.load(copy)
    shutil.copy(run / "model.safetensors", copy / "model.safetensors")
    assert rs.load(copy).net.depth == net.depth


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("decisions", [{}]),
        ("decisions", ["x"]),
        ("pruned", {}),
        ("scale", {"a": 1}),
        ("files", "x"),
    ],
)
def test_what_lies_within_a_summary_is_checked(copy, name, value):
    summary = read_json(copy / "summary.json")
    write_json(copy / "summary.json", summary | {name: value})
    failing(f"lacks {name}, or has it in another form", "inspect", copy)


def test_of_two_writers_of_one_file_each_writes_it_whole(tmp_path):
    path = tmp_path / "x.json"
    with written_whole(path) as one:
        one.write_text("one, whole")
        with written_whole(path) as two:
            two.write_text("two")
        assert path.read_text() == "two"
    assert path.read_text() == "one, whole"
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_others_may_read_what_is_stored(run):
    modes = {path.stat().st_mode & 0o777 for path in run.iterdir() if path.is_file()}
    assert len(modes) == 1


def test_names_that_no_file_can_have(run, tmp_path):
    long, undecodable = "x" * 300, os.fsdecode(b"one\xff")
    failing("File name too long", "inspect", long)
    failing("File name too long", "compare", run, run / "..", "--out", tmp_path / long)
    failing("is not valid UTF-8; pass another", "fit", "circles", "--out", tmp_path / undecodable)
    shutil.copytree(run, tmp_path / undecodable)
    failing("is not valid UTF-8; pass another", "inspect", tmp_path / undecodable)


def write_for_ever(folder):
    net = rs.ResNet(1000, 1000, 10, depth=2, weights="variable")
    for k in count():
        write_arrays(xr.Dataset({"x": ("i", np.full(2_000_000, float(k)))}), folder / "analysis.nc")
        write_json(folder / "summary.json", {"x": [k] * 200_000})
        for p in net.parameters():
            torch.nn.init.constant_(p, k)
        (folder / "model.safetensors").unlink(missing_ok=True)
        rs.save(net, folder / "model.safetensors")


@pytest.mark.parametrize("name", ["analysis.nc", "summary.json", "model.safetensors"])
def test_a_process_killed_while_it_writes_leaves_whole_files(tmp_path, name):
    parts = f".{name}.*.part"
    process = forked(write_for_ever, tmp_path)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.is_alive():
        written = (tmp_path / "model.safetensors").exists() or name == "model.safetensors"
        if written and any(tmp_path.glob(parts)):
            break
    process.kill()
    assert ended(process) == -signal.SIGKILL
    values = {read_json(tmp_path / "summary.json")["x"][0]}
    assert len(set(read_json(tmp_path / "summary.json")["x"])) == 1
    arrays = rs.load(tmp_path / "analysis.nc")
    assert len(np.unique(arrays.x)) == 1
    values.add(int(arrays.x[0]))
    if (tmp_path / "model.safetensors").exists():
        values |= {
            int(p[0].flatten()[0]) for p in rs.load(tmp_path / "model.safetensors").parameters()
        }
    assert max(values) - min(values) <= 1
    write_arrays(arrays, tmp_path / "analysis.nc")  # what is left is in nobody's way
    assert not list(tmp_path.glob(".analysis.nc.*.part"))  # the next one clears up


def test_a_run_killed_while_its_results_are_written_goes_on(run, tmp_path):
    folder = tmp_path / "killed"
    process = begun("fit", "digits", *OPTIONS, "--out", folder)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.is_alive():
        if (folder / "model.safetensors").exists():
            process.kill()
    ended(process)
    if not (folder / "summary.json").exists():  # it was not faster
        failing("is not finished; continue it with: residua resume", "inspect", folder)
        assert residua("resume", folder, "--quiet").returncode == 0
    a, b = rs.load(folder), rs.load(run)
    assert all(torch.equal(v, b.net.state_dict()[k]) for k, v in a.net.state_dict().items())
    assert a.analysis.identical(b.analysis)


def test_what_cannot_be_written_is_said(tmp_path):
    with pytest.raises(rs.InputError, match=r"b.json' cannot be written \(No such file or direct"):
        write_json(tmp_path / "a" / "b.json", {})
    (tmp_path / "c.nc").mkdir()
    with pytest.raises(rs.InputError, match=r"c.nc' cannot be written \(Is a directory\)"):
        write_arrays(xr.Dataset(), tmp_path / "c.nc")
    assert [p.name for p in tmp_path.iterdir()] == ["c.nc"]


def test_the_page_on_results_names_all_that_is_stored(run, tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "results.md").read_text("utf-8")
    measured = runs.inspect(rs.load(run), "val", None, None)
    missing = [n for n in [*measured.variables, *measured.attrs] if f"`{n}`" not in page]
    missing += [n for n in rs.load(run).summary if f"`{n}`" not in page]
    assert missing == []


def test_the_code_of_the_page_on_results_runs(run, tmp_path, monkeypatch):
    shutil.copytree(run, tmp_path / "runs" / "digits")
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parent.parent / "docs" / "results.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    names = {}
    for block in blocks:
        exec(compile(block, "results.md", "exec"), names)
    assert names["net"].depth == 3
