"""Limits that end a load while it runs (`--abort-if`), over the requests that ended within the last seconds."""

import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self

import numpy as np

from bench import BenchError
from bench.runs.chunk import KINDS, Chunk
from bench.runs.histogram import Histogram, Sparse, nearest_rank
from bench.runs.sample import CANCELLED_BY_CLIENT
from bench.schedule.text import NUMBER, SECONDS, MismatchError, match, seconds
from bench.wording import counted, duration

LEAST: Final = 10
"""Requests below which nothing is judged: a single error would be more than every limit."""
_LATENCY, _MISMATCHED = KINDS.index("latency"), KINDS.index("mismatched")


@dataclass
class Seen:
    """Requests that ended in some time: how many by outcome, and their latencies."""

    outcomes: Counter[str] = field(default_factory=Counter)
    right: list[Sparse] = field(default_factory=list)
    """Latencies of those that were answered OK."""
    wrong: list[Sparse] = field(default_factory=list)
    """Latencies of those among them whose answer was mismatched."""

    @classmethod
    def of(cls, chunk: Chunk) -> Self:
        """What a load process handed over; calls that this client cancelled are left out."""
        seen = cls()
        for (key, _), tally in chunk.tallies.items():
            if key.outcome != CANCELLED_BY_CLIENT:
                seen.outcomes[key.outcome] += tally.requests
        for (key, _), kinds in chunk.histograms.items():
            if key.outcome == "OK":
                seen.right.append(kinds[_LATENCY])
                seen.wrong.append(kinds[_MISMATCHED])
        return seen

    @classmethod
    def sum(cls, parts: Sequence["Seen"]) -> Self:
        """All of them together."""
        whole = cls()
        for part in parts:
            whole.outcomes += part.outcomes
            whole.right += part.right
            whole.wrong += part.wrong
        return whole

    @property
    def count(self) -> int:
        """Requests of every outcome."""
        return self.outcomes.total()


@dataclass(frozen=True)
class Limit(ABC):
    """A limit on what the last `seconds` measured."""

    form: ClassVar[str]
    pattern: ClassVar[str]
    text: str
    bound: float
    seconds: float

    @classmethod
    @abstractmethod
    def of_text(cls, text: str) -> "Limit":
        """The limit that a text means. Raises MismatchError."""

    @abstractmethod
    def exceeded(self, seen: Seen) -> str | None:
        """What was measured, in words, where it is beyond the limit; None: it is not, or too little is known."""

    def over(self, measured: str, seen: Seen) -> str:
        """The reason for the end of the load."""
        requests = counted(seen.count, "request")
        return f"{measured} of {requests} in the last {self.seconds:g} s, --abort-if {self.text}"


@dataclass(frozen=True)
class Errors(Limit):
    """The share of requests that were not answered OK is at most `bound`."""

    form: ClassVar[str] = "errors>5%/10s"
    pattern: ClassVar[str] = rf"errors>({NUMBER})%/({SECONDS})"

    @classmethod
    def of_text(cls, text: str) -> "Errors":
        """As `Limit.of_text`."""
        bound, each = match(cls.pattern, text)
        return cls(text, float(bound) / 100, seconds(each))

    def exceeded(self, seen: Seen) -> str | None:
        """As `Limit.exceeded`."""
        if seen.count < LEAST:
            return None
        share = (seen.count - seen.outcomes["OK"]) / seen.count
        return self.over(f"errors {share:.1%}", seen) if share > self.bound else None


@dataclass(frozen=True)
class Percentile(Limit):
    """The q-th percentile of latency is at most `bound` seconds; a failed request is slower than every answer."""

    form: ClassVar[str] = "p99>200ms/10s"
    pattern: ClassVar[str] = rf"p({NUMBER})>({SECONDS})/({SECONDS})"
    q: float = 99.0

    @classmethod
    def of_text(cls, text: str) -> "Percentile":
        """As `Limit.of_text`."""
        q, bound, each = match(cls.pattern, text)
        if not 0 < float(q) < 100:
            raise BenchError(f"--abort-if {text}: p{q} is not a percentile between 0 and 100, such as p99")
        return cls(text, seconds(bound), seconds(each), float(q))

    def exceeded(self, seen: Seen) -> str | None:
        """As `Limit.exceeded`; of fewer requests than make it another value than the maximum nothing is said."""
        if seen.count < max(LEAST, 100 / (100 - self.q)):
            return None
        answered, rank = Histogram.sum(seen.right), nearest_rank(self.q, seen.count)
        if rank > answered.count:
            return self.over(f"p{self.q:g} not reached by the answers", seen)
        value = answered.of_rank(rank)
        return self.over(f"p{self.q:g} {duration(value)}", seen) if value > self.bound else None


@dataclass(frozen=True)
class Goodput(Limit):
    """The share of requests that were answered rightly within so many seconds is at least `bound`."""

    form: ClassVar[str] = "goodput(50ms)<90%/10s"
    pattern: ClassVar[str] = rf"goodput\(({SECONDS})\)<({NUMBER})%/({SECONDS})"
    within: float = 0.0

    @classmethod
    def of_text(cls, text: str) -> "Goodput":
        """As `Limit.of_text`."""
        within, bound, each = match(cls.pattern, text)
        return cls(text, float(bound) / 100, seconds(each), seconds(within))

    def exceeded(self, seen: Seen) -> str | None:
        """As `Limit.exceeded`."""
        if seen.count < LEAST:
            return None
        right, wrong = Histogram.sum(seen.right), Histogram.sum(seen.wrong)
        within = right.count - right.above(self.within) - (wrong.count - wrong.above(self.within))
        share = within / seen.count
        words = f"goodput({duration(self.within)}) {share:.1%}"
        return self.over(words, seen) if share < self.bound else None


Limits = tuple[Limit, ...]
_KINDS: Final[tuple[type[Limit], ...]] = (Errors, Percentile, Goodput)
EXAMPLES: Final = tuple(kind.form for kind in _KINDS)


def limits_of(text: str) -> Limits:
    """The limits in the value of `--abort-if`. Raises BenchError naming the one that is wrong."""
    return tuple(_limit_of("".join(part.split())) for part in text.split(",") if part.strip())


def _limit_of(text: str) -> Limit:
    for kind in _KINDS:
        try:
            limit = kind.of_text(text)
        except MismatchError:
            continue
        if not np.isfinite([limit.bound, limit.seconds]).all() or limit.seconds <= 0:
            raise BenchError(
                f"--abort-if {text}: expected a finite limit over more than 0 s, such as {kind.form}"
            )
        return limit
    raise BenchError(f"--abort-if {text}: expected {' or '.join(EXAMPLES)}")


class Watch:
    """Holds what a run records against limits, and tells of the first that is exceeded."""

    def __init__(self, limits: Limits, origin: float, exceeded: Callable[[str], None]) -> None:
        """origin: of the run, on perf_counter's clock. exceeded: called once, with the reason."""
        self._limits, self._origin, self._exceeded = limits, origin, exceeded
        self._longest = max(limit.seconds for limit in limits)
        self._parts: deque[tuple[float, Seen]] = deque()
        self._over = False

    def add(self, chunk: Chunk) -> None:
        """Take in what a load process handed over just now."""
        self.judge(Seen.of(chunk), time.perf_counter())

    def judge(self, seen: Seen, now: float) -> None:
        """The same of what ended until `now`; a limit is held against nothing less than its whole time."""
        parts = self._parts
        parts.append((now, seen))
        while parts[0][0] <= now - self._longest:
            parts.popleft()
        for limit in self._limits:
            if self._over or now - self._origin < limit.seconds:
                continue
            last = [part for at, part in parts if at > now - limit.seconds]
            reason = limit.exceeded(Seen.sum(last))
            if reason is not None:
                self._over = True
                self._exceeded(reason)
