"""The kinds of schedule, their description and their rate."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from itertools import accumulate
from types import MappingProxyType
from typing import Any, ClassVar

from bench import BenchError
from bench.schedule.rates import PiecewiseLinear, RateFunction, Sinusoidal
from bench.schedule.trace import Trace

_NONE: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Closed:
    """Each user asks, waits for the answer, thinks for `think` seconds, and asks again."""

    kind: ClassVar[str] = "closed"
    think: float = 0.0

    def __post_init__(self) -> None:
        _check(self.kind, from_0={"think": self.think})

    def __str__(self) -> str:
        return f"closed:{_seconds(self.think)}" if self.think else "closed"

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
class Constant(Rated):
    """Evenly spaced arrivals, the first at 0: the least demanding load at a rate."""

    kind: ClassVar[str] = "constant"
    rate: float
    even: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        _check(self.kind, above_0={"rate": self.rate})

    def __str__(self) -> str:
        return f"constant:{_number(self.rate)}"

    def rates(self) -> RateFunction:
        """One constant rate."""
        return PiecewiseLinear([0], [self.rate], [0])


@dataclass(frozen=True)
class Poisson(Rated):
    """Arrivals that know nothing of each other, as of many independent callers."""

    kind: ClassVar[str] = "poisson"
    rate: float
    even: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        _check(self.kind, above_0={"rate": self.rate})

    def __str__(self) -> str:
        return f"poisson:{_number(self.rate)}"

    def rates(self) -> RateFunction:
        """One constant rate."""
        return PiecewiseLinear([0], [self.rate], [0])


@dataclass(frozen=True)
class Steps(Rated):
    """One rate after the other, `each` seconds long; the last is held until the test ends."""

    kind: ClassVar[str] = "steps"
    steps: tuple[float, ...]
    each: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(map(float, self.steps)))
        steps = {f"step {i}": rate for i, rate in enumerate(self.steps, 1)}
        highest = max(self.steps, default=0.0)
        _check(self.kind, above_0={"each": self.each, "the highest step": highest}, from_0=steps)

    def __str__(self) -> str:
        return f"steps:{','.join(map(_number, self.steps))}/{_seconds(self.each)}{self._suffix()}"

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
    start: float
    end: float
    over: float

    def __post_init__(self) -> None:
        highest = max(self.start, self.end)
        _check(self.kind, from_0={"start": self.start, "end": self.end})
        _check(self.kind, above_0={"over": self.over, "the higher end": highest})

    def __str__(self) -> str:
        return f"ramp:{_number(self.start)}..{_number(self.end)}/{_seconds(self.over)}{self._suffix()}"

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
    rate: float
    factor: float
    at: float
    lasting: float

    def __post_init__(self) -> None:
        _check(self.kind, from_0={"at": self.at, "factor": self.factor})
        _check(self.kind, above_0={"rate": self.rate, "lasting": self.lasting})

    def __str__(self) -> str:
        spike = f"x{_number(self.factor)}@{_seconds(self.at)}+{_seconds(self.lasting)}"
        return f"spike:{_number(self.rate)}{spike}{self._suffix()}"

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
    low: float
    high: float
    period: float

    def __post_init__(self) -> None:
        _check(self.kind, from_0={"low": self.low}, above_0={"high": self.high, "period": self.period})
        if self.low > self.high:
            raise BenchError(f"sine: low {self.low:g} is above high {self.high:g}; exchange the two")

    def __str__(self) -> str:
        return f"sine:{_number(self.low)}..{_number(self.high)}/{_seconds(self.period)}{self._suffix()}"

    def rates(self) -> RateFunction:
        """Low + high over two, minus a cosine."""
        return Sinusoidal(self.low, self.high, self.period)


Open = Constant | Poisson | Steps | Ramp | Spike | Sine | Trace
"""Schedules that never wait for answers."""
Schedule = Closed | Open

_KINDS: dict[str, Callable[..., Schedule]] = {
    **{each.kind: each for each in (Closed, Constant, Poisson, Steps, Ramp, Spike, Sine)},
    Trace.kind: Trace.again,
}


def from_dict(said: Mapping[str, Any]) -> Schedule:
    """The schedule that `to_dict` described. Raises BenchError for what is none, or for a trace that has changed."""
    fields = dict(said)
    kind = fields.pop("kind", None)
    if kind not in _KINDS:
        raise BenchError(f"schedule kind {kind!r}: expected one of {', '.join(_KINDS)}")
    try:
        return _KINDS[kind](**fields)
    except TypeError as error:
        raise BenchError(f"schedule {kind}: {error}") from error


def _to_dict(schedule: Closed | Rated) -> dict[str, Any]:
    said = {each.name: getattr(schedule, each.name) for each in fields(schedule) if each.init}
    return {"kind": schedule.kind, **{k: list(v) if isinstance(v, tuple) else v for k, v in said.items()}}


def _check(kind: str, *, above_0: Mapping[str, float] = _NONE, from_0: Mapping[str, float] = _NONE) -> None:
    for name, value in {**above_0, **from_0}.items():
        allowed = value > 0 if name in above_0 else value >= 0
        if not allowed or value == math.inf:
            least = "above 0" if name in above_0 else "not below 0"
            raise BenchError(f"{kind}: {name} is {value:g}; expected a finite number {least}")


def _number(value: float) -> str:
    """The shortest text that reads back as the same number, without an exponent where that is usual."""
    return repr(int(value)) if value == int(value) and value < 1e15 else repr(float(value))


def _seconds(value: float) -> str:
    return f"{_number(value)}s"
