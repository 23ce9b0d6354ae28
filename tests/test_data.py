import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

import residua as rs


def write(path, x=None, y=None):
    n = 40
    x = np.random.default_rng(0).normal(size=(n, 3)) if x is None else x
    y = np.arange(len(x)) % 2 if y is None else y
    np.savez(path, x=x, y=y)
    return str(path)


def rows(split):
    return {row.tobytes() for row in split.x.flatten(1).numpy()}


@pytest.mark.parametrize("name", ["digits", "circles"])
def test_splits_are_apart_and_drawn_by_the_seed(name):
    a, b, c = (rs.load_data(name, seed=s) for s in (0, 0, 1))
    assert torch.equal(a.val.x, b.val.x)
    assert not torch.equal(a.val.x, c.val.x)
    parts = [rows(s) for s in (a.train, a.val, a.test)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    for split in (a.train, a.val, a.test):
        assert set(split.y.tolist()) == set(range(len(a.classes)))


def test_circles_have_the_papers_radii():
    data = rs.load_data("circles")
    radius = data.train.x.norm(dim=1)
    torch.testing.assert_close(radius, torch.where(data.train.y == 1, 1.0, 0.5))
    assert len(data.train) == len(data.test) == 1000


def test_only_the_training_split_standardises():
    data = rs.load_data("digits", seed=3)
    assert data.shape == (8, 8)
    assert abs(float(data.train.x.mean())) < 1e-5
    assert float(data.train.x.std()) == pytest.approx(1, abs=1e-5)
    assert abs(float(data.test.x.mean())) > 1e-5


def test_mnist_from_local_parquet(mnist_dir):
    data = rs.load_data("mnist", data_dir=mnist_dir)
    assert len(data.train) + len(data.val) == 60000
    assert len(data.test) == 10000
    assert 4990 <= len(data.val) <= 5010
    assert data.shape == (28, 28)
    assert not rows(data.val) & rows(data.train)
    torch.testing.assert_close(float(data.train.x.min()), -0.1307 / 0.3081, atol=2e-3, rtol=0)


def test_users_npz_and_parquet_agree(tmp_path):
    x = np.random.default_rng(1).normal(size=(60, 2)).astype(np.float32)
    y = np.arange(60) % 3
    npz = rs.load_data(write(tmp_path / "a.npz", x, y), seed=5)
    pd.DataFrame({"u": x[:, 0], "v": x[:, 1], "label": y}).to_parquet(tmp_path / "a.parquet")
    parquet = rs.load_data(str(tmp_path / "a.parquet"), seed=5)
    assert torch.equal(npz.test.x, parquet.test.x)
    assert npz.classes == ("0", "1", "2")
    pd.DataFrame({"x": list(x), "y": y}).to_parquet(tmp_path / "train.parquet")
    folder = rs.load_data(str(tmp_path), seed=5)
    assert torch.equal(npz.train.x, folder.train.x)


def test_batches_depend_on_seed_and_epoch_alone():
    split = rs.load_data("digits").train

    def order(seed, epoch):
        batches = rs.loader(split, 64, shuffle_seed=seed)
        batches.sampler.set_epoch(epoch)
        assert isinstance(batches, DataLoader)
        return torch.cat([y for _, y in batches])

    assert torch.equal(order(1, 4), order(1, 4))
    assert not torch.equal(order(1, 4), order(1, 5))
    assert not torch.equal(order(1, 4), order(2, 4))


NAN = np.ones((40, 3))
NAN[7, 1] = np.nan
Y = np.arange(40) % 2


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (NAN, Y, "x holds 1 values that are NaN or infinite, the first in sample 7"),
        (None, Y + 1, "labels must be 0…C−1 with every class present, and are 1, 2"),
        (None, Y * 2, "labels must be 0…C−1 with every class present, and are 0, 2"),
        (None, Y * 0, "holds one class only"),
        (None, Y + 0.5, "y must hold the class numbers"),
        (None, Y[:9], "x has 40 samples and y has shape"),
        (np.zeros((0, 3)), np.zeros(0, int), "is empty"),
        (None, (np.arange(40) > 37).astype(int), "a class has 2 samples; pass at least 5"),
        (np.full((40, 1), "a"), Y, "pass real numbers"),
        (np.full((40, 1), 1j), Y, "x has the type complex128; pass real numbers"),
        (np.full((40, 1), 1e300), Y, "values up to 1e.300 in size, which float32 cannot"),
        (np.zeros(40), Y, r"x has the shape \(40,\); pass \(samples, ...\)"),
        (np.zeros(()), Y, "is empty"),
        (None, Y - 1, "the label -1 is out of range"),
        (None, Y.astype(float) * 1e300, r"the label 1e.300 is out of range"),
    ],
)
def test_bad_npz(tmp_path, x, y, said):
    with pytest.raises(rs.InputError, match=said):
        rs.load_data(write(tmp_path / "bad.npz", x, y))


def test_bad_files(tmp_path):
    def refused(said, name, **options):
        with pytest.raises(rs.InputError, match=said):
            rs.load_data(str(name), **options)

    refused("unknown data set 'mnits'; pass one of circles, digits, mnist", "mnits")
    refused("no such file or folder", tmp_path / "absent.npz")
    refused("no such file or folder", "mnist", data_dir=tmp_path / "absent")
    refused("no such file or folder", "mnist", data_dir=tmp_path)
    refused(r"no train\*.parquet in the folder", tmp_path)
    (tmp_path / "empty.npz").touch()
    refused("cannot be read as .npz", tmp_path / "empty.npz")
    (tmp_path / "empty.parquet").touch()
    refused("cannot be read as parquet", tmp_path / "empty.parquet")
    np.savez(tmp_path / "object.npz", x=np.array([{}, 1], dtype=object), y=Y)
    refused("cannot be read as .npz", tmp_path / "object.npz")
    np.savez(tmp_path / "names.npz", a=Y)
    refused(r"must hold the arrays x and y, and holds \['a'\]", tmp_path / "names.npz")
    pd.DataFrame({"a": [1.0], "b": [2.0]}).to_parquet(tmp_path / "nolabel.parquet")
    refused("has no column label, y or target", tmp_path / "nolabel.parquet")
    pd.DataFrame({"label": Y}).to_parquet(tmp_path / "noinput.parquet")
    refused("has a label column and nothing else", tmp_path / "noinput.parquet")
