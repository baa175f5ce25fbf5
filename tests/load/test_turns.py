"""bench.load.engine.turns: each user sends its own messages, the next one when the last one has been answered."""

from collections.abc import Callable, Iterator
from itertools import count
from types import SimpleNamespace
from typing import Any

import gevent
import numpy as np
import pytest
from gevent.event import Event

from bench.load.engine.recorder import Recorder
from bench.load.engine.turns import Turns, UserRow
from bench.load.users import PredictUser
from bench.wire.exchange import RequestHead
from bench.wire.reply import Reply
from tests.load.test_checker import pool_of
from tests.load.test_record import answers, checker_of, taken
from tests.wire.servers import until


class Channel:
    """Keeps rows until the test has their calls answered."""

    def __init__(self) -> None:
        self.rows: list[UserRow] = []
        self.streams = count(1, 1000)

    def start(self, *_: Any) -> None:
        raise AssertionError("calls leave in rows")

    def flush(self) -> None:
        raise AssertionError("whoever reads answers sends")

    def head(self, method: str, timeout: float | None) -> RequestHead:
        return RequestHead(method, timeout)

    def start_row(self, row: UserRow, *, flushed: bool = False) -> None:
        assert not flushed
        row.first, row.sent = next(self.streams), float(len(self.rows))
        self.rows.append(row)


class Load:
    """Users that take turns, and their recorder."""

    def __init__(self) -> None:
        self.pool = pool_of()
        self.replies = answers(self.pool, 1)
        self.recorder = Recorder("Predict", self.pool, checker_of(self.pool))
        self.channel = Channel()
        self.over = False
        self.turns = Turns(self.channel, self.recorder, 5.0, lambda: self.over)
        self.users: list[gevent.Greenlet[..., None]] = []
        self.stops: list[Event] = []

    def begin(self, users: int) -> None:
        for user in range(users):
            stopped = Event()
            order = self.pool.sequence(user)
            self.users.append(gevent.spawn(self.turns.run, order, stopped))
            self.stops.append(stopped)
        gevent.sleep(0.001)

    def answer(self, *calls: tuple[UserRow, int]) -> None:
        self.turns.answered(
            [(row, row.first + 2 * at, self.replies[row.numbers[at]]) for row, at in calls], 99.0
        )

    def fail(self, row: UserRow, at: int, status: int) -> None:
        self.turns.ended(row, at, Reply(status, "", b"", row.sent, 99.0))


@pytest.fixture
def load() -> Iterator[Load]:
    one = Load()
    yield one
    gevent.killall(one.users)


def test_users_send_on_in_their_own_order_as_they_are_answered(load: Load) -> None:
    load.begin(5)
    (first,) = load.channel.rows
    assert len(first.messages) == 5
    rng = np.random.default_rng(3)
    sent: dict[int, list[int]] = {
        id(user): [number] for user, number in zip(first.users, first.numbers, strict=True)
    }
    waiting = [(first, at) for at in range(5)]
    for _ in range(60):
        rng.shuffle(waiting)  # type: ignore[arg-type]  # numpy shuffles lists too
        now, waiting = waiting[:2], waiting[2:]
        before = len(load.channel.rows)
        load.answer(*now)
        (row,) = load.channel.rows[before:]
        assert {id(user) for user in row.users} == {id(of.users[at]) for of, at in now}
        for at, (user, number) in enumerate(zip(row.users, row.numbers, strict=True)):
            sent[id(user)].append(number)
            assert row.messages[at] == load.recorder.messages[number]
            waiting.append((row, at))
    orders = [load.pool.sequence(user) for user in range(5)]
    expected = [
        [next(order) for _ in sent[id(user)]] for order, user in zip(orders, first.users, strict=True)
    ]
    assert list(sent.values()) == expected
    rows = taken(load.recorder)
    assert len(rows.status) == 120
    assert not rows.mismatched.any()
    assert (rows.due == rows.sent).all()


def end_by_stop(load: Load) -> None:
    load.stops[0].set()


def end_by_kill(load: Load) -> None:
    load.users[0].kill()


def end_by_test(load: Load) -> None:
    load.over = True


@pytest.mark.parametrize("end", [end_by_stop, end_by_kill, end_by_test])
def test_what_is_under_way_at_the_end_is_recorded_and_nothing_follows(
    load: Load, end: Callable[[Load], None]
) -> None:
    load.begin(1)
    (row,) = load.channel.rows
    end(load)
    gevent.sleep(0.001)
    assert load.users[0].dead == (end is not end_by_test)
    load.answer((row, 0))
    gevent.sleep(0.001)
    assert load.channel.rows == [row]
    assert taken(load.recorder).status.tolist() == [0]


def test_a_user_that_failed_sends_on_and_waits_first_where_the_server_is_down(load: Load) -> None:
    load.begin(2)
    (first,) = load.channel.rows
    load.fail(first, 0, 14)
    load.fail(first, 1, 5)
    gevent.sleep(0.001)
    assert [row.users for row in load.channel.rows[1:]] == [[first.users[1]]]
    until(lambda: len(load.channel.rows) == 3)
    assert load.channel.rows[2].users == [first.users[0]]
    assert sorted(taken(load.recorder).status.tolist()) == [5, 14]


class Counting(PredictUser):
    """One that does more in `predict`."""

    abstract = True

    def predict(self, name: str | None = None) -> int:
        """Send."""
        return super().predict(name)


def user_of(
    kind: type[PredictUser],
    *,
    pools: int = 1,
    over_http: bool = False,
    sending: str = "",
    channel: Any = None,
    partner: Any = None,
) -> Any:
    user = kind(SimpleNamespace())
    session = SimpleNamespace(partner=partner, channel=channel or Channel())
    pool = SimpleNamespace(sending=sending)
    lane = SimpleNamespace(load=session, recorder=SimpleNamespace(over_http=over_http, pool=pool))
    user._session = session
    user._named = {f"pool {n}": iter([lane]) for n in range(pools)}
    return user


def test_who_takes_turns() -> None:
    assert user_of(PredictUser)._only_lane() is not None
    for other in (
        user_of(Counting),
        user_of(PredictUser, pools=2),
        user_of(PredictUser, over_http=True),
        user_of(PredictUser, sending="once"),
        user_of(PredictUser, channel=SimpleNamespace(start=print)),
        user_of(PredictUser, partner=object()),
    ):
        assert other._only_lane() is None
