"""The first error texts of each status, with counts: bounded, and safe to show."""

from collections import Counter
from typing import Final

from bench.escape import one_line
from bench.protocol.hints import hint
from bench.protocol.names import DEFAULT
from bench.runs.sample import outcome

MOST_TEXTS: Final = 10
"""Of each status in each load process; what comes after them is counted without its text."""
LONGEST: Final = 500
"""Characters of a text."""
OTHERS: Final = "(other texts)"

Kind = tuple[str, str]
"""Status and text."""


class CallError(Exception):
    """The cause of a failed call, as listeners of Locust's request event get it."""

    def __init__(self, status: str, details: str, protocol: str = DEFAULT) -> None:
        known = None if details else hint(status, "", protocol)
        super().__init__(
            f"{status}: {details}" if details else f"{status}: {known.cause}" if known else status
        )
        self.status, self.details = status, details

    def __repr__(self) -> str:
        """What Locust's table of failures shows."""
        return str(self)


class Failures:
    """Counts the failures of one request name in one load process by status and text."""

    def __init__(self) -> None:
        self.since: Counter[Kind] = Counter()
        """Those since the last `take`."""
        self._known: dict[tuple[int, str], Kind] = {}
        self._texts: Counter[int] = Counter()

    def add(self, status: int | None, details: str) -> None:
        """Count a failure."""
        self.since[self.kind(status, details)] += 1

    def kind(self, status: int | None, details: str) -> Kind:
        """Under which text a failure is counted."""
        code = -1 if status is None else status
        kind = self._known.get((code, details))
        if kind is None:
            name = outcome(status)
            if self._texts[code] >= MOST_TEXTS:
                return name, OTHERS
            self._texts[code] += 1
            kind = self._known[code, details] = name, shown(details)
        return kind

    def take(self) -> Counter[Kind]:
        """The counts since the last call."""
        counted, self.since = self.since, Counter()
        return counted


def shown(text: str) -> str:
    """The beginning of a text that comes from a server, control characters and the like escaped."""
    escaped = one_line(text[:LONGEST])
    return escaped[:LONGEST] + ("..." if len(text) > LONGEST or len(escaped) > LONGEST else "")
