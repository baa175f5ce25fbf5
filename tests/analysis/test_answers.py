"""Answers to the scenarios' questions, on runs and counts whose truth is known."""

from pathlib import Path

import numpy as np
import pytest

from bench import BenchError
from bench.analysis.answers.answer import ratio, unpaired
from bench.analysis.answers.questions import answers
from bench.analysis.answers.versions import Pair, compare, gap
from bench.choices import FILE, UNSEEN, Choices
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
    assert 0.93 <= np.mean(held_paired) <= 0.97
    assert 0.93 <= np.mean(held_unpaired) <= 0.97
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


def test_batches_are_judged_by_the_seconds_of_their_turns(tmp_path: Path) -> None:
    """Turns of 3 s: 100/s of batch 1, 50/s of batch 32; the first second of each turn is slow and counts as warm-up."""
    parts = []
    for turn in range(4):
        batch, rate, name = ((1, 100.0, "batch 1"), (32, 50.0, "batch 32"))[turn % 2]
        for second in range(3):
            begin = 3.0 * turn + second
            part = requests(
                turn * 3 + second, count=int(rate), rate=rate, batch=batch, service=0.001, names=(name,)
            )
            due = begin + np.arange(int(rate)) / rate
            lasting = 0.5 if second == 0 else 0.001
            parts.append(part | {"due": due, "sent": due, "done": due + lasting})
    load = {"kind": "closed", "users": 4, "turns": {"names": ["batch 1", "batch 32"], "seconds": 3}}
    run = write(tmp_path, seconds(*parts), question="batches", load=load, stopped=12.0)
    (answer,) = answers(run)
    assert answer.values["best_batch"] == 32
    assert answer.values["best_inferences_per_second"] == pytest.approx(1600)
    assert "1.00 ms instead of 1.00 ms" in answer.text


def test_a_run_without_a_question_has_no_answer(tmp_path: Path) -> None:
    assert answers(write(tmp_path, seconds(requests()))) == []
