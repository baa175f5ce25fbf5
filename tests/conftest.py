"""What several rooms' tests need: an unpatched standard library, and the two MNIST versions."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Started in the background of a shell, this process ignores Ctrl-C, and so would all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Importing Locust replaces sockets, threads and sleeping by gevent's in the whole process. Tests of other rooms run
# in this process too; those of Locust itself start real Locust processes, which must not see the variable.
os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"
import locust  # noqa: E402, F401  # after the variable, for its side effect only

del os.environ["LOCUST_SKIP_MONKEY_PATCH"]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with MNIST versions 1 (one training step) and 2 (a thousand), made by `bench export`."""
    folder = tmp_path_factory.mktemp("models")
    command = [sys.executable, "-m", "bench", "export", str(folder), "--model", "mnist", "--pair"]
    subprocess.run(command, check=True, capture_output=True)
    return folder
