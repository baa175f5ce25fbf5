"""Whether a server ran through, by its process, start time, counters and refused connections."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.reading.checks import warnings_of
from bench.analysis.reading.reconciliation import check, split
from bench.load.observing.counters import counters
from bench.protocol.registry import api_named
from bench.runs.chunk import Chunk
from bench.runs.run import Run
from tests.recorded import requests, write

COUNTED = ("ok", "failed", "other_count", "request_count", "runtime_count", "queue_count")
SUMS = {"request_seconds": 0.3, "runtime_seconds": 0.2, "queue_seconds": 0.0}


def recorded(
    root: Path,
    before: dict[str, Any],
    after: dict[str, Any] | None,
    *rows: dict[str, Any],
    errors: float = 0.0,
) -> Run:
    """6 s of 100/s. before, after: of the server's counters; rows: further telemetry."""
    parts = [Chunk.of(**requests(i, count=90, rate=100, start=float(i), errors=errors)) for i in range(6)]
    fresh = dict.fromkeys(COUNTED, 0.0) | dict.fromkeys(SUMS, 0.0)
    told = {
        "url": "http://h",
        "model": "mnist",
        "before": fresh | before,
        "after": after and fresh | SUMS | after,
    }
    run = write(root, parts, server_counters=told, stopped=6.0)
    with (run.path / "telemetry.jsonl").open("a") as telemetry:
        telemetry.writelines(json.dumps(row) + "\n" for row in rows)
    return Run.open(run.path)


def grown(ok: int, **more: float) -> dict[str, float]:
    return {"ok": float(ok), "request_count": float(ok), "runtime_count": float(ok), **more}


@pytest.mark.parametrize(
    ("before", "after", "rows", "errors", "told"),
    [
        ({}, grown(540), [], 0.0, None),
        # the remote server's page tells when it began: the same, and another; as many requests as of one process
        ({"started": 1000.0}, grown(540, started=1000.4), [], 0.0, None),
        ({"started": 1000.0}, grown(540, started=1012.0), [], 0.0, "its process began 12 s later"),
        ({"started": 1000.0}, grown(540), [{"time": 3, "source": "counters", "started": 1003.0}], 0.0, "3 s later"),
        # two servers behind one address tell this one's and the other one's
        ({"started": 1000.0}, grown(540, started=1000.0),
         [{"time": 3, "source": "counters", "started": 1012.0}], 0.0, None),
        # fresh before, so that no counter fell: what it counts is too little, and connections were refused
        ({}, grown(300), [], 0.05, "it counts only 300"),
        ({}, grown(300), [], 0.0, None),
        # not fresh
        (grown(5000), grown(300), [], 0.0, "its counters fell (ok"),
        # fresh, with somebody else's requests after its second start
        ({"started": 1000.0}, grown(9000, started=1012.0), [], 0.05, "requests found no server"),
        # its process is watched
        ({}, grown(540), [{"time": 3.0, "source": "server", "processes": 0}], 0.0, "had ended at 3.0 s"),
        ({}, None, [{"time": 3.0, "source": "server", "processes": 0}], 0.0, "had ended at 3.0 s"),
        ({}, grown(540), [{"time": 6.5, "source": "server", "processes": 0}], 0.0, None),  # after the run
        ({}, grown(540), [{"time": t, "source": "counters", "ok": ok} for t, ok in ((2, 150), (4, 20))],
         0.0, "fell while the load lasted"),
    ],
)  # fmt: skip
def test_a_restart_is_told_by_all_signs_together(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any] | None, rows: list[dict[str, Any]],
    errors: float, told: str | None,
) -> None:  # fmt: skip
    found = check(recorded(tmp_path, before, after, *rows, errors=errors))
    restarted = [warning.reason for warning in found if warning.check == "restarted"]
    if told is None:
        assert restarted == []
    else:
        assert len(found) == len(restarted) == 1
        assert told in restarted[0]


def test_a_watched_process_that_ends_is_told_without_counters(tmp_path: Path) -> None:
    run = write(tmp_path, [Chunk.of(**requests(i, start=float(i))) for i in range(6)], stopped=6.0)
    assert "restarted" not in [warning.check for warning in warnings_of(run)]
    with (run.path / "telemetry.jsonl").open("a") as telemetry:
        telemetry.write('{"time": 2.0, "source": "server", "processes": 0}\n')
    assert "restarted" in [warning.check for warning in warnings_of(Run.open(run.path))]


def test_the_start_time_is_no_counter(tmp_path: Path) -> None:
    found = split(recorded(tmp_path, {"started": 1000.0}, grown(540, started=1000.0)))
    assert found is not None
    assert found.server_requests == 540


@pytest.mark.parametrize("labels", ["", '{job="a"}'])
def test_the_page_tells_when_the_process_began(labels: str) -> None:
    page = f"# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds{labels} 1.7e+09\n"
    assert counters(page, "mnist", api_named("tfs"))["started"] == 1.7e9
    assert "started" not in counters("process_start_time_secondsx 1\n", "mnist", api_named("tfs"))
