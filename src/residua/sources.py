"""Where data comes from: the Hugging Face hub, parquet and .npz files, all checked."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from residua.errors import InputError, MissingExtraError

HUB = {"mnist": "ylecun/mnist", "cifar10": "uoft-cs/cifar10"}
DATA_DIR_VARIABLE = "RESIDUA_DATA"


@dataclass(frozen=True)
class Split:
    """Inputs x (samples, *shape), float32, and labels y (samples,), int64."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)


_LARGEST = 1e15
# Training split, test split where there is one, class names.
Source = tuple[Split, Split | None, tuple[str, ...]]


def from_name(name: str, data_dir: str | Path | None) -> Source:
    """Read a set of HUB from a local folder, RESIDUA_DATA or the hub."""
    folder = data_dir or os.environ.get(DATA_DIR_VARIABLE)
    if folder is not None:
        return from_path(_existing(Path(folder)) / name)
    load_dataset = _datasets().load_dataset
    try:
        found = load_dataset(HUB[name])
    except Exception as error:
        raise InputError(
            f"{name} could not be loaded from the Hugging Face hub ({type(error).__name__}); pass "
            f"--data-dir, or set {DATA_DIR_VARIABLE}, to a folder that holds "
            f"{name}/train*.parquet and {name}/test*.parquet"
        ) from error
    return _from_hugging_face(found)


def _existing(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"no such file or folder: {str(path)!r}; pass an existing one")
    return path


def from_path(path: Path) -> Source:
    """Read an .npz file, a parquet file, or a folder of parquet files."""
    _existing(path)
    if path.suffix == ".npz":
        split = _from_npz(path)
        return split, None, _class_names(split.y, path)
    if path.is_file():
        files = {"train": [str(path)]}
    else:
        found = {s: sorted(map(str, path.glob(f"{s}*.parquet"))) for s in ("train", "test")}
        files = {s: f for s, f in found.items() if f}
        if "train" not in files:
            raise InputError(f"no train*.parquet in the folder {str(path)!r}; pass one that has it")
    return _from_hugging_face(_quietly(_datasets().load_dataset, files), path)


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "train", "reading parquet files") from error
    return datasets


def _quietly(load_dataset: Callable[..., Any], files: dict[str, list[str]]) -> Any:
    """Read local parquet files without the progress bars that downloads show."""
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars
    from datasets.utils import enable_progress_bars as enable

    hidden = are_progress_bars_disabled()
    logger = logging.getLogger("datasets")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # what went wrong is said once, by the error
    disable_progress_bars()
    try:
        return load_dataset("parquet", data_files=files)
    except Exception as error:
        raise InputError(
            f"{', '.join(f for fs in files.values() for f in fs)!r} cannot be read as parquet: "
            f"{_root(error)}; pass a parquet file with a label column"
        ) from error
    finally:
        logger.setLevel(level)
        if not hidden:
            enable()


def _root(error: BaseException) -> str:
    """Return the first line of the innermost cause, which is the one that tells."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).split("\n")[0].rstrip(".")


def _from_npz(path: Path) -> Split:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except Exception as error:
        raise InputError(
            f"{str(path)!r} cannot be read as .npz: {_root(error) or type(error).__name__}; "
            "pass a file written by numpy.savez(path, x=..., y=...)"
        ) from error
    if not {"x", "y"} <= set(arrays):
        raise InputError(
            f"{str(path)!r} must hold the arrays x and y, and holds {sorted(arrays) or 'none'}; "
            "write it with numpy.savez(path, x=..., y=...)"
        )
    return _checked(arrays["x"], arrays["y"], path)


def _from_hugging_face(found: Any, path: Path | None = None) -> Source:
    where = path or "the hub's data set"
    features = found["train"].features
    label = next((c for c in ("label", "y", "target") if c in features), None)
    if label is None:
        raise InputError(
            f"{str(where)!r} has no column label, y or target, but {sorted(features)}; rename one"
        )
    columns = [c for c in features if c != label]
    splits = {}
    for split in found:
        table = found[split]
        if len(table) == 0:
            raise InputError(f"{str(where)!r} is empty: its {split} split has no row")
        splits[split] = _checked(
            _columns(table, columns, where), np.asarray(table[label][:]), where
        )
    names = getattr(features[label], "names", None)
    classes = tuple(names) if names else _class_names(splits["train"].y, where)
    return splits["train"], splits.get("test"), classes


def _columns(table: Any, columns: list[str], where: object) -> np.ndarray:
    """Return the inputs: one image column, one column of equally long lists, or numeric columns.

    Colour images come with the channel first, as torch's convolutions take them.
    """
    if not columns:
        raise InputError(f"{str(where)!r} has a label column and nothing else; add the inputs")
    try:
        parts = [np.stack([np.asarray(v) for v in table[c]]) for c in columns]
        if len(parts) > 1:
            return np.stack(parts, axis=1)
        image = type(table.features[columns[0]]).__name__ == "Image"
        return (
            np.ascontiguousarray(np.moveaxis(parts[0], -1, 1))
            if image and parts[0].ndim == 4
            else parts[0]
        )
    except ValueError as error:
        raise InputError(
            f"the columns {columns} of {str(where)!r} do not form one array per row ({error}); pass "
            "images of one size, lists of one length, or numeric columns"
        ) from error


def _checked(x: np.ndarray, y: np.ndarray, where: object) -> Split:
    """Refuse what would make training silently wrong."""
    name = repr(str(where))
    if x.ndim == 0 or len(x) == 0:
        raise InputError(f"{name} is empty: x has shape {x.shape}; pass at least two samples")
    if len(x) != len(y) or y.ndim != 1:
        raise InputError(
            f"{name}: x has {len(x)} samples and y has shape {y.shape}; pass one label each"
        )
    real = np.issubdtype(x.dtype, np.number) and not np.issubdtype(x.dtype, np.complexfloating)
    if not real and x.dtype != bool:
        raise InputError(f"{name}: x has the type {x.dtype}; pass real numbers")
    if x.ndim < 2:
        raise InputError(
            f"{name}: x has the shape {x.shape}; pass (samples, ...), x[:, None] for one number a sample"
        )
    bad = int(np.size(x) - np.isfinite(x).sum())
    if bad:
        first = int(np.argwhere(~np.isfinite(x.reshape(len(x), -1)).all(1))[0, 0])
        raise InputError(
            f"{name}: x holds {bad} values that are NaN or infinite, the first in sample {first}; "
            "remove or fill them"
        )
    if not np.issubdtype(y.dtype, np.integer) and not (
        np.issubdtype(y.dtype, np.floating) and np.array_equal(y, np.round(y))
    ):
        raise InputError(f"{name}: y must hold the class numbers 0…C−1, and has the type {y.dtype}")
    if np.abs(x).max() > _LARGEST:
        raise InputError(
            f"{name}: x holds values up to {np.abs(x).max():.3g} in size, which float32 cannot "
            f"standardise; scale it to below {_LARGEST:.0e}"
        )
    if len(y) and not 0 <= y.min() <= y.max() < 2**31:
        wrong = y.min() if y.min() < 0 else y.max()
        raise InputError(f"{name}: the label {wrong:g} is out of range; labels must be 0…C−1")
    return tensors(x, y)


def _class_names(y: Tensor, where: object) -> tuple[str, ...]:
    found = torch.unique(y).tolist()
    if found != list(range(len(found))):
        shown = ", ".join(map(str, found[:8])) + (", …" if len(found) > 8 else "")
        raise InputError(
            f"{str(where)!r}: labels must be 0…C−1 with every class present, and are {shown}"
        )
    return tuple(map(str, found))


def tensors(x: np.ndarray, y: np.ndarray) -> Split:
    """Return arrays as a split."""
    return Split(torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.int64)))
