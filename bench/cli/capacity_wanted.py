"""What `bench capacity` searches."""

from dataclasses import dataclass

from bench import BenchError


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


def check_deadline(within: float, deadline: float, where: str) -> None:
    """Raise BenchError where requests would be given up before they are late."""
    if within > deadline:
        raise BenchError(
            f"{where} {deadline:g}: below the {within:g} s of the service level; give at least as much"
        )
