"""`residua compare`, and what folders that are no runs are said to be."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import residua as rs
from residua.comparison import compare, names_apart
from residua.report.comparison_tables import comparison_tables
from residua.report.headline import headline
from residua.stored import read_json, write_json
from test_cli import failing, residua

BASE = ("--batch-size", 64, "--accelerator", "cpu", "--quiet")


def trained(folder, data, *options):
    done = residua("fit", data, *BASE, *options, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    where = tmp_path_factory.mktemp("compare")
    folders = {
        "deep": trained(where / "deep", "digits", "--width", 66, "--depth", 4, "--epochs", 1),
        "one": trained(where / "one", "digits", "--width", 66, "--depth", 1, "--epochs", 2),
        "round": trained(where / "round", "circles", "--width", 3, "--depth", 2, "--epochs", 1),
    }
    done = residua("prune", folders["deep"], "--keep", 2, "--quiet", "--out", where / "cut")
    assert done.returncode == 0, done.stderr
    return folders | {"cut": where / "cut"}


def test_runs_side_by_side_in_terminal_page_and_json(runs, tmp_path):
    folders = [runs[name] for name in ("deep", "one", "cut")]
    before = {p: p.read_bytes() for f in folders for p in f.rglob("*") if p.is_file()}
    done = residua("compare", *folders, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 80
    found = {name: rs.load(folder).summary for name, folder in runs.items()}
    for name in ("deep", "one", "cut"):
        row = next(line for line in done.stdout.splitlines() if line.startswith(f"{name} "))
        assert f"{found[name]['test_error']:.2f} %" in row
        assert f"{found[name]['depth_initial']} → {found[name]['depth_final']}" in row
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["depth", "4", "1", "4"] in rows
    assert ["cut", "from", "deep"] in rows
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    for name in ("deep", "one", "cut"):
        assert f">{name}<" in page
    stored = read_json(tmp_path / "out" / "comparison.json")
    printed = json.loads(residua("compare", *folders, "--json").stdout)
    assert list(printed["runs"]) == ["deep", "one", "cut"]
    assert printed["runs"] == stored["runs"]
    assert printed["differs"]["depth"] == {"deep": 4, "one": 1, "cut": 4}
    assert printed["differs"]["epochs"] == {"deep": 1, "one": 2, "cut": 1}
    assert "seed" not in printed["differs"]
    assert printed["notes"] == []
    failing("is not empty; pass a new folder", "compare", *folders, "--out", tmp_path / "out")
    assert before == {p: p.read_bytes() for f in folders for p in f.rglob("*") if p.is_file()}


def test_runs_of_different_data_and_seeds_are_compared_and_it_is_said(runs, tmp_path):
    done = residua("compare", runs["one"], runs["round"], "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    said = (
        "Errors cannot be compared, since the data are not the same: digits (one); circles (round)."
    )
    assert said in " ".join(done.stdout.split())
    assert said in (tmp_path / "out" / "report.html").read_text("utf-8")
    seeded = shutil.copytree(runs["one"], tmp_path / "seeded")
    config = read_json(seeded / "config.json")
    write_json(seeded / "config.json", config | {"train": config["train"] | {"seed": 3}})
    notes = compare([runs["one"], seeded]).notes
    assert notes[0].startswith("The seed draws the splits: runs of different seeds were validated")
    assert notes[0].endswith("on different samples (seeds 0 (one); 3 (seeded)).")
    summary = read_json(seeded / "summary.json")
    changed = {"samples": {"train": 5, "val": 2, "test": 3}, "machine": "abacus"}
    write_json(seeded / "summary.json", summary | changed)
    notes = compare([runs["one"], seeded]).notes
    assert "have one name, but not the same training + validation + test samples" in notes[0]
    assert notes[1].startswith("Training times are of different machines")


def test_what_cannot_be_compared_ends_with_status_2(runs, tmp_path):
    one, out = runs["one"], ("--out", tmp_path / "out")
    failing("takes two runs or more, not 1", "compare", one, *out)
    failing("Missing argument 'RUN...'", "compare", *out)
    failing("is the same run as", "compare", one, runs["deep"], one, *out)
    (tmp_path / "link").symlink_to(one)
    failing("is the same run as", "compare", one, tmp_path / "link", *out)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    failing("there is no such folder; pass a run folder", "compare", one, tmp_path / "loop", *out)
    failing("there is no such folder; pass a run folder", "compare", one, tmp_path / "no", *out)
    failing("it is a file; pass a run folder", "compare", one, one / "summary.json", *out)
    failing("it has no config.json; pass a run folder", "compare", one, one / "logs", *out)
    failing("it has no config.json, but holds the runs", "compare", one, one.parent, *out)
    copy = shutil.copytree(one, tmp_path / "unfinished")
    (copy / "summary.json").unlink()
    failing("is not finished; continue it with: residua resume", "compare", one, copy, *out)
    failing("is a file; pass a new folder", "compare", one, copy, "--out", one / "summary.json")
    assert not (tmp_path / "out").exists()


def test_folders_of_one_name_are_told_apart_by_their_parents(runs, tmp_path, monkeypatch):
    def named(*paths):
        return names_apart([Path(path) for path in paths])

    assert named("a/run", "b/run", "c/other") == ["a/run", "b/run", "other"]
    assert named("/x/a/run", "/y/a/run", "/run") == ["x/a/run", "y/a/run", "/run"]
    a, b = tmp_path / "a" / "run", tmp_path / "b [red] :smile:" / "run"
    for copy in (a, b):
        shutil.copytree(runs["one"], copy)
    monkeypatch.chdir(a)
    done = residua("compare", ".", "../../b [red] :smile:/run", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "\na/run " in done.stdout
    assert "\nb [red] :smile:/run " in done.stdout
    assert "All settings are the same." in done.stdout


def test_a_long_name_and_many_runs_stay_readable_at_80_columns(runs, tmp_path):
    folders = [shutil.copytree(runs["one"], tmp_path / f"{'long-name-' * 9}{i}") for i in range(2)]
    for i in range(5):
        copy = shutil.copytree(runs["one"], tmp_path / f"run-{i}")
        config = read_json(copy / "config.json")
        train = config["train"] | {"lr": 0.1 * i, "batch_size": 10 + i, "epochs": i + 1}
        train["lr"] = 0.001 + i / 10
        write_json(
            copy / "config.json", config | {"train": train, "threshold": 0.1 * i, "keep": i + 1}
        )
        folders.append(copy)
    done = residua("compare", *folders)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "compared" / "report.html").exists()
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "…" not in done.stdout
    letters = re.sub(r"[^a-z\-0-9]", "", done.stdout)
    assert letters.count("long-name-" * 2) >= 2
    titles = [table.title for table in comparison_tables(compare(folders))]
    assert titles == ["side by side", "settings that differ", "settings that differ, 2 of 2"]


def test_a_cut_run_is_cut_after_training_wherever_it_stands(runs):
    found = compare([runs["deep"], runs["cut"]]).runs
    said = headline({name: run.summary for name, run in found.items()})
    assert re.match(r"cut: 2 of 4 layers were cut at .* times as fast, 2 layers left\.$", said), (
        said
    )
    assert "trained" not in said
    table = comparison_tables(compare([runs["deep"], runs["cut"]]))[0]
    assert [row[-1].endswith(" s, uncut") for row in table.rows] == [False, True]


def test_a_run_may_be_called_as_the_comparison_is(runs, tmp_path):
    named = shutil.copytree(runs["deep"], tmp_path / "compared")
    out = tmp_path / "out"
    assert residua("compare", named, runs["cut"], "--out", out).returncode == 0
    page = (out / "report.html").read_text("utf-8")
    headings = re.findall(r"<section[^>]*><h2>([^<]*)</h2>", page)
    assert headings == ["compared with all", "compared", "cut"]
    # What is left of a cut run is not shaded as cut; where the last layers went in training, it is.
    assert "The figures are of the network after the cut, without blocks." in page
    assert "cut: 4" not in page


def test_what_other_commands_wrote_is_told_and_what_reads_it(runs, tmp_path):
    out = tmp_path / "inspected"
    assert residua("inspect", runs["one"], "--quiet", "--out", out).returncode == 0
    with pytest.raises(rs.InputError, match="holds the measures of residua inspect") as error:
        rs.load(out)
    named = re.search(r"residua.load\('(.*)'\)", str(error.value))[1]
    assert rs.load(named).attrs["split"] == "val"
    out = tmp_path / "portrait"
    np.save(tmp_path / "W.npy", np.eye(2))
    assert residua("dynamics", tmp_path / "W.npy", "--out", out).returncode == 0
    with pytest.raises(
        rs.InputError, match=r"what residua dynamics found, portrait.json, which is"
    ):
        rs.load(out)
    out = tmp_path / "e6"
    done = residua("reproduce", "E6", "--run", runs["one"], "--out", out, "--quiet")
    assert done.returncode == 0, done.stderr
    with pytest.raises(
        rs.InputError, match="results of residua reproduce E6; read arrays"
    ) as error:
        rs.load(out)
    named = re.search(r"residua.load\('(.*)'\)", str(error.value))[1]
    assert rs.load(named).attrs["format"] == 1
    out = tmp_path / "compared"
    assert residua("compare", runs["one"], runs["deep"], "--out", out).returncode == 0
    failing("it holds a comparison, comparison.json", "inspect", out)
    copy = shutil.copytree(runs["cut"], tmp_path / "stopped")
    (copy / "summary.json").unlink()
    failing("the same residua prune goes on with it", "inspect", copy)
    failing("the same residua prune goes on with it", "resume", copy)
    assert rs.load(runs["cut"]).net.depth == 2
    (tmp_path / "cut").mkdir()
    moved = shutil.copytree(runs["cut"], tmp_path / "cut" / "moved")
    (moved / "analysis.nc").unlink()
    failing("in a new folder; it was made by: residua prune", "inspect", moved)
