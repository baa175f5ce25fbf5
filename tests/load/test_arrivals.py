"""bench.load.engine.arrivals: everything that is due is sent or said to be unsent, exactly once, answers or not."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import numpy as np
import pytest

from bench.load.engine import arrivals
from bench.load.engine.arrivals import (
    BLOCKED_SECONDS,
    BURST,
    CAP_REACHED,
    HELD_UP,
    MERGE_SECONDS,
    WINDOW_ARRIVALS,
    Division,
    Lane,
    Part,
)
from bench.schedule import Burst, Constant, Open, Poisson, Steps, Trace, message_indices, times
from tests.load.engine_load import MESSAGES, SEED, Load


@pytest.fixture
def loads() -> Iterator[list[Load]]:
    """Engines that the test made; stopped in the end."""
    made: list[Load] = []
    yield made
    for load in made:
        load.engine.stop()


def planned(schedule: Open, until: float, stream: int = 0, streams: int = 1, users: int = 1) -> Any:
    return np.concatenate([np.empty(0), *times(schedule, stream, streams, until, seed=SEED, users=users)])


@pytest.mark.parametrize("size", [10, 3 * WINDOW_ARRIVALS])
def test_all_requests_of_a_burst_are_sent(loads: list[Load], size: int) -> None:
    """Also where more are due at one instant than are generated at once."""
    load = Load(Burst(size, 0.05))
    loads.append(load)
    load.begin()
    load.wait(3 * size)
    counts = np.unique(np.round(load.due[: 3 * size], 6), return_counts=True)
    assert counts[0].tolist() == [0.0, 0.05, 0.1]
    assert counts[1].tolist() == [size] * 3


def test_two_parts_share_a_schedule_in_turn_and_send_the_same_messages(loads: list[Load]) -> None:
    schedule = Poisson(2000)
    parts = [Load(schedule, part=Part(number, 2)) for number in range(2)]
    loads += parts
    origins = []
    for load in parts:
        origins.append(load.begin(Division(0.0, 3, 0, 3)))
    for load in parts:
        load.wait(200)
    plan = planned(schedule, 1.0, users=3)
    for number, load in enumerate(parts):
        recorded = sorted(load.notes[0].added + load.notes[0].unsent)[:200]
        due = np.array([due for due, _ in recorded]) - origins[number]
        assert np.allclose(due, plan[number::2][:200], rtol=0, atol=1e-9)
        assert [index for _, index in recorded] == message_indices(
            np.arange(200), len(MESSAGES), SEED
        ).tolist()


@pytest.mark.parametrize("schedule", [Constant(2000), Poisson(2000), Steps((500, 3000), each=0.1)], ids=str)
def test_what_is_recorded_is_the_plan(schedule: Open, loads: list[Load]) -> None:
    load = Load(schedule)
    loads.append(load)
    load.begin()
    load.wait(500)
    load.engine.stop()
    due = load.due
    plan = planned(schedule, float(due[-1]) + 1e-7)
    assert np.allclose(due, plan, rtol=0, atol=1e-9)
    assert load.engine.started == len(load.notes[0].added)
    indices = message_indices(np.arange(len(plan)), len(MESSAGES), SEED)
    recorded = sorted(load.notes[0].added + load.notes[0].unsent)
    assert [index for _, index in recorded] == indices.tolist()
    assert load.server.messages == [MESSAGES[i] for i in indices[: load.engine.started]]


def test_nothing_is_sent_before_it_is_due(loads: list[Load]) -> None:
    load = Load(Poisson(3000))
    loads.append(load)
    early: list[float] = []
    notes = load.notes[0]
    load.engine._lanes = [
        Lane(
            MESSAGES,
            lambda due, index, reply: early.append(reply.sent - due),
            notes.lane(MESSAGES).add_unsent,
        )
    ]
    load.begin()
    with gevent.Timeout(60):
        while len(early) < 300:
            gevent.sleep(0.001)
    assert min(early) >= 0


def test_answers_are_not_waited_for(loads: list[Load]) -> None:
    load = Load(Constant(5000))
    loads.append(load)
    load.server.answering = False
    load.begin()
    with gevent.Timeout(60):
        while load.engine.in_flight < 1000:
            gevent.sleep(0.001)
    assert load.notes[0].added == []
    load.engine.stop()
    load.server.answer()
    assert load.engine.in_flight == 0
    assert len(load.notes[0].added) == load.engine.started >= 1000


def test_at_the_cap_requests_are_recorded_as_unsent_and_room_is_used_again(loads: list[Load]) -> None:
    load = Load(Constant(5000), cap=10)
    loads.append(load)
    load.server.answering = False
    load.begin()
    load.wait(200)
    assert load.engine.in_flight == 10
    assert load.engine.started == 10
    load.server.answer()
    with gevent.Timeout(60):
        while load.engine.started < 20:  # a busy machine may have recorded any number by now
            gevent.sleep(0.001)
    load.engine.stop()
    assert load.engine.started == 20
    load.server.answer()
    assert load.engine.unsent == len(load.notes[0].unsent)
    assert load.notes[0].reasons == {CAP_REACHED}
    assert np.allclose(load.due, np.arange(len(load.due)) / 5000)


class Simulated:
    """A clock and a timer that passes at once; looks at the clock take no time."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self.ring = ring
        self.now = 0.0
        self.turns: list[float] = []

    def set(self, due: float) -> None:
        self.turns.append(due)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("rate", "least", "most"), [(1000, 0.9, 1.0), (10_000, 0.6, 0.72), (100_000, 0.1, 0.2)]
)
def test_requests_wait_for_each_other_within_the_bound(
    monkeypatch: pytest.MonkeyPatch, rate: int, least: float, most: float
) -> None:
    timers: list[Simulated] = []
    monkeypatch.setattr(arrivals, "Timer", lambda ring: timers.append(Simulated(ring)) or timers[0])
    monkeypatch.setattr(arrivals, "perf_counter", lambda: timers[0].now)
    load = Load(Poisson(rate))
    (clock,) = timers
    load.engine.divide(Division(0.0, 1, 0, 1))
    load.engine.begin(0.0)
    lags: list[float] = []
    sends = 0
    while len(load.notes[0].added) < 5000:
        clock.now = clock.turns[-1]
        before = len(load.notes[0].added)
        clock.ring()
        sent = load.notes[0].added[before:]
        sends += bool(sent)
        lags += [clock.now - due for due, _ in sent]
    assert min(lags) >= 0.0
    assert max(lags) <= MERGE_SECONDS
    assert least < sends / len(lags) < most
    assert np.allclose([due for due, _ in load.notes[0].added], planned(Poisson(rate), 10.0)[: len(lags)])


def test_what_is_due_leaves_with_the_answers_that_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    timers: list[Simulated] = []
    monkeypatch.setattr(arrivals, "Timer", lambda ring: timers.append(Simulated(ring)) or timers[0])
    monkeypatch.setattr(arrivals, "perf_counter", lambda: timers[0].now)
    load = Load(Constant(1000))
    load.server.answering = False
    (clock,) = timers
    load.engine.divide(Division(0.0, 1, 0, 1))
    load.engine.begin(0.0)
    clock.ring()
    assert load.engine.started == 1
    clock.now = 0.0005
    load.server.answer()
    assert load.engine.started == 1, "nothing is sent before it is due"
    clock.now = 0.0021
    clock.ring()
    assert load.engine.started == 3
    clock.now = 0.0031
    load.server.answer()
    assert load.engine.started == 4
    assert clock.turns[-1] == pytest.approx(0.004)


def test_after_a_pause_everything_is_caught_up_and_other_things_get_their_turn(loads: list[Load]) -> None:
    load = Load(Constant(10_000))
    loads.append(load)
    turns_between: list[int] = []
    load.begin(ago=0.5)
    with gevent.Timeout(60):
        while load.engine.started < 5000:
            turns_between.append(load.engine.started)
            gevent.sleep(0)
    assert np.diff(turns_between).max() <= BURST
    load.engine.stop()
    assert np.allclose(load.due, np.arange(len(load.due)) / 10_000)


@pytest.mark.parametrize(("end", "least", "most"), [(None, 2000, 3000), (1.5, 1500, 1500)])
def test_stopping_behind_the_plan_records_what_was_due_as_unsent(
    loads: list[Load], end: float | None, least: int, most: int
) -> None:
    load = Load(Constant(1000))
    loads.append(load)
    load.engine.end(end)
    load.begin(ago=2.0)
    load.engine.stop()
    assert load.engine.started == 0
    assert least <= len(load.notes[0].unsent) <= most
    assert load.notes[0].reasons == {HELD_UP}
    assert np.allclose(load.due, np.arange(len(load.due)) / 1000)
    gevent.sleep(0.01)
    assert load.server.messages == []


def test_what_came_due_while_the_load_was_being_stopped_is_no_part_of_it(loads: list[Load]) -> None:
    for _ in range(5):  # a busy machine may hold the loop up for longer, which is another case
        load = Load(Constant(1000))
        loads.append(load)
        load.begin()
        load.wait(50)
        time.sleep(0.03)  # blocks the loop, as Locust does when it stops a test
        ended, now = load.engine.stop(), time.perf_counter()
        if now - load.origin - load.due[-1] < BLOCKED_SECONDS:
            break
    assert load.notes[0].unsent == []
    assert ended <= now - 0.02
    assert ended == pytest.approx(load.origin + load.due[-1] + 0.001)


def test_processes_share_the_plan_without_overlap_while_users_change(loads: list[Load]) -> None:
    schedule = Poisson(900)
    shares = [[(0, 1), (0, 2)], [(1, 2), (2, 4)]]
    for worker in shares:
        load = Load(schedule)
        loads.append(load)
        load.begin(
            Division(0.0, 3, *worker[0]), Division(0.15, 6, *worker[1]), Division(0.3, 0, 0, 0), ago=0.4
        )
    expected = np.concatenate([planned(schedule, 0.15, users=3)])
    for load in loads:
        with gevent.Timeout(60):
            while load.engine.generated < 0.35:
                gevent.sleep(0.001)
        load.engine.stop()
    due = np.sort(np.concatenate([load.due for load in loads]))
    before = due[due < 0.15]
    assert np.allclose(before, expected, rtol=0, atol=1e-9)
    assert len(np.unique(due)) == len(due)
    assert due.max() < 0.3
    assert len(due) > len(before) + 500
    assert [load.engine.late_divisions for load in loads] == [0, 0]


def test_a_late_change_of_users_is_counted_and_heeded(loads: list[Load]) -> None:
    load = Load(Constant(1000))
    loads.append(load)
    load.begin()
    load.wait(100)
    load.engine.divide(Division(0.0, 0, 0, 0))
    assert load.engine.late_divisions == 1
    heeded = load.engine.generated
    with gevent.Timeout(60):
        while load.engine.generated < heeded + 0.2:
            gevent.sleep(0.001)
    assert load.due.max() < heeded


def test_nothing_is_due_after_the_end_unless_the_load_goes_on(loads: list[Load]) -> None:
    load = Load(Constant(1000))
    loads.append(load)
    load.engine.end(0.2501)
    load.begin(ago=0.1)
    with gevent.Timeout(60):
        while (generated := load.engine.generated) < 0.4:
            gevent.sleep(0.001)
    assert load.due == pytest.approx(np.arange(251) / 1000)
    load.engine.end(None)
    load.wait(300)
    assert load.due[251] >= generated - 1e-9


def test_rows_of_a_trace_go_to_the_lane_of_their_kind(tmp_path: Path, loads: list[Load]) -> None:
    path = tmp_path / "trace.csv"
    # 7 messages and 7 kinds in turn: each kind still has to see every message
    path.write_text("time,batch\n" + "".join(f"{i / 1000},{1 + i % 7}\n" for i in range(350)))
    trace = Trace.read(path)
    load = Load(trace, lanes=7)
    loads.append(load)
    load.begin()
    load.wait(350)
    for lane, notes in enumerate(load.notes):
        assert [due for due, _ in notes.added] == pytest.approx(
            [load.origin + i / 1000 for i in range(lane, 350, 7)]
        )
        assert {index for _, index in notes.added} == set(range(len(MESSAGES)))
    gevent.sleep(0.05)
    assert load.engine.started == 350


def test_an_engine_that_never_began_stops_quietly() -> None:
    load = Load(Constant(1000))
    load.engine.stop()
    load.engine.stop()
    assert load.notes[0].added == load.notes[0].unsent == []
