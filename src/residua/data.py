"""Data sets as tensors, always split in three: training, validation (decides), test (reports)."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from residua.errors import InputError, MissingExtraError
from residua.sources import HUB, Split, from_name, from_path, tensors

EMBEDDED = ("circles", "digits")
NAMES = (*EMBEDDED, *HUB)
_MIN_PER_CLASS = 5


@dataclass(frozen=True)
class Scale:
    """Inputs are standardised to (x − mean) / std; one number each, or one for each column."""

    mean: float | list[float]
    std: float | list[float]


@dataclass(frozen=True)
class DataSplits:
    """One data set: training, validation and test apart, standardised by `scale` where it is given."""

    name: str
    train: Split
    val: Split
    test: Split
    classes: tuple[str, ...]
    scale: Scale | None = None

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
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, not {batch_size}")
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


def load_data(
    name: str,
    *,
    data_dir: str | Path | None = None,
    seed: int = 0,
    scale: Scale | None = None,
) -> DataSplits:
    """Load a data set by name or path and split it into training, validation and test.

    Args:
        name: "circles" or "digits" (embedded, no download), "mnist", "cifar10", or a path: an .npz file
            with arrays x (samples, ...) and y (samples,), a .parquet file with a label column, or a
            folder with train and test parquet files. Colour images have the shape (3, height, width).
        data_dir: folder that holds NAME/train*.parquet and NAME/test*.parquet. Default: the environment
            variable RESIDUA_DATA; without either, the Hugging Face hub.
        seed: draws the validation split, and the test split where the data set has none.
        scale: standardise by this, say by that of the data a network was trained on; default by the
            training split's own mean and standard deviation.

    Returns:
        DataSplits. A set without a test split of its own is split 64 : 16 : 20, stratified; one
        with, 11 : 1 (training : validation). Images are standardised by one mean and one standard
        deviation, tables per column, both taken from the training split; circles stay as they are.

    Raises:
        InputError: unknown name, missing or empty file, NaN or infinite values, labels that are
            not 0…C−1, a single class, too few samples of a class.
    """
    if seed < 0:
        raise InputError(f"seed must be 0 or more, not {seed}")
    if name == "circles":
        return _circles(seed)
    if name == "digits":
        return _standardised(_digits(seed), scale)
    if name in HUB:
        train, test, names = from_name(name, data_dir)
    elif Path(name).suffix in (".npz", ".parquet") or Path(name).is_dir():
        train, test, names = from_path(Path(name))
    else:
        raise InputError(
            f"unknown data set {name!r}; pass one of {', '.join(NAMES)}, "
            "or the path of an .npz file, a .parquet file or a folder of parquet files"
        )
    return _standardised(_split(name, train, test, names, seed), scale)


def balanced(split: Split, samples: int) -> Split:
    """Return so many samples, the first of each class, then the second of each, and so on."""
    y = split.y.numpy()
    rank = np.empty_like(y)
    for c in np.unique(y):
        rank[y == c] = np.arange((y == c).sum())
    chosen = torch.from_numpy(np.lexsort((y, rank))[:samples].copy())
    return Split(split.x[chosen], split.y[chosen])


def resplit(data: DataSplits, seed: int) -> DataSplits:
    """Return a data set with training and validation data drawn anew; test data stays as it is.

    The two keep the sizes of their classes, and the scale stays that of the first split.
    """
    x, y = (torch.cat([getattr(s, k) for s in (data.train, data.val)]) for k in ("x", "y"))
    share = len(data.val) / (len(data.train) + len(data.val))
    train, val = _part(Split(x, y), share, seed)
    return replace(data, train=train, val=val)


def _circles(seed: int) -> DataSplits:
    """E1's data: radius ½ (class 0) and 1 (class 1); 1000 points each for training and test."""
    rng = np.random.default_rng(seed)

    def draw(n: int) -> Split:
        y = np.arange(n) % 2
        angle = rng.uniform(0, 2 * np.pi, n)
        x = np.where(y, 1.0, 0.5)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        return tensors(x, y)

    return DataSplits("circles", draw(1000), draw(1000), draw(1000), ("r = 0.5", "r = 1"))


def _digits(seed: int) -> DataSplits:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "train", "the data set 'digits'") from error
    digits = load_digits()
    whole = tensors(digits.images, digits.target)
    return _split("digits", whole, None, tuple(map(str, range(10))), seed)


def _split(
    name: str, train: Split, test: Split | None, classes: tuple[str, ...], seed: int
) -> DataSplits:
    """Check labels and shapes, draw the missing splits."""
    if test is not None and test.x.shape[1:] != train.x.shape[1:]:
        raise InputError(
            f"{name!r}: training inputs have the shape {tuple(train.x.shape[1:])} and test inputs "
            f"{tuple(test.x.shape[1:])}; pass one shape"
        )
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
    return DataSplits(name, train, val, test, classes)


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


def _standardised(data: DataSplits, scale: Scale | None) -> DataSplits:
    if scale is None:
        x = data.train.x.double()
        over = 0 if x.ndim == 2 else tuple(range(x.ndim))
        mean, std = x.mean(over), x.std(over)
        std = torch.where(std > 0, std, torch.ones_like(std))
        scale = Scale(mean.tolist(), std.tolist())
    mean, std = torch.tensor(scale.mean), torch.tensor(scale.std)
    if mean.ndim and mean.shape != data.train.x.shape[1:]:
        raise InputError(
            f"the scale is for {len(mean)} columns and {data.name!r} has inputs of the shape "
            f"{tuple(data.train.x.shape[1:])}; pass data of the same kind"
        )

    def apply(split: Split) -> Split:
        return Split((split.x - mean) / std, split.y)

    train, val, test = (apply(s) for s in (data.train, data.val, data.test))
    return replace(data, train=train, val=val, test=test, scale=scale)
