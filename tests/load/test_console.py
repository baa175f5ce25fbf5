"""The line of a headless run every two seconds, and its summary."""

import contextlib
import json
import logging
import re
import time
from pathlib import Path

import numpy as np
import pytest

from bench.analysis.showing.report import plain, report
from bench.load.locust_glue.console import show_summary
from bench.load.progress import Progress
from bench.load.verdict import failures, summary
from bench.runs.chunk import Chunk
from bench.runs.jsonl import json_text
from tests.recorded import requests, seconds, write


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


def test_the_summary_fits_the_terminal_and_a_log_file_has_its_lines_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It has what was measured, each warning, where it is, and what is next: without the prefix of a log line."""
    late = {"check": "behind", "reason": f"requests sent late: {'p99 ' * 20}", "remedy": "lower the rate"}
    run = write(tmp_path, seconds(requests(1, count=2000, rate=500, errors=0.005)), doubts=[late])
    (told,) = json.loads(json_text(plain(report([run]))))["runs"]
    monkeypatch.setenv("COLUMNS", "80")
    log = logging.getLogger("bench")
    with contextlib.closing(logging.FileHandler(tmp_path / "log")) as file, caplog.at_level(logging.INFO):
        monkeypatch.setattr(log, "handlers", [file])
        show_summary(summary(run.path, told))
    lines = [each.message for each in caplog.records if each.name == "locust.stats_logger"]
    assert all(len(line) <= 80 for line in lines if str(run.path) not in line), lines
    titles = [line[:14].strip() for line in lines if line[:14].strip()]
    assert titles[0].startswith("Predict")
    assert {"throughput", "latency", "errors", "warning", "results"} < set(titles)
    at = next(number for number, line in enumerate(lines) if line.startswith("  latency"))
    assert lines[at + 1].startswith(" " * 14 + "("), "a value is not torn from its name"
    assert lines[-1] == f"next          bench report {run.path}", "a command is copied whole"
    first, beside, *_ = [each.message for each in caplog.records if each.levelno == logging.WARNING]
    assert first.startswith("warning       requests sent late")
    assert beside.startswith(" " * 14 + "p99 p99")
    assert f"; {late['remedy']} [behind]" in (tmp_path / "log").read_text()
