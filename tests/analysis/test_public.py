"""The Python API: `import bench` is cheap, and its names read and compare runs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.runs.chunk import Chunk
from tests.recorded import requests, seconds, write

DOCS = Path(__file__).parents[2] / "docs"


def test_runs_are_loaded_in_their_order_and_compared(tmp_path: Path) -> None:
    for side, hour, service in (("old", 10, 0.002), ("new", 15, 0.004)):
        for trial in range(4):
            rows = seconds(requests(seed=10 * hour + trial, service=service))
            write(tmp_path / side, rows, note=str(trial), started=f"2026-03-01T{hour + trial}:00:00+00:00")
    table = bench.load_runs(tmp_path / "old", str(tmp_path / "new"))
    assert len(table) == 8
    assert table["started"].is_monotonic_increasing
    assert table["p50"][:4].to_numpy() == pytest.approx(0.002, rel=0.05)
    assert (table["version"] == 2).all()
    assert table.attrs["units"]["p50"] == "s"
    run = bench.Run.open(table["run"][0])
    for candidate in (table[4:], tmp_path / "new", [bench.Run.open(path) for path in table["run"][4:]]):
        found = bench.compare(tmp_path / "old", candidate)
        (p50,) = [change for change in found.changes if change.metric.name == "p50"]
        assert p50.size == pytest.approx(2, rel=0.1)
    rows = run.requests
    assert rows.attrs["units"]["latency"] == "s"
    assert rows["latency"].to_numpy() == pytest.approx((rows["send_delay"] + rows["service"]).to_numpy())
    histogram = run.latency_histogram()
    answered = rows["latency"][rows["status"] == 0]
    assert histogram.sum() == len(answered)
    ends = histogram.index.to_numpy()
    assert ends[histogram.cumsum().searchsorted(len(answered) / 2)] == pytest.approx(
        answered.median(), rel=0.01
    )


def test_requests_that_were_not_kept_are_not_an_empty_table(tmp_path: Path) -> None:
    run = write(tmp_path, [Chunk.of(**requests(1), keep_samples=False)])
    with pytest.raises(bench.BenchError, match=r"not kept; measure without --no-samples .* samples = true"):
        _ = run.requests
    assert run.latency_histogram().sum() > 0


def test_rows_of_a_run_are_conditions_of_their_own(tmp_path: Path) -> None:
    for trial in range(2):
        rows = seconds(
            requests(seed=trial, version=6, service=0.002),
            requests(seed=10 + trial, version=7, service=0.003),
        )
        write(tmp_path, rows, note=str(trial), started=f"2026-03-01T{10 + trial}:00:00+00:00")
    table = bench.load_runs(tmp_path)
    assert table["version"].tolist() == [6, 7, 6, 7]
    found = bench.compare(table[table["version"] == 6], table[table["version"] == 7], "version")
    (p50,) = [change for change in found.changes if change.metric.name == "p50"]
    assert p50.size == pytest.approx(1.5, rel=0.1)


def test_pictures_are_figures(tmp_path: Path) -> None:
    for trial, rate in enumerate((500.0, 1000.0)):
        rows = seconds(requests(seed=trial, rate=rate))
        load = {"schedule": {"kind": "constant", "rate": rate}, "users": 1}
        write(tmp_path, rows, started=f"2026-03-01T{10 + trial}:00:00+00:00", load=load)
    table = bench.load_runs(tmp_path)
    assert table["schedule"].tolist() == ["constant", "constant"]
    figures = [
        bench.plot.latency_by_percentile(table),
        bench.plot.over_time(table["run"][0]),
        bench.plot.throughput_and_latency(str(tmp_path)),
    ]
    assert [figure.axes[0].get_xlabel() for figure in figures] == [
        each.axes[0].get_xlabel()
        for name, each in bench.plot.all_figures(table).items()
        if name.startswith(("latency-by-percentile", "course", "p99-by-throughput"))
        and not name.endswith("heat")
    ][:1] + [figure.axes[0].get_xlabel() for figure in figures[1:]]
    with pytest.raises(bench.BenchError, match="all_figures has latency-by-percentile"):
        bench.plot.throughput_and_latency(table["run"][0])


def test_the_worked_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for trial in range(6):
        rows = seconds(requests(seed=trial, service=0.002 if trial < 3 else 0.004))
        write(tmp_path / "results", rows, started=f"2026-03-01T{10 + trial}:00:00+00:00")
    monkeypatch.chdir(tmp_path)
    cells = json.loads((DOCS / "notebook.ipynb").read_text())["cells"]
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "notebook", "exec"), names)  # noqa: S102 - our own page
    assert len(names["later"]) == len(names["first"]) == 3
    assert len(names["requests"]) == names["histogram"].sum() == 1000


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
