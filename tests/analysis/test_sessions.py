"""Sessions: which runs are of one start of a server."""

from pathlib import Path
from typing import Any

import pytest

from bench.analysis.grouping.trials import block_of, session_of
from bench.runs import baseline
from bench.runs.chunk import Chunk
from bench.runs.run import Run
from tests.recorded import edit, requests, write

PAGE = dict.fromkeys(
    (
        *("ok", "request_count", "request_seconds", "runtime_count"),
        *("runtime_seconds", "queue_count", "queue_seconds"),
    ),
    0.0,
)
HOURS = ("2026-01-01T10:59:00+00:00", "2026-01-01T11:01:00+00:00", "2026-01-02T12:00:00+00:00")


def recorded(root: Path, began: str, **manifest: Any) -> Run:
    run = write(root, [Chunk.of(**requests(count=9), keep_samples=False)], **manifest)
    edit(run.path, started=began)
    return Run.open(run.path)


def remote(started: float | None = None, **more: Any) -> dict[str, Any]:
    """What runs of a server that was there tell of it; started: as its page of metrics has it."""
    counters = {"server_counters": {"before": PAGE | {"started": started}}} if started else {}
    return {"target": {"address": "serving:8500", "kind": "remote", **more}, **counters}


def local(pid: int, started: float) -> dict[str, Any]:
    return {"target": {"address": "localhost:8500", "kind": "remote", "pid": pid, "started": started}}


def trial(folder: str, block: int, kind: str) -> dict[str, Any]:
    said = {"name": "x", "folder": folder, "block": block, "trial": block, "cell": {"server": "a"}}
    return {"experiment": said | {"server": {"kind": kind}}, "target": {"address": "a:1", "kind": "remote"}}


@pytest.mark.parametrize(
    ("facts", "count"),
    [
        ([remote()] * 3, 1),
        ([remote(1.7e9)] * 3, 1),
        ([remote(1.7e9), remote(1.7e9), remote(1.8e9)], 2),
        ([local(7, 1.7e9)] * 3, 1),
        ([local(7, 1.7e9 + late) for late in (0.0, 900.0, 900.5)], 2),
        ([remote(pid=7)] * 3, 1),
        ([remote(pid=pid) for pid in (7, 8, 9)], 3),
        ([trial("x-1", block, "remote") for block in range(3)], 1),
        ([trial("x-1", block, "docker") for block in range(3)], 3),
    ],
)
def test_a_session_is_a_start_of_the_server_and_not_a_time_of_day(
    facts: list[dict[str, Any]], count: int, tmp_path: Path
) -> None:
    runs = [recorded(tmp_path, began, **each) for began, each in zip(HOURS, facts, strict=True)]
    assert len({session_of(run) for run in runs}) == count


def test_runs_of_three_experiments_in_a_baseline_are_of_three_sessions(tmp_path: Path) -> None:
    """All copies lie in one folder, and each experiment calls its only block 0."""
    runs = [
        recorded(tmp_path / folder, began, **trial(folder, 0, "docker"))
        for folder, began in zip(("x-1", "x-2", "x-3"), HOURS, strict=True)
    ]
    copies = [Run.open(baseline.put(run.path, tmp_path / "baseline")) for run in runs]
    assert [session_of(copy) for copy in copies] == [session_of(run) for run in runs]
    assert len({session_of(copy) for copy in copies}) == 3
    assert len({block_of(copy) for copy in copies}) == 3
