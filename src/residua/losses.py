"""Losses of samples and of tokens, one value each."""

from collections.abc import Callable

from torch import Tensor, nn

from residua.errors import InputError

# (outputs, targets) → the loss of each sample, or of each token that counts.
Loss = Callable[[Tensor, Tensor], Tensor]


def class_labels(labels: Tensor | None, what: str) -> Tensor:
    """Return labels, or raise InputError where a batch has none or targets that are no classes."""
    if labels is None or labels.is_floating_point():
        kind = "none" if labels is None else f"targets of the kind {labels.dtype}"
        raise InputError(
            f"{what} needs the class of each sample; pass batches (x, labels) with whole numbers as "
            f"labels, not {kind}"
        )
    if labels.ndim > 1:
        raise InputError(
            f"{what} needs the class of each sample, and these labels are of tokens; where a loss can "
            "be passed, pass loss=residua.next_token (causal language models) or residua.each_token"
        )
    return labels


def cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each sample, in nats.

    Raises:
        InputError: the targets are no classes.
    """
    labels = class_labels(labels, "cross-entropy (pass another loss, say a squared error, or it)")
    return nn.functional.cross_entropy(outputs, labels.to(outputs.device), reduction="none")


def each_token(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of every token whose label is 0 or more, in nats.

    For token classification and masked language models.

    Args:
        outputs: logits (sample, token, class).
        labels: (sample, token), at their own places.

    Raises:
        InputError: the shapes do not fit, or no token counts.
    """
    if outputs.ndim != 3 or labels.shape != outputs.shape[:2]:
        raise InputError(
            "a loss of tokens needs logits (sample, token, class) and labels (sample, token), not "
            f"{tuple(outputs.shape)} and {tuple(labels.shape)}"
        )
    labels = labels.to(outputs.device)
    counts = labels >= 0
    if not bool(counts.any()):
        raise InputError("no label is 0 or more, so no token counts; pass labels of tokens")
    return nn.functional.cross_entropy(outputs[counts], labels[counts], reduction="none")


def next_token(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of every next token whose label is 0 or more, in nats.

    For causal language models: the labels are the input itself, and the logits at place i are held to
    the label at i + 1, as in transformers.

    Args, Raises:
        As :func:`each_token`.
    """
    if outputs.ndim != 3 or labels.shape != outputs.shape[:2]:
        return each_token(outputs, labels)  # says what is wrong
    return each_token(outputs[:, :-1], labels[:, 1:])


def sample_losses(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each sample, or of each token that counts.

    Raises:
        InputError: the loss gives something else than one value a sample, or a token.
    """
    each = loss(outputs, targets)
    if each.ndim != 1 or (len(each) != len(outputs) and outputs.ndim < 3):
        raise InputError(
            f"loss must give one value for each of the {len(outputs)} samples, not the shape "
            f"{tuple(each.shape)}; leave its mean out (reduction='none'), sum over outputs"
        )
    return each
