"""Answers to runs that do not show what their scenario asks: they say so, and give no number for it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.analysis.answers.answer import Answer
from bench.analysis.answers.questions import ANSWERS, answers
from bench.analysis.grouping.trials import read_trials
from bench.analysis.judging.gate import LimitsFile, gate
from bench.runs.choices import FILE, UNSEEN, Choices
from bench.runs.run import Run, find_runs
from tests.recorded import requests, seconds, write

SPIKE = {"kind": "spike", "rate": 200, "factor": 5, "at": 3, "lasting": 2}
STEPS = {"kind": "steps", "steps": [100, 200], "each": 3}


def numbers(run: Run) -> dict[str, float | None]:
    """Of all answers together."""
    return {name: value for answer in answers(run) for name, value in answer.values.items()}


def untold(found: list[Answer]) -> bool:
    return any("unknown" in answer.text or "cannot be" in answer.text for answer in found)


def arrivals() -> dict[str, Any]:
    return {"Users": {"begin": 0.0, "users": [[0, 1]]}}


def spiked(root: Path, *rates: tuple[float, float, float], **how: Any) -> Run:
    """Requests at a rate from one second to another each; the plan says 200/s, and 1,000/s from 3 s to 5 s."""
    parts = []
    for number, (rate, begin, end) in enumerate(rates):
        due = np.arange(begin, end, 1 / rate)
        part = requests(number, count=len(due), **how)
        parts.append(part | {"due": due, "sent": due, "done": due + (part["done"] - part["sent"])})
    load = {"kind": "spike", "users": 1, "schedule": SPIKE}
    return write(root, seconds(*parts), question="spike", load=load, arrivals=arrivals())


@pytest.mark.parametrize("question", ANSWERS)
def test_of_errors_only_nothing_is_answered(tmp_path: Path, question: str) -> None:
    parts = [
        requests(i, count=100, rate=100, start=float(i), errors=1.0, names=("a", "null")) for i in range(8)
    ]
    schedules: dict[str, dict[str, Any]] = {"spike": SPIKE, "overload": STEPS}
    schedule = schedules.get(question, {"kind": "closed"})
    load = {
        "kind": schedule["kind"],
        "users": 1,
        "deadline": 1.0,
        "schedule": schedule,
        "user_classes": ["Server"],
    }
    run = write(tmp_path, seconds(*parts), question=question, load=load, arrivals=arrivals())
    found = answers(run)
    assert untold(found) or "INVALID" in found[0].text or "less than 100/s" in found[0].text
    for name in (
        "best_batch",
        "server_cores",
        "p50_drift",
        "p50_ratio",
        "inference",
        "sustained_rate",
        "until_all",
        "recovery_seconds",
    ):
        assert numbers(run).get(name) is None, name


@pytest.mark.parametrize("question", ANSWERS)
def test_of_one_second_of_one_kind_of_requests_nothing_is_answered(tmp_path: Path, question: str) -> None:
    """As of a run that was ended at once, of another load than the scenario's."""
    run = write(tmp_path, seconds(requests(count=100, rate=100)), question=question)
    found = answers(run)
    assert untold(found), found
    for name in (
        "best_batch",
        "knee_batch",
        "p50_drift",
        "p50_ratio",
        "inference",
        "sustained_rate",
        "accuracy_gap",
    ):
        assert numbers(run).get(name) is None, name


def test_batches_of_one_turn_each_show_no_knee(tmp_path: Path) -> None:
    """A drift of the machine from one turn to the next looks like a knee."""
    parts, names = [], [f"batch {batch}" for batch in (1, 32, 128)]
    for number, (name, rate) in enumerate(zip(names, (200.0, 100.0, 25.0), strict=True)):
        due = 6.0 * number + np.arange(int(6 * rate)) / rate
        part = requests(number, count=len(due), batch=int(name.split()[1]), names=(name,))
        parts.append(part | {"due": due, "sent": due, "done": due + 0.001})
    load = {"kind": "closed", "users": 4, "turns": {"names": names, "seconds": 6}}
    run = write(tmp_path, seconds(*parts), question="batches", load=load, stopped=18.0)
    assert untold(answers(run))
    assert numbers(run)["knee_batch"] is None


@pytest.mark.parametrize(("spread", "knee"), [(0.0, 32.0), (0.5, None)])
def test_a_knee_needs_rates_that_are_told_apart(tmp_path: Path, spread: float, knee: float | None) -> None:
    """Images per second of batches 1, 32 and 128, in four turns each: 200, 3,200, 3,200, and so much from second to second."""
    rng, parts, names = np.random.default_rng(1), [], [f"batch {batch}" for batch in (1, 32, 128)]
    for second in range(48):
        name = names[second // 4 % 3]
        rate = {"batch 1": 200, "batch 32": 100, "batch 128": 25}[name] * float(np.exp(rng.normal(0, spread)))
        due = second + np.arange(max(1, int(rate))) / max(1, int(rate))
        part = requests(second, count=len(due), batch=int(name.split()[1]), names=(name,))
        parts.append(part | {"due": due, "sent": due, "done": due + 0.001})
    load = {"kind": "closed", "users": 4, "turns": {"names": names, "seconds": 4}}
    run = write(tmp_path, seconds(*parts), question="batches", load=load, stopped=48.0)
    assert numbers(run)["knee_batch"] == knee


def test_two_versions_of_a_batch_are_no_rate_of_it(tmp_path: Path) -> None:
    parts = [
        requests(i, count=50, rate=60, start=float(i), batch=(1, 32)[i % 2], version=1 if i < 6 else 2)
        for i in range(12)
    ]
    run = write(tmp_path, seconds(*parts), question="batches", load={"kind": "closed", "users": 4})
    assert untold(answers(run))
    assert numbers(run) == {}


def test_a_load_that_was_given_is_not_what_the_server_can_answer(tmp_path: Path) -> None:
    """An open loop that keeps nine tenths of the cores busy does not show that more would not be answered."""
    parts = [requests(i, count=100, rate=100, start=float(i)) for i in range(10)]
    load = {"kind": "constant", "rate": 100, "users": 1}
    run = write(tmp_path, seconds(*parts), question="bound", load=load, machine={"usable_cores": 1})
    rows = [{"time": at + 0.0, "source": "server", "cpu_seconds": 0.9 * at} for at in range(11)]
    (run.path / "telemetry.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert untold(answers(Run.open(run.path)))


def test_a_spike_from_which_the_run_did_not_recover(tmp_path: Path) -> None:
    run = spiked(tmp_path, (200, 0, 3), (1000, 3, 5), (200, 5, 8))
    slow = spiked(tmp_path / "slow", (200, 0, 3), (1000, 3, 5), (200, 5, 8), spread=0.0)
    assert numbers(run)["recovery_seconds"] == 0
    assert numbers(slow)["recovery_seconds"] == 0
    parts = [
        requests(1, count=600, rate=200, spread=0.0),
        *(
            requests(2 + i, count=count, rate=count, start=3.0 + i, service=0.05, spread=0.0)
            for i, count in enumerate((1000, 1000, 200, 200, 200))
        ),
    ]
    load = {"kind": "spike", "users": 1, "schedule": SPIKE}
    never = write(tmp_path / "never", seconds(*parts), question="spike", load=load, arrivals=arrivals())
    assert numbers(never)["recovery_seconds"] is None


def test_windows_without_a_request_pass_as_well(tmp_path: Path) -> None:
    """Four requests a second leave six of ten windows empty: recovery takes the time that it takes."""
    due = np.concatenate([np.arange(0, 3, 0.02), np.arange(3, 5, 0.004), np.arange(5, 12, 0.25)])
    part = requests(1, count=len(due), spread=0.0)
    took = np.where((due >= 3) & (due < 8.1), 0.05, 0.002)
    load = {"kind": "spike", "users": 1, "schedule": SPIKE}
    run = write(
        tmp_path,
        seconds(part | {"due": due, "sent": due, "done": due + took}),
        question="spike",
        load=load,
        arrivals=arrivals(),
    )
    assert numbers(run)["recovery_seconds"] == pytest.approx(3.1, abs=0.15)


def test_an_overload_that_never_came_is_told_as_a_least_rate(tmp_path: Path) -> None:
    parts = [
        requests(i, count=rate, rate=float(rate), start=float(i))
        for i, rate in enumerate((100, 100, 100, 200, 200, 200))
    ]
    load = {"kind": "steps", "users": 1, "deadline": 1.0, "schedule": STEPS | {"steps": [100, 200, 400]}}
    run = write(tmp_path, seconds(*parts), question="overload", load=load, arrivals=arrivals(), stopped=6.0)
    assert "at least 200/s, the highest rate that was sent" in answers(run)[0].text
    assert "in_time_400" not in numbers(run)


def rolled(root: Path, *parts: dict[str, Any], changes: tuple[float, ...] = (3.0,)) -> Run:
    """A run with changes to version 2 at these instants."""
    run = write(root, seconds(*parts), question="rollout")
    rows = [{"time": at, "kind": "swap", "text": "version 2", "version": 2} for at in changes]
    (run.path / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Run.open(run.path)


def test_a_version_without_any_answer_never_answers_everything(tmp_path: Path) -> None:
    run = rolled(tmp_path, requests(1, count=6000, rate=1000, version=1))
    found = numbers(run)
    assert found["until_first_answer"] == found["until_all"] == found["cold_start"] == np.inf
    (tmp_path / "limits.toml").write_text("[limits]\nuntil_all_s = 9\ncold_start_ms = 9\n")
    judged = gate(LimitsFile.read(tmp_path / "limits.toml"), read_trials(find_runs([run.path])))
    assert {each.outcome for each in judged.findings} == {"FAIL"}


def test_a_change_that_is_not_over_takes_longer_than_the_run(tmp_path: Path) -> None:
    """One request in two goes to the old version until the end."""
    after = requests(2, count=3000, rate=1000, start=3.0, version=2)
    after["version"] = np.where(np.arange(3000) % 2, 1, 2)
    run = rolled(tmp_path, requests(1, count=3000, rate=1000, version=1), after)
    found = numbers(run)
    assert found["until_first_answer"] == pytest.approx(0.0, abs=0.02)
    assert found["until_all"] == np.inf


def test_two_of_three_changes_that_never_happen_are_no_quick_ones(tmp_path: Path) -> None:
    first, second = (
        requests(1, count=3000, rate=1000, version=1),
        requests(2, count=1000, rate=1000, start=3.0, version=2),
    )
    last = requests(3, count=4000, rate=1000, start=4.0, version=1)
    run = rolled(tmp_path, first, second, last, changes=(3.0, 4.0, 6.0))
    assert numbers(run)["until_all"] == np.inf


def test_a_change_after_the_last_request_shows_nothing(tmp_path: Path) -> None:
    run = rolled(tmp_path, requests(1, count=3000, rate=1000, version=1), changes=(30.0,))
    assert untold(answers(run))
    assert "until_all" not in numbers(run)


@pytest.mark.parametrize(("limit", "outcome"), [(0.5, "pass"), (0.01, "inconclusive")])
def test_a_short_soak_shows_as_much_growth_as_its_interval_allows(
    tmp_path: Path, limit: float, outcome: str
) -> None:
    """20 s whose seconds differ by 10 %: that no growth is certain is no proof that there is none."""
    rng = np.random.default_rng(3)
    parts = [
        requests(i, count=100, rate=100, start=float(i), service=0.002 * float(np.exp(rng.normal(0, 0.1))))
        for i in range(20)
    ]
    run = write(tmp_path / "run", seconds(*parts), question="drift", warmup={"rule": "given", "seconds": 0})
    (tmp_path / "limits.toml").write_text(f"[limits]\np50_growth = {limit}\n")
    judged = gate(LimitsFile.read(tmp_path / "limits.toml"), read_trials(find_runs([run.path])))
    assert [each.outcome for each in judged.findings] == [outcome], judged.findings


def test_memory_that_changes_too_much_is_not_called_calm(tmp_path: Path) -> None:
    run = write(tmp_path, seconds(requests(count=20, rate=1.0)), question="drift", stopped=20.0)
    noise = np.random.default_rng(4).normal(0, 10e6, 20)
    rows = [
        {"time": at, "source": "server", "memory": 100e6 + 1e6 * at + float(noise[at])} for at in range(20)
    ]
    (run.path / "telemetry.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert numbers(Run.open(run.path))["memory_growth"] is None


@pytest.mark.parametrize(("examples", "outcome"), [(50, "inconclusive"), (5000, "pass")])
def test_a_gap_of_accuracy_is_limited_by_its_interval(tmp_path: Path, examples: int, outcome: str) -> None:
    """Equal models, each wrong for one example in ten, another for each, are limited to 4 points worse."""
    parts = [requests(i, count=100, rate=100, start=float(i), names=("a", "b")) for i in range(6)]
    run = write(tmp_path / "run", seconds(*parts), question="versions")
    labels = np.arange(examples, dtype=np.int32) % 10
    chosen = {
        name: np.where(np.arange(examples) % 10 == at, (labels + 1) % 10, labels).astype(np.int32)
        for at, name in enumerate("ab")
    }
    (run.path / FILE).write_bytes(Choices(labels, chosen).to_bytes())
    (tmp_path / "limits.toml").write_text("[limits]\naccuracy_gap = -0.04\n")
    judged = gate(LimitsFile.read(tmp_path / "limits.toml"), read_trials(find_runs([run.path])))
    assert {each.outcome for each in judged.findings} == {outcome}, judged.findings


def test_versions_that_were_asked_for_different_examples_have_no_gap(tmp_path: Path) -> None:
    run = write(tmp_path, seconds(requests(names=("a", "b"))), question="versions")
    labels = np.arange(10, dtype=np.int32)
    halves = {"a": np.where(labels < 5, labels, UNSEEN), "b": np.where(labels < 5, UNSEEN, labels)}
    choices = Choices(labels, {name: each.astype(np.int32) for name, each in halves.items()})
    (run.path / FILE).write_bytes(choices.to_bytes())
    assert numbers(run) == {}
    assert "no example was answered by both" in answers(run)[0].text


@pytest.mark.parametrize(
    ("limit", "outcome"), [("inference_ms = 5", "pass"), ("inference_us = 1", "inconclusive")]
)
def test_the_part_of_a_model_that_is_as_quick_as_none_is_limited_by_its_interval(
    tmp_path: Path, limit: str, outcome: str
) -> None:
    parts = [
        requests(i, count=200, rate=200, start=float(i), names=("null", "mnist"), spread=0.8)
        for i in range(10)
    ]
    run = write(tmp_path / "run", seconds(*parts), question="overhead")
    assert untold(answers(run))
    assert numbers(run)["inference_low"] == 0.0
    (tmp_path / "limits.toml").write_text(f"[limits]\n{limit}\n")
    judged = gate(LimitsFile.read(tmp_path / "limits.toml"), read_trials(find_runs([run.path])))
    assert {each.outcome for each in judged.findings} == {outcome}, judged.findings
