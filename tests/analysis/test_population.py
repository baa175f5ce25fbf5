"""Who is counted, and as what: percentiles, goodput and limits where requests got no answer."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.analysis.grouping.trials import read_trials
from bench.analysis.judging.gate import LimitsFile, gate
from bench.analysis.reading.population import NOT_DETERMINED, NOT_REACHED, Population
from bench.analysis.showing.report import report
from bench.runs.chunk import Chunk
from bench.runs.histogram import Histogram
from bench.runs.run import find_runs
from tests.recorded import requests, write


def of(
    answered: list[float], *, cancelled: tuple[float, ...] = (), lost: int = 0, wrong: tuple[float, ...] = ()
) -> Population:
    return Population(
        Histogram.of(answered).sparse(), Histogram.of(wrong).sparse(), Histogram.of(cancelled).sparse(), lost
    )


TEN = [0.001 * step for step in range(1, 11)]


@pytest.mark.parametrize(
    ("requests", "q", "expected", "reason"),
    [
        (of(TEN), 50, 0.005, None),
        (of(TEN, lost=10), 50, 0.010, None),
        (of(TEN, lost=10), 51, math.inf, NOT_REACHED),
        (of([], lost=3), 1, math.inf, NOT_REACHED),
        (of(TEN, cancelled=(0.02, 0.03)), 50, 0.006, None),  # they had waited for longer
        (of(TEN, cancelled=(0.0001,)), 50, math.nan, NOT_DETERMINED),
        (of(TEN, cancelled=(0.0001,)), 5, math.nan, NOT_DETERMINED),
        (of(TEN, cancelled=(0.02,), lost=9), 52, math.nan, NOT_DETERMINED),  # the cancelled one, or never
        (of(TEN, cancelled=(0.02,), lost=9), 50, 0.010, None),
        (of(TEN, cancelled=(0.02,), lost=9), 60, math.inf, NOT_REACHED),
    ],
)
def test_percentiles_of_all_that_was_due(
    requests: Population, q: float, expected: float, reason: str | None
) -> None:
    assert requests.percentile(q) == pytest.approx(expected, rel=0.001, nan_ok=True)
    if reason is not None:
        assert requests.why_not(q).reason == reason


def test_goodput_counts_what_was_right_and_in_time() -> None:
    mixed = of(TEN, wrong=(0.002, 0.009), cancelled=(0.001, 0.02), lost=3)
    assert mixed.count == 15
    assert mixed.within(0.0055) == (5, 6)
    assert mixed.right_within(0.0055) == (4, 5)
    assert mixed.right_within(0.0005) == (0, 0)
    assert Population(mixed.answered, None).right_within(1) is None
    whole = Population.sum([mixed, of(TEN, lost=1)])
    assert (whole.count, whole.lost, whole.right_within(0.0055)) == (26, 4, (9, 10))


def record(root: Path, **changed: Any) -> Path:
    """40 s of 100 requests each that take 5 to 15 ms; `status` and `done` by the latency."""
    rng = np.random.default_rng(3)
    parts = []
    for second in range(40):
        rows = requests(second, count=100, start=float(second))
        due = second + np.arange(100) / 100
        latency = rng.uniform(0.005, 0.015, 100)
        status = np.zeros(100, int)
        if "lose_above" in changed:
            status = np.where(latency > changed["lose_above"], 4, 0)
        if "cancel_above" in changed:
            status = np.where(latency > changed["cancel_above"], -2, 0)
            latency = np.where(status == -2, changed.get("waited", latency), latency)
        wrong = rng.random(100) < changed.get("mismatched", 0.0)
        parts.append(
            Chunk.of(**rows | {"due": due, "sent": due, "done": due + latency, "status": status, "mismatched": wrong},
                     keep_samples=False)
        )  # fmt: skip
    return write(root, parts, load={"kind": "constant", "rate": 100.0, "users": 1}).path


@pytest.mark.parametrize(
    ("changed", "text", "outcome"),
    [
        ({}, "[limits]\np99_ms = 25", "pass"),
        ({}, "[limits]\np99_ms = 10", "FAIL"),
        # the slowest that time out make nothing quicker
        ({"lose_above": 0.0148}, "[limits]\np99_ms = 25", "FAIL"),
        ({"lose_above": 0.0148}, "[limits]\nservice_p99_ms = 25", "FAIL"),
        ({"lose_above": 0.0148}, "[limits]\nanswered_p99_ms = 25", "pass"),
        ({"lose_above": 0.0148}, "[limits]\np50_ms = 15", "pass"),
        # the greatest and the mean of what was answered are no bound of what was not
        ({}, "[limits]\nmax_ms = 18", "pass"),
        ({}, "[limits]\nmax_ms = 16", "inconclusive"),  # 15 ms: another run has another one
        ({}, "[limits]\nmax_ms = 14", "FAIL"),
        ({"lose_above": 0.0148}, "[limits]\nmax_ms = 16", "FAIL"),
        ({"cancel_above": 0.0145, "waited": 0.05}, "[limits]\nmax_ms = 60", "inconclusive"),
        ({"cancel_above": 0.0145, "waited": 0.05}, "[limits]\nmax_ms = 16", "FAIL"),
        ({"cancel_above": 0.0145, "waited": 0.001}, "[limits]\nmax_ms = 16", "inconclusive"),
        ({}, "[limits]\nmean_ms = 15", "pass"),
        ({"lose_above": 0.0148}, "[limits]\nmean_ms = 15", "inconclusive"),
        ({"cancel_above": 0.0145, "waited": 0.001}, "[limits]\nmean_ms = 15", "inconclusive"),
        ({"lose_above": 0.0148}, "[limits]\nstd_ms = 9", "inconclusive"),
        # cancelled after 50 ms: slower than the limit; after 1 ms: nobody knows
        ({"cancel_above": 0.0145, "waited": 0.05}, "[limits]\np99_ms = 25", "FAIL"),
        ({"cancel_above": 0.0145, "waited": 0.001}, "[limits]\np99_ms = 25", "inconclusive"),
        ({"cancel_above": 0.0145, "waited": 0.001}, "[limits]\np50_ms = 15", "pass"),
        ({}, "goodput_ms = 20\n[limits]\ngoodput = 0.99", "pass"),
        ({}, "goodput_ms = 10\n[limits]\ngoodput = 0.9", "FAIL"),
        ({}, "goodput_ms = 20\n[limits]\ngoodput_rate = 85", "pass"),
        # 100/s here, but other runs of the same differ by some 5 %
        ({}, "goodput_ms = 20\n[limits]\ngoodput_rate = 90", "inconclusive"),
        ({}, "goodput_ms = 10\n[limits]\ngoodput_rate = 90", "FAIL"),
        ({"lose_above": 0.0145}, "goodput_ms = 20\n[limits]\ngoodput = 0.99", "FAIL"),
        ({"mismatched": 0.05}, "goodput_ms = 20\n[limits]\ngoodput = 0.99", "FAIL"),
        ({"mismatched": 0.05}, "goodput_ms = 20\n[limits]\ngoodput = 0.9", "pass"),
        ({"cancel_above": 0.0145, "waited": 0.05}, "goodput_ms = 20\n[limits]\ngoodput = 0.99", "FAIL"),
        ({"cancel_above": 0.0145, "waited": 0.001}, "goodput_ms = 20\n[limits]\ngoodput = 0.99", "inconclusive"),
        ({}, "goodput_ms = 20\n[[cells]]\nbatch = 1\ngoodput_ms = 10\nlimits = { goodput = 0.9 }", "FAIL"),
    ],
)  # fmt: skip
def test_limits_of_a_single_run(tmp_path: Path, changed: dict[str, Any], text: str, outcome: str) -> None:
    (tmp_path / "limits.toml").write_text(text)
    trials = read_trials(find_runs([record(tmp_path, **changed)]))
    judged = gate(LimitsFile.read(tmp_path / "limits.toml"), trials)
    assert [finding.outcome for finding in judged.findings] == [outcome], judged.findings[0].how


def test_one_run_that_breaks_the_report_is_named(tmp_path: Path) -> None:
    good, bad = record(tmp_path / "good"), record(tmp_path / "bad")
    (bad / "counts.jsonl").write_text("")
    (bad / "histograms.hlog").write_bytes(b"Tag=Predict|1|1|OK|latency,x,1.000,1.0,HIST\n")
    said = json.loads((bad / "manifest.json").read_text())
    said["load"] = {"kind": "closed", "turns": 7}
    (bad / "manifest.json").write_text(json.dumps(said))
    found = report(find_runs([good, bad]))
    assert [run.path for run in found.runs] == [good]
    assert [each.path for each in found.unreadable] == [bad]
    trials = read_trials(find_runs([good, bad]))
    assert [each.path for each in trials.unreadable] == [bad]
