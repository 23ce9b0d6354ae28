"""The sentence at the top: what was cut, at what accuracy, how much faster."""

from collections.abc import Mapping
from typing import Any

from residua.report.depth_figures import Cut, layers_in_words

Summaries = Mapping[str, Mapping[str, Any]]


def cut_of(summary: Mapping[str, Any]) -> Cut | None:
    """Return what was cut in a run, or None."""
    before, after = summary.get("depth_initial"), summary.get("depth_final")
    if before is None or after is None or after >= before:
        return None
    return Cut(int(before), int(after))


def marked_cut(summary: Mapping[str, Any]) -> Cut | None:
    """Return what is marked in the depth of a run: the last layers, where those went in training.

    A run that was cut afterwards, or by a rule that takes any layer, has figures of what is left alone.
    """
    last = summary.get("adaptive") in ("paper", "depth-curve") and "pruned" not in summary
    return cut_of(summary) if last else None


def headline(summaries: Summaries) -> str:
    """Return in one sentence, with figures, what the runs of a page came to."""
    cuts = {n: s for n, s in summaries.items() if cut_of(s) and _known(s)}
    if not cuts:
        return _uncut(summaries)
    if len({str(s.get("data")) for s in summaries.values()}) > 1:
        return " ".join(f"{n}: {_alone(s)}" for n, s in summaries.items())
    best = min(cuts, key=lambda n: (cuts[n]["test_error"], cuts[n]["depth_final"]))
    who = f"{best}: " if len(summaries) > 1 else ""
    if "pruned" in cuts[best]:
        return who + _pruned(cuts[best])
    alike = ("machine", "seed")  # without which neither time nor error says anything
    whole = [s for n, s in summaries.items() if n not in cuts and _known(s)]
    whole = [s for s in whole if all(s.get(key) == cuts[best].get(key) for key in alike)]
    return who + _cut(cuts[best], whole)


def _known(summary: Mapping[str, Any]) -> bool:
    error = summary.get("test_error")
    return error is not None and error == error


def _alone(summary: Mapping[str, Any]) -> str:
    """Return the sentence of one run among others on other data."""
    if not cut_of(summary) or not _known(summary):
        return _uncut({"": summary})
    return _pruned(summary) if "pruned" in summary else _cut(summary, [])


def model_headline(summary: Mapping[str, Any]) -> str:
    """Return in one sentence what went of a model, at what held-out loss, and how much faster it is."""
    before, after = summary["before"], summary["healed"] or summary["after"]
    seconds = after["seconds"] or summary["after"]["seconds"]  # healing changes no shape
    gone = before["layers"] - after["layers"]
    healed = ", healed" if summary["healed"] else ""
    return (
        f"{gone} of {before['layers']} layers were cut at a held-out loss of {after['loss']:.4f}"
        f"{healed} (uncut {before['loss']:.4f}): {before['seconds'] / seconds:.1f} times as fast."
    )


def guessing(summary: Mapping[str, Any], classes: int) -> str | None:
    """Return a sentence where a run's error is close to that of guessing one of its classes."""
    chance = 100 * (1 - 1 / classes)
    if not summary["test_error"] >= 0.9 * chance:
        return None
    return (
        f"that is close to guessing one of {classes} classes ({chance:.3g} %): try another --seed or "
        "--lr, or more --epochs"
    )


def _layers(summary: Mapping[str, Any]) -> str:
    before, after = summary["depth_initial"], summary["depth_final"]
    return f"{before - after} of {before} layers were cut"


def _pruned(summary: Mapping[str, Any]) -> str:
    cut = summary["pruned"]
    before, after = cut["before"]["seconds"], (cut["healed"] or cut["after"])["seconds"]
    after = after or cut["after"]["seconds"]
    error, was = summary["test_error"], summary.get("test_error_uncut")
    words = f"{_layers(summary)} at {error:.2f} % test error"
    words += f" (uncut {was:.2f} %)" if was is not None else ""
    faster = f"{before / after:.1f} times as fast" if before and after else "speed was not measured"
    return f"{words}: {faster}, {layers_in_words(summary['depth_final'])} left."


def _cut(summary: Mapping[str, Any], whole: list[Mapping[str, Any]]) -> str:
    words = f"{_layers(summary)} while it trained, at {summary['test_error']:.2f} % test error"
    if not whole:
        return (
            f"{words}; no uncut run of the same data, seed and machine is here to compare it with."
        )
    uncut = whole[0]
    words += f" (uncut {uncut['test_error']:.2f} %)"
    if summary.get("seconds") and uncut.get("seconds"):
        ratio = uncut["seconds"] / summary["seconds"]
        words += (
            f", trained in {summary['seconds']:.0f} s instead of {uncut['seconds']:.0f} s, {ratio:.1f} "
            "times as fast"
        )
    return f"{words}."


def _uncut(summaries: Summaries) -> str:
    parts = []
    for name, s in summaries.items():
        who = f"{name}: " if len(summaries) > 1 else ""
        if _known(s) and "depth_final" in s:
            parts.append(
                f"{who}{layers_in_words(s['depth_final'])} at {s['test_error']:.2f} % test error"
            )
    if not parts:
        return "Nothing is known of layers and errors: the summary is incomplete."
    return f"Nothing was cut: {'; '.join(parts)}."
