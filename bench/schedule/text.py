"""Numbers and durations in the texts of schedules, in both directions."""

import re
from typing import Final

_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
# the dot of "0..1000" belongs to no number
NUMBER: Final = r"(?:\d+(?:\.(?!\.)\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
SECONDS: Final = rf"{NUMBER}(?:us|ms|s|m|h)?"


class MismatchError(Exception):
    """The text has not the form of its kind."""


def match(pattern: str, text: str) -> tuple[str, ...]:
    """The groups of a pattern in a text without its white space. Raises MismatchError."""
    matched = re.fullmatch(pattern, re.sub(r"\s+", "", text))
    if matched is None:
        raise MismatchError
    return matched.groups()


def seconds(text: str) -> float:
    """The seconds in a text such as 30, 90s or 2m. Raises MismatchError."""
    matched = re.fullmatch(rf"({NUMBER})(us|ms|s|m|h)?", text)
    if matched is None:
        raise MismatchError
    return float(matched[1]) * _UNITS[matched[2] or "s"]


def duration(text: str) -> float:
    """The same of what a user wrote. Raises ValueError."""
    try:
        return seconds(text.strip())
    except MismatchError:
        raise ValueError(f"{text!r} is not a duration such as 90s or 2m") from None


def number_text(value: float) -> str:
    """The shortest text that reads back as the same number, without an exponent where that is usual."""
    return repr(int(value)) if value == int(value) and value < 1e15 else repr(float(value))


def seconds_text(value: float) -> str:
    """The same with its unit, s."""
    return f"{number_text(value)}s"
