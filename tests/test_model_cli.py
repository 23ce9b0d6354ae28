"""residua inspect and residua prune of models that are not residua's."""

import json
import re
import sys
import textwrap

import pytest
import torch
import transformers as tf
from safetensors.torch import load_model

import residua as rs
from test_cli import residua

MINE = """
import torch
from torch import nn
import residua as rs

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16))
    def forward(self, x):
        return x + self.f(x)

def model():
    torch.manual_seed(0)
    blocks = [Block() for _ in range(5)]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), *blocks, nn.Linear(16, 10))

def flat():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def text():
    ids = torch.randint(0, 19, (24, 8), generator=torch.Generator().manual_seed(0))
    return [(ids[:16], ids[:16])], [(ids[16:], ids[16:])], rs.next_token

def broken():
    raise ValueError("boom")

def three():
    return 3
"""


@pytest.fixture(scope="module", autouse=True)
def mine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mine")
    (folder / "residua_mine.py").write_text(textwrap.dedent(MINE))
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def gpt(tmp_path_factory):
    torch.manual_seed(0)
    config = tf.GPT2Config(
        vocab_size=19, n_embd=32, n_layer=4, n_head=4, bos_token_id=0, eos_token_id=0
    )
    folder = tmp_path_factory.mktemp("hub") / "gpt"
    tf.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def test_a_model_of_transformers_is_inspected_cut_and_an_ordinary_one_again(gpt, tmp_path):
    done = residua("inspect", gpt, "--data", "residua_mine:text", "--json")
    assert done.returncode == 0, done.stderr
    layers = json.loads(done.stdout)["layers"]
    assert [row["layer"] for row in layers] == [f"transformer.h.{i}" for i in range(4)]
    assert all(float(row["|y|/|x|"]) > 0 for row in layers)
    out = tmp_path / "cut"
    arguments = (
        "prune",
        gpt,
        "--data",
        "residua_mine:text",
        "--keep",
        2,
        "--heal",
        3,
        "--out",
        out,
    )
    done = residua(*arguments, "--quiet")
    assert done.returncode == 0, done.stderr
    assert "The head has weights of its own now" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if not line.startswith("wrote"))
    small = tf.GPT2LMHeadModel.from_pretrained(out)
    assert small.config.n_layer == len(small.transformer.h) == 2
    summary = json.loads((out / "summary.json").read_text())
    assert summary["untied"]
    assert summary["after"]["layers"] == summary["healed"]["layers"] == 2
    assert rs.DepthPlan.from_json((out / "plan.json").read_text()).depth == 4
    assert summary["format"] == 1
    layers = rs.load(out / "analysis.nc")
    assert layers.kept.sum() == 2
    assert layers.block.values[layers.kept.values == 0].tolist() == summary["removed"]
    page = (out / "report.html").read_text("utf-8")
    assert f"2 of 4 layers were cut at a held-out loss of {summary['healed']['loss']:.4f}" in page
    assert "of which the 2 pale ones went" in page
    reader = f"transformers.GPT2LMHeadModel.from_pretrained({str(out)!r})"
    with pytest.raises(
        rs.InputError, match=re.escape(f"cut model of transformers; read it with {reader}")
    ):
        rs.load(out)
    done = residua("inspect", out, "--data", "residua_mine:text", "--out", tmp_path / "shown")
    assert done.returncode == 0, done.stderr
    arrays = rs.load(tmp_path / "shown" / "analysis.nc")
    assert arrays.block.values.tolist() == ["transformer.h.0", "transformer.h.1"]
    with pytest.raises(
        rs.InputError, match="holds the measures of residua inspect, without a netw"
    ):
        rs.load(tmp_path / "shown")
    again = residua(*arguments)
    assert again.returncode == 2
    assert "exists already and is not empty; pass a new folder" in again.stderr


def test_a_text_is_read_with_the_tokenizer_beside_the_model(gpt, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate("abcdefg")}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = tf.PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=16)
    folder = tmp_path / "gpt"
    tf.GPT2LMHeadModel.from_pretrained(gpt).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (tmp_path / "text.txt").write_text("a b c d e f g " * 40)
    arguments = ("prune", folder, "--data", tmp_path / "text.txt", "--keep", 3)
    done = residua(*arguments, "--out", tmp_path / "cut", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["removed"]
    assert (tmp_path / "cut" / "tokenizer.json").exists()
    (tmp_path / "short.txt").write_text("a b c")
    done = residua(*arguments[:3], tmp_path / "short.txt", "--keep", 3, "--out", tmp_path / "no")
    assert done.returncode == 2
    assert "has 3 tokens and needs 160; pass a longer one" in done.stderr
    assert not (tmp_path / "no").exists()


def test_a_factory_and_parts_of_blocks(tmp_path):
    out = tmp_path / "parts"
    arguments = ("--data", "digits", "--keep", 3, "--parts", "--out", out, "--quiet")
    done = residua("prune", "residua_mine:model", *arguments)
    assert done.returncode == 0, done.stderr
    assert "model.safetensors (for residua.load)" in done.stdout
    import residua_mine

    small = rs.load(out / "model.safetensors", residua_mine.model())
    assert rs.find_blocks(small, torch.randn(2, 64)).depth >= 3
    with pytest.raises(
        rs.InputError, match="a model without parts of its blocks; read it with resid"
    ):
        rs.load(out)
    whole = tmp_path / "whole"
    done = residua("prune", "residua_mine:model", *arguments[:4], "--out", whole, "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["removed"]) == 2
    with pytest.raises(
        rs.InputError, match=r"your own; make the model, apply plan.json with residua"
    ):
        rs.load(whole)
    plan = rs.DepthPlan.from_json((whole / "plan.json").read_text())  # … as it says
    small = rs.apply(plan, rs.find_blocks(residua_mine.model(), torch.randn(2, 64)))
    assert load_model(small, whole / "model.safetensors") == (set(), [])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("residua_nowhere:model",),
            "residua_nowhere could not be imported for residua_nowhere:mod",
        ),
        (
            ("residua_mine:nothing",),
            "residua_mine has no function nothing; pass package.module:func",
        ),
        (
            ("residua_mine:broken",),
            "residua_mine:broken raised ValueError: boom; it is called without",
        ),
        (("residua_mine:three",), "residua_mine:three returned int, not a torch.nn.Module"),
        (("residua_mine:flat",), "no residual blocks were found in Sequential"),
        (
            ("residua_mine:model", None),
            "a model needs data; pass --data with a data set, a .txt file",
        ),
        (
            ("residua_mine:model", "residua_mine:model"),
            "must return (fit batches, held-out batches)",
        ),
        (("residua_mine:model", "gone.txt"), "'gone.txt' cannot be read as text"),
    ],
)
def test_models_and_data_that_cannot_be_used(arguments, said, tmp_path):
    model, *data = arguments
    given = data if data else ["digits"]
    more = ("--data", given[0]) if given[0] else ()
    for command in (("inspect",), ("prune", "--keep", 2, "--out", tmp_path / "out")):
        done = residua(command[0], model, *more, *command[1:])
        assert done.returncode == 2
        assert said in " ".join(done.stderr.split())
        assert not (tmp_path / "out").exists()


def test_a_text_needs_a_tokenizer_and_runs_have_no_parts(gpt, tmp_path):
    (tmp_path / "text.txt").write_text("a b c")
    done = residua("inspect", gpt, "--data", tmp_path / "text.txt")
    assert done.returncode == 2
    assert "there is no tokenizer in" in done.stderr
    done = residua("inspect", tmp_path, "--parts")
    assert done.returncode == 2
    assert "--parts is for models whose blocks have several residuals" in done.stderr


def test_code_that_comes_with_a_model_is_not_run(tmp_path):
    folder = tmp_path / "foreign"
    folder.mkdir()
    marker = tmp_path / "ran"
    (folder / "modeling_x.py").write_text(f"open({str(marker)!r}, 'w')\n")
    config = {
        "model_type": "x",
        "architectures": ["XModel"],
        "auto_map": {"AutoConfig": "modeling_x.XConfig", "AutoModel": "modeling_x.XModel"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    done = residua("inspect", folder, "--data", "digits")
    assert done.returncode == 2
    assert "could not be loaded by transformers" in done.stderr
    assert not marker.exists()


def test_a_stopped_healing_is_gone_on_with_by_the_same_command(tmp_path, monkeypatch):
    from residua import model_runs
    from residua.errors import StoppedError

    arguments = ("prune", "residua_mine:model", "--data", "digits", "--keep", 3, "--heal", 3)
    out, whole, heal = tmp_path / "out", [], model_runs.heal

    def stopped(model, *rest, **options):
        calls = []

        def stop(*_):
            calls.append(1)
            if len(calls) == 30:
                raise KeyboardInterrupt

        handle = model.register_forward_hook(stop)
        try:
            heal(model, *rest, **options)
        except StoppedError:
            whole.append(1)
            raise
        finally:
            handle.remove()

    monkeypatch.setattr(model_runs, "heal", stopped)
    done = residua(*arguments, "--out", out, "--quiet")
    assert (done.returncode, whole) != (0, [])
    assert "the same call goes on from" in " ".join(done.stderr.split())
    assert [path.name for path in out.iterdir()] == ["healing.ckpt"]
    monkeypatch.setattr(model_runs, "heal", heal)
    done = residua(*arguments, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["healed"]["layers"] == 3
    assert not (out / "healing.ckpt").exists()
