"""Service times of a synthetic server, and stalls of its replies.

Pure values: seeded, without a clock. What is written on the command line is parsed here.
"""

import heapq
import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import BenchError
from bench.runs.files import MIB, read_file
from bench.server.options import ServerFlags

_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(us|ms|s)")
_CALL: Final = re.compile(r"(\w+)\((.*)\)")

SLOWEST_START: Final = 10.0
"""Factor of service times in the first moment of a slow start."""

Draw = Callable[[random.Random], float]
"""A service time in seconds."""


def duration(text: str, flag: str) -> float:
    """Seconds of a text such as `500us`, `2ms` or `1.5s`. Raises BenchError that names the flag."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise BenchError(f"{flag}: {text.strip()!r} is not a duration; write 500us, 2ms or 1.5s")
    return float(match[1]) * _UNITS[match[2]]


def distribution(text: str) -> Draw:
    """What `constant(2ms)`, `exponential(2ms)` (mean), `lognormal(2ms,0.3)` (median, sigma) or `file:PATH` draws.

    A file holds a duration in each line, each drawn with the same probability. Raises BenchError.
    """
    if text.startswith("file:"):
        return _empirical(Path(text.removeprefix("file:")))
    call = _CALL.fullmatch(text.strip())
    if call is not None:
        kind, arguments = call[1], [part.strip() for part in call[2].split(",")]
        first = duration(arguments[0], "--service-time")
        if kind == "constant" and len(arguments) == 1:
            return lambda _rng: first
        if kind == "exponential" and len(arguments) == 1 and first > 0:
            return lambda rng: rng.expovariate(1 / first)
        if kind == "lognormal" and len(arguments) == 2 and first > 0:
            sigma = _number(arguments[1])
            return lambda rng: rng.lognormvariate(math.log(first), sigma)
    raise BenchError(
        f"--service-time {text}: write constant(2ms), exponential(2ms), lognormal(2ms,0.3) or file:PATH with one time per line"
    )


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise BenchError(f"--service-time: {text!r}: expected a number >= 0")
    return value


def _empirical(path: Path) -> Draw:
    try:
        lines = read_file(path, 64 * MIB).decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"--service-time file:{path}: cannot be read: {error}") from error
    times = [duration(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not times:
        raise BenchError(f"--service-time file:{path}: holds no durations; write one per line, such as 2.5ms")
    return lambda rng: rng.choice(times)


@dataclass(frozen=True)
class Stall:
    """Replies that fall into a hold leave at its end; the n-th hold begins n periods after the origin."""

    hold: float
    every: float

    def released(self, since_origin: float) -> float:
        """When a reply leaves that would leave at this time, both in seconds since the origin."""
        period = math.floor(since_origin / self.every)
        end = period * self.every + self.hold
        return end if period >= 1 and since_origin < end else since_origin


def stall(text: str) -> Stall | None:
    """The schedule written as `500ms/5s`: half a second in every five. Empty: None. Raises BenchError."""
    if not text:
        return None
    hold, slash, every = text.partition("/")
    if not slash:
        raise BenchError(f"--stall {text}: write HOLD/EVERY, such as 500ms/5s")
    schedule = Stall(duration(hold, "--stall"), duration(every, "--stall"))
    if not 0 < schedule.hold < schedule.every:
        raise BenchError(f"--stall {text}: the hold must be shorter than the period, and longer than 0")
    return schedule


@dataclass(frozen=True)
class Plan:
    """The instants at which replies leave, as the flags have it."""

    draw: Draw
    stall: Stall | None
    slow_start: float
    """Seconds of slow start; 0: none."""


def plan(options: ServerFlags) -> Plan:
    """The plan of a synthetic server's options. Raises BenchError."""
    slow_start = duration(options.slow_start, "--slow-start") if options.slow_start else 0.0
    return Plan(distribution(options.service_time), stall(options.stall), slow_start)


class Queue:
    """The queue of k servers, first come first served (M/G/k); None: no queue, all are served at once."""

    def __init__(self, servers: int | None) -> None:
        self._free_at = None if servers is None else [-math.inf] * servers

    def finish(self, arrival: float, service: float) -> float:
        """When a request is done that arrives now and takes so long; to be asked in the order of arrivals."""
        if self._free_at is None:
            return arrival + service
        done = max(arrival, self._free_at[0]) + service
        heapq.heapreplace(self._free_at, done)
        return done


def slowness(since_origin: float, slow_start: float) -> float:
    """Factor of service times: `SLOWEST_START` at first, falling in a straight line to 1 after `slow_start` seconds."""
    if since_origin >= slow_start:
        return 1.0
    return SLOWEST_START - (SLOWEST_START - 1) * max(since_origin, 0.0) / slow_start
