"""Limits on what a single run shows once, or not at all: near the limit, one run does not decide."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.analysis.agreement.recorded import AGREEMENT
from bench.analysis.answers.drift import growth_ends
from bench.analysis.answers.numbers import NAMES
from bench.analysis.capacity.recorded import SEARCHED
from bench.analysis.grouping.metrics import METRICS
from bench.analysis.grouping.trials import Trials, read_trials
from bench.analysis.judging.finding import Finding
from bench.analysis.judging.gate import LimitsFile, gate
from bench.analysis.judging.limit_of_share import PROPORTIONS
from bench.analysis.reading.metric import GOODPUT_RATE
from bench.runs.run import Run, find_runs
from tests.analysis.simulated import BASE, Shown, trial
from tests.analysis.test_untold_answers import arrivals, rolled, spiked
from tests.recorded import requests, seconds, write

COUNTED = {*PROPORTIONS, "accuracy", AGREEMENT, *SEARCHED, GOODPUT_RATE}
"""Judged by counts, or by what the requests of a run show."""
LIMITS = [name for name in METRICS if name not in COUNTED]


def judged(folder: Path, text: str, trials: Trials) -> Finding:
    (folder / "limits.toml").write_text(f"[limits]\n{text}\n")
    (finding,) = gate(LimitsFile.read(folder / "limits.toml"), trials).findings
    return finding


def outcome(run: Run, text: str) -> str:
    return judged(run.path.parent, text, read_trials(find_runs([run.path]))).outcome


@pytest.mark.parametrize("name", LIMITS)
def test_no_metric_of_a_run_that_shows_no_spread_is_decided_near_its_limit(tmp_path: Path, name: str) -> None:
    metric = METRICS[name]
    text = f"{name}_s = 0.5" if metric.unit == "s" else f"{name} = 0.5"
    found = []
    for value in (0.499, 0.501):
        alone = replace(trial(BASE, {name: value}), within=Shown({}, seconds=60))
        found.append(judged(tmp_path, text, Trials([alone], [], [])).outcome)
    # of a longer run a minimum is no greater, and a maximum no smaller
    certain = {"min": ["pass", "inconclusive"], "max": ["inconclusive", "FAIL"]}
    assert found == certain.get(name, ["inconclusive"] * 2)


@pytest.mark.parametrize("name", [name for name in LIMITS if METRICS[name].unit != "share"])
def test_far_from_its_limit_it_is(tmp_path: Path, name: str) -> None:
    metric = METRICS[name]
    text = f"{name}_s = 0.5" if metric.unit == "s" else f"{name} = 0.5"
    for value in (0.1, 2.0):
        alone = replace(trial(BASE, {name: value}), within=Shown({}, seconds=60))
        passes = (value < 0.5) == (metric.better == "lower")
        assert judged(tmp_path, text, Trials([alone], [], [])).outcome == ("pass" if passes else "FAIL")


def stepped(folder: Path, refused: dict[int, float], rates: tuple[int, ...] = (100, 200, 400)) -> Run:
    """Steps of 7 s each; of some a share is refused, or (as -1) is never sent."""
    parts = []
    for place, rate in enumerate(rates):
        due = 7.0 * place + np.arange(7 * rate) / rate
        part = requests(place, count=len(due), spread=0.0) | {"due": due, "sent": due, "done": due + 0.002}
        lost = np.arange(len(due)) % 100 < 100 * abs(refused.get(rate, 0))
        if refused.get(rate, 0) < 0:
            part |= {"sent": np.where(lost, np.nan, due), "done": np.where(lost, np.nan, due + 0.002)}
        else:
            part["status"] = np.where(lost, 8, 0)
        parts.append(part | {"version": np.where(lost, -1, 2), "correct": np.where(lost, -1, 1)})
    load = {"kind": "steps", "users": 1, "deadline": 1.0}
    load |= {"schedule": {"kind": "steps", "steps": list(rates), "each": 7}}
    return write(
        folder / "runs", seconds(*parts), question="overload", load=load, arrivals=arrivals(), stopped=21.0
    )


@pytest.mark.parametrize(
    ("refused", "limits"),
    [
        ({400: 0.5}, {100: "pass", 200: "inconclusive", 300: "FAIL", 400: "FAIL"}),
        ({}, {100: "pass", 300: "pass", 400: "inconclusive", 500: "inconclusive"}),
        ({400: 0.01}, {150: "pass", 400: "inconclusive", 500: "inconclusive"}),  # about what is allowed
        ({100: 0.5, 200: 0.5, 400: 0.5}, {50: "inconclusive", 100: "FAIL"}),  # how much less is not known
        ({400: -0.5}, {150: "pass", 300: "inconclusive"}),  # the load process did not send it
    ],
)
def test_a_sustained_rate_is_as_sure_as_its_steps(
    tmp_path: Path, refused: dict[int, float], limits: dict[int, str]
) -> None:
    run = stepped(tmp_path, refused)
    assert {rate: outcome(run, f"sustained_rate = {rate}") for rate in limits} == limits


def test_steps_of_few_requests_show_no_rate(tmp_path: Path) -> None:
    """All of 35 and 70 were answered: that is no proof of 99 %."""
    assert outcome(stepped(tmp_path, {}, (5, 10)), "sustained_rate = 5") == "inconclusive"


@pytest.mark.parametrize(
    ("growth", "noise", "outcomes"),
    [
        (0.0, 0.002, ["pass", "pass"]),
        (0.05, 0.005, ["inconclusive", "pass"]),
        (0.3, 0.005, ["FAIL", "FAIL"]),
        (0.0, 0.0, ["pass", "pass"]),
    ],
)
def test_memory_grows_as_its_slope_allows(
    tmp_path: Path, growth: float, noise: float, outcomes: list[str]
) -> None:
    parts = [requests(i, count=20, rate=20, start=float(i)) for i in range(60)]
    run = write(
        tmp_path / "runs",
        seconds(*parts),
        question="drift",
        stopped=60.0,
        warmup={"rule": "given", "seconds": 0},
    )
    wander = np.random.default_rng(5).normal(0, noise, 60)
    rows = [
        {"time": at + 0.5, "source": source, "memory": 1e8 * (1 + (source == "server") * growth * at / 60 + wander[at])}
        for at in range(60)
        for source in ("server", "worker 0")
    ]  # fmt: skip
    (run.path / "telemetry.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = Run.open(run.path)
    assert [outcome(run, f"memory_growth = {bound}") for bound in (0.05, 0.2)] == outcomes


def test_the_interval_of_a_slope_holds_the_truth() -> None:
    """400 series of 20 values that grow by 2 %, each like its neighbour (AR(1), 0.5), at 90 %."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        noise = np.zeros(20)
        for at, kick in enumerate(rng.normal(0, 0.003, 20)):
            noise[at] = (0.5 * noise[at - 1] if at else 0.0) + kick
        low, high = growth_ends(1e8 * (1 + 0.02 * np.arange(20) / 19 + noise), 0.9)
        held += low <= 0.02 <= high
    assert held >= 0.87 * 400


def test_a_recovery_is_that_of_one_spike(tmp_path: Path) -> None:
    """It takes no time, then 1 s."""
    run = spiked(tmp_path / "quick", (200, 0, 3), (1000, 3, 5), (200, 5, 8), spread=0.0)
    assert outcome(run, "recovery_seconds_s = 0.5") == "pass"
    assert outcome(run, "recovery_seconds_s = 0.05") == "inconclusive"  # windows of 0.1 s show no less
    parts = [
        requests(1, count=600, rate=200, spread=0.0),
        *(
            requests(2 + i, count=count, rate=count, start=3.0 + i, service=0.05 if i < 3 else 0.002, spread=0.0)
            for i, count in enumerate((1000, 1000, 200, 200, 200, 200))
        ),
    ]  # fmt: skip
    load = {"kind": "spike", "users": 1}
    load |= {"schedule": {"kind": "spike", "rate": 200, "factor": 5, "at": 3, "lasting": 2}}
    run = write(tmp_path / "slow", seconds(*parts), question="spike", load=load, arrivals=arrivals())
    outcomes = {bound: outcome(run, f"recovery_seconds_s = {bound}") for bound in (0.3, 0.9, 1.2, 3)}
    assert outcomes == {0.3: "FAIL", 0.9: "inconclusive", 1.2: "inconclusive", 3: "pass"}


def test_a_run_that_ended_before_it_recovered_took_as_long_as_it_lasted(tmp_path: Path) -> None:
    parts = [
        requests(1, count=600, rate=200, spread=0.0),
        *(
            requests(2 + i, count=count, rate=count, start=3.0 + i, service=0.05, spread=0.0)
            for i, count in enumerate((1000, 1000, 200, 200, 200))
        ),
    ]
    load: dict[str, Any] = {"kind": "spike", "users": 1}
    load |= {"schedule": {"kind": "spike", "rate": 200, "factor": 5, "at": 3, "lasting": 2}}
    run = write(tmp_path / "runs", seconds(*parts), question="spike", load=load, arrivals=arrivals())
    assert outcome(run, "recovery_seconds_s = 1") == "FAIL"
    assert outcome(run, "recovery_seconds_s = 9") == "inconclusive"


def test_answers_without_a_version_are_counted(tmp_path: Path) -> None:
    """One in a hundred, in each second."""

    def versions(nameless: bool) -> list[dict[str, Any]]:
        parts = []
        for version, start, count in ((1, 0.0, 3000), (2, 3.0, 5000)):
            part = requests(version, count=count, rate=1000, start=start, version=version)
            lost = nameless & (np.arange(count) % 100 == 7)
            parts.append(part | {"version": np.where(lost, -1, version)})
        return parts

    clean, some = (rolled(tmp_path / f"{kind}", *versions(kind)) for kind in (False, True))
    assert outcomes_of(clean, "unattributed_share = 0") == {"pass"}
    limits = {"0": "FAIL", "0.001": "FAIL", "0.0101": "inconclusive", "0.03": "pass"}
    found = {bound: outcomes_of(some, f"unattributed_share = {bound}") for bound in limits}
    assert found == {bound: {expected} for bound, expected in limits.items()}
    other = write(tmp_path / "other", seconds(requests(count=6000)))
    assert outcome(other, "unattributed_share = 0") == "inconclusive"


def test_an_excursion_among_requests_without_an_answer_is_beyond_any_limit(tmp_path: Path) -> None:
    run = rolled(
        tmp_path / "runs",
        requests(1, count=3000, rate=1000, version=1),
        requests(2, count=300, rate=1000, start=3.0, errors=1.0),
        requests(3, count=3000, rate=1000, start=3.3, version=2),
    )
    assert outcomes_of(run, "excursion_height_max_ms = 500") == {"FAIL"}


def outcomes_of(run: Run, text: str) -> set[str]:
    """Of a run with several versions, each a cell of its own."""
    path = run.path.parent / "limits.toml"
    path.write_text(f"[limits]\n{text}\n")
    return {finding.outcome for finding in gate(LimitsFile.read(path), read_trials([run])).findings}


def test_several_runs_that_never_recovered_fail_together(tmp_path: Path) -> None:
    """Where the metric is no number in most runs, what each shows all the same decides."""

    def never(number: int, least: float) -> Any:
        shown = Shown({"recovery_seconds": (least, math.inf)})
        return replace(trial(BASE, {}, number=number), within=shown)

    beyond = Trials([never(number, 5.0) for number in range(3)], [], [])
    assert judged(tmp_path, "recovery_seconds_s = 2", beyond).outcome == "FAIL"
    assert judged(tmp_path, "recovery_seconds_s = 9", beyond).outcome == "inconclusive"
    one = Trials([never(0, 5.0), never(1, 1.0), never(2, 1.0)], [], [])
    assert judged(tmp_path, "recovery_seconds_s = 2", one).outcome == "inconclusive"


def test_every_number_of_an_answer_is_one_that_these_tests_know() -> None:
    assert set(LIMITS) | COUNTED >= NAMES
