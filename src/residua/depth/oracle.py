"""What a network loses without layers: the one evidence for which it is run with layers switched off."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from residua.errors import InputError
from residua.inputs import check_labels
from residua.layers import ResidualStack
from residua.losses import Loss, cross_entropy, sample_losses
from residua.streaming import NO_BATCH, evaluating, find_layers, labelled


@dataclass(frozen=True)
class Oracle:
    """The loss of a network whose layers add g_t · y_t.

    Attributes:
        names: the module of every layer, over all stages.
        evaluate: gates (layer,) → mean loss over the samples kept, differentiable in the gates. With all
            gates 1 it is the network itself; a layer with gate 0 is the identity.
    """

    names: tuple[str, ...]
    evaluate: Callable[[Float[Tensor, "layer"]], Float[Tensor, ""]]

    def without(self, *layers: int) -> float:
        """Return the loss with these layers (from 1) switched off."""
        gates = torch.ones(len(self.names), dtype=torch.float64)
        gates[[t - 1 for t in layers]] = 0
        with torch.no_grad():
            return float(self.evaluate(gates))


def oracle(
    model: nn.Module | ResidualStack, batches: Iterable[Any], *, loss: Loss = cross_entropy
) -> Oracle:
    """Return the loss of a model as a function of one gate a layer.

    Args:
        model: any model with residual layers, in one stage or several, or what
            :func:`residua.find_blocks` returned of it.
        batches: (x, labels), or mappings of named inputs with `labels`; kept in memory, so a few
            thousand samples. Training data, or validation data that nothing else is decided on; never
            test data.
        loss: (outputs, targets) → the loss of each sample; default cross-entropy, in nats; of language
            models :func:`residua.next_token`.

    Raises:
        StackError: no residual layers were found.
        InputError: no batch came, or one has no labels.
    """
    stack, batches = find_layers(model, batches)
    model = stack.model
    kept = list(labelled(model, batches, "the batches of an oracle"))
    if not kept:
        raise InputError(NO_BATCH)

    def evaluate(gates: Float[Tensor, "layer"]) -> Float[Tensor, ""]:
        g = gates.to(stack.weight.device)

        def gated(t: int, before: Tensor, after: Tensor) -> Tensor:
            # Untouched where nothing is to change, so that gates of 1 give the network itself.
            if not g.requires_grad and g[t - 1] == 1:
                return after
            return before + g[t - 1].to(before.dtype) * (after - before)

        total = torch.zeros((), dtype=torch.float64, device=g.device)
        count = 0
        with evaluating(model):
            for x, labels in kept:
                with stack.change(gated):
                    outputs = stack.outputs(x).float()
                targets = check_labels(labels, outputs.shape[-1]).to(outputs.device)
                each = sample_losses(loss, outputs, targets)
                total, count = total + each.double().sum(), count + len(each)
        return total / count

    return Oracle(stack.names, evaluate)
