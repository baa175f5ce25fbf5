"""Open loop: requests sent when they are due, whether or not earlier ones have been answered."""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import repeat
from time import perf_counter
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.load.engine.timers import Timer
from bench.schedule import Open, held, message_indices, open_sequence
from bench.schedule.rates import Floats
from bench.schedule.trace import Trace
from bench.wire.reply import Reply

WINDOW_SECONDS: Final = 0.1
"""Instants are generated at most so far ahead, and a change of users takes so long to be heeded."""
WINDOW_ARRIVALS: Final = 256
"""Nor more of them at once: generating takes 0.3 us each, which the next arrivals wait for."""
AHEAD_SECONDS: Final = 0.02
"""An empty window is followed by the next so long before it ends."""
BLOCKED_SECONDS: Final = 0.1
"""A loop that was held up for longer, when a load is stopped, has failed to send."""
BURST: Final = 256
"""Requests that leave in one turn of the loop at the most: after a pause, answers are read in between."""


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
    """What one kind of arrival sends and who takes note of it."""

    messages: Sequence[bytes]
    add: Callable[[float, int, Reply], Any]
    """Called with due instant, number of the message and reply."""
    add_unsent: Callable[[float, int], Any]
    """Called with due instant and number of the message."""


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
    ) -> None:
        """lanes: one, or for a trace one for each of its kinds. cap: requests of this engine in flight at most.

        part: of the arrivals of these users, which engines of one process share in turn.
        """
        self._part = part
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
        self._window: list[tuple[float, int, Lane]] = []
        self._next = 0
        self._timer = Timer(self._send_due)
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

    @property
    def generated(self) -> float:
        """Seconds of the schedule up to which instants are generated: changes from there on are heeded exactly."""
        return self._generated

    def stop(self) -> float:
        """Send nothing more; gives the instant, on perf_counter's clock, at which this load ended.

        Whoever stops a load holds the loop up for a moment, Locust for some 30 ms: the load ended before that.
        What had not had its turn for longer than BLOCKED_SECONDS is recorded as unsent, until now.
        """
        self._timer.close()
        now = perf_counter()
        if not self._running:
            return now
        self._running = False
        left = self._left(now)
        if not left:
            return now
        oldest = left[0][0]
        if now - oldest <= BLOCKED_SECONDS:
            return oldest
        for due, index, lane in left:
            self._drop(due, index, lane)
        return now

    def _left(self, now: float) -> list[tuple[float, int, Lane]]:
        """What is due until now and has not had its turn."""
        left = self._window[self._next :]
        while self._origin + self._generated <= now:
            self._generate()
            left += self._window
        return [arrival for arrival in left if arrival[0] <= now]

    def _send_due(self) -> None:
        """Start what is due and set the timer for what comes next. Runs in the hub."""
        now = perf_counter()
        window, i = self._window, self._next
        start, method, deadline, on_reply = self._channel.start, self._method, self._deadline, self._on_reply
        due = now
        for _ in range(BURST):
            if i == len(window):
                due = self._origin + self._generated - AHEAD_SECONDS
                if due > now:
                    break
                self._generate()
                window, i = self._window, 0
                continue
            due, index, lane = window[i]
            if due > now:
                break
            i += 1
            if self.in_flight < self._cap:
                self.in_flight += 1
                self.started += 1
                start(method, lane.messages[index], partial(on_reply, due, index, lane.add), deadline)
            else:
                self._drop(due, index, lane)
        self._next = i
        self._channel.flush()
        self._timer.set(due)

    def _on_reply(
        self, due: float, index: int, add: Callable[[float, int, Reply], Any], reply: Reply
    ) -> None:
        self.in_flight -= 1
        add(due, index, reply)

    def _drop(self, due: float, index: int, lane: Lane) -> None:
        self.unsent += 1
        lane.add_unsent(due, index)

    def _generate(self) -> None:
        """Make the next window: this process's arrivals of a short time, in which the users stay as they are."""
        begin, divisions = self._generated, self._divisions
        while divisions and divisions[0].at <= begin:
            self._division = divisions.popleft()
            self._sequence.set_users(begin, self._division.users)
        end = min(begin + WINDOW_SECONDS, self._sequence.instant_after(WINDOW_ARRIVALS))
        if divisions:
            end = min(end, divisions[0].at)
        first, due = self._sequence.count, self._sequence.before(end)
        mine = self._division
        where = held(first, len(due), mine.first, mine.held, mine.users)
        if self._part.of > 1:
            where = where[(first + where) % self._part.of == self._part.number]
        self._window = self._arrivals(first + where, due[where] + self._origin)
        self._next = 0
        self._generated = end

    def _arrivals(self, numbers: NDArray[np.int64], due: Floats) -> list[tuple[float, int, Lane]]:
        """Due instant, message and lane of arrivals that are known by their numbers in the global order."""
        if self._codes is None:
            lane = self._lanes[0]
            # in all parts the same messages in the same order
            indices = message_indices(numbers // self._part.of, len(lane.messages), self._seed, self._salt)
            return list(zip(due.tolist(), indices.tolist(), repeat(lane)))
        codes, ordinals = self._codes[numbers], self._ordinals[numbers]
        indices = np.empty(len(numbers), dtype=np.int64)
        for code in np.unique(codes):
            mine = codes == code
            size = len(self._lanes[code].messages)
            indices[mine] = message_indices(ordinals[mine], size, self._seed, self._salt)
        lanes = [self._lanes[code] for code in codes.tolist()]
        return list(zip(due.tolist(), indices.tolist(), lanes, strict=True))


def _ordinals(codes: NDArray[np.int32]) -> NDArray[np.int64]:
    """For each element how many equal ones stand before it."""
    order = np.argsort(codes, kind="stable")
    sorted_codes = codes[order]
    ordinals = np.empty(len(codes), dtype=np.int64)
    ordinals[order] = np.arange(len(codes)) - np.searchsorted(sorted_codes, sorted_codes)
    return ordinals
