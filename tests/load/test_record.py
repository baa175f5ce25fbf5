"""What is recorded of each call is what a check of every answer by itself says, though most are known and not read."""

import time
from typing import Any

import numpy as np
import pytest

from bench.load.checking.checker import UNKNOWN, Checker
from bench.load.checking.failures import MOST_TEXTS, OTHERS
from bench.load.checking.references import References
from bench.load.engine.arrivals import CAP_REACHED, DueRow
from bench.load.engine.recorder import HeardRecorder, Recorder, Rows
from bench.load.reference_answers import Answered
from bench.payload import Pool
from bench.runs.sample import CANCELLED_STATUS
from bench.wire.exchange import RequestHead
from bench.wire.reply import Reply
from tests.load.test_checker import CLASSES, pool_of, reply_with, scores_for

NOBODY: Any = None


def checker_of(pool: Pool, **options: Any) -> Checker:
    return Checker(pool, "scores", options.pop("version", None), references=References(len(pool)), **options)


def taken(recorder: Recorder) -> Rows:
    return Rows(*(np.concatenate(columns) for columns in zip(*recorder.take(), strict=True)))


class Reads:
    """Counts the answers that a checker reads."""

    def __init__(self, checker: Checker) -> None:
        self.count = 0
        self._check = checker.check
        checker.check = self.check  # type: ignore[method-assign]  # it is watched, not replaced

    def check(self, replies: Any, indices: Any) -> Any:
        self.count += len(replies)
        return self._check(replies, indices)


def answers(pool: Pool, version: int) -> list[bytes]:
    assert pool.labels is not None
    rng = np.random.default_rng(version)
    return [reply_with(scores_for(labels, rng), version=version) for labels in pool.labels]


def falsified(pool: Pool, replies: list[bytes], count: int) -> tuple[list[int], list[Reply], set[int]]:
    """Many answers in random order after two rounds of right ones, a few of them falsified; these places."""
    rng = np.random.default_rng(5)
    indices = [*range(len(pool)), *range(len(pool)), *rng.integers(len(pool), size=count).tolist()]
    wrong = set((2 * len(pool) + rng.choice(count, 40, replace=False)).tolist())
    sent: list[Reply] = []
    for place, index in enumerate(indices):
        message = replies[index]
        if place in wrong:
            other = scores_for((pool.labels[index] + 1) % CLASSES, rng)  # type: ignore[index]  # it has labels
            message = [reply_with(other, version=1), replies[(index + 1) % len(pool)], b"", b"rubbish"][
                place % 4
            ]
        sent.append(Reply(0, "", message, float(place), place + 0.5))
    return indices, sent, wrong


def test_a_few_falsified_answers_are_found_among_thousands_that_are_known() -> None:
    pool = pool_of()
    indices, replies, wrong = falsified(pool, answers(pool, 1), 5000)
    recorder = Recorder("Predict", pool, checker_of(pool))
    reads = Reads(recorder.checker)
    rows = []
    for place, (index, reply) in enumerate(zip(indices, replies, strict=True)):
        recorder.add(None, index, reply)
        if place in (len(pool) - 1, 2 * len(pool) - 1):
            rows += recorder.take()
    rows += recorder.take()
    whole = Rows(*(np.concatenate(columns) for columns in zip(*rows, strict=True)))
    assert set(np.flatnonzero(whole.mismatched).tolist()) == wrong
    assert whole.sent.tolist() == [reply.sent for reply in replies]
    assert reads.count == 2 * len(pool) + len(wrong)
    every = checker_of(pool)
    for _ in range(2):
        every.check([reply.message for reply in replies[:40]], indices[:40])
    checked = every.check([reply.message for reply in replies], indices)
    for found, expected in zip((whole.version, whole.correct, whole.mismatched), checked, strict=True):
        assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("kind", [Recorder, HeardRecorder])
def test_answers_to_rows_are_recorded_as_single_ones_are(kind: type[Recorder]) -> None:
    pool = pool_of()
    indices, replies, wrong = falsified(pool, answers(pool, 1), 3000)
    single, together = (kind("Predict", pool, checker_of(pool)) for _ in range(2))
    size = 50
    for begin in range(0, len(indices), size):
        part = slice(begin, begin + size)
        row = DueRow(
            RequestHead("/a/b"),
            [b""] * size,
            NOBODY,
            [place - 0.25 for place in range(*part.indices(10**6))],
            indices[part],
        )
        row.first, row.sent = 2 * begin + 1, float(begin)
        done = begin + 0.5
        order = np.random.default_rng(begin).permutation(len(indices[part])).tolist()
        together.add_answers([(row, row.first + 2 * at, replies[begin + at].message) for at in order], done)
        for at in order:
            reply = Reply(0, "", replies[begin + at].message, row.sent, done)
            single.add(row.dues[at], indices[begin + at], reply)
        if begin % 200 == 0:
            for recorder in (single, together):
                recorder.settle()
    found, expected = taken(together), taken(single)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert int(found.mismatched.sum()) == len(wrong)
    assert (found.due < found.sent + size).all()
    if isinstance(single, HeardRecorder) and isinstance(together, HeardRecorder):
        assert together.heard(10**6) == single.heard(10**6) != []


def test_answers_that_were_known_when_they_came_keep_their_version() -> None:
    pool = pool_of()
    old, new = answers(pool, 1), answers(pool, 2)
    recorder = Recorder("Predict", pool, checker_of(pool))
    order = [0, 0, 0, 0, 0, 0, 0, 0]
    versions = [1, 1, 1, 2, 2, 1, 2, 2]
    for index, version in zip(order, versions, strict=True):
        recorder.add(None, index, Reply(0, "", (old if version == 1 else new)[index], 0.0, 1.0))
        if version == 2:
            recorder.settle()
    rows = taken(recorder)
    assert rows.version.tolist() == versions
    assert not rows.mismatched.any()
    assert (rows.correct == 1).all()


def test_a_first_answer_is_not_known_before_a_second_agrees() -> None:
    """Else the right answers after a first wrong one would be called wrong for good."""
    pool = pool_of()
    right = answers(pool, 1)
    recorder = Recorder("Predict", pool, checker_of(pool))
    for message in (right[1], right[0], right[0], right[0], right[0], right[1]):
        recorder.add(None, 0, Reply(0, "", message, 0.0, 1.0))
        recorder.settle()
    assert taken(recorder).mismatched.tolist() == [False, True, False, False, False, True]


def test_calls_that_we_cancel_are_apart_from_those_that_the_server_cancels() -> None:
    recorder = Recorder("Predict", pool_of(), checker_of(pool_of()))
    recorder.add(2.0, 0, Reply(1, "CANCELLED", b"", 2.5, 3.0))
    before = time.perf_counter()
    recorder.add_cancelled(1.0, 0, 1.5)
    recorder.close()
    recorder.add(2.0, 0, Reply(1, "the channel was closed", b"", 2.5, 9.0))
    recorder.add(2.0, 0, Reply(14, "the connection was lost", b"", 2.5, 9.0))
    rows = taken(recorder)
    assert rows.status.tolist() == [1, CANCELLED_STATUS, CANCELLED_STATUS, 14]
    assert before <= rows.done[1] <= time.perf_counter()
    assert (rows.done - rows.due)[2] == 7.0, "it had waited for so long"
    assert set(recorder.failures.take()) == {
        ("CANCELLED", "CANCELLED"),
        ("UNAVAILABLE", "the connection was lost"),
    }


def test_answers_that_differ_in_their_last_digits_are_known_too() -> None:
    pool = pool_of()
    assert pool.labels is not None
    scores = scores_for(pool.labels[0], np.random.default_rng(1))
    variants = [reply_with(scores + np.float32(1e-5 * step)) for step in range(6)]
    recorder = Recorder("Predict", pool, checker_of(pool))
    reads = Reads(recorder.checker)
    for message in (*variants, *variants[:4], *variants[2:], *variants[2:]):
        recorder.add(None, 0, Reply(0, "", message, 0.0, 1.0))
        recorder.settle()
    # the first has to be confirmed; at the end the newest four are known
    assert set(recorder.checker.known[0]) == set(variants[2:])
    assert reads.count < 6 + 4 + 4
    rows = taken(recorder)
    assert not rows.mismatched.any()
    recorder.add(None, 0, Reply(0, "", reply_with(scores + np.float32(1e-2)), 0.0, 1.0))
    assert taken(recorder).mismatched.tolist() == [True]


def test_a_wrong_answer_is_wrong_each_time_it_comes() -> None:
    pool = pool_of()
    right = answers(pool, 1)
    recorder = Recorder("Predict", pool, checker_of(pool))
    foreign = reply_with(scores_for(pool.labels[0], np.random.default_rng(1)), version=1, model="other")  # type: ignore[index]  # it has labels
    for message in (right[0], right[0], *[right[1]] * 4, *[foreign] * 4, right[0]):
        recorder.add(None, 0, Reply(0, "", message, 0.0, 1.0))
        recorder.settle()
    assert taken(recorder).mismatched.tolist() == [False] * 2 + [True] * 8 + [False]


def test_failed_and_unsent_calls_among_known_answers() -> None:
    pool = pool_of()
    right = answers(pool, 1)
    recorder = Recorder("Predict", pool, checker_of(pool))
    for index in (0, 0):
        recorder.add(None, index, Reply(0, "", right[index], 0.0, 1.0))
        recorder.settle()
    recorder.add(0.5, 0, Reply(14, "down", b"", 1.0, 2.0))
    recorder.add(0.5, 0, Reply(13, "an answer, and then a failure", right[0], 1.0, 2.0))
    recorder.add_unsent(0.6, 0, CAP_REACHED)
    recorder.add_cancelled(None, 0, None)
    recorder.add(0.7, 0, Reply(0, "", right[0], 1.0, 2.0))
    assert recorder.waiting == 7
    rows = taken(recorder)
    assert recorder.waiting == 0
    assert rows.status.tolist() == [0, 0, 14, 13, -1, CANCELLED_STATUS, 0]
    assert rows.version.tolist() == [1, 1, -1, -1, -1, -1, 1]
    assert rows.correct.tolist() == [1, 1, -1, -1, -1, -1, 1]
    assert not rows.mismatched.any()
    assert rows.due[2:5].tolist() == [0.5, 0.5, 0.6]
    assert np.isnan(rows.sent[4])
    assert recorder.unsent == 2
    assert sum(recorder.failures.take().values()) == 3, "what we cancelled is none"


def test_pieces_are_even_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.load.engine.recorder.TAKE_ROWS", 100)
    pool = pool_of()
    right = answers(pool, 1)
    recorder = Recorder("Predict", pool, checker_of(pool))
    assert recorder.take() == []
    for place in range(1001):
        recorder.add(None, place % len(pool), Reply(0, "", right[place % len(pool)], float(place), 0.0))
    pieces = recorder.take()
    assert {len(piece.status) for piece in pieces} == {91}
    assert np.concatenate([piece.sent for piece in pieces]).tolist() == list(range(1001))
    assert recorder.recorded == 1001


def test_where_the_newest_choice_is_kept_every_answer_is_read() -> None:
    pool = pool_of()
    assert pool.rows is not None
    right = answers(pool, 1)
    checker = checker_of(pool, keep_choices=True)
    recorder = Recorder("Predict", pool, checker)
    reads = Reads(checker)
    for message in (right[0], right[0], right[0], right[1], right[0]):
        recorder.add(None, 0, Reply(0, "", message, 0.0, 1.0))
        recorder.settle()
    assert reads.count == 5
    assert pool.labels is not None
    assert checker.choices is not None
    assert checker.choices[pool.rows[0, 0]] == pool.labels[0, 0]


def test_the_idle_servers_answers_are_references_and_no_choices() -> None:
    pool = pool_of()
    assert pool.rows is not None and pool.labels is not None
    right = answers(pool, 1)
    checker = checker_of(pool, keep_choices=True)
    idle = Answered((0, 0, 1, 1), (right[0], right[0], right[1], right[1]))
    idle.prime(checker)
    assert checker.choices is not None
    assert (checker.choices == UNKNOWN).all()
    recorder = Recorder("Predict", pool, checker)
    other = reply_with(scores_for(pool.labels[1], np.random.default_rng(9)), version=1)
    for index, message in ((0, right[0]), (1, other), (1, other)):
        recorder.add(None, index, Reply(0, "", message, 0.0, 1.0))
    assert taken(recorder).mismatched.tolist() == [False, True, True]
    assert checker.choices[pool.rows[0, 0]] != UNKNOWN


def test_known_answers_take_no_more_memory_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pool_of()
    right = answers(pool, 1)
    monkeypatch.setattr("bench.load.checking.checker.KEPT_BYTES", 3 * len(right[0]))
    checker = checker_of(pool)
    for _ in range(3):
        assert not checker.check(right, list(range(len(pool)))).mismatched.any()
    assert sum(len(known) for known in checker.known) == 3
    assert (checker.known_version[3:] == UNKNOWN).all()


def test_texts_of_failures_are_few_short_and_harmless() -> None:
    recorder = Recorder("Predict", pool_of(), checker_of(pool_of()))
    recorder.add(0.0, 0, Reply(13, "\x1b[2J\r\n" + "x" * 10_000, b"", 0.0, 1.0))
    for number in range(100):
        recorder.add(0.0, 0, Reply(3, f"request {number} is wrong", b"", 0.0, 1.0))
        recorder.add(0.0, 0, Reply(14, "down", b"", 0.0, 1.0))
    counted = recorder.failures.take()
    assert counted["UNAVAILABLE", "down"] == 100
    assert counted["INVALID_ARGUMENT", "request 0 is wrong"] == 1
    assert counted["INVALID_ARGUMENT", OTHERS] == 100 - MOST_TEXTS
    assert len(counted) == 1 + 1 + MOST_TEXTS + 1
    (long,) = [text for status, text in counted if status == "INTERNAL"]
    assert long.startswith("\\x1b[2J\\r\\nxxx")
    assert len(long) < 520
    recorder.add(0.0, 0, Reply(14, "down", b"", 0.0, 1.0))
    assert recorder.failures.take() == {("UNAVAILABLE", "down"): 1}, "what was taken is not counted again"
