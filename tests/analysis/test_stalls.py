"""Long waits of a closed loop are a warning: its percentiles over requests do not show them."""

from pathlib import Path
from typing import Any

import pytest

from bench.analysis.reading.checks import warnings_of
from bench.runs.chunk import Chunk
from bench.runs.run import Run, RunWriter
from tests.cli.inside import bench
from tests.recorded import counts_of, end, requests, write

SECONDS = 20
CLOSED = {"kind": "closed", "users": 1}
OPEN = {"kind": "poisson", "rate": 100.0, "users": 1}


def chunks(
    begin: int, after: int, latency: float, *, seconds: int = SECONDS, seed: int = 0, **more: Any
) -> list[Chunk]:
    """One second after the other of 400 requests, none from one second to another; the last before them takes so long."""
    made = []
    for second in [*range(begin), *range(after, seconds)]:
        rows = requests(seed + second, count=400, rate=520, start=float(second), **more)
        if second == begin - 1:
            rows["done"][-1] = rows["due"][-1] + latency
        made.append(Chunk.of(**rows, keep_samples=False))
    return made


def stalled(run: Run) -> list[str]:
    return [warning.reason for warning in warnings_of(run) if warning.check == "stalled"]


@pytest.mark.parametrize(
    ("begin", "after", "latency", "load", "expected"),
    [
        (12, 16, 4.2, CLOSED, ["1 request of 1.00 s and more in 21.0%"]),
        (16, 20, 9.0, CLOSED, ["1 request of 1.00 s and more in 20.0%"]),
        (1, 3, 2.2, CLOSED, ["1 request of 1.00 s and more in 11.0%"]),
        (12, 12, 4.2, CLOSED | {"users": 2}, ["1 request of 1.00 s and more in 10.5%"]),
        (12, 12, 4.2, CLOSED | {"users": 22}, []),
        (12, 16, 0.1, CLOSED, []),
        (12, 16, 4.2, OPEN, []),
        (12, 12, 0.9, CLOSED, []),
        (20, 20, 9.0, CLOSED, []),
    ],
    ids=[
        "in the middle",
        "up to the end",
        "at the beginning",
        "of one of two users",
        "of one of many users",
        "users that think",
        "an open loop",
        "less than a second",
        "after the load",
    ],
)
def test_users_of_a_closed_loop_who_wait_long(
    tmp_path: Path, begin: int, after: int, latency: float, load: dict[str, Any], expected: list[str]
) -> None:
    run = write(
        tmp_path,
        chunks(begin, after, latency),
        load=load,
        stopped=float(SECONDS),
        warmup={"rule": "given", "seconds": 0},
    )
    texts = [text.partition(" of their time")[0].removeprefix("users waited for ") for text in stalled(run)]
    assert texts == expected


def test_a_slow_server_is_none_that_stands_still(tmp_path: Path) -> None:
    """Its users wait for seconds each time, and one of a long run says little of p99."""
    slow = [
        Chunk.of(
            **requests(second, count=2, rate=20, start=float(second), service=1.8, spread=0.0),
            keep_samples=False,
        )
        for second in range(0, SECONDS, 2)
    ]
    assert stalled(write(tmp_path, slow, load=CLOSED, stopped=float(SECONDS))) == []
    long = chunks(50, 51, 1.1, seconds=120)
    assert stalled(write(tmp_path, long, load=CLOSED, stopped=120.0)) == []


@pytest.mark.parametrize(("late", "found"), [(3.9, 0), (0.1, 1)])
def test_a_load_process_that_stood_still_is_no_stalled_server(
    tmp_path: Path, late: float, found: int
) -> None:
    writer = RunWriter.create(tmp_path, "mnist", None, {"load": CLOSED})
    made = chunks(12, 16, 4.2)
    for chunk in made:
        writer.append(0, chunk)
    writer.telemetry(16.2, source="worker 0", loop_delay=0.001, loop_delay_max=late)
    end(writer, counts=counts_of(made), stopped=float(SECONDS))
    assert len(stalled(Run.open(writer.path))) == found


def test_no_gate_passes_on_a_server_that_stood_still(tmp_path: Path) -> None:
    """Of three runs alike the p99 is known well, and none of it is of the four seconds."""
    for number in range(3):
        write(
            tmp_path / "new",
            chunks(12, 16, 4.2, seed=100 * number),
            load=CLOSED,
            stopped=float(SECONDS),
            note=f"t{number}",
        )
    limits = tmp_path / "limits.toml"
    limit = '[limits]\np99_ms = 100\nerror_share = "1 %"\n'
    for accepted, code in (("shared machine", 3), ("stalled", 0)):
        limits.write_text(f'accept = ["one session", "{accepted}"]\n{limit}')
        done = bench("gate", "new", "--limits", "limits.toml", cwd=tmp_path)
        assert done.returncode == code, done.stdout + done.stderr
        assert "stalled" in done.stdout + done.stderr
