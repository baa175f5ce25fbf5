"""What exporters told of a run counts as what was observed here, and what they did not tell is a warning."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.answers import bound
from bench.analysis.grouping.metrics import METRICS
from bench.analysis.reading.cells import cells
from bench.analysis.reading.checks import warnings_of
from bench.analysis.reading.timeline import timeline
from bench.runs.chunk import Chunk
from bench.runs.run import Run, RunWriter
from tests.recorded import end, requests

SECONDS = 30
PAGE = {"url": "http://far:9100/metrics", "source": "server_machine", "read": SECONDS, "failed": 0}
MACHINE = {"cpu_seconds": 1.5, "joules": 30.0, "memory": 2**30, "cores": 4}


def recorded(
    root: Path, pages: list[dict[str, Any]], *sources: tuple[str, dict[str, float], int], until: int = SECONDS
) -> Run:
    """100 requests of four examples a second. sources: name, values of which those that count grow by so much a second, and every how
    many seconds they come; until: when they come no more."""
    target = {"address": "far:8500", "kind": "remote"}
    writer = RunWriter.create(
        root, "mnist", None, {"target": target, "load": {"kind": "closed", "users": 16}}
    )
    for second in range(SECONDS):
        writer.append(0, Chunk.of(**requests(second, count=100, rate=110, start=float(second), batch=4)))
        for source, values, each in sources:
            if second % each == 0 and second < until:
                now = {
                    name: value * second if name in ("cpu_seconds", "joules", "joules0") else value
                    for name, value in values.items()
                }
                writer.telemetry(second + 0.9, source=source, **now)
    end(writer, stopped=float(SECONDS), telemetry=pages)
    return Run.open(writer.path)


def measured(run: Run) -> dict[str, float]:
    (cell,) = cells(run)
    return {
        name: METRICS[name].of(cell)
        for name in ("cpu_per_request", "cpu_per_thousand", "joules_per_thousand")
    }


def test_the_machine_of_a_server_stands_for_it(tmp_path: Path) -> None:
    run = recorded(tmp_path, [PAGE], ("server_machine", MACHINE, 1), ("machine", {"joules": 99.0}, 1))
    found = measured(run)
    assert found["cpu_per_request"] == pytest.approx(0.015, rel=0.01)
    assert found["joules_per_thousand"] == pytest.approx(75, rel=0.01), (
        "without those of the machine that sends"
    )
    assert list(timeline(run).cores) == ["server's machine"]
    assert not [each for each in warnings_of(run) if each.check == "telemetry"]
    (answer,) = bound.answer(run)
    assert "the server used 1.50 cores of 4" in answer.text
    assert "its cores were not all used" in answer.text


def test_pods_stand_before_their_machine_and_add_up(tmp_path: Path) -> None:
    pods = [{**PAGE, "source": name} for name in ("server", "server 2")]
    gpu = {**PAGE, "source": "gpu"}
    of_gpu = {"joules0": 200.0, "utilization0": 0.5}
    sources = [
        ("server", {"cpu_seconds": 0.25}, 10),
        ("server 2", {"cpu_seconds": 0.5}, 10),
        ("gpu", of_gpu, 1),
    ]
    run = recorded(tmp_path, [*pods, gpu, PAGE], *sources, ("server_machine", MACHINE, 1))
    assert measured(run)["cpu_per_request"] == pytest.approx(0.0075, rel=0.01)
    assert measured(run)["joules_per_thousand"] == pytest.approx((200 + 30) / 0.4, rel=0.01)
    assert not [each for each in warnings_of(run) if each.check == "telemetry"]
    (answer,) = bound.answer(run)
    assert "the server used 0.75 cores of 4" in answer.text


def test_half_of_the_pods_are_not_the_server(tmp_path: Path) -> None:
    pods = [{**PAGE, "source": name} for name in ("server", "server 2")]
    run = recorded(tmp_path, pods, ("server", {"cpu_seconds": 0.25}, 1), ("server 2", {"memory": 1e6}, 1))
    assert math.isnan(measured(run)["cpu_per_request"])
    (warning,) = [each for each in warnings_of(run) if each.check == "telemetry"]
    assert "CPU time was counted 0 times" in warning.reason


def test_energy_without_an_exporter_is_not_the_servers(tmp_path: Path) -> None:
    assert math.isnan(measured(recorded(tmp_path, [], ("gpu", {"joules0": 99.0}, 1)))["joules_per_thousand"])


@pytest.mark.parametrize(
    ("page", "each", "until", "reason"),
    [
        ({"failed": 3}, 1, SECONDS, None),
        (
            {"failed": 4, "problem": "HTTP 503"},
            1,
            SECONDS,
            r"4 of 30 readings failed \(HTTP 503\): CPU, memory and network of the s",
        ),
        ({"missing": {"memory": 2}}, 1, SECONDS, None),
        ({"missing": {"memory": 12, "sent": 4}}, 1, SECONDS, "memory, sent missing in 12 of 30 readings"),
        ({}, 1, 0, "nothing came in the steady part"),
        ({}, 1, 14, None),
        ({}, 1, 12, r"CPU time was counted \d+ times in the steady part of \d+ s"),
        ({}, 10, SECONDS, None),
        ({}, 25, SECONDS, None),
        ({}, 40, SECONDS, "CPU time was counted 0 times|nothing came|CPU time was counted 1 times"),
        (
            {"source": "gpu", "missing": {"power0": 30}},
            1,
            SECONDS,
            "power0 missing in 30 of 30 readings: the GPUs are known in part",
        ),
        ({"source": "gpu"}, 1, 0, "nothing came in the steady part: the GPUs are not known"),
    ],
)
def test_what_exporters_did_not_tell(
    page: dict[str, Any], each: int, until: int, reason: str | None, tmp_path: Path
) -> None:
    page = PAGE | page
    run = recorded(tmp_path, [page], (page["source"], MACHINE, each), until=until)
    found = [warning for warning in warnings_of(run) if warning.check == "telemetry"]
    assert len(found) == (reason is not None), found
    if reason is not None:
        assert re.search(reason, found[0].reason), found
        assert found[0].reason.startswith("http://far:9100/metrics: ")


def test_a_container_that_began_anew_is_a_restart(tmp_path: Path) -> None:
    run = recorded(tmp_path, [], ("server", {"cpu_seconds": 0.5, "started": 1000.0}, 1))
    assert not [each for each in warnings_of(run) if each.check == "restarted"]
    with (run.path / "telemetry.jsonl").open("a") as rows:
        rows.write('{"time": 29.95, "source": "server", "started": 1012.5}\n')
    (restarted,) = [each for each in warnings_of(Run.open(run.path)) if each.check == "restarted"]
    assert "a container of it began 12 s later" in restarted.reason
