import importlib
import os
import warnings
from pathlib import Path

import pytest
from beartype import BeartypeConf
from beartype.claw import beartype_packages
from jaxtyping import install_import_hook

if "PYTEST_XDIST_WORKER" in os.environ:
    # Of several processes each computes on one core, and so do those that it starts.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test asks the network


# Files that take long, longest first: begun last, one of the processes would wait for the others.
LONG = (
    "test_browser", "test_cli", "test_claims", "test_results", "test_bench", "test_compare",
    "test_training", "test_any_model", "test_examples", "test_browser_values", "test_controller",
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


def _check_types_at_run_time():
    """Check every call, and shapes where they are named; beartype alone takes a fraction of the time.

    Names that only type checkers import are no types at run time: these, too, are left to jaxtyping,
    which knows what to leave out.
    """
    source = Path(__file__).parent.parent / "src"
    shaped = tuple(
        ".".join(path.relative_to(source).with_suffix("").parts)
        for path in (source / "residua").rglob("*.py")
        if any(word in path.read_text("utf-8") for word in ("import TYPE_CHECKING", "jaxtyping"))
    )
    install_import_hook(shaped, "beartype.beartype")
    conf = BeartypeConf(
        claw_is_pep526=False, claw_skip_package_names=shaped, violation_type=TypeError
    )  # as jaxtyping's, which residua takes for bad input where it reads files
    beartype_packages(("residua",), conf=conf)


_check_types_at_run_time()


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
