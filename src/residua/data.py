"""Data sets as tensors, always split in three: training, validation (decides), test (reports)."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from residua.errors import InputError, MissingExtraError

HUB = {"mnist": "ylecun/mnist"}
EMBEDDED = ("circles", "digits")
DATA_DIR_VARIABLE = "RESIDUA_DATA"
_MIN_PER_CLASS = 5


@dataclass(frozen=True)
class Split:
    """Inputs x (samples, *shape), float32, and labels y (samples,), int64."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class DataSplits:
    """One data set: training, validation and test apart, standardised by the training split."""

    name: str
    train: Split
    val: Split
    test: Split
    classes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.train.x.shape[1:])

    @property
    def inputs(self) -> int:
        """Number of input dimensions."""
        return int(np.prod(self.shape))


class _Batches(Dataset[tuple[Tensor, Tensor]]):
    """A split whose batches are taken by one index operation instead of sample by sample."""

    def __init__(self, split: Split):
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.split.x[index], self.split.y[index]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        where = torch.tensor(indices)
        return self.split.x[where], self.split.y[where]


def loader(
    split: Split, batch_size: int, *, shuffle_seed: int | None = None
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Return batches of a split, in order, or shuffled by (shuffle_seed, epoch).

    The order of an epoch depends on nothing else, so a resumed training sees the same batches. A
    shuffled loader leaves the last incomplete batch out.
    """
    dataset = _Batches(split)
    shuffled = shuffle_seed is not None
    sampler: DistributedSampler[tuple[Tensor, Tensor]] | None = (
        DistributedSampler(dataset, num_replicas=1, rank=0, seed=shuffle_seed or 0)
        if shuffled
        else None
    )
    batch_size = min(batch_size, len(split))
    return DataLoader(
        dataset, batch_size, sampler=sampler, drop_last=shuffled, collate_fn=lambda batch: batch
    )


def load_data(name: str, *, data_dir: str | Path | None = None, seed: int = 0) -> DataSplits:
    """Load a data set by name or path and split it into training, validation and test.

    Args:
        name: "circles" or "digits" (embedded, no download), "mnist", or a path: an .npz file with
            arrays x (samples, ...) and y (samples,), a .parquet file with a label column, or a
            folder with train and test parquet files.
        data_dir: folder that holds mnist/train*.parquet and mnist/test*.parquet. Default: the
            environment variable RESIDUA_DATA; without either, the Hugging Face hub.
        seed: draws the validation split, and the test split where the data set has none.

    Returns:
        DataSplits. A set without a test split of its own is split 64 : 16 : 20, stratified; one
        with, 11 : 1 (training : validation). Images are standardised by one mean and one standard
        deviation, tables per column, both taken from the training split; circles stay as they are.

    Raises:
        InputError: unknown name, missing or empty file, NaN or infinite values, labels that are
            not 0…C−1, a single class, too few samples of a class.
    """
    if name == "circles":
        return _circles(seed)
    if name == "digits":
        return _digits(seed)
    if name in HUB:
        train, test, names = _named(name, data_dir)
    elif Path(name).suffix in (".npz", ".parquet") or Path(name).is_dir():
        train, test, names = _from_path(Path(name))
    else:
        raise InputError(
            f"unknown data set {name!r}; pass one of {', '.join((*EMBEDDED, *HUB))}, "
            "or the path of an .npz file, a .parquet file or a folder of parquet files"
        )
    return _split(name, train, test, names, seed)


def _circles(seed: int) -> DataSplits:
    """E1's data: radius ½ (class 0) and 1 (class 1); 1000 points each for training and test."""
    rng = np.random.default_rng(seed)

    def draw(n: int) -> Split:
        y = np.arange(n) % 2
        angle = rng.uniform(0, 2 * np.pi, n)
        x = np.where(y, 1.0, 0.5)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        return _tensors(x, y)

    return DataSplits("circles", draw(1000), draw(1000), draw(1000), ("r = 0.5", "r = 1"))


def _digits(seed: int) -> DataSplits:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "train", "the data set 'digits'") from error
    digits = load_digits()
    whole = _tensors(digits.images, digits.target)
    return _split("digits", whole, None, tuple(map(str, range(10))), seed)


def _named(name: str, data_dir: str | Path | None) -> tuple[Split, Split | None, tuple[str, ...]]:
    folder = data_dir or os.environ.get(DATA_DIR_VARIABLE)
    if folder is not None:
        return _from_path(_existing(Path(folder)) / name)
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


def _from_path(path: Path) -> tuple[Split, Split | None, tuple[str, ...]]:
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
    disable_progress_bars()
    try:
        return load_dataset("parquet", data_files=files)
    except Exception as error:
        raise InputError(
            f"{', '.join(f for fs in files.values() for f in fs)!r} cannot be read as parquet: "
            f"{_root(error)}; pass a parquet file with a label column"
        ) from error
    finally:
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


def _from_hugging_face(
    found: Any, path: Path | None = None
) -> tuple[Split, Split | None, tuple[str, ...]]:
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
    """Return the inputs: one image column, one column of equally long lists, or numeric columns."""
    if not columns:
        raise InputError(f"{str(where)!r} has a label column and nothing else; add the inputs")
    try:
        parts = [np.stack([np.asarray(v) for v in table[c]]) for c in columns]
        return parts[0] if len(parts) == 1 else np.stack(parts, axis=1)
    except ValueError as error:
        raise InputError(
            f"the columns {columns} of {str(where)!r} do not form one array per row ({error}); pass "
            "images of one size, lists of one length, or numeric columns"
        ) from error


def _checked(x: np.ndarray, y: np.ndarray, where: object) -> Split:
    """Refuse what would make training silently wrong."""
    name = repr(str(where))
    if len(x) == 0:
        raise InputError(f"{name} is empty: x has shape {x.shape}; pass at least two samples")
    if len(x) != len(y) or y.ndim != 1:
        raise InputError(
            f"{name}: x has {len(x)} samples and y has shape {y.shape}; pass one label each"
        )
    if not (np.issubdtype(x.dtype, np.number) or x.dtype == bool):
        raise InputError(f"{name}: x has the type {x.dtype}; pass numbers")
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
    return _tensors(x, y)


def _class_names(y: Tensor, where: object) -> tuple[str, ...]:
    found = torch.unique(y).tolist()
    if found != list(range(len(found))):
        shown = ", ".join(map(str, found[:8])) + (", …" if len(found) > 8 else "")
        raise InputError(
            f"{str(where)!r}: labels must be 0…C−1 with every class present, and are {shown}"
        )
    return tuple(map(str, found))


def _tensors(x: np.ndarray, y: np.ndarray) -> Split:
    return Split(torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.int64)))


def _split(
    name: str, train: Split, test: Split | None, classes: tuple[str, ...], seed: int
) -> DataSplits:
    """Check the labels, draw the missing splits, standardise by the training split."""
    for split in (train, test):
        if split is not None and (int(split.y.min()) < 0 or int(split.y.max()) >= len(classes)):
            wrong = int(split.y.min()) if int(split.y.min()) < 0 else int(split.y.max())
            raise InputError(
                f"{name!r}: the label {wrong} is out of range; labels must be 0…{len(classes) - 1}"
            )
    counts = torch.bincount(train.y, minlength=len(classes))
    present = int((counts > 0).sum())
    if present < 2:
        raise InputError(
            f"{name!r} holds one class only (label {int(train.y[0])}); pass at least two classes"
        )
    rare = int(counts[counts > 0].min())
    if rare < _MIN_PER_CLASS:
        raise InputError(
            f"{name!r}: a class has {rare} samples; pass at least {_MIN_PER_CLASS} of each class, "
            "so that training, validation and test all see it"
        )
    if test is None:
        train, test = _part(train, 0.2, seed)
        train, val = _part(train, 0.2, seed)
    else:
        train, val = _part(train, 1 / 12, seed)
    return _standardised(DataSplits(name, train, val, test, classes))


def _part(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Return two stratified parts, the second holding the given share."""
    rng = np.random.default_rng(seed)
    y = split.y.numpy()
    second = np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == label))
        second[members[: max(1, round(share * len(members)))]] = True
    mask = torch.from_numpy(second)
    return Split(split.x[~mask], split.y[~mask]), Split(split.x[mask], split.y[mask])


def _standardised(data: DataSplits) -> DataSplits:
    x = data.train.x
    over = 0 if x.ndim == 2 else tuple(range(x.ndim))
    mean, std = x.mean(over), x.std(over)
    std = torch.where(std > 0, std, torch.ones_like(std))

    def apply(split: Split) -> Split:
        return Split((split.x - mean) / std, split.y)

    return replace(data, train=apply(data.train), val=apply(data.val), test=apply(data.test))
