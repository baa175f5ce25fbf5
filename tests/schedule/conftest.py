"""A recorded trace for the tests of this room."""

from pathlib import Path

import numpy as np
import pytest

from bench.schedule import Trace


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    instants = np.sort(np.random.default_rng(1).uniform(0, 5, 200)).round(6)
    path = tmp_path / "recorded.csv"
    path.write_text("time\n" + "".join(f"{instant}\n" for instant in instants - instants[0]))
    return Trace.read(path)
