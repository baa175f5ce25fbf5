"""Answers to the scenarios' questions, on runs and counts whose truth is known."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from bench import BenchError
from bench.analysis.answers.answer import Answer, ratio, unpaired
from bench.analysis.answers.questions import answers
from bench.analysis.answers.versions import Pair, compare, gap
from bench.analysis.reading.cells import cpu_cores
from bench.runs.choices import FILE, UNSEEN, Choices
from bench.runs.run import Run
from tests.benchmarks.history_errors import NOISES
from tests.recorded import requests, seconds, write


def paired(rng: np.random.Generator, n: int, only_before: float, only_after: float) -> Pair:
    kinds = rng.choice(4, n, p=[only_before, only_after, 0.5, 0.5 - only_before - only_after])
    counts = np.bincount(kinds, minlength=4)
    return Pair(n, int(counts[0] + counts[2]), int(counts[1] + counts[2]), int(counts[0]), int(counts[1]), 0)


@pytest.mark.parametrize(("only_before", "only_after"), [(0.02, 0.02), (0.01, 0.2), (0.001, 0.004)])
def test_the_interval_of_the_gap_holds_the_truth_19_times_in_20(
    only_before: float, only_after: float
) -> None:
    rng = np.random.default_rng(7)
    truth = only_after - only_before
    found = [gap(paired(rng, 1000, only_before, only_after)) for _ in range(2000)]
    held = np.mean([each.low <= truth <= each.high for each in found])
    assert 0.93 <= held <= 0.99


def test_two_copies_of_a_model_show_no_gap() -> None:
    labels = np.arange(1000, dtype=np.int32) % 10
    chosen = np.where(np.arange(1000) % 7 == 0, (labels + 1) % 10, labels).astype(np.int32)
    pair = compare(labels, chosen, chosen.copy())
    assert (pair.same, pair.only_before, pair.only_after) == (1000, 0, 0)
    assert gap(pair).low < 0 < gap(pair).high


def test_examples_that_one_model_has_not_seen_are_left_out() -> None:
    labels = np.array([1, 2, 3, 4], np.int32)
    pair = compare(labels, np.array([1, 2, UNSEEN, 0], np.int32), np.array([1, 0, 3, UNSEEN], np.int32))
    assert pair == Pair(2, 2, 1, 1, 0, 1)


def test_ratios_hold_the_truth_19_times_in_20() -> None:
    rng = np.random.default_rng(3)
    held_paired, held_unpaired = [], []
    for _ in range(1000):
        disturbance = rng.normal(0, 1.0, 12)
        before = dict(enumerate(np.exp(disturbance + rng.normal(0, 0.05, 12))))
        after = dict(enumerate(1.1 * np.exp(disturbance + rng.normal(0, 0.05, 12))))
        found = ratio(before, after)
        assert found is not None
        held_paired.append(found.low <= 1.1 <= found.high)
        other = unpaired(np.exp(rng.normal(0, 0.2, 9)), 1.1 * np.exp(rng.normal(0, 0.4, 14)))
        assert other is not None
        held_unpaired.append(other.low <= 1.1 <= other.high)
    assert 0.93 <= np.mean(held_paired) <= 0.98
    assert 0.93 <= np.mean(held_unpaired) <= 0.98
    assert ratio({1: 1.0, 2: 1.0}, {1: 1.0, 2: 1.0}) is None


def test_choices_of_several_processes_come_together() -> None:
    one = Choices(np.array([5, UNSEEN], np.int32), {"a": np.array([5, UNSEEN], np.int32)})
    two = Choices(
        np.array([UNSEEN, 6, 7], np.int32),
        {"a": np.array([UNSEEN, 6, 1], np.int32), "b": np.array([2], np.int32)},
    )
    merged = Choices.from_bytes(Choices.merged([one, two]).to_bytes())
    assert merged.labels.tolist() == [5, 6, 7]
    assert {name: each.tolist() for name, each in merged.chosen.items()} == {
        "a": [5, 6, 1],
        "b": [2, UNSEEN, UNSEEN],
    }


def test_damaged_choices_are_told(tmp_path: Path) -> None:
    assert Choices.of_run(tmp_path) is None
    (tmp_path / FILE).write_bytes(b"PK nothing")
    with pytest.raises(BenchError, match=FILE):
        Choices.of_run(tmp_path)


def test_an_excursion_of_known_height_and_length(tmp_path: Path) -> None:
    """1,000/s of 2 ms; from second 5 on version 2, whose first 300 ms take 50 ms."""
    steady = requests(1, count=5000, rate=1000, spread=0.05, version=1)
    slow = requests(2, count=300, rate=1000, start=5.0, service=0.05, spread=0.05, version=2)
    after = requests(3, count=4000, rate=1000, start=5.3, spread=0.05, version=2)
    run = write(tmp_path, seconds(steady, slow, after), question="rollout")
    with (run.path / "events.jsonl").open("a") as events:
        events.write('{"time": 5.0, "kind": "swap", "text": "version 2", "version": 2}\n')
    told, change, excursion, cold = answers(run)
    assert told.values == {"swaps": 1, "failed": 0, "unsent": 0, "unattributed": 0, "unattributed_share": 0}
    assert change.values["until_first_answer"] == pytest.approx(0.05, abs=0.01)
    assert excursion.values["excursion_seconds"] == pytest.approx(0.3, abs=0.15)
    assert excursion.values["excursion_height"] == pytest.approx(0.05 * np.exp(0.05 * 2.3), rel=0.1)
    assert excursion.values["baseline_p99"] == pytest.approx(0.002 * np.exp(0.05 * 2.3), rel=0.1)
    assert cold.values["cold_start"] == pytest.approx(0.055, rel=0.1)


def test_a_change_that_nobody_feels_is_no_excursion(tmp_path: Path) -> None:
    before = requests(1, count=5000, rate=1000, spread=0.1, version=1)
    after = requests(2, count=5000, rate=1000, start=5.0, spread=0.1, version=2)
    run = write(tmp_path, seconds(before, after), question="rollout")
    with (run.path / "events.jsonl").open("a") as events:
        events.write('{"time": 5.0, "kind": "swap", "text": "version 2", "version": 2}\n')
    assert "no excursion found" in answers(run)[2].text


def test_recovery_from_a_spike_is_counted_from_its_end(tmp_path: Path) -> None:
    """A spike from second 4 to 6; 20 ms until second 7.2, then as quick as before."""
    parts = [
        requests(1, count=4000, rate=1000, spread=0.05),
        requests(2, count=3200, rate=1000, start=4.0, service=0.02, spread=0.05),
        requests(3, count=3500, rate=1000, start=7.25, spread=0.05),
    ]
    load = {
        "kind": "spike",
        "users": 1,
        "schedule": {"kind": "spike", "rate": 1000, "factor": 5, "at": 4, "lasting": 2},
    }
    run = write(
        tmp_path,
        seconds(*parts),
        question="spike",
        load=load,
        arrivals={"Spike": {"begin": 0.0, "users": [[0, 1]]}},
    )
    (answer,) = answers(run)
    assert answer.values["recovery_seconds"] == pytest.approx(1.25, abs=0.15)
    assert answer.values["spike_p99"] == pytest.approx(0.0225, rel=0.1)


def known(answer: Answer, name: str) -> float:
    value = answer.values[name]
    assert value is not None
    return value


@pytest.mark.parametrize(("lasting", "hourly"), [(20, None), (800, 40e6)])
def test_growth_of_memory_is_not_extrapolated_from_seconds(
    tmp_path: Path, lasting: int, hourly: float | None
) -> None:
    """100 MB and 40 MB more in an hour; in 20 s as much as in 800 s."""
    rate = 40e6 / 3600 * 800 / lasting
    run = write(
        tmp_path, seconds(requests(count=lasting, rate=1.0)), question="drift", stopped=float(lasting)
    )
    with (run.path / "telemetry.jsonl").open("a") as rows:
        for at in range(lasting):
            rows.write(json.dumps({"time": at, "source": "server", "memory": 100e6 + rate * at}) + "\n")
    memory = answers(Run.open(run.path))[-1]
    assert known(memory, "memory_growth") > 0.02
    found = memory.values["server_memory_growth_per_hour"]
    assert found == (None if hourly is None else pytest.approx(hourly, rel=0.2))


def overloaded(tmp_path: Path, lost: dict[int, str]) -> Answer:
    """Steps of 4 s at 100, 200 and 400/s; of the steps named, half fail in the way given."""
    parts = []
    for number, rate in enumerate((100, 200, 400)):
        part = requests(number, count=4 * rate, rate=float(rate))
        due = 4.0 * number + np.arange(4 * rate) / rate
        half = (np.arange(4 * rate) % 2 == 0) & (rate in lost)
        never = half & (lost.get(rate) == "UNSENT")
        parts.append(
            part
            | {
                "due": due,
                "sent": np.where(never, np.nan, due),
                "done": np.where(never, np.nan, due + 0.002),
                "status": np.where(half & ~never, 8, 0),
            }
        )
    schedule = {"kind": "steps", "steps": [100, 200, 400], "each": 4}
    load = {"kind": "steps", "users": 1, "deadline": 1.0, "schedule": schedule}
    arrivals = {"Overload": {"begin": 0.0, "users": [[0, 1]]}}
    run = write(tmp_path, seconds(*parts), question="overload", load=load, arrivals=arrivals, stopped=12.0)
    return answers(run)[0]


@pytest.mark.parametrize(
    ("lost", "sustained", "told"),
    [
        ({}, 400, "at least 400/s"),
        ({400: "RESOURCE_EXHAUSTED"}, 200, "200/s and not 400/s"),
        ({400: "UNSENT"}, 200, "is unknown"),
        (dict.fromkeys((100, 200, 400), "RESOURCE_EXHAUSTED"), None, "less than 100/s"),
        ({100: "RESOURCE_EXHAUSTED"}, None, "unknown: a lower rate was not answered in time"),
        ({100: "RESOURCE_EXHAUSTED", 400: "RESOURCE_EXHAUSTED"}, None, "less than 400/s"),
    ],
)
def test_the_rate_that_is_sustained_is_bounded_by_what_was_sent(
    tmp_path: Path, lost: dict[int, str], sustained: float | None, told: str
) -> None:
    found = overloaded(tmp_path, lost)
    assert found.values["sustained_rate"] == sustained
    assert told in found.text


def test_a_spike_whose_requests_fail_at_once_has_no_quick_answers(tmp_path: Path) -> None:
    """From second 4 to 6 all requests are refused within 0.1 ms."""
    parts = [
        requests(1, count=4000, rate=1000, spread=0.05),
        requests(2, count=2000, rate=1000, start=4.0, service=0.0001, errors=1.0),
        requests(3, count=3500, rate=1000, start=6.1, spread=0.05),
    ]
    schedule = {"kind": "spike", "rate": 1000, "factor": 5, "at": 4, "lasting": 2}
    load = {"kind": "spike", "users": 1, "schedule": schedule}
    arrivals = {"Spike": {"begin": 0.0, "users": [[0, 1]]}}
    (answer,) = answers(write(tmp_path, seconds(*parts), question="spike", load=load, arrivals=arrivals))
    assert answer.values["spike_p99"] is None
    assert answer.values["answered_spike_p99_max"] is None, "nothing was answered during it"
    assert "not reached" in answer.text


def test_what_was_answered_during_a_spike_is_a_second_figure(tmp_path: Path) -> None:
    """From second 4 to 6 one request in ten is refused, the others take 20 ms."""
    parts = [
        requests(1, count=4000, rate=1000, spread=0.05),
        requests(2, count=2000, rate=1000, start=4.0, service=0.02, spread=0.05, errors=0.1),
        requests(3, count=3500, rate=1000, start=6.1, spread=0.05),
    ]
    schedule = {"kind": "spike", "rate": 1000, "factor": 5, "at": 4, "lasting": 2}
    load = {"kind": "spike", "users": 1, "schedule": schedule}
    arrivals = {"Spike": {"begin": 0.0, "users": [[0, 1]]}}
    (answer,) = answers(write(tmp_path, seconds(*parts), question="spike", load=load, arrivals=arrivals))
    assert answer.values["spike_p99"] is None
    assert answer.values["answered_spike_p99_max"] == pytest.approx(0.0225, rel=0.1)
    assert "p99 of the answered requests alone at most 2" in answer.text


@pytest.mark.parametrize(("turns", "told"), [(1, False), (3, True)])
def test_a_neighbour_that_came_once_is_not_told_from_drift(tmp_path: Path, turns: int, told: bool) -> None:
    """The neighbour is there in the second half of each turn of 12 s, in which the model is twice as slow."""
    parts = []
    for number in range(2 * turns):
        start, busy = 6.0 * number, number % 2 == 1
        service = 0.004 if busy else 0.002
        parts.append(
            requests(number, count=590, rate=100, start=start, service=service, spread=0.05, names=("a",))
        )
        if busy:
            parts.append(requests(number, count=590, rate=100, start=start, names=("b",)))
    run = write(tmp_path, seconds(*parts), question="neighbours", warmup=0.0)
    found = next(each for each in answers(run) if each.text.startswith("a "))
    assert ("a is slower" in found.text) == told
    assert ("cannot be compared" in found.text) == (not told)


def beside_a_neighbour(tmp_path: Path, share: float, status: int) -> Answer:
    """Three turns of 12 s; while the neighbour is there, so many requests end with a status after 0.1 ms."""
    parts = []
    for number in range(6):
        start, busy = 6.0 * number, number % 2 == 1
        part = requests(number, count=590, rate=100, start=start, spread=0.05, names=("a",))
        if busy:
            lost = np.random.default_rng(number).random(590) < share
            part["status"] = np.where(lost, status, 0)
            part["done"] = np.where(lost, part["due"] + 0.0001, part["done"])
            parts.append(requests(number, count=590, rate=100, start=start, names=("b",)))
        parts.append(part)
    run = write(tmp_path, seconds(*parts), question="neighbours", warmup=0.0)
    return next(each for each in answers(run) if each.text.startswith("a "))


@pytest.mark.parametrize("status", [14, -2])
def test_requests_without_an_answer_are_no_quick_ones_beside_a_neighbour(tmp_path: Path, status: int) -> None:
    few, many = beside_a_neighbour(tmp_path, 0.05, status), beside_a_neighbour(tmp_path, 0.9, status)
    assert few.values["p99_alone"] == pytest.approx(0.00225, rel=0.02)
    assert few.values["answered_p99_beside"] == pytest.approx(0.00225, rel=0.02)
    assert few.values["p99_beside"] is None, (
        "the slowest 5 % got no answer, or would have got one nobody knows when"
    )
    assert "p99 of the answered requests alone 2.2" in few.text
    if status == 14:
        assert "p99 not reached (no answer)" in few.text
        assert known(few, "p50_ratio") > 1.001, "the median of all requests due is one of slower answers"
    assert many.values["p50_ratio"] is None
    assert "half of its requests got no answer" in many.text


def test_a_drift_into_errors_is_no_drift_of_the_answered(tmp_path: Path) -> None:
    parts = [
        requests(i, count=100, rate=100, start=float(i), errors=0.9 if i > 20 else 0.0) for i in range(30)
    ]
    (latency,) = answers(write(tmp_path, seconds(*parts), question="drift"))[:1]
    assert latency.values == {}
    assert "drift of the latency is unknown" in latency.text


def test_an_interval_that_says_nothing_is_wide_and_no_crash() -> None:
    before = {0: 0.000417023, 1: 0.000443391, 2: 0.000397055, 3: 0.000364799}
    after = {0: 0.000501503, 1: 0.000521471, 2: 0.000484863, 3: 0.000460031}
    found = ratio(before, after, 0.9975)  # a gate's confidence
    assert found is not None
    assert found.low < 1e-6 < found.value < 1e6 < found.high < math.inf


def test_intervals_allow_for_seconds_that_resemble_each_other() -> None:
    """AR(1) of 0.7: as if each second were three to six; Student's t on all of them holds the truth in 60 %."""
    rng = np.random.default_rng(4)
    noise = NOISES["AR(1) 0.7"]
    held = []
    for _ in range(400):
        before, after = (dict(enumerate(np.exp(0.05 * noise(rng, 60)))) for _ in range(2))
        found = ratio(before, {second: 1.1 * value for second, value in after.items()})
        assert found is not None
        held.append(found.low <= 1.1 <= found.high)
    assert 0.91 <= np.mean(held) <= 0.99


def test_observations_without_cpu_seconds_are_passed_over(tmp_path: Path) -> None:
    """As of a server that did not answer for a moment, or whose process is not known."""
    parts = []
    for second in range(12):
        batch, name = ((1, "batch 1"), (32, "batch 32"))[second // 3 % 2]
        parts.append(requests(second, count=50, rate=60, start=float(second), batch=batch, names=(name,)))
    load = {"kind": "closed", "users": 4, "turns": {"names": ["batch 1", "batch 32"], "seconds": 3}}
    run = write(tmp_path, seconds(*parts), question="batches", load=load, stopped=12.0)
    rows: list[dict[str, object]] = [
        {"time": at + 0.0, "source": "server", "cpu_seconds": 0.5 * at} for at in range(13)
    ]
    rows[5] = {"time": 5.0, "source": "server"}
    rows[8] = {"time": 8.0, "source": "server", "cpu_seconds": None}
    (run.path / "telemetry.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, costs = answers(Run.open(run.path))
    assert costs.values["server_cpu_batch_1"] == pytest.approx(0.5 / 50, rel=0.05)
    assert costs.values["server_cpu_batch_32"] == pytest.approx(0.5 / 50 / 32, rel=0.05)
    assert [cpu_cores(rows)] == [pytest.approx(0.5)]


def test_a_run_without_a_question_has_no_answer(tmp_path: Path) -> None:
    assert answers(write(tmp_path, seconds(requests()))) == []
