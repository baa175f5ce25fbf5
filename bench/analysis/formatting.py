"""Formatting of numbers with units.

nan and None are always a dash: what was not measured is never shown as 0.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from bench.wording import significant

__all__ = [
    "ABSENT", "MICROSECONDS", "MILLISECONDS", "NOT_REACHED", "SECONDS", "Unit", "accuracy", "count", "difference", "duration",
    "fitting_unit", "rate", "share", "signed", "significant",
    "tick",
]  # fmt: skip

ABSENT: Final = "–"
NOT_REACHED: Final = "not reached"
"""Of a percentile that falls among requests without an answer."""


class Unit(NamedTuple):
    """A unit of time and how many of it a second has."""

    name: str
    per_second: float


MICROSECONDS, MILLISECONDS, SECONDS = Unit("µs", 1e6), Unit("ms", 1e3), Unit("s", 1.0)


def fitting_unit(seconds: Iterable[float]) -> Unit:
    """One unit for a column of durations: that of the middle one, so that most numbers have few digits."""
    known = sorted(abs(value) for value in seconds if math.isfinite(value) and value)
    if not known:
        return MILLISECONDS
    middle = known[len(known) // 2]
    return MICROSECONDS if middle < 1e-3 else MILLISECONDS if middle < 1.0 else SECONDS


def duration(seconds: float | None, unit: Unit | None = None) -> str:
    """Three significant digits; with the unit's name unless one is given: `1.23 ms`, or `1.23` in milliseconds."""
    if seconds == math.inf:
        return NOT_REACHED
    if seconds is None or not math.isfinite(seconds):
        return ABSENT
    fitting = unit or fitting_unit([seconds])
    text = significant(seconds * fitting.per_second)
    return text if unit else f"{text} {fitting.name}"


def signed(seconds: float, like: Sequence[float], *, sign: bool = True, name: bool = True) -> str:
    """A difference of durations in the unit of others, with its sign and without digits beyond a thousandth of them.

    sign, name: whether its sign and its unit are shown.
    """
    unit = fitting_unit(like)
    most = max(like) * unit.per_second
    digits = max(0, 2 - math.floor(math.log10(most))) if 0 < most < math.inf else 2
    text = f"{abs(seconds) * unit.per_second:,.{digits}f}"
    zero = not float(text.replace(",", ""))
    minus = "" if zero or not sign else "-" if seconds < 0 else "+"
    return f"{minus}{'0' if zero else text}{f' {unit.name}' if name else ''}"


def rate(per_second: float | None) -> str:
    """Such as `51,354`, `42.1` or `0.35`, per second."""
    return significant(per_second)


def difference(size: float) -> str:
    """A difference that is not signed, two digits: `0.0087`, `2e-07`, `41`, `1,500`."""
    return f"{size:.2g}" if size < 99.5 else f"{size:,.0f}"


def tick(value: float) -> str:
    """A number on an axis, without zeros at its end: `80`, `0.05`."""
    text = significant(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def count(number: int | None) -> str:
    """With thousands separated."""
    return ABSENT if number is None else f"{number:,}"


def share(value: float | None) -> str:
    """A share in percent: `0`, `0.12 %`, `<0.01 %`; 100 % only when it is all."""
    if value is None or not math.isfinite(value):
        return ABSENT
    percent = 100 * value
    if percent == 0:
        return "0"
    if percent < 0.01:
        return "<0.01 %"
    text = significant(percent) if percent < 10 else f"{percent:.1f}"
    if text == "100.0":
        return "100 %" if percent == 100 else ">99.9 %"
    return f"{text} %"


def accuracy(value: float | None) -> str:
    """Four digits after the point."""
    return ABSENT if value is None or not math.isfinite(value) else f"{value:.4f}"
