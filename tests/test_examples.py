"""The scripts in examples/ run as they are, and print what they are there to show."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
NUMBER = r"(-?\d+\.?\d*)"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Every script in a process of its own, all at once, one thread each."""
    folder = tmp_path_factory.mktemp("examples")
    commands = {
        "gpt_pruned.py": [str(folder / "gpt"), "--steps", "60"],
        "rnn_dynamics.py": [],
        "vit_adaptive_depth.py": [],
    }
    assert sorted(commands) == sorted(path.name for path in EXAMPLES.glob("*.py"))
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "HF_HUB_OFFLINE": "1"}

    def run(script, more):
        return subprocess.run(
            [sys.executable, str(EXAMPLES / script), *more],
            cwd=folder, env=env, capture_output=True, encoding="utf-8", timeout=300, check=False,
        )  # fmt: skip

    with ThreadPoolExecutor(len(commands)) as pool:
        yield {script: pool.submit(run, script, more) for script, more in commands.items()}
    assert {path.name for path in folder.iterdir()} <= {"gpt"}  # nothing else was written


def printed(running, script):
    done = running[script].result()
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def figure(out, before):
    """Return the number that follows these words at the begin of a line."""
    found = re.search(rf"^{before}: {NUMBER}", out, re.MULTILINE)
    assert found, out
    return float(found[1])


def test_a_recurrent_network_holds_four_memories_in_four_stable_points(running):
    out = printed(running, "rnn_dynamics.py")
    assert figure(out, "mean squared error of the memory") < 0.05
    rows = [line.split() for line in out.splitlines() if line.endswith(("stable", "saddle"))]
    held = {(round(float(r[0])), round(float(r[1]))) for r in rows if r[4] == "stable"}
    assert held == {(-1, -1), (-1, 1), (1, -1), (1, 1)}
    assert all((float(r[2]) < 1) == (r[4] == "stable") == (r[3] == "0") for r in rows)
    assert "stable: 4 of 9 fixed points" in out
    assert sorted(r[3] for r in rows) == ["0"] * 4 + ["1"] * 4 + ["2"]


def test_a_vit_loses_layers_while_it_trains(running):
    out = printed(running, "vit_adaptive_depth.py")
    assert figure(out, "layers before") == 8
    assert 2 <= figure(out, "layers after") <= 5
    assert figure(out, "validation accuracy") > 0.9
    assert "undone" not in out


def test_a_gpt_is_cut_healed_saved_and_read_back(running, tmp_path):
    out = printed(running, "gpt_pruned.py")
    uncut, raw = figure(out, "uncut, 8 blocks"), figure(out, "raw cut, 6 blocks")
    compensated, healed = figure(out, "compensated"), figure(out, "healed")
    assert uncut < 2.6  # a guess by how often each character occurs: 3.2
    assert compensated < raw
    assert abs(compensated - uncut) < (raw - uncut) / 2
    assert healed < uncut + 0.02
    assert figure(out, "read back, 6 blocks") == pytest.approx(healed, abs=2e-4)
    assert len(eval(re.search(r"^generated: (.*)$", out, re.MULTILINE)[1])) == 64
    assert "the same without cache: True" in out
