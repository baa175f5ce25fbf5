"""What several rooms' tests need: the two MNIST versions."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with MNIST versions 1 (one training step) and 2 (a thousand), made by `bench export`."""
    folder = tmp_path_factory.mktemp("models")
    command = [sys.executable, "-m", "bench", "export", str(folder), "--model", "mnist", "--pair"]
    subprocess.run(command, check=True, capture_output=True)
    return folder
