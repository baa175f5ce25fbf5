"""Interruptions of runs with known faults, and of runs that have none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import BenchError, extras
from bench.analysis.reading.interruptions import Interruption, interruptions
from bench.runs.chunk import Chunk
from bench.runs.recording import CLOCK_STEPPED, CONNECTION_ENDED, WORKER_LOST, RunWriter
from bench.runs.run import Run
from tests.recorded import write

OPEN = {"kind": "constant"}
END = 6.0


def steady(rate: float = 500.0, service: float = 0.01, poisson: int | None = None) -> dict[str, Any]:
    """Arguments of `Chunk.of`: every request answered after the same time."""
    due = np.arange(0.0, END, 1 / rate)
    if poisson is not None:
        due = np.cumsum(np.random.default_rng(poisson).exponential(1 / rate, int(rate * END)))
    count = len(due)
    return {
        "names": ["Predict"],
        "name_codes": np.zeros(count, dtype=int),
        "batch": np.ones(count, dtype=int),
        "due": due,
        "sent": due.copy(),
        "done": due + service,
        "status": np.zeros(count, dtype=int),
        "version": np.full(count, 2),
        "correct": np.full(count, 1),
        "mismatched": np.zeros(count, dtype=bool),
    }


def found(root: Path, *parts: dict[str, Any], **manifest: Any) -> list[tuple[str, float, float]]:
    run = write(root, [Chunk.of(**part) for part in parts], load=OPEN, finish=False, **manifest)
    return [(each.kind, round(each.begin, 2), round(each.end, 2)) for each in interruptions(run)]


def during(part: dict[str, Any], begin: float = 2.0, end: float = 2.7) -> Any:
    return (part["due"] >= begin) & (part["due"] < end)


def test_a_server_that_hangs(tmp_path: Path) -> None:
    part = steady()
    held = (part["done"] >= 2.0) & (part["done"] < 2.7)
    part["done"] = np.where(held, 2.7, part["done"])
    assert found(tmp_path, part) == [("no answers", 2.0, 2.7)]


def test_a_server_that_is_gone(tmp_path: Path) -> None:
    """Its failures are part of the time without answers, not an interruption of their own."""
    part = steady()
    gone = during(part)
    part["done"] = np.where(gone, part["sent"] + 0.001, part["done"])
    part |= {"status": np.where(gone, 14, 0), "version": np.where(gone, -1, 2)}
    assert found(tmp_path, part) == [("no answers", 2.01, 2.71)]


def test_a_server_that_never_comes_back(tmp_path: Path) -> None:
    part = steady()
    gone = during(part, 2.0, END)
    part |= {"status": np.where(gone, 14, 0), "version": np.where(gone, -1, 2)}
    assert found(tmp_path, part) == [("no answers", 2.01, 6.01)]


def test_a_server_that_answers_late_at_first(tmp_path: Path) -> None:
    part = steady()
    part["done"] = np.maximum(part["done"], 0.7)
    assert found(tmp_path, part) == [("no answers", 0.01, 0.7)]


def test_failures_beside_answers(tmp_path: Path) -> None:
    """Two connections are lost, a second apart."""
    part = steady()
    lost = np.isin(np.arange(len(part["due"])), [1000, 1002, 1004, 1500])
    part |= {"status": np.where(lost, 14, 0), "version": np.where(lost, -1, 2)}
    assert found(tmp_path, part) == [("failed requests", 2.01, 2.02), ("failed requests", 3.01, 3.01)]


def test_failures_all_the_time_are_one(tmp_path: Path) -> None:
    """Each by itself is how the server is; the count is of all of them, wrong answers likewise."""
    part = steady()
    lost = np.arange(len(part["due"])) % 200 == 100
    part |= {"status": np.where(lost, 13, 0), "version": np.where(lost, -1, 2)}
    part["mismatched"] = np.arange(len(part["due"])) % 250 == 60
    run = write(tmp_path, [Chunk.of(**part)], load=OPEN, finish=False)
    wrong, failed = interruptions(run)
    assert (failed.kind, round(failed.begin, 2), round(failed.end, 2)) == ("failed requests", 0.21, 5.81)
    assert (failed.requests, failed.text) == (15, "INTERNAL, 15 requests; 15 times in all")
    assert (wrong.kind, wrong.requests) == ("wrong answers", 12)


def test_wrong_answers(tmp_path: Path) -> None:
    part = steady()
    part["mismatched"] = during(part)
    assert found(tmp_path, part) == [("wrong answers", 2.01, 2.71)]


def test_answers_by_a_version_that_had_been_replaced(tmp_path: Path) -> None:
    part = steady()
    part["version"] = np.where(during(part), 1, 2)
    assert found(tmp_path / "stale", part) == [("outdated answers", 2.01, 2.71)]
    assert found(tmp_path / "asked", part, question="rollout") == []
    part["version"] = np.where(part["due"] < 3, 1, 2)
    assert found(tmp_path / "newer", part) == []


def test_a_load_process_that_stood_still(tmp_path: Path) -> None:
    """The other one goes on; the server is not blamed, not even where both stand still."""
    first, second = steady(), steady()
    held = during(first)
    first["sent"] = np.where(held, 2.7, first["sent"])
    first["done"] = first["sent"] + 0.01
    assert found(tmp_path / "one", first, second) == [("load process paused", 2.0, 2.7)]
    assert found(tmp_path / "both", first, first) == [("load process paused", 2.0, 2.7)] * 2


def test_requests_that_wait_for_streams_of_a_server_that_hangs(tmp_path: Path) -> None:
    """All of its streams are taken: what is due meanwhile cannot be sent, and the load process is not blamed."""
    part = steady()
    held = during(part, 2.05)
    part["sent"] = np.where(held, 2.7, part["sent"])
    part["done"] = np.where((part["done"] >= 2.0) & (part["done"] < 2.71), 2.71, part["sent"] + 0.01)
    counts = {"recorded": len(held), "waited": {"stream": int(held.sum())}, "most_streams": 25}
    assert found(tmp_path / "told", part, counts=counts) == [("no answers", 2.0, 2.71)]
    closed = write(tmp_path / "closed", [Chunk.of(**part)], load={"kind": "closed"}, finish=False)
    assert [each.kind for each in interruptions(closed)] == ["no answers"]
    (paused,) = [each for each in found(tmp_path / "not", part) if each[0] == "load process paused"]
    assert paused[1:] == (2.05, 2.7)


def test_a_load_process_that_was_lost(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, "mnist", None, {"load": OPEN, "target": {}})
    writer.append(0, Chunk.of(**steady()))
    writer.event(2.0, WORKER_LOST, "load process 1 of 2 ended")
    writer.update(stopped=END)
    (each,) = interruptions(Run.open(writer.path))
    assert (each.kind, each.begin, each.end) == ("load process lost", 2.0, END)


def noted(root: Path, part: dict[str, Any], *events: tuple[Any, ...]) -> list[Interruption]:
    """Interruptions of a run in which something was noted: time, kind, text and how long it lasted."""
    writer = RunWriter.create(root, "mnist", None, {"load": OPEN, "target": {}})
    writer.append(0, Chunk.of(**part))
    for time, kind, text, *lasting in events:
        writer.event(time, kind, text, **({"lasting": lasting[0]} if lasting else {}))
    writer.update(stopped=END)
    return interruptions(Run.open(writer.path))


@pytest.mark.parametrize(
    ("source", "share", "told"),
    [("worker 0", 0.96, True), ("worker 0", 0.05, False), ("server", 0.96, False), ("worker 0", None, False)],
)
def test_a_stretch_in_which_the_load_generator_had_no_core_says_so(
    tmp_path: Path, source: str, share: float | None, told: bool
) -> None:
    part = steady()
    part["done"] = np.where((part["done"] >= 2.0) & (part["done"] < 2.7), 2.7, part["done"])
    late = steady()
    late["sent"] = np.where(during(late, 4.0, 4.5), 4.5, late["sent"])
    late["done"] = late["sent"] + 0.01
    for where, one, begin in (("server", part, 2.0), ("client", late, 4.0)):
        writer = RunWriter.create(tmp_path / where, "mnist", None, {"load": OPEN, "target": {}})
        writer.append(0, Chunk.of(**one))
        writer.telemetry(begin - 0.5, source=source, run_delay=0.8)
        writer.telemetry(begin + 0.9, source=source, run_delay=share)
        writer.update(stopped=END)
        (each,) = interruptions(Run.open(writer.path))
        assert ("the load generator was CPU-starved 96% of the time" in each.text) == told, each.text


def test_a_stepped_clock_is_named_once_for_all_load_processes(tmp_path: Path) -> None:
    found = noted(
        tmp_path,
        steady(),
        (2.05, CLOCK_STEPPED, "by +3600.000 s in worker 1"),
        (2.0, CLOCK_STEPPED, "by +3600.000 s in worker 0"),
        (4.0, CLOCK_STEPPED, "by -3600.000 s in worker 0"),
    )
    assert [(each.kind, each.begin, each.end) for each in found] == [
        ("wall clock stepped", 2.0, 2.05),
        ("wall clock stepped", 4.0, 4.0),
    ]
    assert found[0].text == "by +3600.000 s in worker 0; by +3600.000 s in worker 1"


def test_connections_that_a_server_ends(tmp_path: Path) -> None:
    """By themselves they are named; not beside the failures that they caused."""
    part = steady()
    lost = np.arange(len(part["due"])) == 1000
    part |= {"status": np.where(lost, 14, 0), "version": np.where(lost, -1, 2)}
    ends = [(at, CONNECTION_ENDED, "GOAWAY", 0.1) for at in (2.01, 4.0)]
    found = noted(tmp_path, part, *ends)
    assert [(each.kind, round(each.begin, 2), round(each.end, 2)) for each in found] == [
        ("failed requests", 2.01, 2.01),
        ("connection ended", 4.0, 4.1),
    ]


def test_a_server_that_ends_connections_all_the_time_is_named_once(tmp_path: Path) -> None:
    found = noted(tmp_path, steady(), *[(n / 2, CONNECTION_ENDED, "GOAWAY") for n in range(1, 10)])
    assert [(each.kind, each.begin, each.end) for each in found] == [("connection ended", 0.5, 4.5)]
    assert found[0].text == "GOAWAY; 9 times in all"


@pytest.mark.parametrize("rate", [5.0, 50.0, 1000.0])
@pytest.mark.parametrize("seed", range(5))
def test_chance_interrupts_nothing(tmp_path: Path, rate: float, seed: int) -> None:
    """Also where requests take as long as gaps that would be named, so that something always waits."""
    assert found(tmp_path, steady(rate, service=0.5, poisson=seed)) == []


def test_a_pause_by_plan_is_none(tmp_path: Path) -> None:
    part = steady()
    kept = ~during(part, 2.0, 4.0)
    rest = {name: values if name == "names" else values[kept] for name, values in part.items()}
    assert found(tmp_path, rest) == []


def test_answers_that_come_together_are_no_interruption(tmp_path: Path) -> None:
    """A server that answers three times a second, some hundred at once."""
    part = steady()
    part["done"] = np.ceil(part["done"] * 3) / 3
    assert found(tmp_path, part) == []


def test_most_of_a_run_without_answers(tmp_path: Path) -> None:
    part = steady()
    gone = during(part, 0.5, END)
    part |= {"status": np.where(gone, 14, 0), "version": np.where(gone, -1, 2)}
    assert found(tmp_path, part) == [("no answers", 0.51, 6.01)]


def test_requests_that_cannot_be_read_here_are_not_left_out_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = steady()
    part["status"] = np.where(during(part), 14, 0)
    run = write(tmp_path, [Chunk.of(**part)], load=OPEN)
    assert interruptions(run)
    monkeypatch.setattr(extras, "lacking", lambda _package: "pyarrow is not installed")
    with pytest.raises(BenchError, match=r"samples\.parquet: pyarrow is not installed"):
        interruptions(run)
