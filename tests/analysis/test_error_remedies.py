"""Errors that a server is known for: what helps, with the numbers of the run."""

from pathlib import Path
from typing import Any

import pytest

from bench.analysis.reading.error_remedies import remedy
from bench.runs.run import Run, RunWriter
from tests.recorded import end, requests, seconds

OPEN = {"kind": "open", "schedule": {"kind": "poisson", "rate": 1000.0}, "users": 1, "max_in_flight": 10000}


@pytest.mark.parametrize(
    ("load", "seen", "calls", "threads"),
    [
        ({"kind": "closed", "users": 40}, {}, "up to 40", 128),
        ({"kind": "closed", "users": 40}, {0: [16, 24]}, "up to 24", 64),
        (OPEN, {0: [3, 900], 1: [800, 30]}, "up to 1,700", 4096),
        (OPEN, {}, None, 64),
    ],
)
def test_threads_are_counted_by_the_calls_in_flight(
    tmp_path: Path, load: dict[str, Any], seen: dict[int, list[int]], calls: str | None, threads: int
) -> None:
    """An open loop of one user had "1 users" in flight, and 64 threads were to be enough."""
    writer = RunWriter.create(tmp_path, "own", None, {"load": load})
    for chunk in seconds(requests(count=10)):
        writer.append(0, chunk)
    for worker, counts in seen.items():
        for second, count in enumerate(counts):
            writer.telemetry(second + 1.0, source=f"worker {worker}", in_flight_max=count)
    end(writer)
    text = remedy(Run.open(writer.path), "RESOURCE_EXHAUSTED", "")
    assert f"--grpc_max_threads={threads};" in text
    assert ("calls in flight: start" in text) if calls is None else (f"calls in flight ({calls}): " in text)
