"""Counters of exporters, which may begin anew, as counts that only grow."""

from collections.abc import Hashable, Mapping
from typing import Final

LEAST_FALL: Final = 3.0
"""Seconds by which Linux lets the idle time of a core go back, now and then: no new beginning (node-exporter has the same bound)."""


class Growth:
    """The growth of several counters together, since each was seen first.

    One that begins anew, as when its container or machine does, counts on from what it had; one that is missing for a while has
    grown meanwhile, and what one had before it was seen first is not counted.
    """

    def __init__(self) -> None:
        self._last: dict[Hashable, float] = {}
        self.total = 0.0

    def add(self, counters: Mapping[Hashable, float], *, least_fall: float = 0.0) -> float | None:
        """The growth until now; None without a counter. least_fall: a shorter fall is an inaccuracy of the counter."""
        for key, now in counters.items():
            before = self._last.get(key, now)
            if before - least_fall < now < before:
                continue
            self.total += now - before if now >= before else now
            self._last[key] = now
        return self.total if counters else None
