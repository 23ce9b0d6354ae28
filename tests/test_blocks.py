"""Residual blocks of any model: found by what they do, against what the models themselves tell."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers as tf
from torch import nn
from torch.utils.checkpoint import checkpoint

import residua as rs

IDS = 3 + torch.arange(21).reshape(3, 7) % 16  # none is the padding
IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
TEXT = {"vocab_size": 19, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 3, "num_heads": 4} | TEXT
STAGES = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [2, 3], "layer_type": "basic"}
BOTH = {"input_ids": IDS, "decoder_input_ids": IDS[:, :5]}


def vit():
    config = tf.ViTConfig(image_size=32, patch_size=8, **SMALL)
    return tf.ViTForImageClassification(config)


def llama():
    return tf.LlamaForCausalLM(tf.LlamaConfig(num_key_value_heads=2, **SMALL, **TEXT))


# Name, model, inputs; of every stage its name, how many layers, and what follows its additions.
FAMILIES = {
    "ViT": (vit, IMAGES, {"vit.layers": 4}, True),
    "ResNet": (
        lambda: tf.ResNetForImageClassification(tf.ResNetConfig(**STAGES)),
        IMAGES,
        {"resnet.encoder.stages.0.layers": 2, "resnet.encoder.stages.1.layers": 2},
        False,
    ),
    "GPT-2": (
        lambda: tf.GPT2LMHeadModel(tf.GPT2Config(n_embd=32, n_layer=4, n_head=4, **TEXT)),
        IDS,
        {"transformer.h": 4},
        True,
    ),
    "BERT": (
        lambda: tf.BertForSequenceClassification(tf.BertConfig(**SMALL, **TEXT)),
        {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)},
        {"bert.encoder.layer": 4},
        False,
    ),
    "Llama": (llama, IDS, {"model.layers": 4}, True),
    "T5": (
        lambda: tf.T5ForConditionalGeneration(tf.T5Config(decoder_start_token_id=0, **T5)),
        BOTH,
        {"encoder.block": 3, "decoder.block": 3},
        True,
    ),
    "ALBERT": (
        lambda: tf.AlbertModel(tf.AlbertConfig(embedding_size=16, **SMALL, **TEXT)),
        IDS,
        {"encoder.albert_layer_groups.0.albert_layers": 4},
        False,
    ),
}


def made(name):
    torch.manual_seed(0)
    build, x, stages, branch = FAMILIES[name]
    return build().eval(), x, stages, branch


def hidden_states(model, x):
    """Return what a model of the hub itself tells about its states, without the last, which it norms."""
    named = x if isinstance(x, dict) else {model.main_input_name: x}
    with torch.no_grad():
        out = model(**named, output_hidden_states=True)
    kinds = ("encoder_hidden_states", "decoder_hidden_states", "hidden_states")
    return [states[:-1] for kind in kinds if (states := getattr(out, kind, None)) is not None]


@pytest.mark.parametrize("name", FAMILIES)
def test_blocks_of_families_are_found_in_one_pass(name):
    model, x, stages, branch = made(name)
    passes = []
    model.register_forward_hook(lambda *_: passes.append(1))
    flags = {n: p.requires_grad for n, p in model.named_parameters()}
    next(model.parameters()).requires_grad_(False)
    flags[next(iter(flags))] = False
    model.train()
    stack = rs.find_blocks(model, x)
    assert len(passes) == 1
    assert {s: stack.stages.count(s) for s in stack.stages} == stages
    assert stack.branch_is_residual == branch
    assert {n: p.requires_grad for n, p in model.named_parameters()} == flags
    assert all(m.training for m in model.modules())
    assert not any(m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("name", [n for n in FAMILIES if n != "ResNet"])
def test_states_are_those_that_the_model_tells(name):
    model, x, stages, _ = made(name)
    for told, stage in zip(hidden_states(model, x), stages, strict=True):
        trace = rs.trace(model, x, stage=stage)
        assert trace.depth == stages[stage]
        for t, state in enumerate(told):
            torch.testing.assert_close(trace.states[t], state, rtol=0, atol=0)
        torch.testing.assert_close(trace.states[1:] - trace.states[:-1], trace.residuals)
        assert trace.to_dataset().states.dims == ("state", "sample", "token", "unit")
        with torch.no_grad():
            out = model(**x) if isinstance(x, dict) else model(x)
        torch.testing.assert_close(trace.logits, out[0] if "logits" not in out else out.logits)


def test_convolutional_stages_of_the_hub_are_traced():
    model, x, stages, _ = made("ResNet")
    last = list(stages)[-1]
    trace = rs.trace(model, x, stage=last)
    with torch.no_grad():
        told = model(x, output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(trace.states[-1], told, rtol=0, atol=0)
    with pytest.raises(rs.StackError, match="has 2 stages whose states differ; pass one of them"):
        rs.trace(model, x)
    with pytest.raises(rs.StackError, match="there is no stage 'layers'; the stages are resnet"):
        rs.trace(model, x, stage="layers")


def test_statistics_and_similarity_count_every_token():
    model, x, _, _ = made("Llama")
    batches = [{"input_ids": ids, "labels": ids} for ids in x.split(2)]
    told = np.stack([s.double().numpy() for s in hidden_states(model, x)[0]])  # (state, 3, 7, 32)
    stats, found = rs.accumulate(model, batches), rs.similarity(model, iter(batches))
    assert stats.samples == 21
    assert found.rows == {"model.layers": 21}
    states = told.reshape(4, 21, 32)
    np.testing.assert_allclose(stats.states.mean[:4, 0], states.mean(1), rtol=1e-4, atol=1e-6)
    unit = states / np.linalg.norm(states, axis=2, keepdims=True)
    cosine = np.einsum("sru,tru->st", unit, unit) / 21
    np.testing.assert_allclose(found.cosine["model.layers"][:4, :4], cosine, atol=1e-5)
    plan = rs.plan_depth(found, "block-influence", keep=3)
    influence = 1 - cosine.diagonal(1)
    assert plan.scores[:3] == pytest.approx(list(influence), abs=1e-5)


def test_labels_of_sequences_are_those_of_their_tokens():
    model, x, _, _ = made("ViT")
    stats = rs.accumulate(model, [(x, torch.tensor([0, 1, 1]))])
    states = hidden_states(model, x)[0][0].double().numpy()
    assert stats.states.count.tolist() == [17, 34]
    np.testing.assert_allclose(stats.states.mean[0, 1], states[1:].mean((0, 1)), atol=1e-6)


def test_half_of_a_data_set_adds_up_to_all():
    model, x, _, _ = made("T5")
    parts = [{k: v[i : i + 1] for k, v in x.items()} for i in range(3)]
    whole = rs.similarity(model, parts)
    added = rs.similarity(model, parts[:1]) + rs.similarity(model, parts[1:])
    assert whole.rows == added.rows == {"encoder.block": 21, "decoder.block": 15}
    for stage, products in whole.products.items():
        np.testing.assert_allclose(added.products[stage], products, rtol=1e-10)
    np.testing.assert_allclose(added.ratio, whole.ratio, rtol=1e-10)


# Cutting them ---------------------------------------------------------------------------------------


def plan_without(model, x, *gone):
    stack = rs.find_blocks(model, x)
    keep = tuple(t for t in range(1, stack.depth + 1) if t not in gone)
    return rs.DepthPlan(stack.names, keep, "by hand", (None,) * stack.depth, "")


# Of T5 the first block of either stack holds the position biases of all.
CUT = {
    "ViT": (2,),
    "ResNet": (2, 4),
    "GPT-2": (1, 3),
    "BERT": (4,),
    "Llama": (1, 2),
    "T5": (2, 6),
    "Gemma": (1, 3),
}
FAMILIES["Gemma"] = (
    lambda: tf.Gemma2ForCausalLM(
        tf.Gemma2Config(num_key_value_heads=2, head_dim=8, **SMALL, **TEXT)
    ),
    IDS,
    {"model.layers": 4},
    True,
)
FRESH = """
import sys, torch, transformers
for folder in sys.argv[1:]:
    kind, x, logits = torch.load(folder + "/expected.pt", weights_only=True)
    model = getattr(transformers, kind).from_pretrained(folder).eval()
    with torch.no_grad():
        out = model(**x)
    assert torch.equal(out.logits, logits), folder
"""


@pytest.fixture(scope="module")
def cut_models(tmp_path_factory):
    """Every family cut, saved as an ordinary model with inputs and logits beside it."""
    found = {}
    for name, gone in CUT.items():
        model, x, _, _ = made(name)
        small = rs.apply(plan_without(model, x, *gone), model)
        folder = tmp_path_factory.mktemp("cut") / name
        small.save_pretrained(folder)
        named = x if isinstance(x, dict) else {model.main_input_name: x}
        with torch.no_grad():
            logits = small(**named).logits
        torch.save((type(small).__name__, named, logits), folder / "expected.pt")
        found[name] = (model, small, x, folder)
    return found


@pytest.mark.parametrize("name", CUT)
def test_a_cut_is_the_model_with_identities_in_place(cut_models, name):
    model, small, x, _ = cut_models[name]
    stack, gone = rs.find_blocks(model, x), CUT[name]
    with torch.no_grad(), stack.change(lambda t, before, after: before if t in gone else after):
        expected = stack.outputs(x)
    less = rs.find_blocks(small, x)
    with torch.no_grad():
        torch.testing.assert_close(less.outputs(x), expected, rtol=1e-5, atol=1e-5)
    assert less.depth == stack.depth - len(gone)
    parameters = sum(p.numel() for p in small.parameters())
    assert parameters < sum(p.numel() for p in model.parameters())


def test_cut_models_are_ordinary_ones_in_a_fresh_process(cut_models):
    folders = [str(folder) for *_, folder in cut_models.values()]
    done = subprocess.run(
        [sys.executable, "-c", FRESH, *folders],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("name", ["GPT-2", "Llama", "T5", "Gemma"])
def test_a_cut_model_generates_the_same_with_and_without_cache(cut_models, name):
    _, small, x, _ = cut_models[name]
    ids = x["input_ids"] if isinstance(x, dict) else x
    options = {"max_new_tokens": 6, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    told = [small.generate(ids, use_cache=cache, **options) for cache in (True, False)]
    assert torch.equal(*told)


def test_a_configuration_follows_the_cut(cut_models):
    assert cut_models["Gemma"][0].config.layer_types == [
        "sliding_attention", "full_attention", "sliding_attention", "full_attention"
    ]  # fmt: skip
    small = cut_models["Gemma"][1]
    assert small.config.num_hidden_layers == 2
    assert small.config.layer_types == ["full_attention", "full_attention"]
    assert [layer.self_attn.layer_idx for layer in small.model.layers] == [0, 1]
    t5 = cut_models["T5"][1]
    assert (t5.config.num_layers, t5.config.num_decoder_layers) == (2, 2)
    assert (t5.encoder.config.num_layers, t5.decoder.config.num_layers) == (2, 2)
    assert cut_models["ResNet"][1].config.depths == [1, 2]
    assert cut_models["GPT-2"][0].config.n_layer == 4  # the model given is not touched


def test_an_optimizer_is_cut_alike():
    model, x, _, _ = made("Llama")
    optimizer = torch.optim.AdamW(model.parameters())
    model(x, labels=x).loss.backward()
    optimizer.step()
    rs.cut(model, plan_without(model, x, 2), optimizers=[optimizer])
    assert set(optimizer.param_groups[0]["params"]) == set(model.parameters())
    assert set(optimizer.state) == set(model.parameters())
    model(x, labels=x).loss.backward()
    optimizer.step()


def test_cuts_that_are_refused_leave_the_model_whole():
    model, x, _, _ = made("T5")
    with pytest.raises(
        rs.InputError, match=r"encoder\.block\.0 holds layer\.0\.SelfAttention\.rel"
    ):
        rs.cut(model, plan_without(model, x, 1))
    albert, ids, _, _ = made("ALBERT")
    with pytest.raises(rs.InputError, match="AlbertModel are calls of one module, so none can be"):
        rs.cut(albert, plan_without(albert, ids, 4))
    gpt, _, _, _ = made("GPT-2")
    with pytest.raises(
        rs.InputError, match=r"the GPT2LMHeadModel has no 'encoder\.block\.0'; make"
    ):
        rs.cut(gpt, plan_without(model, x, 2))
    plan = plan_without(gpt, ids, 2)
    gpt.config.n_layer = 9
    with pytest.raises(rs.InputError, match=r"names no count of 4 layers \(num_hidden_layers"):
        rs.cut(gpt, plan)
    lone = torch.optim.SGD([{"params": block.parameters()} for block in gpt.transformer.h], lr=0.1)
    with pytest.raises(rs.InputError, match="would leave parameter group 1 of SGD empty"):
        rs.cut(gpt, plan, optimizers=[lone])
    for whole, depth in ((model, 6), (gpt, 4)):
        assert rs.find_blocks(whole, x if whole is model else ids).depth == depth
    attributes = Attributes()
    with pytest.raises(rs.InputError, match="one has no number in a ModuleList or Sequential"):
        rs.cut(attributes, plan_without(attributes, batch("attributes"), 1))
    fitted, llama_plan = rs.Compensation("steps", {}, (1.0, 2.0)), plan_without(llama(), ids, 2)
    with pytest.raises(rs.InputError, match="step sizes and heads that read the last residual are"):
        rs.cut(llama(), llama_plan, compensation=fitted)
    other = rs.Compensation("affine", {"lm_head.weight": torch.zeros(2, 2)})
    with pytest.raises(
        rs.InputError, match=r"of the shape \(2, 2\) where the cut model's has \(19"
    ):
        rs.cut(llama(), llama_plan, compensation=other)


# Models written by hand ------------------------------------------------------------------------------


class Block(nn.Module):
    """A pre-norm block, in the ways in which blocks are written."""

    def __init__(self, how="plain", inner=12):
        super().__init__()
        self.norm, self.how = nn.RMSNorm(6) if how == "rms" else nn.LayerNorm(6), how
        self.mlp = nn.Sequential(nn.Linear(6, inner), nn.GELU(), nn.Linear(inner, 6))

    def forward(self, x, scale=1.0):
        if self.how == "in place":
            x += self.mlp(self.norm(x))
            return x
        if self.how in ("post-norm", "rms"):
            return self.norm(x + self.mlp(x))
        if self.how == "relu":
            return torch.relu(x + self.mlp(x))
        if self.how.startswith("checkpointed") and torch.is_grad_enabled():
            return checkpoint(
                lambda x: x + self.mlp(self.norm(x)), x, use_reentrant="again" in self.how
            )
        if self.how == "tuple":
            return self.mlp(self.norm(x)) + x, scale
        return x + scale * self.mlp(self.norm(x))


class Model(nn.Module):
    def __init__(self, blocks, *, calls=1, keyword=False):
        super().__init__()
        self.lift, self.blocks, self.head = nn.Linear(4, 6), nn.ModuleList(blocks), nn.Linear(6, 3)
        self.calls, self.keyword = calls, keyword

    def forward(self, x):
        x = self.lift(x)
        for block in [b for b in self.blocks for _ in range(self.calls)]:
            x = block(scale=0.5, x=x) if self.keyword else block(x)
            x = x[0] if isinstance(x, tuple) else x
        return self.head(x)


class Attributes(nn.Module):
    def __init__(self):
        super().__init__()
        self.lift, self.one, self.two, self.head = (
            nn.Linear(4, 6),
            Block(),
            Block(),
            nn.Linear(6, 3),
        )

    def forward(self, x):
        return self.head(self.two(self.one(self.lift(x))))


def sequence():
    pairs = [nn.Sequential(Block(), Block(inner=24)) for _ in range(3)]
    return nn.Sequential(nn.Linear(4, 6), nn.Sequential(*pairs), nn.Linear(6, 3))


class Positions(nn.Module):
    """Adds the same to every state, as an encoding of positions does."""

    def __init__(self):
        super().__init__()
        self.register_buffer("place", torch.randn(6))
        self.learnt = nn.Parameter(torch.randn(6))

    def forward(self, x):
        return x + self.place + self.learnt


def positions():
    return nn.Sequential(nn.Linear(4, 6), Positions(), Block(), Block(), nn.Linear(6, 3))


HAND = {
    "plain": (Model([Block() for _ in range(3)]), ["blocks.0", "blocks.1", "blocks.2"], True),
    "in place": (Model([Block("in place") for _ in range(2)]), ["blocks.0", "blocks.1"], True),
    "post-norm": (Model([Block("post-norm") for _ in range(2)]), ["blocks.0", "blocks.1"], False),
    "rms": (Model([Block("rms") for _ in range(2)]), ["blocks.0", "blocks.1"], False),
    "relu": (Model([Block("relu") for _ in range(2)]), ["blocks.0", "blocks.1"], False),
    "checkpointed": (
        Model([Block("checkpointed") for _ in range(2)]),
        ["blocks.0", "blocks.1"],
        True,
    ),
    "checkpointed again": (
        Model([Block("checkpointed again") for _ in range(2)]),
        ["blocks.0", "blocks.1"],
        True,
    ),
    "positions": (positions(), ["2", "3"], True),
    "tuple": (Model([Block("tuple") for _ in range(2)]), ["blocks.0", "blocks.1"], True),
    "keyword": (Model([Block(), Block()], keyword=True), ["blocks.0", "blocks.1"], True),
    "twice": (Model([Block()], calls=2), ["blocks.0, call 1", "blocks.0, call 2"], True),
    "one": (Model([Block()]), ["blocks.0"], True),
    "attributes": (Attributes(), ["one", "two"], True),
    "pairs": (sequence(), ["1.0", "1.1", "1.2"], True),
    "torch": (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2),
        ["layers.0", "layers.1"],
        False,
    ),
}


def batch(name):
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    return x[:, None].repeat(1, 3, 1) if name == "torch" else x


@pytest.mark.parametrize("name", HAND)
def test_blocks_however_they_are_written(name):
    model, names, branch = HAND[name]
    x = batch(name)
    stack = rs.find_blocks(model, x)
    assert list(stack.names) == names
    assert stack.branch_is_residual == branch
    assert len(set(stack.stages)) == 1
    trace = rs.trace(model, x)
    with torch.no_grad():
        model.eval()
        state = trace.states[0]
        for t, block in enumerate(stack.blocks):
            given = {"scale": 0.5} if name == "keyword" else {}
            state = block(state.clone(), **given)
            state = state[0] if isinstance(state, tuple) else state
            torch.testing.assert_close(trace.states[t + 1], state)
        torch.testing.assert_close(trace.logits, model(x))
        with stack.change(lambda t, before, after: before, first=lambda x: 2 * x):
            without = stack.outputs(x)
    identity = 2 * trace.states[0]
    head = getattr(model, "head", model[-1] if isinstance(model, nn.Sequential) else nn.Identity())
    torch.testing.assert_close(without, head(identity))


def test_named_blocks_need_no_sum():
    """The user may know better: an MLP's layers keep a state, though nothing is added."""
    layers = nn.Sequential(*(nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(3)))
    model = nn.Sequential(nn.Linear(4, 6), layers, nn.Linear(6, 2))
    x = batch("plain")
    said = (
        "no residual blocks were found in Sequential.*Modules that keep the shape.*: 1, 1.0, 1.0.0"
    )
    with pytest.raises(rs.StackError, match=said):
        rs.trace(model, x)
    stack = rs.find_blocks(model, x, names=["1.0", "1.1", "1.2"])
    assert not stack.branch_is_residual
    assert rs.trace(stack, x).depth == 3
    listed = rs.find_blocks(Model([Block(), Block()]), x, names=["blocks"])
    assert listed.names == ("blocks.0", "blocks.1")


class Silent(nn.Module):
    """Puts out no tensor."""

    def __init__(self):
        super().__init__()
        self.inside = Model([Block(), Block()])

    def forward(self, x):
        self.inside(x)
        return "done"


@pytest.mark.parametrize(
    ("names", "error", "said"),
    [
        (["blocks.7"], rs.InputError, r"Model has no module 'blocks\.7'; pass names of named_mod"),
        (
            ["lift"],
            rs.StackError,
            r"lift \(Linear\) takes \(1, 4\) and gives \(1, 6\), so it keeps no",
        ),
        (
            ["blocks.0.unused"],
            rs.StackError,
            r"blocks\.0\.unused were not called in the forward pass",
        ),
        ([], rs.InputError, "names is empty; leave it out to have the blocks found"),
    ],
)
def test_names_that_cannot_be(names, error, said):
    model = Model([Block(), Block()])
    model.blocks[0].unused = nn.Linear(6, 6)
    with pytest.raises(error, match=said):
        rs.find_blocks(model, batch("plain"), names=names)


def test_what_cannot_be_traced_is_said():
    x = batch("plain")
    with pytest.raises(rs.StackError, match="Silent puts out str, in which there is no tensor"):
        rs.trace(Silent(), x)
    with pytest.raises(
        rs.StackError, match=r"no residual blocks were found in Linear.*: none\. If"
    ):
        rs.trace(nn.Linear(4, 2), x)
    with pytest.raises(rs.InputError, match="named inputs hold no tensor, but mask; pass some"):
        rs.trace(llama(), {"mask": None})
    with pytest.raises(rs.InputError, match="the data loader gave no batch"):
        rs.similarity(llama(), [])
    with pytest.raises(rs.StackError, match=r"holds 0 modules of the classes residua\.ResNet"):
        rs.attribute(llama(), x)


def test_a_deep_model_is_found_as_fast_as_it_runs():
    model = Model([Block() for _ in range(32)])
    passes = []
    model.blocks[31].register_forward_hook(lambda *_: passes.append(1))
    assert rs.find_blocks(model, batch("plain")).depth == 32
    assert len(passes) == 1
