"""Models by name: those of transformers, or package.module:factory; nothing remote is executed."""

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from residua.data import load_data, loader
from residua.errors import InputError, MissingExtraError
from residua.losses import Loss, cross_entropy, next_token
from residua.sources import Split
from residua.stored import readable

BATCH = 100  # samples of a batch of images or vectors, a tenth of it for text
_HELD_OUT = 10  # of a text every tenth window is held out
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


@dataclass(frozen=True)
class ModelData:
    """Batches to fit on and to decide by, and the loss of their samples or tokens."""

    fit: Iterable[Any]
    held_out: Iterable[Any]
    loss: Loss


def names_a_model(source: str) -> bool:
    """Return whether a text names a model, rather than a run folder of residua."""
    path = Path(source)
    with readable(path):
        if path.is_dir():
            return "architectures" in _config(path)
        if path.exists():
            return False
    # owner/name, unless there is a folder of the owner's name here: then it is a path that is wrong.
    return _is_factory(source) or (source.count("/") == 1 and not path.parent.exists())


def _config(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_factory(source: str) -> bool:
    module, colon, name = source.partition(":")
    return bool(colon) and name.isidentifier() and all(p.isidentifier() for p in module.split("."))


def load_model(source: str) -> nn.Module:
    """Return the model of a folder or hub name of transformers, or of package.module:factory.

    Raises:
        InputError: there is no such model, it needs code that transformers does not have (which is not
            executed), or the factory is missing, raises, or returns something else.
        MissingExtraError: transformers is not installed.
    """
    if _is_factory(source):
        model = _made(source)
        if not isinstance(model, nn.Module):
            raise InputError(
                f"{source} returned {type(model).__name__}, not a torch.nn.Module; have it return one"
            )
        return model.eval()
    return _from_transformers(source)


def _made(source: str) -> Any:
    """Return what a function of the user returns."""
    module, _, name = source.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as with python -m
    try:
        factory = getattr(import_module(module), name, None)
    except Exception as error:
        raise InputError(
            f"{module} could not be imported for {source} ({type(error).__name__}: {error}); run the "
            "command where it can be, or set PYTHONPATH"
        ) from error
    if not callable(factory):
        raise InputError(f"{module} has no function {name}; pass package.module:function")
    try:
        return factory()
    except Exception as error:
        raise InputError(
            f"{source} raised {type(error).__name__}: {error}; it is called without arguments"
        ) from error


def _from_transformers(source: str) -> nn.Module:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("transformers", "hf", f"loading {source}") from error
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        config = transformers.AutoConfig.from_pretrained(source, trust_remote_code=False)
        kinds = list(config.architectures or [])
        kind = getattr(transformers, kinds[0], None) if kinds else None
        if kind is None:
            raise InputError(
                f"the model {source!r} is a {kinds[0] if kinds else 'model without a class'}, which "
                "transformers does not have, and code that comes with a model is not executed; load it "
                "yourself and pass package.module:factory"
            )
        model: nn.Module = kind.from_pretrained(source, trust_remote_code=False)
    except InputError:
        raise
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"{source!r} could not be loaded by transformers ({said[0].rstrip('.')}); pass a folder "
            "that save_pretrained wrote, the name of a model on the hub, or package.module:factory"
        ) from error
    return model.eval()


def load_batches(data: str | None, source: str, data_dir: str | None, seed: int) -> ModelData:
    """Return batches for a model.

    Args:
        data: a data set of images or vectors (as for `residua fit`), a .txt file for a language model
            with a tokenizer in its folder, or package.module:function, which returns (fit, held out) or
            (fit, held out, loss): batches that can be read several times.
        source: the model's name, where a text's tokenizer is.
        data_dir: where data sets lie.
        seed: of the splits.

    Raises:
        InputError: there are none, or they do not fit.
    """
    if data is None:
        raise InputError(
            "a model needs data; pass --data with a data set, a .txt file, or package.module:function "
            "that returns (fit batches, held-out batches)"
        )
    if _is_factory(data):
        found = _made(data)
        if not isinstance(found, tuple) or len(found) not in (2, 3):
            raise InputError(
                f"{data} must return (fit batches, held-out batches) or these and a loss, not "
                f"{type(found).__name__}"
            )
        return ModelData(found[0], found[1], found[2] if len(found) == 3 else cross_entropy)
    if data.endswith(".txt"):
        return _text(Path(data), source)
    splits = load_data(data, data_dir=data_dir, seed=seed)
    train, val = (_images(s) for s in (splits.train, splits.val))
    return ModelData(loader(train, BATCH), loader(val, BATCH), cross_entropy)


def _images(split: Split) -> Split:
    """Give images without a channel one."""
    return Split(split.x[:, None], split.y) if split.x.ndim == 3 else split


def _text(path: Path, source: str) -> ModelData:
    """Return windows of a text, every tenth of them held out."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{str(path)!r} cannot be read as text ({error}); pass UTF-8") from error
    try:
        from transformers import AutoTokenizer

        folder = Path(source)  # transformers makes an empty tokenizer of a folder without one
        if folder.is_dir() and not any((folder / name).is_file() for name in _TOKENIZERS):
            raise FileNotFoundError(", ".join(_TOKENIZERS))
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:
        raise InputError(
            f"there is no tokenizer in {source!r} for the text ({type(error).__name__}); pass --data "
            "package.module:function that returns batches of token numbers"
        ) from error
    ids = torch.tensor(tokenizer(text, verbose=False)["input_ids"])
    window = min(128, int(getattr(tokenizer, "model_max_length", 128)))
    windows = ids[: len(ids) // window * window].reshape(-1, window)
    if len(windows) < _HELD_OUT:
        raise InputError(
            f"{str(path)!r} has {len(ids)} tokens and needs {_HELD_OUT * window}; pass a longer one"
        )
    held = torch.arange(len(windows)) % _HELD_OUT == 0
    fit, out = (loader(Split(w, w), BATCH // 10) for w in (windows[~held], windows[held]))
    return ModelData(fit, out, next_token)
