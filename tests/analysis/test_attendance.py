"""Whether users and load processes were there, on runs with known observations."""

from pathlib import Path
from typing import Any

import pytest

from bench.analysis.reading import attendance
from bench.runs.run import Run, RunWriter
from tests.recorded import end, requests, seconds

LENGTH = 12


def run(root: Path, planned: list[int], running: list[list[int]], **manifest: Any) -> Run:
    """planned, and users of each process, by second; every process looks at another moment of it."""
    load = {"kind": "closed", "users": 8, "processes": len(running)}
    writer = RunWriter.create(root, "mnist", None, {"load": load} | manifest)
    for chunk in seconds(requests(count=LENGTH * 100, rate=100.0)):
        writer.append(0, chunk)
    for at, users in enumerate(planned, 1):
        writer.telemetry(at + 0.0, source="load", planned_users=users)
        for number, own in enumerate(running):
            if at <= len(own):
                writer.telemetry(at + 0.2 * number, source=f"worker {number}", users=own[at - 1])
    workers = [{"worker": number, "recorded": 1, "lost": False} for number in range(len(running))]
    end(writer, counts={}, **{"stopped": float(LENGTH), "workers": workers} | manifest)
    return Run.open(writer.path)


def found(run: Run) -> list[tuple[str, str]]:
    return [(warning.check, warning.reason) for check in attendance.CHECKS for warning in check(run)]


def test_all_users_there_is_no_warning(tmp_path: Path) -> None:
    assert found(run(tmp_path, [8] * LENGTH, [[4] * LENGTH, [4] * LENGTH])) == []


@pytest.mark.parametrize(("joined", "checks"), [(1.11, []), (0.0, ["users"])])
def test_users_are_not_missed_before_the_load_processes_were_there(
    tmp_path: Path, joined: float, checks: list[str]
) -> None:
    """Those of a run with two load processes, which began between two looks at them."""
    writer = RunWriter.create(
        tmp_path, "mnist", None, {"load": {"kind": "closed", "users": 1, "processes": 2}}
    )
    for chunk in seconds(requests(count=1000, rate=100.0, start=1.11)):
        writer.append(0, chunk)
    for at in range(1, LENGTH):
        writer.telemetry(at + 0.02, source="load", planned_users=1)
        if at > 1:
            writer.telemetry(at + 0.13, source="worker 0", users=1)
            writer.telemetry(at + 0.17, source="worker 1", users=0)
    workers = [
        {"worker": number, "recorded": 1, "lost": False, "joined": joined + 0.05 * number}
        for number in (0, 1)
    ]
    end(writer, counts={}, stopped=float(LENGTH), workers=workers)
    assert [check for check, _ in found(Run.open(writer.path))] == checks


def test_users_that_start_within_the_warm_up_are_no_warning(tmp_path: Path) -> None:
    starting = [min(8, second) for second in range(2, LENGTH + 2)]
    warm_up = {"rule": "given", "seconds": 7}
    assert found(run(tmp_path, [8] * LENGTH, [starting], warmup=warm_up)) == []


SHORT: dict[str, tuple[list[int], list[list[int]], str]] = {
    "half of the users": (
        [8] * LENGTH,
        [[4] * LENGTH],
        "8 users were planned and 4 ran 1 s after the start; the number was wrong in 12 of 12 s",
    ),
    "never all of them": (
        [64] * LENGTH,
        [list(range(1, LENGTH + 1))],
        "64 users were planned and 2 ran 1 s after the start",
    ),
    "a process that ends": ([8] * LENGTH, [[4] * LENGTH, [4] * 5], "8 users were planned and 4 ran 8 s"),
    "users that end": ([8] * LENGTH, [[8] * 6 + [5] * 6], "8 users were planned and 5 ran"),
    "more than planned": ([8] * LENGTH, [[8] * LENGTH, [4] * LENGTH], "8 users were planned and 12 ran"),
}


@pytest.mark.parametrize(("planned", "running", "told"), SHORT.values(), ids=SHORT)
def test_other_users_than_planned_are_a_warning(
    tmp_path: Path, planned: list[int], running: list[list[int]], told: str
) -> None:
    (warning,) = found(run(tmp_path, planned, running))
    assert warning[0] == "users"
    assert told in warning[1]


def test_a_load_that_changes_by_plan_has_its_users_in_the_end_of_each_step(tmp_path: Path) -> None:
    planned = [4] * 6 + [8] * 6
    shape = {"load": {"kind": "closed", "shape": "Steps"}}
    growing = [1, 2, 3, 4, 4, 4, 5, 6, 7, 8, 8, 8]
    assert found(run(tmp_path / "all", planned, [growing], **shape)) == []
    (warning,) = found(run(tmp_path / "few", planned, [growing[:6] + [5] * 6], **shape))
    assert "8 users were planned and 5 ran 12 s after the start" in warning[1]


def test_a_run_without_such_observations_is_not_judged(tmp_path: Path) -> None:
    assert found(run(tmp_path, [], [])) == []


def test_a_load_process_that_never_took_part(tmp_path: Path) -> None:
    load = {"kind": "closed", "users": 8, "processes": 1, "planned_processes": 2}
    (warning,) = found(run(tmp_path, [8] * LENGTH, [[8] * LENGTH], load=load))
    assert warning == ("load processes", "2 load processes were planned and 1 took part")
