"""C1: are states and residuals told apart exactly, in every kind of residual network there is here?

Untrained networks of all kinds that residua makes, and small models of transformers where it is
installed; in float64, on random inputs. For the dense ones f(W_t x_{t−1} + b_t) is computed apart, by
numpy.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from residua.choices import Activation, Weights
from residua.convnet import ConvBlock, ConvResNet
from residua.nets import ResNet
from residua.provenance import machine, versions
from residua.tracing import Trace, trace

_FUNCTIONS: dict[Activation, Callable[[np.ndarray], np.ndarray]] = {
    "logistic": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
}


# Attention and MLP, whose outputs are what a block adds; a ViT's MLP adds the state itself.
_PARTS = {"GPT-2": ("attn", "mlp"), "Llama": ("self_attn", "mlp")}


def measure(seed: int) -> dict[str, Any]:
    """Return by family how far K x_0 + Σ K y_t + c is from the logits, and y_t from its formula."""
    torch.manual_seed(seed)
    found: dict[str, Any] = {}
    for weights in get_args(Weights):
        for activation in _FUNCTIONS:
            net = ResNet(20, 32, 5, depth=8, weights=weights, activation=activation).double().eval()
            x = torch.randn(30, 20, dtype=torch.float64)
            seen = trace(net, x)
            found[f"ResNet, {weights}, {activation}"] = {
                "layers": seen.depth,
                "logits": summed(seen, net.head),
                "branch": branches(net, seen),
            }
    conv = ConvResNet(1, 5, blocks=(2, 2, 2)).double().eval()
    seen = trace(conv, torch.randn(4, 1, 16, 16, dtype=torch.float64), stage="stages.2")
    found["ConvResNet"] = {
        "layers": seen.depth,
        "logits": summed(seen, conv.head),
        "branch": apart(seen, _convolved(conv, seen)),
    }
    if find_spec("transformers"):
        found |= _transformers()
    return {"seed": seed, "families": found, "versions": versions(), "machine": machine()}


def summed(seen: Trace, head: Callable[[Tensor], Tensor]) -> float:
    """Return how far the head of x_0 + Σ y_t is from the logits, over the largest logit."""
    with torch.no_grad():
        logits = head(seen.states[0] + seen.residuals.sum(0))
    return float((logits - seen.logits).abs().max() / seen.logits.abs().max())


def branches(net: ResNet, seen: Trace) -> float:
    """Return the largest difference of y_t and f(W_t x_{t−1} + b_t), over the largest y_t."""
    f = _FUNCTIONS[net.activation]
    worst = 0.0
    for t in range(net.depth):
        linear, y = net.block(t).linear, seen.residuals[t].numpy()
        W, b = (p.detach().numpy() for p in (linear.weight, linear.bias))
        gap = np.abs(f(seen.states[t].numpy() @ W.T + b) - y).max()
        worst = max(worst, float(gap / np.abs(y).max()))
    return worst


def apart(seen: Trace, added: Sequence[Tensor]) -> float:
    """Return the largest difference of y_t and what a layer's branches gave, over the largest y_t."""
    gaps = [
        float((y - other).abs().max() / y.abs().max())
        for y, other in zip(seen.residuals, added, strict=True)
    ]
    return max(gaps)


@torch.no_grad()
def _convolved(conv: ConvResNet, seen: Trace) -> list[Tensor]:
    added = []
    for name, x in zip(seen.names, seen.states[:-1], strict=True):
        block = conv.get_submodule(name)
        assert isinstance(block, ConvBlock)
        added.append(block.branch(x))
    return added


def _hooked(
    model: nn.Module, x: Tensor, ends: tuple[str, str], blocks: Sequence[str]
) -> list[Tensor]:
    """Return what attention and MLP of every block gave, by hooks of their own."""
    given: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            given[name] = output[0] if isinstance(output, tuple) else output

        return hook

    names = [f"{block}.{end}" for block in blocks for end in ends]
    hooks = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    with torch.no_grad():
        model(x)
    for handle in hooks:
        handle.remove()
    return [given[f"{block}.{ends[0]}"] + given[f"{block}.{ends[1]}"] for block in blocks]


def _transformers() -> dict[str, Any]:
    import transformers as hf

    size: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
    labels: dict[str, Any] = {"num_labels": 5}
    models: dict[str, tuple[nn.Module, Tensor, str]] = {
        "GPT-2": (
            hf.GPT2LMHeadModel(
                hf.GPT2Config(
                    n_embd=32,
                    n_layer=4,
                    n_head=4,
                    vocab_size=60,
                    bos_token_id=None,
                    eos_token_id=None,
                )
            ),
            torch.randint(60, (3, 12)),
            "transformer.ln_f",
        ),
        "Llama": (
            hf.LlamaForCausalLM(
                hf.LlamaConfig(**size, num_key_value_heads=4, intermediate_size=64, vocab_size=60)
            ),
            torch.randint(60, (3, 12)),
            "model.norm",
        ),
        "ViT": (
            hf.ViTForImageClassification(
                hf.ViTConfig(**size, intermediate_size=64, image_size=16, patch_size=4, **labels)
            ),
            torch.randn(3, 3, 16, 16, dtype=torch.float64),
            "vit.layernorm",
        ),
    }
    found = {}
    for name, (model, x, norm) in models.items():
        model = model.double().eval()
        seen = trace(model, x)
        found[name] = {
            "layers": seen.depth,
            "logits": summed(seen, _head(model, model.get_submodule(norm))),
        }
        if name in _PARTS:
            found[name]["branch"] = apart(seen, _hooked(model, x, _PARTS[name], seen.names))
    return found


def _head(model: nn.Module, norm: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return what maps the last state to logits: the norm, then the linear head; a ViT's of token 0."""
    if hasattr(model, "classifier"):
        classifier = model.get_submodule("classifier")
        return lambda x: classifier(norm(x)[:, 0])
    unembed = model.get_submodule("lm_head")
    return lambda x: unembed(norm(x))
