"""Warnings about the load generator: it had no time, no clock, or was the limit."""

from pathlib import Path
from typing import Any

import pytest

from bench.analysis.reading.checks import warnings_of
from bench.runs.run import Run, RunWriter
from tests.analysis.test_checks import BURSTS, OPEN, SECONDS, chunks, names
from tests.recorded import counts_of, edit, end, write


def test_clocks_that_are_not_known(tmp_path: Path) -> None:
    def bounds(*seconds: float) -> list[dict[str, float]]:
        return [{"worker": i, "clock_bound": bound} for i, bound in enumerate(seconds)]

    assert warnings_of(write(tmp_path, chunks(), workers=bounds(0.0002, 0.0004))) == []
    (found,) = warnings_of(write(tmp_path, chunks(), workers=bounds(0.0002, 0.004)))
    assert "4.0 ms" in found.reason


def with_telemetry(root: Path, **values: Any) -> Run:
    writer = RunWriter.create(root, "mnist", None, {"load": {"kind": "closed", "users": 16}})
    for chunk in chunks():
        writer.append(0, chunk)
    for second in range(SECONDS):
        for worker in (0, 1):
            row = {"loop_delay": 0.0004, "run_delay": 0.01}
            changed = {
                name: value(second, worker) for name, value in values.items() if name not in ("cpu", "steal")
            }
            cpu = values.get("cpu", lambda s, w: 0.4)
            spent = None if cpu(0, worker) is None else sum(cpu(s, worker) for s in range(second))
            writer.telemetry(second + 0.5, source=f"worker {worker}", cpu_seconds=spent, **(row | changed))
        writer.telemetry(
            second + 0.5, source="machine", steal=values.get("steal", lambda s, w: 0.0)(second, 0)
        )
    end(writer, counts=counts_of(chunks()))
    return Run.open(writer.path)


@pytest.mark.parametrize(
    ("values", "expected", "text"),
    [
        ({}, [], ""),
        ({"cpu": lambda s, w: 0.95 if w else 0.3}, ["client saturated"], "load process 1 used 95%"),
        ({"cpu": lambda s, w: 1.0 if s == 9 else 0.5}, [], ""),
        ({"run_delay": lambda s, w: 0.8 * (1 - w)}, ["client held up"], "load process 0 was CPU-starved"),
        ({"loop_delay": lambda s, w: 0.02}, ["client paused"], "20 ms late"),
        (
            {"loop_delay": lambda s, w: 1.5 if (s, w) == (20, 1) else 0.001},
            ["client paused"],
            "1,500 ms late",
        ),
        ({"steal": lambda s, w: 0.2}, ["stolen time"], "20%"),
        ({"cpu": lambda s, w: None, "loop_delay": lambda s, w: None}, [], ""),
    ],
)
def test_a_load_generator_without_time(tmp_path: Path, values: Any, expected: list[str], text: str) -> None:
    found = warnings_of(with_telemetry(tmp_path, **values))
    assert sorted(set(names(found))) == expected
    assert text in " ".join(warning.reason for warning in found)


def test_near_the_ceiling_of_the_machine(tmp_path: Path) -> None:
    assert warnings_of(write(tmp_path, chunks(), ceiling={"requests_per_second": 600.0})) == []
    (found,) = warnings_of(write(tmp_path, chunks(), ceiling={"requests_per_second": 500.0}))
    assert "80%" in found.reason
    (found,) = warnings_of(write(tmp_path, chunks(), ceiling={"requests_per_second": 300.0}))
    assert "more than the 300" in found.reason
    assert "calibrate again" in found.remedy


@pytest.mark.parametrize(
    ("changed", "load", "expected"),
    [
        ({"lag": 0.0005}, OPEN, ["behind"]),  # p99 2.3 ms
        ({"lag": 0.0001}, OPEN, ["behind"]),  # p99 0.46 ms, of 2 ms service time
        ({"lag": 0.0001, "service": 0.010}, OPEN, []),
        ({"lag": 0.00005, "service": 0.0002}, OPEN, []),  # no timer can do better
        ({"lag": 0.0005}, {"kind": "closed"}, []),
        ({"unsent": 0.03}, OPEN, ["errors", "not achieved"]),
        ({"count": 380}, OPEN, ["not achieved"]),
        ({"count": 390}, {"schedule": {"kind": "constant", "rate": 100.0}, "users": 4}, ["not achieved"]),
        ({"lag": 0.0005}, BURSTS, ["behind"]),  # p99 2.3 ms, of an answer within 2.5 ms to 6 ms
        ({"lag": 0.0005, "service": 0.030}, BURSTS, []),  # they were together when the server had them
        ({"lag": 0.0001}, BURSTS, []),
        ({"count": 390}, {"kind": "ramp", "start": 0, "end": 100}, []),
    ],
)
def test_an_open_loop_that_fell_behind(
    tmp_path: Path, changed: dict[str, Any], load: dict[str, Any], expected: list[str]
) -> None:
    assert sorted(names(warnings_of(write(tmp_path, chunks(**changed), load=load)))) == expected


@pytest.mark.parametrize(
    ("changed", "waited", "told"),
    [
        ({"lag": 0.0005}, {"stream": 200}, ("the server allows 128 calls at once on a connection", "--connections")),
        ({"unsent": 0.03}, {"stream": 200}, ("200 requests waited for a stream", "--connections")),
        ({"lag": 0.0005}, {"window": 200, "stream": 180}, ("flow-control windows", "HTTP/2 windows")),
        ({"lag": 0.0005}, {"kernel": 200}, ("send buffer", "lower the rate")),
        ({"lag": 0.0005}, {"connection": 200}, ("waited for a connection", "connections ended")),
        ({"lag": 0.0005}, {"stream": 20}, ("p99 send delay", "--processes")),
    ],
)  # fmt: skip
def test_what_waited_for_the_server_is_not_blamed_on_the_load_process(
    tmp_path: Path, changed: dict[str, Any], waited: dict[str, int], told: tuple[str, str]
) -> None:
    run = write(tmp_path, chunks(**changed), load=OPEN)
    edit(run.path, counts=run.manifest.raw["counts"] | {"waited": waited, "most_streams": 128})
    (found,) = [
        warning for warning in warnings_of(Run.open(run.path)) if warning.check in ("behind", "not achieved")
    ]
    assert told[0] in found.reason
    assert told[1] in found.remedy
    assert ("--processes" in found.remedy) == (waited == {"stream": 20})
