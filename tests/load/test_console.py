"""The line of a headless run every two seconds."""

import re
import time

import numpy as np
import pytest

from bench.load.progress import Progress
from bench.load.verdict import failures
from bench.runs.chunk import Chunk
from tests.recorded import requests


def numbers(line: str) -> list[float]:
    return [float(each.replace(",", "")) for each in re.findall(r"(?:p50|p99) ([0-9.,]+)", line)]


def test_a_line_is_of_what_ended_since_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    progress = Progress()
    every = [requests(seed, count=1000, service=service) for seed, service in ((1, 0.002), (2, 0.004))]
    for each in every:
        progress.add(Chunk.of(**each, keep_samples=False))
    now[0] += 2.0
    line = progress.line()
    assert line.startswith("1,000 req/s  ")
    latency = np.concatenate([np.asarray(each["done"]) - np.asarray(each["due"]) for each in every]) * 1e3
    assert numbers(line) == pytest.approx(np.percentile(latency, [50, 99], method="inverted_cdf"), rel=0.006)
    assert line.endswith("errors none")
    now[0] += 2.0
    assert progress.line() == "0 req/s  errors no answers"


def test_requests_without_an_answer_are_slower_than_any() -> None:
    progress = Progress()
    progress.add(Chunk.of(**requests(1, count=1000, errors=0.02, unsent=0.01), keep_samples=False))
    line = progress.line()
    assert "p99 not reached" in line
    assert re.search(r"errors [0-9.]+ %: UNAVAILABLE \d+, not sent \d+$", line)


@pytest.mark.parametrize(
    ("outcomes", "text"),
    [
        ({"OK": 5}, "none"),
        ({}, "no answers"),
        ({"CANCELLED_BY_CLIENT": 3}, "no answers"),
        ({"OK": 98, "UNAVAILABLE": 2, "CANCELLED_BY_CLIENT": 50}, "2.00 %: UNAVAILABLE 2"),
        ({"UNSENT": 1, "INTERNAL": 3}, "100 %: INTERNAL 3, not sent 1"),
    ],
)
def test_failures_by_kind(outcomes: dict[str, int], text: str) -> None:
    assert failures(outcomes) == text
