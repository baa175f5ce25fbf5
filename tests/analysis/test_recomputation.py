"""The script in the docs recomputes the report's numbers from the samples."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.chunk import Chunk
from tests.recorded import requests, write

DOCS = Path(__file__).parents[2] / "docs" / "reading-results.md"


def test_the_script_of_the_docs_gives_the_reports_numbers(tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert code is not None
    (tmp_path / "recompute.py").write_text(code[1])
    chunks = [
        Chunk.of(
            **requests(i, count=500, rate=500, start=float(i), lag=1e-4, errors=0.02, unsent=0.01, batch=4)
        )
        for i in range(14)
    ]
    run = write(tmp_path, chunks)
    told = subprocess.run(
        [sys.executable, "-m", "bench", "report", str(run.path), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    (report,) = json.loads(told.stdout)["runs"]
    warm_up = report["warm_up"]["seconds"]
    assert warm_up > 0
    done = subprocess.run(
        [sys.executable, str(tmp_path / "recompute.py"), str(run.path), str(warm_up)],
        capture_output=True,
        text=True,
        check=True,
    )
    recomputed = {name: float(value) for name, value in (line.split() for line in done.stdout.splitlines())}
    (line,) = report["lines"]
    for ours, theirs in {"p50": "p50", "p90": "p90", "p99": "p99", "p99.9": "p999"}.items():
        assert recomputed[ours] == pytest.approx(line[theirs], rel=0.001)
    assert recomputed["accuracy"] == pytest.approx(line["accuracy"])
    assert recomputed["answered"] == line["answered"]
