"""Answers, split and CPU times of `bench report --json` against the same from samples and telemetry with plain pandas."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.analysis.showing.report import plain, report
from bench.runs.run import Run, find_runs
from tests.analysis import recomputed_answers as anew
from tests.recorded import requests, seconds, write

ARRIVALS = {"User": {"begin": 0.0, "users": [[0, 1]]}}
SPIKE = {"kind": "spike", "rate": 1000, "factor": 5, "at": 4, "lasting": 2}
STEPS = {"kind": "steps", "steps": [100, 200, 400], "each": 4}
TURNS = {"names": ["batch 1", "batch 32"], "seconds": 3}


def beside() -> list[dict[str, Any]]:
    parts = []
    for number in range(6):
        start, busy = 6.0 * number, number % 2 == 1
        how = {"service": 0.003 if busy else 0.002, "errors": 0.004 if busy else 0.0}
        parts.append(requests(number, count=590, rate=100, start=start, names=("a",), **how))
        parts += [requests(number + 9, count=590, rate=100, start=start, names=("b",))] if busy else []
    return parts


def spiked() -> list[dict[str, Any]]:
    return [
        requests(1, count=4000, rate=1000, spread=0.05),
        requests(2, count=3200, rate=1000, start=4.0, service=0.02, spread=0.05, errors=0.002),
        requests(3, count=3500, rate=1000, start=7.25, spread=0.05),
    ]


def swapped() -> list[dict[str, Any]]:
    return [
        requests(1, count=5000, rate=1000, spread=0.05, version=1),
        requests(2, count=300, rate=1000, start=5.0, service=0.05, spread=0.05, version=2),
        requests(3, count=4000, rate=1000, start=5.4, spread=0.05, version=2),
    ]


def drifting() -> list[dict[str, Any]]:
    return [
        requests(i, count=95, rate=100, start=float(i), service=0.002 + 0.0001 * i, errors=0.05)
        for i in range(24)
    ]


def climbing() -> list[dict[str, Any]]:
    return [
        requests(n, count=4 * rate - 2 * n, rate=float(rate), start=4.0 * n, errors=0.3 * (n == 2))
        for n, rate in enumerate((100, 200, 400))
    ]


def in_turns() -> list[dict[str, Any]]:
    return [
        requests(s, count=90, rate=100, start=float(s), batch=batch, names=(f"batch {batch}",), errors=0.02)
        for s in range(24)
        for batch in [(1, 32)[s // 3 % 2]]
    ]


def even() -> list[dict[str, Any]]:
    return [
        requests(i, count=190, rate=200, start=float(i), batch=4, errors=0.01, names=("a", "b"))
        for i in range(12)
    ]


def even_of_one() -> list[dict[str, Any]]:
    return [part | {"names": ["a"], "name_codes": np.zeros(190, int)} for part in even()]


KINDS: dict[str, tuple[Callable[[], list[dict[str, Any]]], dict[str, Any], Callable[..., anew.Values]]] = {
    "neighbours": (beside, {}, anew.neighbours),
    "spike": (
        spiked,
        {"load": {"kind": "spike", "users": 1, "schedule": SPIKE}, "arrivals": ARRIVALS},
        anew.spike,
    ),
    "rollout": (swapped, {}, anew.rollout),
    "drift": (drifting, {}, anew.drift),
    "overload": (
        climbing,
        {"load": {"kind": "steps", "users": 1, "deadline": 1.0, "schedule": STEPS}, "arrivals": ARRIVALS},
        anew.overload,
    ),
    "batches": (in_turns, {"load": {"kind": "closed", "users": 4, "turns": TURNS}}, anew.batches),
    "bound": (even_of_one, {}, anew.bound),
    "apis": (even, {"target": {"kind": "embedded", "asked": {"a": {}, "b": {}}}}, anew.apis),
}
"""By question: the requests, what the manifest says, and the recomputation."""
WHOLE = ("spike", "rollout", "overload", "batches")
"""Answers of the whole run; others are of the steady part."""


def recorded(root: Path, question: str) -> Path:
    make, said, _ = KINDS[question]
    parts = make()
    last = max(float(part["due"].max()) for part in parts)
    stopped = float(math.floor(last) + 1)
    run = write(root, seconds(*parts), question=question, warmup={"rule": "given", "seconds": 0.0},
                stopped=stopped, **said)  # fmt: skip
    with (run.path / "telemetry.jsonl").open("a") as rows:
        for at in range(int(stopped) + 1):
            row = {
                "time": float(at),
                "source": "server",
                "cpu_seconds": 0.4 * at + 0.001 * at * at,
                "memory": 1e8 + at,
            }
            rows.write(json.dumps(row) + "\n")
    if question == "rollout":
        with (run.path / "events.jsonl").open("a") as events:
            events.write('{"time": 5.0, "kind": "swap", "text": "version 2", "version": 2}\n')
    return run.path


@pytest.mark.parametrize("question", KINDS)
def test_every_answer_is_that_of_the_samples(tmp_path: Path, question: str) -> None:
    path = recorded(tmp_path, question)
    (run,) = plain(report(find_runs([path])))["runs"]
    told: dict[str, Any] = {}
    for answer in run["answers"]:
        if question != "neighbours" or answer["text"].startswith("a "):
            told |= answer["values"]
    rows = anew.table(path)
    start = 0.0 if question in WHOLE else run["warm_up"]["seconds"]
    expected = KINDS[question][2](path, rows[rows.due >= start])
    assert expected
    for name, value in expected.items():
        if value is None:
            assert told[name] is None, name
        else:
            assert told[name] == pytest.approx(value, rel=0.002, abs=2e-6), name


def test_cpu_times_are_those_of_the_telemetry(tmp_path: Path) -> None:
    path = recorded(tmp_path, "bound")
    (run,) = plain(report(find_runs([path])))["runs"]
    rows, seen = anew.table(path), anew.telemetry(path, "server")
    spent = (seen.cpu_seconds.iloc[-1] - seen.cpu_seconds.iloc[0]) / (seen.time.iloc[-1] - seen.time.iloc[0])
    rate = rows.ok.sum() / (anew.manifest(path)["stopped"] - rows.due.min())
    assert run["lines"][0]["cpu_per_request"] == pytest.approx(spent / rate, rel=1e-6)


def test_the_split_is_that_of_samples_and_counters(tmp_path: Path) -> None:
    before = dict.fromkeys(
        ("ok", "failed", "other_count", "request_count", "runtime_count", "queue_count"), 10.0
    )
    before |= {"request_seconds": 0.1, "runtime_seconds": 0.05, "queue_seconds": 0.01}
    parts = [requests(i, count=95, rate=100, start=float(i), lag=0.0002, errors=0.01) for i in range(8)]
    answered = int(sum((part["status"] == 0).sum() for part in parts))
    grown = {name: 10.0 + answered for name in before if not name.endswith("_seconds")} | {
        "failed": 10.0, "other_count": 10.0,
        "request_seconds": 0.1 + 0.0015 * answered,
        "runtime_seconds": 0.05 + 0.0011 * answered,
        "queue_seconds": 0.01 + 0.0003 * answered,
    }  # fmt: skip
    counters = {"url": "http://h", "model": None, "before": before, "after": grown}
    path = write(tmp_path, seconds(*parts), server_counters=counters).path
    (run,) = plain(report([Run.open(path)]))["runs"]
    expected = anew.split(path)
    assert set(run["split"]["parts"]) == set(expected)
    for name, value in expected.items():
        assert run["split"]["parts"][name] == pytest.approx(value, rel=0.002, abs=2e-6), name
    assert run["split"]["requests"] == run["split"]["server_requests"] == answered
    frame = anew.table(path)
    assert run["split"]["mean"] == pytest.approx(float(pd.Series(frame[frame.ok].latency).mean()), rel=0.001)
