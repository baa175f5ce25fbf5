"""Calls expire when they should, and leave nothing behind when they end in time."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.wire.deadlines import Deadlines


def test_calls_of_one_limit_expire_in_the_order_of_their_start() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.add("a", 0.0, 1.0)
    deadlines.add("b", 0.5, 1.0)
    assert deadlines.next() == 1.0
    assert deadlines.expired(0.9) == []
    assert deadlines.expired(1.2) == ["a"]
    assert deadlines.next() == 1.5
    assert deadlines.expired(2.0) == ["b"]
    assert deadlines.next() is None


def test_a_call_that_ended_does_not_expire() -> None:
    deadlines: Deadlines[str] = Deadlines()
    queue = deadlines.add("a", 0.0, 1.0)
    deadlines.add("b", 0.1, 1.0)
    del queue["a"]
    assert deadlines.expired(1.05) == []
    assert deadlines.next() == 1.1


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_every_call_either_ends_or_expires_once_at_its_time(seed: int) -> None:
    rng = random.Random(seed)
    deadlines: Deadlines[int] = Deadlines()
    due: dict[int, float] = {}
    queues = {}
    now = 0.0
    for call in range(60):
        now += rng.random() * 0.3
        for gone in deadlines.expired(now):
            assert due.pop(gone) <= now
            queues.pop(gone)
        assert all(instant > now for instant in due.values())
        limit = rng.choice([0.1, 0.5, 2.0, 5.0])
        queues[call] = deadlines.add(call, now, limit)
        due[call] = now + limit
        if due and rng.random() < 0.5:
            ended = rng.choice(sorted(due))
            del queues[ended][ended], queues[ended], due[ended]
        first = deadlines.next()
        assert not due or (first is not None and first <= min(due.values()))
    assert set(deadlines.expired(now + 10)) == set(due)
    assert deadlines.next() is None


def test_nothing_is_kept_of_a_million_calls_that_end_in_time() -> None:
    deadlines: Deadlines[int] = Deadlines()
    queue = deadlines.add(-1, 0.0, 60.0)
    for call in range(1_000_000):
        queue = deadlines.add(call, call * 1e-5, 60.0)
        del queue[call]
    assert len(queue) == 1
    assert len(deadlines._heads) == 1
