"""The scripts in examples/ run as they are, and print what they are there to show."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
NUMBER = r"(-?\d+\.?\d*)"


def printed(script, folder, *more):
    """Return what a script prints, run in an empty folder, where it may leave what is asked for."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *more],
        cwd=folder, env=env, capture_output=True, encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert {path.name for path in folder.iterdir()} == set(more[:1])
    return done.stdout


def figure(out, before):
    """Return the number that follows these words at the begin of a line."""
    found = re.search(rf"^{before}: {NUMBER}", out, re.MULTILINE)
    assert found, out
    return float(found[1])


def test_a_recurrent_network_holds_four_memories_in_four_stable_points(tmp_path):
    out = printed("rnn_dynamics.py", tmp_path)
    assert figure(out, "mean squared error of the memory") < 0.05
    rows = [line.split() for line in out.splitlines() if line.endswith(("stable", "saddle"))]
    held = {(round(float(r[0])), round(float(r[1]))) for r in rows if r[4] == "stable"}
    assert held == {(-1, -1), (-1, 1), (1, -1), (1, 1)}
    assert all((float(r[2]) < 1) == (r[4] == "stable") == (r[3] == "0") for r in rows)
    assert "stable: 4 of 9 fixed points" in out
    assert sorted(r[3] for r in rows) == ["0"] * 4 + ["1"] * 4 + ["2"]


def test_a_vit_loses_layers_while_it_trains(tmp_path):
    out = printed("vit_adaptive_depth.py", tmp_path)
    assert figure(out, "layers before") == 8
    assert 2 <= figure(out, "layers after") <= 5
    assert figure(out, "validation accuracy") > 0.9
    assert "undone" not in out


def test_a_gpt_is_cut_healed_saved_and_read_back(tmp_path):
    out = printed("gpt_pruned.py", tmp_path, "gpt", "--steps", "120")
    uncut, raw = figure(out, "uncut, 8 blocks"), figure(out, "raw cut, 6 blocks")
    compensated, healed = figure(out, "compensated"), figure(out, "healed")
    assert uncut < 2.5  # a guess by how often each character occurs: 3.2
    assert compensated < raw
    assert compensated < uncut + 0.01
    assert healed < uncut + 0.02
    assert figure(out, "read back, 6 blocks") == pytest.approx(healed, abs=2e-4)
    assert len(eval(re.search(r"^generated: (.*)$", out, re.MULTILINE)[1])) == 64
    assert "the same without cache: True" in out
