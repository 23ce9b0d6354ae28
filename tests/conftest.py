import importlib
import os
import warnings
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Of several processes each computes on one core, and so do those that it starts.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test asks the network


# Files that take long, longest first: begun last, one of two processes would wait for the other.
LONG = (
    "test_training", "test_results", "test_browser", "test_cli", "test_any_model", "test_blocks",
    "test_compare", "test_bench", "test_controller", "test_browser_values",
)  # fmt: skip


def pytest_configure(config):
    if config.getoption("numprocesses", None):
        return  # this process only spreads the tests over others
    # By jaxtyping's import hook a module whose shapes are checked has all that it is the first to import
    # compiled anew, in every process: of these that is thousands of files.
    for name in ("torch", "lightning.pytorch", "xarray", "h5py"):
        importlib.import_module(name)


def pytest_collection_modifyitems(items):
    rank = {name: k for k, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONG)))


@pytest.fixture
def mnist_dir() -> Path:
    folder = os.environ.get("RESIDUA_DATA")
    if folder is None or not (Path(folder) / "mnist").exists():
        pytest.skip("MNIST is absent: set RESIDUA_DATA to a folder with mnist/train*.parquet")
    return Path(folder)


@pytest.fixture(autouse=True)
def _folder_of_its_own(tmp_path, monkeypatch):
    # What a command writes by default goes into the working directory.
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _lightning_warnings():
    # Lightning warns about its own loaders and logs; the project's warnings stay errors.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        warnings.filterwarnings("ignore", module=r"torch\.jit.*")
        yield


@pytest.fixture(scope="module")
def chromium():
    from browser import launched  # only where there is one, see need_a_browser

    with launched() as browser:
        yield browser
