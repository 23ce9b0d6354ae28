"""Cut models are ordinary ones: to torch.export, ONNX Runtime, torch.compile and Accelerate."""

from functools import cache

import onnxruntime
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn
from torch.utils.data import DataLoader

import residua as rs
from test_blocks import Block, Model, made, plan_without

# The layers that go, whether they are parts of blocks, and modules that go with them.
CASES = {
    "ViT": ((1, 3, 4), False, {"vit.layers.1", "vit.layers.2", "vit.layers.3"}),
    "Llama": ((1, 3, 4), False, {"model.layers.1", "model.layers.2", "model.layers.3"}),
    "by hand": ((1, 3), False, {"blocks.2", "blocks.3"}),
    # Of GPT-2 attention in the first block, the MLP in the second, all of the others.
    "GPT-2": (
        (1, 4, 5, 6, 7, 8),
        True,
        {"transformer.h.0.attn", "transformer.h.1.mlp", "transformer.h.2", "transformer.h.3"},
    ),
}


def cut(case):
    """Return a cut model, inputs, its logits and those of the whole model."""
    gone, parts, _ = CASES[case]
    torch.manual_seed(0)
    if case == "by hand":
        model, x = Model([Block() for _ in range(4)]).eval(), torch.randn(5, 4)
    else:
        model, x, _, _ = made(case)
        # With the logits comes a cache else, of a class of transformers that torch.export knows not.
        model.config.use_cache = False
    if parts:
        stack = rs.find_blocks(model, x, parts=True)
        keep = tuple(t for t in range(1, stack.depth + 1) if t not in gone)
        plan = rs.DepthPlan(stack.names, keep, "by hand", (None,) * stack.depth, "")
        small = rs.apply(plan, stack)
    else:
        small = rs.apply(plan_without(model, x, *gone), model)
    with torch.no_grad():
        expected, whole = logits(small(x)), logits(model(x))
    assert (expected - whole).abs().max() > 1e-2  # so that it is told from the whole below
    return small, x, expected


def logits(out):
    return getattr(out, "logits", out)


def left_of(case, names):
    return [n for n in names if any(n.startswith(f"{m}.") for m in CASES[case][2])]


@cache
def exported(case):
    small, x, expected = cut(case)
    return torch.export.export(small, (x,)), small, x, expected


@pytest.mark.parametrize("case", CASES)
def test_the_exported_program_of_a_cut_model_computes_the_same(case):
    program, small, x, expected = exported(case)
    assert set(program.state_dict) == set(small.state_dict())
    assert not left_of(case, program.state_dict)
    torch.testing.assert_close(logits(program.module()(x)), expected, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings(
    r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated, use:FutureWarning"
)
@pytest.mark.parametrize("case", CASES)
def test_onnx_runtime_computes_the_same_as_a_cut_model(case, tmp_path):
    program, small, x, expected = exported(case)
    # Optimized by the runtime alone, so that the weights keep their names.
    onnx = torch.onnx.export(program, dynamo=True, optimize=False, verbose=False)
    weights = {i.name for i in onnx.model_proto.graph.initializer}
    names = {n for n, _ in small.named_parameters(remove_duplicate=False)}
    assert len(weights & names) == len(list(small.parameters()))  # tied ones once
    assert not left_of(case, weights)
    onnx.save(tmp_path / "small.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "small.onnx")
    (given,) = session.get_inputs()
    found = torch.from_numpy(session.run(None, {given.name: x.numpy()})[0])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("case", ["by hand", "GPT-2"])
def test_a_compiled_cut_model_computes_the_same(case):
    # Inductor gives the same too, but builds C++ for half a minute and more a model.
    small, x, expected = cut(case)
    torch.compiler.reset()
    compiled = torch.compile(small, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(logits(compiled(x)), expected, rtol=0, atol=1e-5)


@pytest.fixture
def accelerator():
    AcceleratorState._reset_state(reset_partial_state=True)
    yield Accelerator(cpu=True)
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("case", CASES)
def test_accelerate_trains_a_cut_model(case, accelerator):
    small, x, expected = cut(case)
    labels = torch.arange(expected[..., 0].numel()).reshape(expected.shape[:-1]) % 2
    loader = DataLoader(list(zip(x, labels, strict=True)), batch_size=len(x))
    optimizer = torch.optim.AdamW(small.parameters(), lr=1e-2)
    model, optimizer, loader = accelerator.prepare(small.train(), optimizer, loader)
    before = {n: p.detach().clone() for n, p in small.named_parameters()}
    losses = []
    for inputs, targets in [*loader, *loader]:
        loss = nn.functional.cross_entropy(logits(model(inputs)).flatten(0, -2), targets.flatten())
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[1] < losses[0] < float("inf")
    assert [n for n, p in small.named_parameters() if torch.equal(p, before[n])] == []
    assert accelerator.unwrap_model(model) is small
