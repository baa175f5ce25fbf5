"""The Python API: `import bench` is cheap, and its names read and compare runs."""

import subprocess
import sys
from pathlib import Path

import pytest

import bench
from tests.recorded import requests, seconds, write


def test_runs_are_loaded_in_their_order_and_compared(tmp_path: Path) -> None:
    for side, hour, service in (("old", 10, 0.002), ("new", 15, 0.004)):
        for trial in range(4):
            rows = seconds(requests(seed=10 * hour + trial, service=service))
            write(tmp_path / side, rows, note=str(trial), started=f"2026-03-01T{hour + trial}:00:00+00:00")
    runs = bench.load_runs(tmp_path / "old", str(tmp_path / "new"))
    assert [type(run) for run in runs] == [bench.Run] * 8
    found = bench.compare(tmp_path / "old", runs[4:])
    (p50,) = [change for change in found.changes if change.metric.name == "p50"]
    assert p50.size == pytest.approx(2, rel=0.1)


def test_folders_without_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(bench.BenchError, match="no run in it"):
        bench.load_runs(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    with pytest.raises(bench.BenchError, match="broken"):
        bench.load_runs(tmp_path)


def test_the_import_brings_nothing_heavy() -> None:
    code = "import bench, sys; print({'pandas', 'numpy', 'scipy', 'locust', 'grpc'} & set(sys.modules)); bench.nothing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "set()\n"
    assert "has no attribute 'nothing'" in done.stderr
