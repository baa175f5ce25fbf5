"""The global order of a test's arrivals, and each stream's part of it."""

import functools
import hashlib
import math
from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray

from bench.schedule.rates import Floats
from bench.schedule.schedules import Open, Rated
from bench.schedule.trace import Trace

LEAST_SECONDS: Final = 1e-6
"""`instant_after` lies at least so far ahead: more arrivals than asked for may be due at one instant."""
BLOCK: Final = 4096
"""Arrivals that are generated at once: 6 us for a generator, then 10 ns each."""


def times(
    schedule: Open, stream: int, streams: int, until: float, *, seed: int, users: int = 1, salt: str = ""
) -> Iterator[Floats]:
    """Due instants of stream i of n, in seconds since the start of the load, in ascending chunks.

    The union over all streams is the same, to the bit, for any number of them. Its price is that each stream
    generates all arrivals and keeps its own, 50 ns for each of all (a sine: 230 ns): eight processes that share
    100,000/s spend 0.5 % of a core each on it.

    until: seconds, finite. users: times the schedule's rate. Raises ValueError for a stream out of range.
    """
    if not 0 <= stream < streams:
        raise ValueError(f"stream {stream} of {streams}")
    sequence = open_sequence(schedule, seed, salt)
    sequence.set_users(0.0, users)
    at = 0.0
    while at < until:
        at = min(until, sequence.instant_after(BLOCK))
        first, due = sequence.count, sequence.before(at)
        own = due[held(first, len(due), stream, 1, streams)]
        if len(own):
            yield own


def held(first: int, count: int, stream: int, streams_held: int, streams: int) -> NDArray[np.intp]:
    """Which of the arrivals number first, first + 1, ... belong to a process, as positions from 0 to count - 1.

    The process holds the streams from `stream` on, `streams_held` of `streams`.
    """
    if streams_held == streams:
        return np.arange(count)
    return np.flatnonzero((np.arange(first, first + count) - stream) % streams < streams_held)


def message_indices(numbers: NDArray[np.int64], size: int, seed: int, salt: str = "") -> NDArray[np.int64]:
    """The message, of a pool of `size`, that each arrival sends, by the arrival's number in the global order.

    A walk with a seeded start and a seeded stride that has no common divisor with the size: all messages are sent
    once before one is sent again, whichever process sends them.
    """
    start, stride = _walk(size, seed, salt)
    return (start + numbers % size * stride) % size


@functools.cache
def _walk(size: int, seed: int, salt: str) -> tuple[int, int]:
    rng = Generator(Philox(key=_key(seed, salt, "messages")))
    start, stride = int(rng.integers(size)), int(rng.integers(1, size + 1))
    while math.gcd(stride, size) != 1:
        stride = int(rng.integers(1, size + 1))
    return start, stride


class Sequence(Protocol):
    """The global order of arrivals, generated from the start onwards."""

    count: int
    """Arrivals generated so far, which is the number of the next."""

    def set_users(self, at: float, users: int) -> None:
        """From `at` seconds on there are so many users; `at` is not before the end of what was generated."""
        ...

    def before(self, until: float) -> Floats:
        """Due instants of the next arrivals, in seconds, up to `until`."""
        ...

    def instant_after(self, arrivals: int) -> float:
        """About when, in seconds, that many more arrivals will be due; later than what was generated. inf: never."""
        ...


def open_sequence(schedule: Open, seed: int, salt: str = "") -> Sequence:
    """The beginning of a schedule's arrivals. salt: sets apart schedules of one test that share its seed."""
    if isinstance(schedule, Trace):
        return TraceSequence(schedule)
    return RatedSequence(schedule, _key(seed, salt, "arrivals"))


class RatedSequence:
    """A process of rate 1 carried over to users times the schedule's rate.

    While the number of users stays, arrival number k is due where the expected number of arrivals reaches the
    k-th instant of the process of rate 1. So neither the pieces in which it is generated nor the division over
    processes change an instant.
    """

    def __init__(self, schedule: Rated, key: NDArray[np.uint64]) -> None:
        self.count = 0
        self._rates = schedule.rates()
        self._units: _Even | _Exponential = _Even() if schedule.even else _Exponential(key)
        self._until = 0.0
        self._users = 0
        # when the number of users changed last: arrivals expected by all users and by one, until then
        self._reached, self._by_one = 0.0, 0.0

    def set_users(self, at: float, users: int) -> None:
        """From `at` seconds on there are so many users. Raises ValueError where arrivals after it were generated."""
        if at < self._until:
            raise ValueError(f"users change at {at}, arrivals are generated until {self._until}")
        if users == self._users:
            return
        self._reached, self._by_one = self._expected(at), self._rates.expected_at(at)
        self._users = users

    def before(self, until: float) -> Floats:
        """Due instants of the next arrivals, in seconds, up to `until`."""
        if until <= self._until:
            return np.empty(0)
        self._until = until
        units = self._units.below(self._expected(until))
        self.count += len(units)
        if not len(units):
            return units
        return self._rates.instant(self._by_one + (units - self._reached) / self._users)

    def instant_after(self, arrivals: int) -> float:
        """About when, in seconds, that many more arrivals will be due; inf: never."""
        if not self._users:
            return math.inf
        wanted = self._rates.expected_at(self._until) + arrivals / self._users
        return max(self._rates.instant_at(wanted), self._until + LEAST_SECONDS)

    def _expected(self, at: float) -> float:
        return self._reached + self._users * (self._rates.expected_at(at) - self._by_one)


class TraceSequence:
    """The instants of a trace, whatever the number of users; without a user they pass by unsent."""

    def __init__(self, trace: Trace) -> None:
        self.count = 0
        self._instants = trace.instants
        self._users = 0
        self._until = 0.0

    def set_users(self, at: float, users: int) -> None:
        """From `at` seconds on there are so many users; what was due before it without any is passed over."""
        if at < self._until:
            raise ValueError(f"users change at {at}, arrivals are generated until {self._until}")
        if not self._users:
            self.count = int(np.searchsorted(self._instants, at))
        self._users = users

    def before(self, until: float) -> Floats:
        """Due instants of the next arrivals, in seconds, up to `until`."""
        first = self.count
        if until <= self._until:
            return np.empty(0)
        self._until = until
        self.count = int(np.searchsorted(self._instants, until))
        return self._instants[first : self.count] if self._users else np.empty(0)

    def instant_after(self, arrivals: int) -> float:
        """When, in seconds, that many more arrivals will be due; inf: never."""
        number = self.count + arrivals
        if number >= len(self._instants):
            return math.inf
        return max(float(self._instants[number]), self._until + LEAST_SECONDS)


class _Even:
    """The integers >= 0."""

    def __init__(self) -> None:
        self._next = 0

    def below(self, bound: float) -> Floats:
        """What comes next and is below the bound."""
        first, self._next = self._next, max(self._next, math.ceil(bound))
        return np.arange(first, self._next, dtype=np.float64)


class _Exponential:
    """Instants of a Poisson process of rate 1: sums of exponential draws.

    The draws come in blocks, each with a counter of its own in a counter-based generator (Philox 4x64-10, Salmon
    et al., Parallel random numbers: as easy as 1, 2, 3, 2011).
    """

    def __init__(self, key: NDArray[np.uint64]) -> None:
        self._key = key
        self._blocks = 0
        self._last = 0.0
        self._left = np.empty(0)

    def below(self, bound: float) -> Floats:
        """What comes next and is below the bound."""
        parts = []
        while self._last < bound:
            parts.append(self._left)
            self._left = self._last + self._draw().cumsum()
            self._last = float(self._left[-1])
        count = int(np.searchsorted(self._left, bound))
        parts.append(self._left[:count])
        self._left = self._left[count:]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _draw(self) -> Floats:
        draws = Generator(Philox(key=self._key, counter=[0, 0, self._blocks, 0])).standard_exponential(BLOCK)
        self._blocks += 1
        return draws


def _key(seed: int, salt: str, purpose: str) -> NDArray[np.uint64]:
    """128 bits that set apart every seed and every use of it."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{salt}".encode()).digest()
    return np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)
