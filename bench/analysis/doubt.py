"""What speaks against a result, and what can be done about it?"""

from typing import NamedTuple


class Doubt(NamedTuple):
    """A reason not to believe a run, and what to do about it."""

    check: str
    """Name of the check that found it."""
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}"
