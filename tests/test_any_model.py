"""Losses of tokens, parts of blocks, fits, curves, pruning and training of any model."""

import copy
from dataclasses import replace

import lightning as L
import numpy as np
import pytest
import torch
import transformers as tf
from torch import nn

import residua as rs
from residua.depth.cut_checks import again
from residua.depth.norms import slope
from residua.streaming import held_out_figures
from test_blocks import FAMILIES, IDS, SMALL, TEXT, Block, Model, batch, llama, made, plan_without

TOKENS = [{"input_ids": IDS, "labels": IDS}]


def gpt(layers=4, **more):
    torch.manual_seed(0)
    config = tf.GPT2Config(n_embd=32, n_layer=layers, n_head=4, **TEXT, **more)
    return tf.GPT2LMHeadModel(config).eval()


def plan(stack, *gone):
    keep = tuple(t for t in range(1, stack.depth + 1) if t not in gone)
    return rs.DepthPlan(stack.names, keep, "by hand", (None,) * stack.depth, "")


# Losses of tokens -----------------------------------------------------------------------------------


def test_losses_of_tokens_are_those_on_paper():
    z = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, 1, -100, 3, 4], [6, 5, 4, 3, -100]])
    log_p = z.double() - z.double().exp().sum(-1, keepdim=True).log()
    each = [-log_p[i, t, labels[i, t]] for i in range(2) for t in range(5) if labels[i, t] >= 0]
    shifted = [
        -log_p[i, t, labels[i, t + 1]] for i in range(2) for t in range(4) if labels[i, t + 1] >= 0
    ]
    assert rs.each_token(z, labels).tolist() == pytest.approx([float(v) for v in each], rel=1e-5)
    assert rs.next_token(z, labels).tolist() == pytest.approx([float(v) for v in shifted], rel=1e-5)


def test_the_oracle_without_a_layer_is_the_cut_model_and_the_hubs_own_loss():
    model = llama().eval()
    found = rs.oracle(model, TOKENS, loss=rs.next_token)
    with torch.no_grad():
        assert found.without() == pytest.approx(float(model(IDS, labels=IDS).loss), rel=1e-5)
        small = rs.apply(plan_without(model, IDS, 2), model)
        assert found.without(2) == pytest.approx(float(small(IDS, labels=IDS).loss), rel=1e-5)


def test_labels_that_do_not_fit_are_refused():
    model = llama()
    with pytest.raises(
        rs.InputError, match=r"labels are of tokens; where a loss can be passed, pass"
    ):
        rs.oracle(model, TOKENS).without()
    with pytest.raises(rs.InputError, match=r"logits \(sample, token, class\) and labels"):
        rs.next_token(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long))
    with pytest.raises(rs.InputError, match="no label is 0 or more"):
        rs.each_token(torch.zeros(1, 2, 3), torch.full((1, 2), -100))
    with pytest.raises(rs.InputError, match="the batches of an oracle must be"):
        rs.oracle(model, [{"input_ids": IDS}])
    with pytest.raises(rs.InputError, match=r"labels must be 0…18, as the head has 19 classes"):
        rs.oracle(model, [{"input_ids": IDS, "labels": IDS + 16}], loss=rs.next_token).without()


# Parts of blocks ------------------------------------------------------------------------------------

PARTS = {
    "ViT": ("vit.layers.0.attention", "vit.layers.0.mlp"),
    "GPT-2": ("transformer.h.0.attn", "transformer.h.0.mlp"),
    "BERT": ("bert.encoder.layer.0.attention", "bert.encoder.layer.0.output"),
    "Llama": ("model.layers.0.self_attn", "model.layers.0.mlp"),
    "Gemma": (
        "model.layers.0.post_attention_layernorm",
        "model.layers.0.post_feedforward_layernorm",
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_attention_and_mlp_are_layers_for_themselves(name):
    model, x, _, _ = made(name)
    stack = rs.find_blocks(model, x, parts=True)
    assert stack.names[:2] == PARTS[name]
    parts, blocks = rs.trace(stack, x), rs.trace(model, x)
    torch.testing.assert_close(parts.states[::2], blocks.states, rtol=1e-5, atol=1e-5)
    assert torch.equal(parts.logits, blocks.logits)
    assert rs.similarity(stack, [x]).names == stack.names


def test_three_parts_of_a_decoder_block():
    model, x, _, _ = made("T5")
    stack = rs.find_blocks(model, x, parts=True)
    assert [stack.stages.count(s) for s in ("encoder.block", "decoder.block")] == [6, 9]
    trace = rs.trace(stack, x, stage="decoder.block")
    blocks = rs.trace(model, x, stage="decoder.block")
    torch.testing.assert_close(trace.states[::3], blocks.states, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("gone", [(3,), (1,), (1, 2, 3)])
@pytest.mark.parametrize("name", ["GPT-2", "Llama"])
def test_parts_that_are_gone_are_identities_saved_and_generating(name, gone, tmp_path):
    model, x, _, _ = made(name)
    stack = rs.find_blocks(model, x, parts=True)
    small = rs.apply(plan(stack, *gone), stack)
    with torch.no_grad(), stack.change(lambda t, before, after: before if t in gone else after):
        expected = stack.outputs(x)
    with torch.no_grad():
        torch.testing.assert_close(small(x).logits, expected, rtol=1e-5, atol=1e-5)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
    rs.save(small, tmp_path / "small.safetensors")
    again = rs.load(tmp_path / "small.safetensors")
    for cut in (small, again):
        with torch.no_grad():
            assert torch.equal(cut(x).logits, small(x).logits)
            past = cut(x[:, :-1], use_cache=True).past_key_values
            last = cut(x[:, -1:], cache=past).logits
        assert past.get_seq_length() == x.shape[1]
        torch.testing.assert_close(last[:, 0], expected[:, -1], rtol=1e-4, atol=1e-4)


def test_parts_of_a_model_of_ones_own_are_loaded_into_a_new_one(tmp_path):
    torch.manual_seed(0)
    model, x = Model([Block() for _ in range(3)]).eval(), batch("plain")
    stack = rs.find_blocks(model, x, parts=True)
    small = rs.apply(plan(stack, 2), stack)
    rs.save(small, tmp_path / "small.safetensors")
    fresh = Model([Block() for _ in range(3)])
    again = rs.load(tmp_path / "small.safetensors", fresh)
    assert again is fresh
    with torch.no_grad():
        assert torch.equal(again(x), small(x))
    with pytest.raises(
        rs.InputError, match=r"which residua cannot make; pass one with all parts as"
    ):
        rs.load(tmp_path / "small.safetensors")
    other = Model([Block(inner=5) for _ in range(3)])
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(rs.InputError, match=r"'blocks\.0\.mlp\.0\.bias' has the shape \(12,\) in"):
        rs.load(tmp_path / "small.safetensors", other)
    assert all(torch.equal(v, before[n]) for n, v in other.state_dict().items())


def test_what_other_layers_need_stays():
    model, x, _, _ = made("T5")
    stack = rs.find_blocks(model, x, parts=True)
    with pytest.raises(rs.InputError, match=r"without encoder\.block\.1\.layer\.0 the T5ForCond"):
        rs.apply(plan(stack, 3), stack)
    gemma, ids, _, _ = made("Gemma")
    stack = rs.find_blocks(gemma, ids, parts=True)
    with pytest.raises(rs.InputError, match="the first sliding_attention of the Gemma2ForCausalLM"):
        rs.apply(plan(stack, 1), stack)
    gpt2 = rs.find_blocks(gpt(2), IDS, parts=True)
    with pytest.raises(rs.InputError, match="the last attention of the GPT2LMHeadModel would go"):
        rs.apply(plan(gpt2, 1, 3), gpt2)
    albert, ids, _, _ = made("ALBERT")
    with pytest.raises(
        rs.StackError, match=r"albert_layers\.0 cannot be told apart: what is added"
    ):
        rs.find_blocks(albert, ids, parts=True)


class Pairs(nn.Module):
    """x = x + f(x), written where the blocks are called."""

    def __init__(self):
        super().__init__()
        self.lift, self.head = nn.Linear(4, 6), nn.Linear(6, 3)
        self.attend = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6)) for _ in range(3)
        )

    def forward(self, x):
        x = self.lift(x)
        for f in self.attend:
            x = x + f(x)
        return self.head(x)


def test_additions_outside_of_modules_are_found():
    model, x = Pairs().eval(), batch("plain")
    stack = rs.find_blocks(model, x)
    assert stack.names == ("attend.0", "attend.1", "attend.2")
    trace = rs.trace(model, x)
    states = [model.lift(x)]
    for f in model.attend:
        states.append(states[-1] + f(states[-1]))
    torch.testing.assert_close(trace.states, torch.stack(states).detach())
    small = rs.apply(plan(stack, 2), stack)
    expected = model.head(states[1] + model.attend[2](states[1]))
    torch.testing.assert_close(small(x), expected)


def test_a_multiplied_sum_is_no_residual():
    class Scaled(Block):
        def forward(self, x):
            return torch.add(x, self.mlp(self.norm(x)), alpha=0.5)

    with pytest.raises(rs.StackError, match="no residual blocks were found in Model"):
        rs.find_blocks(Model([Scaled(), Scaled()]), batch("plain"))


def test_one_stack_run_twice_is_two_stages():
    class Twins(nn.Module):
        def __init__(self):
            super().__init__()
            self.lift = nn.Linear(4, 6)
            self.blocks, self.head = nn.Sequential(Block(), Block()), nn.Linear(12, 3)

        def forward(self, x):
            both = self.blocks(self.lift(x)), self.blocks(self.lift(-x))
            return self.head(torch.cat(both, 1))

    model, x = Twins().eval(), batch("plain")
    stack = rs.find_blocks(model, x)
    runs = list(dict.fromkeys(stack.stages))
    assert len(runs) == 2
    with pytest.raises(rs.StackError, match="has 2 stages whose states differ"):
        rs.trace(model, x)
    with pytest.raises(
        rs.StackError, match="are run in another stage, too, so it cannot be watched"
    ):
        rs.trace(model, x, stage=runs[1])
    found = rs.similarity(model, [x])
    states = [model.lift(-x)]
    for block in model.blocks:
        states.append(block(states[-1]))
    cosine = nn.functional.cosine_similarity(states[0], states[2]).mean().detach()
    assert found.cosine[runs[1]][0, 2] == pytest.approx(float(cosine), abs=1e-5)


def test_states_that_begin_with_zeros_are_seen():
    class Zeros(Model):
        def forward(self, x):
            h = torch.zeros(len(x), 6)
            for block in self.blocks:
                h = block(h + 0, 1.0)
            return self.head(h)

    class Reads(Block):
        def forward(self, x, scale):
            return x + self.mlp(x + scale)

    found = rs.find_blocks(Zeros([Reads(), Reads(), Reads()]), batch("plain"))
    assert found.names == ("blocks.0", "blocks.1", "blocks.2")


def test_outputs_that_are_no_tensors_are_refused():
    class Says(Model):
        def forward(self, x):
            super().forward(x)
            return "nothing"

    with pytest.raises(rs.StackError, match="puts out str, in which there is no tensor; wrap it"):
        rs.find_blocks(Says([Block(), Block()]), batch("plain"))


def test_named_places_of_a_sequential_are_not_taken_for_numbers():
    class Named(Model):
        def __init__(self):
            super().__init__([])
            self.blocks = nn.Sequential()
            for name in ("1", "2", "3"):
                self.blocks.add_module(name, Block())

        def forward(self, x):
            return self.head(self.blocks(self.lift(x)))

    model, x = Named().eval(), batch("plain")
    with pytest.raises(
        rs.InputError, match="the Sequential blocks calls its modules 1, 2, 3, …, and"
    ):
        rs.cut(model, plan(rs.find_blocks(model, x), 1))
    assert list(model.blocks._modules) == ["1", "2", "3"]


def test_32_layers_are_found_in_one_pass():
    config = dict(SMALL, num_hidden_layers=32)
    model = tf.LlamaForCausalLM(tf.LlamaConfig(num_key_value_heads=2, **config, **TEXT))
    passes = []
    model.register_forward_hook(lambda *_: passes.append(1))
    assert rs.find_blocks(model, IDS).depth == 32
    assert rs.find_blocks(model, IDS, parts=True).depth == 64
    assert len(passes) == 2


# Compensations --------------------------------------------------------------------------------------


class Straight(nn.Module):
    """A block that is linear in the state, so that what others do can be folded into it exactly."""

    def __init__(self, scale=None):
        super().__init__()
        self.linear, self.scale = nn.Linear(6, 6), scale or nn.Identity()

    def forward(self, x):
        return x + self.scale(self.linear(x))


class Scale(nn.Module):
    """Multiplies every unit by a number of its own, as LayerScale does."""

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(6) + 0.2)

    def forward(self, x):
        return x * self.gamma


@pytest.mark.parametrize("kind", ["readers", "affine", "readers+affine"])
@pytest.mark.parametrize("gone", [(2,), (1,), (2, 3)])
@pytest.mark.parametrize("scale", [nn.Identity, Scale])
def test_linear_blocks_are_made_up_for_exactly(kind, gone, scale):
    torch.manual_seed(1)
    model = Model([Straight(scale()) for _ in range(4)]).eval()
    x = torch.randn(400, 4)
    batches = [(x, torch.zeros(400, dtype=torch.long))]
    stack = rs.find_blocks(model, x)
    cut = plan(stack, *gone)
    exact = rs.FitOptions(ridges=(1e-5,))
    fitted = rs.compensate(stack, cut, batches, batches, kind=kind, options=exact)
    small, raw = rs.apply(cut, stack, compensation=fitted), rs.apply(cut, stack)
    with torch.no_grad():
        far, near = (float((m(x) - model(x)).abs().max()) for m in (raw, small))
    assert far > 0.1
    assert near < 5e-3 * far  # a ridge is left


def plain_and_padded():
    """Return the same batch of tokens twice, the second with as much padding behind them."""
    ids = torch.randint(3, 19, (60, 12), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    padded = {
        "input_ids": torch.cat([ids, torch.full_like(ids, 2)], 1),
        "attention_mask": torch.cat([mask, 0 * mask], 1),
        "labels": torch.cat([ids, torch.full_like(ids, -100)], 1),
    }
    return {"input_ids": ids, "attention_mask": mask, "labels": ids}, padded


def test_padding_does_not_count_in_measures():
    model, batches = llama().eval(), plain_and_padded()
    one, two = (rs.similarity(model, [b]) for b in batches)
    assert list(two.rows.values()) == [60 * 12]
    for stage, cosine in one.cosine.items():
        np.testing.assert_allclose(two.cosine[stage], cosine, atol=1e-5)
    labels = torch.arange(60) % 3
    named = [{**b, "labels": labels} for b in batches]
    one, two = (rs.accumulate(model, [b]) for b in named)
    assert list(two.states.count[:3]) == [20 * 12] * 3
    np.testing.assert_allclose(two.states.mean, one.states.mean, atol=1e-4)
    np.testing.assert_allclose(two.settle_distance, one.settle_distance, atol=1e-5)


def test_an_encoders_padding_is_not_its_decoders():
    torch.manual_seed(0)
    config = tf.T5Config(
        vocab_size=20, d_model=12, d_ff=24, num_layers=2, num_heads=2, d_kv=6, num_decoder_layers=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    model = tf.T5ForConditionalGeneration(config)
    ids = torch.randint(1, 20, (4, 6))
    mask = torch.tensor([1, 1, 1, 0, 0, 0]).expand(4, 6)
    found = rs.similarity(
        model, [{"input_ids": ids, "attention_mask": mask, "decoder_input_ids": ids}]
    )
    assert found.rows == {"encoder.block": 12, "decoder.block": 24}


def test_padding_does_not_count_in_fits():
    model = llama().eval()
    plain, padded = plain_and_padded()
    cut = plan(rs.find_blocks(model, plain["input_ids"]), 2)
    how = rs.FitOptions(loss=rs.next_token)
    one, two = (rs.compensate(model, cut, [b], [b], options=how) for b in (plain, padded))
    assert one.kind == "readers+affine"
    for name, value in one.weights.items():
        torch.testing.assert_close(two.weights[name], value, rtol=1e-3, atol=1e-3)


def test_a_tied_head_is_untied_and_comes_back(tmp_path):
    model = gpt()
    assert model.lm_head.weight is model.transformer.wte.weight
    report = rs.prune(model, TOKENS, TOKENS, rs.PruneConfig(keep=3, loss=rs.next_token))
    small = report[0]
    assert small.lm_head.weight is not small.transformer.wte.weight
    assert not small.config.tie_word_embeddings
    assert torch.equal(small.transformer.wte.weight, model.transformer.wte.weight)
    assert model.config.tie_word_embeddings
    small.save_pretrained(tmp_path / "small")
    again = tf.GPT2LMHeadModel.from_pretrained(tmp_path / "small").eval()
    with torch.no_grad():
        assert torch.equal(again(IDS).logits, small(IDS).logits)


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("name", ["BERT", "Gemma"])
def test_a_norm_between_map_and_state_is_seen_through(name, parts):
    """After a cut the fitted states are nearer to the uncut ones, on inputs that were not fitted on."""
    torch.manual_seed(0)
    model, x, _, _ = made(name)
    for module in model.modules():  # norms as after a training, and branches that matter
        if "Norm" in type(module).__name__:
            module.weight.data.add_(0.3 * torch.randn_like(module.weight))
        if isinstance(module, nn.Linear):
            module.weight.data.mul_(8)
    ids = torch.randint(3, 19, (320, 8), generator=torch.Generator().manual_seed(1))
    fit, held = ([({"input_ids": i}, i[:, 0] % 2)] for i in (ids[:256], ids[256:]))
    stack = rs.find_blocks(model, x, parts=parts)
    norms = {type(model.get_submodule(last.norm)).__name__ for last in stack.lasts}
    assert norms == ({"LayerNorm"} if name == "BERT" else {"Gemma2RMSNorm"})
    gone = (2,) if not parts else (4,)
    cut = plan(stack, *gone)
    fitted = rs.compensate(stack, cut, fit, fit, kind="readers")
    whole = rs.trace(stack, held[0][0]).states[-1]
    error = []
    for small in (rs.apply(cut, stack), rs.apply(cut, stack, compensation=fitted)):
        kept = rs.find_blocks(small, x, parts=parts)
        error.append(float((rs.trace(kept, held[0][0]).states[-1] - whole).square().mean()))
    assert error[1] < 0.7 * error[0]


def test_what_a_norm_does_is_seen_in_what_it_takes_and_gives():
    torch.manual_seed(0)
    v = 3 * torch.randn(50, 7, dtype=torch.float64) + 1
    scale = Scale()
    scale.gamma = nn.Parameter(torch.rand(7))
    for norm, size in (
        (nn.LayerNorm(7), v.std(1, correction=0)),
        (nn.RMSNorm(7), v.square().mean(1).sqrt()),
        (scale, torch.ones(50, dtype=torch.float64)),
    ):
        for parameter in norm.parameters():
            parameter.data.uniform_(0.5, 2)
        found = slope(norm.double(), v)
        torch.testing.assert_close(found.gamma, next(norm.parameters()).detach(), rtol=1e-4, atol=0)
        torch.testing.assert_close(found.sigma(v), size, rtol=1e-4, atol=0)
    assert slope(nn.GELU(), v) is None


class PostNorm(nn.Module):
    """A block whose norm gives more than the state, or a non-linear map in its place."""

    def __init__(self, last):
        super().__init__()
        self.linear, self.last = nn.Linear(6, 6), last

    def forward(self, x):
        return self.last(x + self.linear(torch.tanh(x)))


@pytest.mark.parametrize("sizes", [[400], [1, 399], [10] * 40])
def test_a_fit_through_a_norm_does_not_depend_on_how_batches_are_divided(sizes):
    torch.manual_seed(1)
    model = Model([PostNorm(nn.LayerNorm(6)) for _ in range(4)]).eval()
    x = torch.randn(400, 4)
    batches = [(part, torch.zeros(len(part)).long()) for part in x.split(sizes)]
    stack = rs.find_blocks(model, x)
    cut = plan(stack, 2)
    fitted = rs.compensate(stack, cut, batches, batches, kind="readers")
    whole = rs.trace(stack, x).states[-1]
    raw, small = (
        (rs.trace(rs.apply(cut, stack, compensation=c), x).states[-1] - whole).square().mean()
        for c in (None, fitted)
    )
    assert small < 0.2 * raw


def test_what_is_no_norm_is_no_place_for_readers():
    model = Model([Straight(nn.Tanh()) for _ in range(3)]).eval()
    x = torch.randn(50, 4)
    stack = rs.find_blocks(model, x)
    assert stack.lasts == (None, None, None)
    with pytest.raises(rs.InputError, match="no block of the Model ends in a linear map"):
        rs.compensate(stack, plan(stack, 1), [(x, torch.zeros(50).long())], [], kind="readers")


def test_what_cannot_be_compensated_is_said():
    model, x, _, _ = made("ResNet")
    cut = plan_without(model, x, 2)
    with pytest.raises(rs.InputError, match="no block of the ResNetForImageClassification ends in"):
        rs.compensate(model, cut, [(x, torch.zeros(len(x)).long())], [], kind="readers")
    model, x, _, _ = made("Gemma")
    cut = plan_without(model, x, 1)
    for kind, said in (
        ("affine", "the logits of the Gemma2ForCausalLM are not what one nn.Linear puts out"),
        ("steps+weighted", "'steps.weighted' is for networks of residua; for a Gemma2ForCausalLM"),
    ):
        with pytest.raises(rs.InputError, match=said):
            rs.compensate(model, cut, TOKENS, TOKENS, kind=kind)


# Attribution ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ViT", "Llama", "T5"])
def test_logits_are_divided_between_layers(name):
    model, x, _, _ = made(name)
    found = rs.attribute_gradient(model, x)
    with torch.no_grad():
        logits = rs.find_blocks(model, x).outputs(x)
    torch.testing.assert_close(found.contributions.sum(0), logits, rtol=1e-4, atol=1e-5)
    last = list(FAMILIES[name][2])[-1]
    assert len(found.parts) == FAMILIES[name][2][last] + 2
    assert found.to_dataset().contribution.dims[-1] == "class"


def test_a_linear_heads_share_is_its_weights_times_the_residual():
    torch.manual_seed(0)
    model, x = Model([Block() for _ in range(3)]).eval(), batch("plain")
    found, trace = rs.attribute_gradient(model, x), rs.trace(model, x)
    torch.testing.assert_close(
        found.contributions[1:4], trace.residuals @ model.head.weight.T.detach()
    )
    torch.testing.assert_close(
        found.contributions[4], model.head.bias.detach().expand(5, 3), atol=1e-5, rtol=1e-5
    )


# Curves, criteria, pruning --------------------------------------------------------------------------


def test_the_depth_curve_ends_at_the_model_and_its_heads_fit_the_cut():
    model = gpt()
    whole = held_out_figures(model, TOKENS, rs.next_token)
    curve = rs.depth_curve(model, TOKENS, TOKENS, loss=rs.next_token)
    assert curve.loss[-1] == pytest.approx(whole.loss, rel=1e-4)
    assert len(curve.loss) == 5
    stack = rs.find_blocks(model, IDS)
    for keep in (1, 3):
        cut = plan(stack, *range(keep + 1, 5))
        small = rs.apply(cut, stack, compensation=curve.compensation(keep))
        found = held_out_figures(small, TOKENS, rs.next_token)
        assert found.loss == pytest.approx(curve.loss[keep], rel=1e-4)


@pytest.mark.parametrize("criterion", ["spans", "block-influence", "magnitude", "greedy", "taylor"])
def test_every_kind_of_criterion_prunes_a_language_model(criterion):
    config = rs.PruneConfig(keep=2, criterion=criterion, loss=rs.next_token)
    small, report = rs.prune(llama().eval(), TOKENS, TOKENS, config)
    assert small.config.num_hidden_layers == len(small.model.layers) == report.after.layers == 2
    assert report.before.accuracy != report.before.accuracy
    assert report.compensation.kind == "readers+affine"


def test_an_aim_is_reached_by_parts_of_blocks():
    stack = rs.find_blocks(llama().eval(), IDS, parts=True)
    config = rs.PruneConfig(max_loss_increase=0.2, loss=rs.next_token)
    small, report = rs.prune(stack, TOKENS, TOKENS, config)
    assert report.after.loss <= report.before.loss + 0.2
    assert report.after.layers < 8
    found = held_out_figures(small, TOKENS, rs.next_token)
    assert found.loss == pytest.approx(report.after.loss, rel=1e-5)


def test_a_configuration_that_decides_by_place_is_not_cut():
    model = gpt(scale_attn_by_inverse_layer_idx=True)
    with pytest.raises(rs.InputError, match="has scale_attn_by_inverse_layer_idx=True, by which"):
        rs.apply(plan_without(model, IDS, 2), model)
    config = tf.SwinConfig(
        image_size=32, patch_size=2, embed_dim=8, depths=[4], num_heads=[2], window_size=4
    )
    torch.manual_seed(0)
    swin = tf.SwinForImageClassification(config).eval()
    stack = rs.find_blocks(swin, torch.randn(1, 3, 32, 32))
    with pytest.raises(
        rs.InputError, match="of a SwinForImageClassification cannot say that these"
    ):
        rs.apply(plan(stack, 2), stack)
    assert rs.apply(plan(stack, 2, 3), stack).config.depths == [2]


def test_inputs_that_a_model_cannot_run_on_are_named():
    with pytest.raises(
        rs.InputError, match=r"GPT2LMHeadModel does not run on its inputs \(0: torch\.f"
    ):
        rs.find_blocks(gpt(), torch.randn(2, 5))


# Training -------------------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_figures_are_those_of_the_cpu_and_models_stay_there():
    model = gpt(4).eval()
    on_gpu = copy.deepcopy(model).cuda()
    here, there = (rs.accumulate(m, TOKENS) for m in (model, on_gpu))
    np.testing.assert_allclose(there.residuals.m2, here.residuals.m2, rtol=1e-3)
    np.testing.assert_allclose(there.settle_distance, here.settle_distance, rtol=1e-3)
    small, _ = rs.prune(on_gpu, TOKENS, TOKENS, rs.PruneConfig(keep=2, loss=rs.next_token))
    rs.heal(small, TOKENS, rs.HealConfig(2, loss=rs.next_token), teacher=on_gpu)
    assert {p.device.type for m in (small, on_gpu) for p in m.parameters()} == {"cuda"}


def test_what_the_machine_lacks_is_refused_before_anything_changes():
    torch.manual_seed(0)
    net = rs.ConvResNet(1, 4, blocks=(1, 1, 1), width=4)
    x = torch.randn(40, 1, 8, 8)
    with torch.no_grad():
        net(x)  # so that the norms have running statistics, which healing would take anew
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(rs.InputError, match="accelerator 'tpu' and precision '32-true' cannot be"):
        rs.heal(net, [(2 * x, torch.arange(40) % 4)], rs.HealConfig(1, accelerator="tpu"))
    assert all(torch.equal(v, before[n]) for n, v in net.state_dict().items())


def test_healing_lowers_the_loss_keeps_the_teacher_and_is_gone_on_with(tmp_path):
    model = gpt(2)
    teacher = gpt(4)
    teacher.train()
    before = copy.deepcopy(teacher.state_dict())
    whole = copy.deepcopy(model)
    config = rs.HealConfig(40, lr=3e-3, loss=rs.next_token, accelerator="cpu")
    start = held_out_figures(model, TOKENS, rs.next_token).loss
    rs.heal(model, TOKENS, config, teacher=teacher, folder=tmp_path)
    assert held_out_figures(model, TOKENS, rs.next_token).loss < start - 0.1
    assert all(torch.equal(v, before[n]) for n, v in teacher.state_dict().items())
    assert teacher.training
    assert not model.training
    assert list(tmp_path.iterdir()) == []

    def stop(*_):
        calls.append(1)
        if len(calls) == 30:
            raise KeyboardInterrupt

    calls = []
    resumed = copy.deepcopy(whole)
    handle = resumed.register_forward_hook(stop)
    with pytest.raises(
        rs.ResiduaError, match=r"stopped after 28 of 40 steps; the same call goes on"
    ):
        rs.heal(resumed, TOKENS, config, teacher=teacher, folder=tmp_path)
    handle.remove()
    with pytest.raises(rs.InputError, match="it is of another model"):
        rs.heal(gpt(3), TOKENS, config, teacher=teacher, folder=tmp_path)
    again = copy.deepcopy(whole)

    def elsewhere(outputs, targets):  # as in another process
        return rs.next_token(outputs, targets)

    elsewhere.__module__, elsewhere.__qualname__ = rs.next_token.__module__, "next_token"
    there = replace(config, loss=elsewhere)
    rs.heal(again, TOKENS, there, teacher=teacher, folder=tmp_path)
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("parts", [False, True])
def test_with_a_plan_every_layer_is_held_to_the_teachers_states(parts):
    """Without one the last states alone are, and those between drift away."""
    torch.manual_seed(0)
    model = llama().eval()
    stack = rs.find_blocks(model, IDS, parts=parts)
    cut = plan(stack, 2, 3)
    ends = [last for _, last in cut.spans(stack.stages)]
    wanted = rs.trace(stack, IDS).states[1:]

    def far(small):
        states = rs.trace(again(stack, cut, small), IDS).states[1:]
        each = [(states[i] - wanted[t - 1]).square().mean() for i, t in enumerate(ends)]
        return [float(d) for d in each]

    found = []
    for given in (cut, None):
        small = rs.apply(cut, stack)
        config = rs.HealConfig(
            30, lr=2e-3, loss=rs.next_token, accelerator="cpu", teaching=1.0, states=30.0
        )
        before = far(small)
        rs.heal(small, TOKENS, config, teacher=stack, plan=given)
        found.append(far(small))
    assert found[0][-1] < before[-1]
    assert sum(found[0]) < 0.9 * sum(found[1])
    with pytest.raises(rs.InputError, match="a plan says which states of the teacher are meant"):
        rs.heal(rs.apply(cut, stack), TOKENS, config, plan=cut)
    net = rs.ResNet(4, 6, 3, depth=4, weights="variable")
    fewer = rs.plan_depth(rs.find_stages(net).names, "last", keep=2)
    data = [(torch.randn(8, 4), torch.zeros(8).long())]
    with pytest.raises(rs.StackError, match="the plan keeps 2 layers, and the ResNet has 4; pass"):
        rs.heal(
            copy.deepcopy(net), data, rs.HealConfig(1, accelerator="cpu"), teacher=net, plan=fewer
        )
    other = plan(rs.find_blocks(gpt(3), IDS), 1)
    with pytest.raises(rs.InputError, match="the plan is for a stack of"):
        rs.heal(rs.apply(cut, stack), TOKENS, config, teacher=stack, plan=other)


def test_healing_that_cannot_be_is_refused():
    model = gpt(2)
    with pytest.raises(rs.InputError, match="training batches must be"):
        rs.heal(model, [IDS], rs.HealConfig(2, accelerator="cpu"))
    with pytest.raises(rs.InputError, match="an iterator gives them once"):
        rs.heal(model, iter(TOKENS), rs.HealConfig(2))
    for bad in ({"steps": 0}, {"steps": 2, "lr": float("nan")}, {"steps": 2, "teaching": 2.0}):
        with pytest.raises(rs.InputError, match="must be"):
            rs.HealConfig(**bad)
    model.requires_grad_(False)
    with pytest.raises(
        rs.InputError, match="no parameter of the GPT2LMHeadModel requires a gradient"
    ):
        rs.heal(model, TOKENS, rs.HealConfig(2))


def trained(model, optimizer, steps=3):
    model.train()
    for _ in range(steps):
        model(IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


@pytest.mark.parametrize("criterion", ["spans", "depth-curve"])
def test_a_model_of_the_hub_is_cut_in_training_undone_and_resumed(criterion):
    config = rs.AdaptiveConfig(
        criterion, loss=rs.next_token, window=(0.0, 1.0), tolerance=0.0, negligible=5.0
    )
    model = gpt()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    control = rs.DepthController(model, [optimizer], config=config)
    trained(model, optimizer)
    uncut = copy.deepcopy(model.state_dict())
    decision = control.step(1, 4, TOKENS, TOKENS)
    assert decision.depth_after == control.depth == model.config.n_layer < 4
    trained(model, optimizer)
    saved, weights = control.state_dict(), copy.deepcopy(model.state_dict())

    fresh = gpt()
    second = rs.DepthController(fresh, config=config)
    second.load_state_dict(saved)
    fresh.load_state_dict(weights)
    with torch.no_grad():
        assert torch.equal(fresh(IDS).logits, model(IDS).logits)
    again = torch.optim.AdamW(fresh.parameters(), lr=1e-3)
    again.load_state_dict(optimizer.state_dict())
    second.optimizers = [again]
    for either, whole in ((control, model), (second, fresh)):
        either.before["allowed"] = -1.0  # nothing is good enough, so the removal is undone
        undone = either.step(2, 4, TOKENS, TOKENS)
        assert undone.depth_after == either.depth == whole.config.n_layer == 4
        assert whole.lm_head.weight is whole.transformer.wte.weight
        assert all(torch.equal(v, uncut[n]) for n, v in whole.state_dict().items())
        trained(whole, either.optimizers[0], steps=1)


class Lit(L.LightningModule):
    """A language model in Lightning, whose training fails where that is asked for."""

    def __init__(self):
        super().__init__()
        self.model, self.fails = llama(), False

    def forward(self, ids):
        return self.model(ids).logits

    def training_step(self, batch, index):
        assert not self.fails, "asked to fail"
        return rs.next_token(self(batch[0]), batch[1]).mean()

    def validation_step(self, batch, index):
        pass

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def test_a_checkpoint_is_validated_after_a_cut_and_after_a_failure(tmp_path):
    torch.manual_seed(0)
    lit, data = Lit(), rs.loader(rs.Split(IDS, IDS), 3)
    config = rs.AdaptiveConfig(loss=rs.next_token, window=(0.0, 0.6), tolerance=0.0, negligible=9.0)
    callback = rs.AdaptiveDepth(config=config)
    options = {
        "accelerator": "cpu", "logger": False, "enable_progress_bar": False,
        "enable_model_summary": False, "num_sanity_val_steps": 0, "callbacks": [callback],
    }  # fmt: skip
    trainer = L.Trainer(max_epochs=2, enable_checkpointing=False, **options)
    trainer.fit(lit, data, data)
    assert callback.decisions[0].depth_after == len(lit.model.model.layers) < 4
    trainer.save_checkpoint(tmp_path / "cut.ckpt")
    lit.fails = True
    with pytest.raises(AssertionError, match="asked to fail"):
        L.Trainer(max_epochs=2, enable_checkpointing=False, **options).fit(lit, data, data)
    for _ in range(2):
        again = L.Trainer(enable_checkpointing=False, **options)
        again.validate(lit, data, ckpt_path=tmp_path / "cut.ckpt", weights_only=True)
    fresh = Lit()
    L.Trainer(enable_checkpointing=False, **options).validate(
        fresh, data, ckpt_path=tmp_path / "cut.ckpt", weights_only=True
    )
    outside, checkpoint = Lit(), torch.load(tmp_path / "cut.ckpt", weights_only=True)
    rs.DepthController(outside, config=config).load_state_dict(
        next(v for k, v in checkpoint["callbacks"].items() if k.startswith("AdaptiveDepth"))
    )
    outside.load_state_dict(checkpoint["state_dict"])
    with torch.no_grad():
        for again in (fresh, outside):
            assert torch.equal(again.eval()(IDS), lit.eval()(IDS))


def trainer(folder, model, callback, **more):
    args = tf.TrainingArguments(
        str(folder), num_train_epochs=4, per_device_train_batch_size=32, eval_strategy="epoch",
        save_strategy="epoch", learning_rate=3e-3, report_to=[], use_cpu=True,
        logging_strategy="no", disable_tqdm=True, **more,
    )  # fmt: skip
    ids = torch.arange(64)[:, None] % 16 + 3
    ids = (ids + torch.arange(8)) % 16 + 3
    data = [{"input_ids": i, "labels": i} for i in ids]
    return tf.Trainer(model, args, train_dataset=data, eval_dataset=data[:16], callbacks=[callback])


@pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")
def test_a_trainer_of_transformers_removes_layers_and_goes_on(tmp_path):
    config = rs.AdaptiveConfig(loss=rs.next_token, window=(0.2, 0.5), tolerance=0.5)
    torch.manual_seed(0)
    model, callback = llama(), rs.AdaptiveDepthCallback(config)
    start = copy.deepcopy(model)
    trainer(tmp_path, model, callback).train()
    assert callback.decisions[0].depth_after == len(model.model.layers) < 4
    assert model.config.num_hidden_layers == len(model.model.layers)
    checkpoint = tmp_path / "checkpoint-4"
    resumed, second = copy.deepcopy(start), rs.AdaptiveDepthCallback(config)
    second.restore(resumed, checkpoint)
    trainer(tmp_path / "second", resumed, second).train(resume_from_checkpoint=str(checkpoint))
    assert [d.depth_after for d in second.decisions] == [d.depth_after for d in callback.decisions]
    for name, value in resumed.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])
    with pytest.raises(rs.InputError, match=r"as one does whose layers were removed; call"):
        trainer(tmp_path / "third", copy.deepcopy(start), rs.AdaptiveDepthCallback(config)).train(
            resume_from_checkpoint=str(checkpoint)
        )
    with pytest.raises(rs.InputError, match="holds no residua_depth"):
        rs.AdaptiveDepthCallback(config).restore(start, tmp_path)


def test_a_trainer_that_does_not_evaluate_is_refused(tmp_path):
    args = tf.TrainingArguments(str(tmp_path), report_to=[], use_cpu=True)
    data = [{"input_ids": i, "labels": i} for i in IDS]
    running = tf.Trainer(llama(), args, train_dataset=data, callbacks=[rs.AdaptiveDepthCallback()])
    with pytest.raises(rs.InputError, match="pass eval_strategy='epoch' and an eval_dataset"):
        running.train()


def test_sharded_parameters_are_refused():
    from torch.distributed.tensor import DTensor, distribute_tensor, init_device_mesh

    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = Model([Block(), Block()]).eval()
        stack = rs.find_blocks(model, batch("plain"))
        mesh = init_device_mesh("cpu", (1,))
        weight = distribute_tensor(model.head.weight.detach(), mesh)
        assert isinstance(weight, DTensor)
        model.head.weight = nn.Parameter(weight)
        with pytest.raises(rs.InputError, match=r"are sharded \(FSDP, DTensor\), so no layer"):
            rs.cut(model, plan(stack, 1))
        assert len(model.blocks) == 2
    finally:
        torch.distributed.destroy_process_group()


def test_figures_of_tokens_are_numbers():
    stats = rs.accumulate(llama(), TOKENS)
    assert np.isfinite(stats.magnitude_sum).all()
    assert stats.samples == IDS.numel()
