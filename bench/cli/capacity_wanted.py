"""The options of a `bench capacity` search, as checked values."""

from dataclasses import dataclass
from typing import Final

from bench import BenchError

PARTS: Final = ("server", "model", "version", "batch")
"""What conditions of an experiment differ in."""


@dataclass(frozen=True)
class Wanted:
    """A service level, and how well the capacity is to be known."""

    share: float
    """Of the requests due, those that are to be answered rightly in time."""
    within: float
    """Seconds."""
    text: str
    precision: float
    """Half width of the interval, as a share."""
    max_errors: float | None = None
    """Share of the requests due that may fail; None: as many as may miss the service level."""
    users: bool = False
    """Whether users that wait for their answers are counted, instead of arrivals."""


def check_deadline(within: float, deadline: float, where: str) -> None:
    """Raise BenchError where requests would be given up before they are late."""
    if within > deadline:
        raise BenchError(
            f"{where} {deadline:g}: below the {within:g} s of the service level; give at least as much"
        )
