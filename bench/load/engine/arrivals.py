"""Open loop: requests sent when they are due, whether or not earlier ones have been answered."""

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import repeat
from time import perf_counter
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bench.load.engine.timers import Timer
from bench.schedule import Open, held, message_indices, open_sequence
from bench.schedule.rates import Floats
from bench.schedule.trace import Trace
from bench.wire.exchange import RequestHead
from bench.wire.reply import Reply
from bench.wire.rows import Answer, Owner, Row

WINDOW_SECONDS: Final = 0.1
"""Instants are generated at most so far ahead, and a change of users takes so long to be heeded."""
WINDOW_ARRIVALS: Final = 256
"""Nor more of them at once: generating takes 0.1 us each, which the next arrivals wait for."""
AHEAD_SECONDS: Final = 0.02
"""An empty window is followed by the next so long before it ends."""
BLOCKED_SECONDS: Final = 0.1
"""A loop that was held up for longer, when a load is stopped, has failed to send."""
CAP_REACHED: Final = "the cap on requests in flight was reached"
HELD_UP: Final = "the load process was held up until the load ended"
BURST: Final = 256
"""Requests that leave in one turn of the loop at the most: after a pause, answers are read in between."""
AT_ONCE: Final = 0.0
"""An instant that has passed: in the loop's next turn."""
MERGE_SECONDS: Final = 50e-6
"""A request waits for so long at most to leave with the next ones: waking for each costs more than all else of it."""


class Division(NamedTuple):
    """From an instant of the schedule on, how many users there are, and which of them are this process's."""

    at: float
    """Seconds since the start of the schedule."""
    users: int
    first: int
    """Number of this process's first user."""
    held: int
    """How many follow each other from there, the first included."""


class Part(NamedTuple):
    """Every how-manieth arrival an engine sends, and which of them."""

    number: int
    of: int


WHOLE: Final = Part(0, 1)


class Lane(NamedTuple):
    """The messages of one kind of arrival, and the recorder of their calls."""

    messages: Sequence[bytes]
    add: Callable[[float, int, Reply], Any]
    """Called with due instant, number of the message and reply."""
    add_unsent: Callable[[float, int, str], Any]
    """Called with due instant, number of the message and reason."""
    add_answers: Callable[[Sequence[Answer], float], Any] | None = None
    """Called, in place of `add`, with plain answers to calls of `DueRow`s and the instant at which they were read."""


class DueRow(Row):
    """Arrivals that leave together."""

    __slots__ = ("dues", "numbers")

    def __init__(
        self,
        head: RequestHead,
        messages: Sequence[bytes],
        owner: Owner,
        dues: Sequence[float],
        numbers: Sequence[int],
    ) -> None:
        """numbers: of the messages in their pool."""
        super().__init__(head, messages, owner)
        self.dues = dues
        self.numbers = numbers

    def part(self, where: slice) -> "DueRow":
        """As `Row.part`."""
        return DueRow(self.head, self.messages[where], self.owner, self.dues[where], self.numbers[where])


class _Window(NamedTuple):
    """Arrivals that come next, in the order of their instants."""

    dues: list[float]
    numbers: list[int]
    """Of their messages."""
    lanes: Sequence[Lane]
    """Of each; empty: all are of the only one."""

    def arrivals(self, lane: Lane, first: int, end: int | None = None) -> list[tuple[float, int, Lane]]:
        """Due instant, message and lane of those from `first` to before `end`."""
        part = slice(first, end)
        return list(zip(self.dues[part], self.numbers[part], self.lanes[part] or repeat(lane), strict=False))


class Sender(Protocol):
    """The part of a channel that an engine needs; see `bench.wire.client.Channel`."""

    def start(
        self, method: str, message: bytes, on_reply: Callable[[Reply], Any], timeout: float | None, /
    ) -> Any:
        """Start a call and return at once."""
        ...

    def flush(self) -> None:
        """Send what was started."""
        ...


@runtime_checkable
class RowSender(Sender, Protocol):
    """A channel that takes many calls at once."""

    def head(self, method: str, timeout: float | None, /) -> RequestHead:
        """What the calls of a row have in common."""
        ...

    def start_row(self, row: Row, /, *, flushed: bool = False) -> None:
        """Start the calls of a row and return at once. `flushed`: `flush` follows."""
        ...


class Arrivals:
    """Sends what one process has to send of a schedule, from the hub, without waiting for answers.

    Every arrival is recorded exactly once: with its reply; or as unsent, if as many requests as the cap allows are
    under way, or if the engine is stopped when it has been due for long without having had its turn.
    """

    def __init__(
        self,
        channel: Sender,
        method: str,
        lanes: Sequence[Lane],
        schedule: Open,
        *,
        seed: int,
        salt: str = "",
        deadline: float | None,
        cap: int,
        part: Part = WHOLE,
        used_up: Callable[[float], object] | None = None,
    ) -> None:
        """lanes: one, or for a trace one for each of its kinds. cap: requests of this engine in flight at most.

        part: of the arrivals of these users, which engines of one process share in turn. used_up: each message but the
        first is sent once; called with the instant at which the first is due for which none is left.
        """
        self._part = part
        self._used_up = used_up
        self._channel, self._method, self._deadline, self._cap = channel, method, deadline, cap
        self._lanes = lanes
        self._codes = schedule.codes if isinstance(schedule, Trace) else None
        self._ordinals = (
            _ordinals(schedule.codes) if isinstance(schedule, Trace) else np.empty(0, dtype=np.int64)
        )
        self._seed, self._salt = seed, salt
        self._sequence = open_sequence(schedule, seed, salt)
        self._divisions: deque[Division] = deque()
        self._division = Division(0.0, 0, 0, 0)
        self._origin = 0.0
        self._generated = 0.0
        self._until = math.inf
        self._window = _Window([], [], ())
        self._next = 0
        self._alarm = math.inf  # what the timer is set to
        self._messages = lanes[0].messages
        self._rows = channel if isinstance(channel, RowSender) and len(lanes) == 1 else None
        self._head = None if self._rows is None else self._rows.head(method, deadline)
        self._timer = Timer(self._on_timer)
        self._running = False
        self.in_flight = 0
        """Requests of this engine that have been started and not answered."""
        self.started = 0
        self.unsent = 0
        self.late_divisions = 0
        """Changes of users that came after instants beyond them had been generated."""

    def begin(self, origin: float) -> None:
        """Let the schedule start at `origin` on perf_counter's clock; nothing is due before it has users."""
        self._origin = origin
        self._running = True
        self._timer.set(origin - AHEAD_SECONDS)

    def divide(self, division: Division) -> None:
        """Heed a change of users. Changes come in the order of their instants.

        One that comes late is heeded from where instants have been generated; see `generated`.
        """
        if division.at < self._generated:
            self.late_divisions += 1
        self._divisions.append(division)

    def end(self, until: float | None) -> None:
        """Let nothing be due from `until` on, in seconds of the schedule; None: its end is not known beforehand."""
        self._until = math.inf if until is None else until

    @property
    def generated(self) -> float:
        """Seconds of the schedule up to which instants are generated: changes from there on are heeded exactly."""
        return self._generated

    def stop(self) -> float:
        """Send nothing more; gives the instant, on perf_counter's clock, at which this load ended.

        Whoever stops a load holds the loop up for a moment, Locust for some 30 ms: the load ended before that.
        What had not had its turn for longer than BLOCKED_SECONDS is recorded as unsent, until now; so is all of a load
        that has come to the end that was known beforehand.
        """
        self._timer.close()
        now = perf_counter()
        if not self._running:
            return now
        self._running = False
        end = self._origin + self._until
        left = self._left(now)
        if left and now < end and now - left[0][0] <= BLOCKED_SECONDS:
            return left[0][0]
        for due, index, lane in left:
            self._drop(due, index, lane, HELD_UP)
        return min(now, end)

    def _left(self, now: float) -> list[tuple[float, int, Lane]]:
        """What is due until now and has not had its turn."""
        left = self._window.arrivals(self._lanes[0], self._next)
        while self._origin + self._generated <= now:
            self._generate()
            left += self._window.arrivals(self._lanes[0], 0)
        return [arrival for arrival in left if arrival[0] <= now]

    def _on_timer(self) -> None:
        """Send what is due. Runs in the hub."""
        self._alarm = math.inf  # answers that come at once are not to send more
        try:
            alarm = self._start_due(perf_counter(), flushed=True)
        finally:
            self._channel.flush()
        self._alarm = alarm
        self._timer.set(alarm)

    def _send_along(self) -> None:
        """Start what is due while answers are read: it leaves with whatever the connection sends at the end of that."""
        if AT_ONCE < self._alarm <= (now := perf_counter()) and self._running:
            self._alarm = alarm = self._start_due(now)
            self._timer.set(alarm)

    def _start_due(self, now: float, *, flushed: bool = False) -> float:
        """Start what is due; gives the instant of the next turn."""
        left = BURST
        while True:
            dues, first = self._window.dues, self._next
            count = len(dues)
            end = bisect_right(dues, now, first, min(count, first + left))
            if end > first:
                self._next = end
                left -= end - first
                self._start(first, end, flushed)
                if not left:
                    return AT_ONCE
            if end < count:
                # the last one that may wait for the first, and be waited for
                return dues[bisect_right(dues, dues[end] + MERGE_SECONDS, end) - 1]
            until = self._origin + self._generated - AHEAD_SECONDS
            if until > now:
                return until
            self._generate()

    def _start(self, first: int, end: int, flushed: bool) -> None:
        """Start the arrivals from `first` to before `end` of the window, as far as the cap allows."""
        window, count = self._window, end - first
        if self.in_flight + count > self._cap:
            count = max(0, self._cap - self.in_flight)
            for due, index, lane in window.arrivals(self._lanes[0], first + count, end):
                self._drop(due, index, lane, CAP_REACHED)
            end = first + count
            if not count:
                return
        self.in_flight += count
        self.started += count
        if self._rows is not None and self._head is not None:
            numbers, messages = window.numbers[first:end], self._messages
            requests = [messages[number] for number in numbers]
            row = DueRow(self._head, requests, self, window.dues[first:end], numbers)
            self._rows.start_row(row, flushed=flushed)
        else:
            start, method, deadline, on_reply = (
                self._channel.start,
                self._method,
                self._deadline,
                self._on_reply,
            )
            for due, index, lane in window.arrivals(self._lanes[0], first, end):
                start(method, lane.messages[index], partial(on_reply, due, index, lane.add), deadline)

    def answered(self, answers: Sequence[Answer], done: float) -> None:
        """Calls of rows were answered; what is due by now leaves with what the connection sends next."""
        self.in_flight -= len(answers)
        lane = self._lanes[0]
        if lane.add_answers is not None:
            lane.add_answers(answers, done)
        else:
            for row, stream, message in answers:
                position = row.position(stream)
                lane.add(row.dues[position], row.numbers[position], Reply(0, "", message, row.sent, done))
        self._send_along()

    def ended(self, row: DueRow, position: int, reply: Reply) -> None:
        """A call of a row has ended by itself."""
        self._on_reply(row.dues[position], row.numbers[position], self._lanes[0].add, reply)

    def _on_reply(
        self, due: float, index: int, add: Callable[[float, int, Reply], Any], reply: Reply
    ) -> None:
        self.in_flight -= 1
        add(due, index, reply)
        if self._alarm <= reply.done:
            self._send_along()

    def _drop(self, due: float, index: int, lane: Lane, reason: str) -> None:
        self.unsent += 1
        lane.add_unsent(due, index, reason)

    def _generate(self) -> None:
        """Make the next window: this process's arrivals of a short time, in which the users stay as they are."""
        begin, divisions = self._generated, self._divisions
        while divisions and divisions[0].at <= begin:
            self._division = divisions.popleft()
            self._sequence.set_users(begin, self._division.users)
        end = min(begin + WINDOW_SECONDS, self._sequence.instant_after(WINDOW_ARRIVALS))
        if divisions:
            end = min(end, divisions[0].at)
        if begin < self._until:
            end = min(end, self._until)
        first, due = self._sequence.count, self._sequence.before(end)
        if begin >= self._until:
            due = due[:0]
        division = self._division
        where = held(first, len(due), division.first, division.held, division.users)
        if self._part.of > 1:
            where = where[(first + where) % self._part.of == self._part.number]
        self._window = self._arrivals(first + where, due[where] + self._origin)
        self._next = 0
        self._generated = end

    def _arrivals(self, numbers: NDArray[np.int64], due: Floats) -> _Window:
        """Due instant, message and lane of arrivals that are known by their numbers in the global order."""
        if self._codes is None:
            size = len(self._lanes[0].messages)
            # in all parts the same messages in the same order
            ordinals = numbers // self._part.of
            if self._used_up is None:
                indices = message_indices(ordinals, size, self._seed, self._salt)
            else:
                left = ordinals < size - 1
                if not left.all():
                    self._used_up(float(due[~left][0]))
                ordinals, due = ordinals[left], due[left]
                indices = 1 + message_indices(ordinals, size - 1, self._seed, self._salt)
            return _Window(due.tolist(), indices.tolist(), ())
        codes, ordinals = self._codes[numbers], self._ordinals[numbers]
        indices = np.empty(len(numbers), dtype=np.int64)
        for code in np.unique(codes):
            of_kind = codes == code
            size = len(self._lanes[code].messages)
            indices[of_kind] = message_indices(ordinals[of_kind], size, self._seed, self._salt)
        lanes = [self._lanes[code] for code in codes.tolist()]
        return _Window(due.tolist(), indices.tolist(), lanes)


def _ordinals(codes: NDArray[np.int32]) -> NDArray[np.int64]:
    """For each element how many equal ones stand before it."""
    order = np.argsort(codes, kind="stable")
    sorted_codes = codes[order]
    ordinals = np.empty(len(codes), dtype=np.int64)
    ordinals[order] = np.arange(len(codes)) - np.searchsorted(sorted_codes, sorted_codes)
    return ordinals
