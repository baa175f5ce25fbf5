"""Reasons that kept calls from leaving at once."""

from collections import Counter
from typing import Final

from bench.wire.exchange import Exchange

STREAM: Final = "stream"
"""The server's limit on calls at once on a connection."""
WINDOW: Final = "window"
"""The flow-control windows that the server has granted."""
KERNEL: Final = "kernel"
"""A full send buffer: server or network are slower than what is sent."""
CONNECTION: Final = "connection"
"""None was up."""


class Waits:
    """Calls of a channel that could not leave at once, each counted once by what kept it first."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.most_streams: int | None = None
        """Calls that the server allows at once on a connection; None: no call has waited for that."""

    def note(self, call: Exchange, cause: str, now: float) -> None:
        """A call cannot leave at once."""
        if call.hold(now):
            self.counts[cause] += 1
