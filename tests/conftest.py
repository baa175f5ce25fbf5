"""What several rooms' tests need: an unpatched standard library, and trained models."""

import contextlib
import gc
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Started in the background of a shell, this process ignores Ctrl-C, and so would all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# The same under nohup, which ignores the end of the terminal.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Importing Locust replaces sockets, threads and sleeping by gevent's in the whole process. Tests of other rooms run
# in this process too; those of Locust itself start real Locust processes, which must not see the variable.
os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"
import locust  # noqa: E402, F401  # after the variable, for its side effect only

del os.environ["LOCUST_SKIP_MONKEY_PATCH"]


# What is imported and collected stays: to look through it for garbage is a fifth of the time of collecting.
gc.disable()

# Hundreds of processes import `bench`: compiled once and not in each of them, they need an eighth less processor time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

from tests import forks  # noqa: E402 - after the variables
from tests.unlimited import LIMIT, unlimited  # noqa: E402 - the same

forks.install()

# how long examples take, and are made, is no matter of these tests: on a busy machine any may take a second
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# their assertions show values as those of tests do, where something fails
pytest.register_assert_rewrite("tests.load.locust_runs", "tests.scenarios.answered")

TESTS = Path(__file__).parent
LONGEST = (
    "load",
    "scenarios",
    "experiment",
    "conformance",
    "cli",
    "test_installed.py",
    "wire/test_transports.py",
    "test_recipes.py",
    "test_kubernetes.py",
    "test_tutorial.py",
    "export",
    "analysis",
    "server",
)
"""The rooms and files that take longest: begun first, so that pytest's processes end together."""


def _all(session: pytest.Session) -> bool:
    return TESTS in {Path(given).resolve() for given in session.config.args}


def pytest_collection(session: pytest.Session) -> None:
    """Import all tests, each of pytest's processes from another file on, where all are collected.

    Rewriting assertions is half of the time of collecting: what one has rewritten, the others read.
    """
    number, count = (os.environ.get(f"PYTEST_XDIST_WORKER{what}", "") for what in ("", "_COUNT"))
    if not number or not _all(session):
        return
    files = sorted(TESTS.rglob("test_*.py"))
    first = len(files) * int(number.removeprefix("gw")) // int(count)
    for file in [*TESTS.glob("*/conftest.py"), *files[first:], *files[:first]]:
        with contextlib.suppress(Exception):  # shown where it is collected
            importlib.import_module(".".join(file.relative_to(TESTS.parent).with_suffix("").parts))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Where all tests are run by several processes, the models are begun with before the first needs them."""
    if session.config.getoption("numprocesses", None) and _all(session):
        process = writing(session.config._tmp_path_factory.getbasetemp())  # type: ignore[attr-defined]
        session.config.add_cleanup(lambda: process.wait() and None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(TESTS)
        names = path.parts[0], str(path)
        return next((at for at, name in enumerate(LONGEST) if name in names), len(LONGEST))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


LEFT: list["subprocess.Popen[Any]"] = []
"""What failed tests of the file that is run have left running."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Keep what a test leaves that fails: it would be warned of in whatever test comes to collect it."""
    forks.Popen.of_tests.clear()
    try:
        return (yield)
    except BaseException:
        LEFT.extend(process for process in forks.Popen.of_tests if process.returncode is None)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """End it with the last test of the file: until then fixtures may do so."""
    try:
        return (yield)
    finally:
        if nextitem is None or nextitem.path != item.path:
            while LEFT:
                end(LEFT.pop())


def end(process: "subprocess.Popen[Any]") -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        with contextlib.suppress(OSError):  # of what it did not read any more
            if pipe is not None:
                pipe.close()


def writing(root: Path) -> "subprocess.Popen[str]":
    """`tests.models`, as it writes below the folder of all tests."""
    command = [sys.executable, "-m", "tests.models", str(root / "models")]
    with (root / "models.log").open("a") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, text=True, cwd=TESTS.parent)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `tests.models` writes. Nobody else writes into it: pytest's processes share it."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    with unlimited():
        code = writing(root).wait(LIMIT)
    assert code == 0, (root / "models.log").read_text()[-3000:]
    return root / "models"


@pytest.fixture(scope="session")
def models(written: Path) -> Path:
    """A folder with MNIST versions 1 (one training step) and 2 (a thousand), a flat MNIST and a small VGG16."""
    return written / "exported"
