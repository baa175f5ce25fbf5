"""Schedules from a user's text."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench import BenchError
from bench.schedule.schedules import Closed, Constant, Poisson, Ramp, Schedule, Sine, Spike, Steps
from bench.schedule.trace import Trace

FORMS: Final = {
    "closed": "closed, closed:0.5s",
    "constant": "constant:500",
    "poisson": "poisson:1000",
    "steps": "steps:100,200,400/10s",
    "ramp": "ramp:0..1000/60s",
    "spike": "spike:100x5@10s+5s",
    "sine": "sine:100..300/60s",
    "trace": "trace:FILE, trace:FILE@2x",
}
"""An example of each form, as help and errors show them."""

_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
# the dot of "0..1000" belongs to no number
_NUMBER: Final = r"(?:\d+(?:\.(?!\.)\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_SECONDS: Final = rf"{_NUMBER}(?:us|ms|s|m|h)?"


def parse(text: str) -> Schedule:
    """The schedule that a text like `poisson:1000` means.

    Rates are per second and user; durations take us, ms, s (also where no unit stands), m or h. `,even` behind
    steps, ramp, spike and sine spaces arrivals evenly instead of at random. The text of any schedule reads back as
    an equal schedule. Raises BenchError naming the text and the form that is expected.
    """
    stripped = text.strip()
    name, colon, rest = stripped.partition(":")
    kind = name.strip().lower()
    if kind not in _READERS:
        raise BenchError(f"schedule {text!r}: unknown; write one of {'; '.join(FORMS.values())}")
    try:
        return _READERS[kind](rest.strip() if colon else "")
    except _MismatchError:
        raise BenchError(f"schedule {text!r}: {FORMS[kind]} is the form expected") from None


def duration(text: str) -> float:
    """The seconds in a text such as 30, 90s or 2m. Raises ValueError."""
    try:
        return _seconds(text.strip())
    except _MismatchError:
        raise ValueError(f"{text!r} is no duration such as 90s or 2m") from None


class _MismatchError(Exception):
    """The text has not the form of its kind."""


def _closed(rest: str) -> Schedule:
    return Closed() if not rest else Closed(_seconds(_match(rf"({_SECONDS})", rest)[0]))


def _constant(rest: str) -> Schedule:
    return Constant(_number(_match(rf"({_NUMBER})", rest)[0]))


def _poisson(rest: str) -> Schedule:
    return Poisson(_number(_match(rf"({_NUMBER})", rest)[0]))


def _steps(rest: str) -> Schedule:
    rest, even = _even(rest)
    rates, each = _match(rf"({_NUMBER}(?:,{_NUMBER})*)/({_SECONDS})", rest)
    return Steps(tuple(map(_number, rates.split(","))), _seconds(each), even=even)


def _ramp(rest: str) -> Schedule:
    rest, even = _even(rest)
    start, end, over = _match(rf"({_NUMBER})\.\.({_NUMBER})/({_SECONDS})", rest)
    return Ramp(_number(start), _number(end), _seconds(over), even=even)


def _spike(rest: str) -> Schedule:
    rest, even = _even(rest)
    rate, factor, at, lasting = _match(rf"({_NUMBER})x({_NUMBER})@({_SECONDS})\+({_SECONDS})", rest)
    return Spike(_number(rate), _number(factor), _seconds(at), _seconds(lasting), even=even)


def _sine(rest: str) -> Schedule:
    rest, even = _even(rest)
    low, high, period = _match(rf"({_NUMBER})\.\.({_NUMBER})/({_SECONDS})", rest)
    return Sine(_number(low), _number(high), _seconds(period), even=even)


def _trace(rest: str) -> Schedule:
    found = re.fullmatch(rf"(.+?)(?:@({_NUMBER})x)?", rest)
    if found is None:
        raise _MismatchError
    return Trace.read(Path(found[1]).expanduser(), _number(found[2] or "1"))


_READERS: Final[dict[str, Callable[[str], Schedule]]] = {
    "closed": _closed,
    "constant": _constant,
    "poisson": _poisson,
    "steps": _steps,
    "ramp": _ramp,
    "spike": _spike,
    "sine": _sine,
    "trace": _trace,
}


def _match(pattern: str, rest: str) -> tuple[str, ...]:
    found = re.fullmatch(pattern, re.sub(r"\s+", "", rest))
    if found is None:
        raise _MismatchError
    return found.groups()


def _even(rest: str) -> tuple[str, bool]:
    bare = rest.removesuffix(",even")
    return bare, bare != rest


def _number(text: str) -> float:
    return float(text)


def _seconds(text: str) -> float:
    found = re.fullmatch(rf"({_NUMBER})(us|ms|s|m|h)?", text)
    if found is None:
        raise _MismatchError
    return float(found[1]) * _UNITS[found[2] or "s"]
