"""Warnings: what speaks against a result, and what can be done about it."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from bench import BenchError
from bench.config.reading import nearest

KNOWN: Final = frozenset(
    {
        "behind",
        "cancelled",
        "client held up",
        "client paused",
        "client saturated",
        "clocks",
        "damaged",
        "empty",
        "environment",
        "errors",
        "failed trials",
        "files changed",
        "foreign report",
        "incomplete",
        "interrupted",
        "lost worker",
        "load processes",
        "missing cells",
        "near the ceiling",
        "not achieved",
        "not reconciled",
        "nothing measured",
        "one session",
        "other version",
        "restarted",
        "short",
        "stolen time",
        "too few samples",
        "unfinished",
        "unpaired trials",
        "unreadable",
        "unsteady",
        "users",
        "version change",
        "warm-up",
        "wrong answers",
    }
)
"""Every name by which a warning can be accepted."""


class Doubt(NamedTuple):
    """A reason not to believe a run, and what to do about it."""

    check: str
    """Name of the check that found it, by which it can be accepted."""
    reason: str
    remedy: str

    def __str__(self) -> str:
        return (
            f"{self.reason}; {self.remedy} [{self.check}]" if self.remedy else f"{self.reason} [{self.check}]"
        )


def check_accepted(names: Iterable[str], where: str) -> None:
    """Raises BenchError for a name that no warning has: what is misspelt would accept nothing."""
    for name in names:
        if name not in KNOWN:
            raise BenchError(
                f"{where} {name!r}: no warning has this name{nearest(name, KNOWN)}; known are {', '.join(sorted(KNOWN))}"
            )
