"""The kinds of schedule: each one's text, description and rate. A further kind is a class here and its place in `_KINDS`."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from itertools import accumulate
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self

from bench import BenchError
from bench.schedule.rates import Impulses, PiecewiseLinear, RateFunction, Sinusoidal
from bench.schedule.text import NUMBER, SECONDS, MismatchError, match, number_text, seconds, seconds_text
from bench.schedule.trace import Trace

_NONE: Mapping[str, float] = MappingProxyType({})
MOST_AT_ONCE: Final = 1_000_000
"""Requests of a burst: the instants of all of them are made at once."""


@dataclass(frozen=True)
class Closed:
    """Each user asks, waits for the answer, thinks for `think` seconds, and asks again."""

    kind: ClassVar[str] = "closed"
    form: ClassVar[str] = "closed, closed:0.5s"
    think: float = 0.0

    def __post_init__(self) -> None:
        _check(self.kind, from_0={"think": self.think})

    @classmethod
    def of_text(cls, rest: str) -> Self:
        """What stands behind the colon. Raises MismatchError."""
        return cls(seconds(match(rf"({SECONDS})", rest)[0])) if rest else cls()

    def __str__(self) -> str:
        return f"closed:{seconds_text(self.think)}" if self.think else "closed"

    def to_dict(self) -> dict[str, Any]:
        """The schedule as JSON values, as `from_dict` reads it."""
        return _to_dict(self)


@dataclass(frozen=True)
class Rated(ABC):
    """Part common to schedules with a rate: subclasses say which, and whether arrivals are spaced evenly."""

    kind: ClassVar[str]
    _: KW_ONLY
    even: bool = False

    @abstractmethod
    def rates(self) -> RateFunction:
        """The rate over time that one user asks for."""

    @property
    def duration(self) -> float | None:
        """Seconds after which nothing changes any more; None: there is no such instant."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """The schedule as JSON values, as `from_dict` reads it."""
        return _to_dict(self)

    def _suffix(self) -> str:
        return ",even" if self.even else ""


@dataclass(frozen=True)
class OneRate(Rated):
    """Part common to schedules whose rate does not change."""

    rate: float

    def __post_init__(self) -> None:
        _check(self.kind, above_0={"rate": self.rate})

    @classmethod
    def of_text(cls, rest: str) -> Self:
        """What stands behind the colon. Raises MismatchError."""
        return cls(float(match(rf"({NUMBER})", rest)[0]))

    def __str__(self) -> str:
        return f"{self.kind}:{number_text(self.rate)}"

    def rates(self) -> RateFunction:
        """One constant rate."""
        return PiecewiseLinear([0], [self.rate], [0])


@dataclass(frozen=True)
class Constant(OneRate):
    """Evenly spaced arrivals, the first at 0: the least demanding load at a rate."""

    kind: ClassVar[str] = "constant"
    form: ClassVar[str] = "constant:500"
    even: bool = field(default=True, init=False)


@dataclass(frozen=True)
class Poisson(OneRate):
    """Arrivals that know nothing of each other, as of many independent callers."""

    kind: ClassVar[str] = "poisson"
    form: ClassVar[str] = "poisson:1000"
    even: bool = field(default=False, init=False)


@dataclass(frozen=True)
class Steps(Rated):
    """One rate after the other, `each` seconds long; the last is held until the test ends."""

    kind: ClassVar[str] = "steps"
    form: ClassVar[str] = "steps:100,200,400/10s"
    steps: tuple[float, ...]
    each: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(map(float, self.steps)))
        steps = {f"step {i}": rate for i, rate in enumerate(self.steps, 1)}
        highest = max(self.steps, default=0.0)
        _check(self.kind, above_0={"each": self.each, "the highest step": highest}, from_0=steps)

    @classmethod
    def of_text(cls, rest: str) -> Self:
        """What stands behind the colon. Raises MismatchError."""
        rest, even = _even(rest)
        rates, each = match(rf"({NUMBER}(?:,{NUMBER})*)/({SECONDS})", rest)
        return cls(tuple(map(float, rates.split(","))), seconds(each), even=even)

    def __str__(self) -> str:
        return f"steps:{','.join(map(number_text, self.steps))}/{seconds_text(self.each)}{self._suffix()}"

    def rates(self) -> RateFunction:
        """A rate for each step."""
        starts = [i * self.each for i in range(len(self.steps))]
        return PiecewiseLinear(starts, self.steps, [0] * len(self.steps))

    @property
    def duration(self) -> float:
        """Until the end of the last step."""
        return self.each * len(self.steps)


@dataclass(frozen=True)
class Ramp(Rated):
    """The rate goes from `start` to `end` within `over` seconds; the last is held until the test ends."""

    kind: ClassVar[str] = "ramp"
    form: ClassVar[str] = "ramp:0..1000/60s"
    start: float
    end: float
    over: float

    def __post_init__(self) -> None:
        highest = max(self.start, self.end)
        _check(self.kind, from_0={"start": self.start, "end": self.end})
        _check(self.kind, above_0={"over": self.over, "the higher end": highest})

    @classmethod
    def of_text(cls, rest: str) -> Self:
        """What stands behind the colon. Raises MismatchError."""
        rest, even = _even(rest)
        start, end, over = match(rf"({NUMBER})\.\.({NUMBER})/({SECONDS})", rest)
        return cls(float(start), float(end), seconds(over), even=even)

    def __str__(self) -> str:
        return f"ramp:{number_text(self.start)}..{number_text(self.end)}/{seconds_text(self.over)}{self._suffix()}"

    def rates(self) -> RateFunction:
        """A slope, then a constant."""
        slope = (self.end - self.start) / self.over
        return PiecewiseLinear([0, self.over], [self.start, self.end], [slope, 0])

    @property
    def duration(self) -> float:
        """Until the end of the slope."""
        return self.over


@dataclass(frozen=True)
class Spike(Rated):
    """`rate`, but `factor` times as much from `at` seconds on for `lasting` seconds."""

    kind: ClassVar[str] = "spike"
    form: ClassVar[str] = "spike:100x5@10s+5s"
    rate: float
    factor: float
    at: float
    lasting: float

    def __post_init__(self) -> None:
        _check(self.kind, from_0={"at": self.at, "factor": self.factor})
        _check(self.kind, above_0={"rate": self.rate, "lasting": self.lasting})

    @classmethod
    def of_text(cls, rest: str) -> Self:
        """What stands behind the colon. Raises MismatchError."""
        rest, even = _even(rest)
        rate, factor, at, lasting = match(rf"({NUMBER})x({NUMBER})@({SECONDS})\+({SECONDS})", rest)
        return cls(float(rate), float(factor), seconds(at), seconds(lasting), even=even)

    def __str__(self) -> str:
        spike = f"x{number_text(self.factor)}@{seconds_text(self.at)}+{seconds_text(self.lasting)}"
        return f"spike:{number_text(self.rate)}{spike}{self._suffix()}"

    def rates(self) -> RateFunction:
        """Before, during and after."""
        parts = [(self.at, self.rate), (self.lasting, self.rate * self.factor), (0.0, self.rate)]
        starts = list(accumulate((length for length, _ in parts[:-1]), initial=0.0))
        return PiecewiseLinear(starts, [rate for _, rate in parts], [0] * len(parts))

    @property
    def duration(self) -> float:
        """Until the end of the spike."""
        return self.at + self.lasting


@dataclass(frozen=True)
class Sine(Rated):
    """The rate swings between `low` and `high` once in `period` seconds, beginning at `low`: a day in short."""

    kind: ClassVar[str] = "sine"
    form: ClassVar[str] = "sine:100..300/60s"
    low: float
    high: float
    period: float

    def __post_init__(self) -> None:
        _check(self.kind, from_0={"low": self.low}, above_0={"high": self.high, "period": self.period})
        if self.low > self.high:
            raise BenchError(f"sine: low {self.low:g} is above high {self.high:g}; exchange the two")

    @classmethod
    def of_text(cls, rest: str) -> Self:
        """What stands behind the colon. Raises MismatchError."""
        rest, even = _even(rest)
        low, high, period = match(rf"({NUMBER})\.\.({NUMBER})/({SECONDS})", rest)
        return cls(float(low), float(high), seconds(period), even=even)

    def __str__(self) -> str:
        return f"sine:{number_text(self.low)}..{number_text(self.high)}/{seconds_text(self.period)}{self._suffix()}"

    def rates(self) -> RateFunction:
        """Low + high over two, minus a cosine."""
        return Sinusoidal(self.low, self.high, self.period)


@dataclass(frozen=True)
class Burst(Rated):
    """`size` requests that are due at one instant, the first ones at 0, then again every `each` seconds."""

    kind: ClassVar[str] = "burst"
    form: ClassVar[str] = "burst:200@5s"
    size: int
    each: float
    even: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        _check(self.kind, above_0={"size": self.size, "each": self.each})
        if self.size != int(self.size) or self.size > MOST_AT_ONCE:
            raise BenchError(f"burst: size is {self.size}; expected an integer from 1 to {MOST_AT_ONCE:,}")

    @classmethod
    def of_text(cls, rest: str) -> Self:
        """What stands behind the colon. Raises MismatchError."""
        size, each = match(rf"(\d+)@({SECONDS})", rest)
        return cls(int(size), seconds(each))

    def __str__(self) -> str:
        return f"burst:{self.size}@{seconds_text(self.each)}"

    def rates(self) -> RateFunction:
        """All of a burst's requests at its instant."""
        return Impulses(self.size, self.each)


Open = Constant | Poisson | Steps | Ramp | Spike | Sine | Burst | Trace
"""Schedules that never wait for answers."""
Schedule = Closed | Open

_KINDS: Final = {
    each.kind: each for each in (Closed, Constant, Poisson, Steps, Ramp, Spike, Sine, Burst, Trace)
}
FORMS: Final[Mapping[str, str]] = {kind: each.form for kind, each in _KINDS.items()}
"""An example of each form, as help and errors show them."""


def parse(text: str) -> Schedule:
    """The schedule that a text like `poisson:1000` means.

    Rates are per second and user; durations take us, ms, s (also where no unit stands), m or h. `,even` behind
    steps, ramp, spike and sine spaces arrivals evenly instead of at random. The text of any schedule reads back as
    an equal schedule. Raises BenchError naming the text and the form that is expected.
    """
    name, colon, rest = text.strip().partition(":")
    kind = name.strip().lower()
    if kind not in _KINDS:
        raise BenchError(f"schedule {text!r}: unknown; expected one of {'; '.join(FORMS.values())}")
    try:
        return _KINDS[kind].of_text(rest.strip() if colon else "")
    except MismatchError:
        raise BenchError(f"schedule {text!r}: {FORMS[kind]} is the form expected") from None


def from_dict(plain: Mapping[str, Any]) -> Schedule:
    """The schedule that `to_dict` described. Raises BenchError for what is none, or for a trace that has changed."""
    fields = dict(plain)
    kind = fields.pop("kind", None)
    if kind not in _KINDS:
        raise BenchError(f"schedule kind {kind!r}: expected one of {', '.join(_KINDS)}")
    try:
        return Trace.again(**fields) if kind == Trace.kind else _KINDS[kind](**fields)
    except TypeError as error:
        raise BenchError(f"schedule {kind}: {error}") from error


def _to_dict(schedule: Closed | Rated) -> dict[str, Any]:
    values = {each.name: getattr(schedule, each.name) for each in fields(schedule) if each.init}
    return {"kind": schedule.kind, **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}}


def _check(kind: str, *, above_0: Mapping[str, float] = _NONE, from_0: Mapping[str, float] = _NONE) -> None:
    for name, value in {**above_0, **from_0}.items():
        allowed = value > 0 if name in above_0 else value >= 0
        if not allowed or value == math.inf:
            least = "above 0" if name in above_0 else "not below 0"
            raise BenchError(f"{kind}: {name} is {value:g}; expected a finite number {least}")


def _even(rest: str) -> tuple[str, bool]:
    bare = rest.removesuffix(",even")
    return bare, bare != rest
