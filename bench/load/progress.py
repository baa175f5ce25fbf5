"""The measurements of a running test so far, in words: for the console and for the web interface."""

import time
from typing import Final

from bench.load.verdict import failures
from bench.runs.chunk import KINDS, Chunk
from bench.runs.histogram import Histogram, nearest_rank
from bench.runs.sample import CANCELLED_BY_CLIENT
from bench.wording import duration

_LATENCY: Final = KINDS.index("latency")
_LAG: Final = KINDS.index("lag")


class Progress:
    """Requests that ended since the start, or since `restart`."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin anew."""
        self._since = time.perf_counter()
        self.outcomes: dict[str, int] = {}
        self._latency, self._lag = Histogram(), Histogram()

    def add(self, chunk: Chunk) -> None:
        """Take in what a load process sent."""
        for (key, _), tally in chunk.tallies.items():
            self.outcomes[key.outcome] = self.outcomes.get(key.outcome, 0) + tally.requests
        for (key, _), kinds in chunk.histograms.items():
            self._lag.merge(kinds[_LAG])
            if key.outcome == "OK":
                self._latency.merge(kinds[_LATENCY])

    @property
    def throughput(self) -> str:
        """Requests answered OK per second."""
        seconds = time.perf_counter() - self._since
        return f"{self.outcomes.get('OK', 0) / seconds:,.0f} req/s"

    @property
    def errors(self) -> str:
        """How many requests failed, by outcome."""
        return failures(self.outcomes)

    def line(self) -> str:
        """All of it, then begin anew."""
        latencies = [(f"p{q:g}", self.latency(q)) for q in (50.0, 99.0)]
        shown = [f"{name} {text}" for name, text in latencies if text is not None]
        line = "  ".join([self.throughput, *shown, f"errors {self.errors}"])
        self.restart()
        return line

    def latency(self, q: float) -> str | None:
        """A percentile over all requests due, as in a report; None: none was answered."""
        due = sum(count for outcome, count in self.outcomes.items() if outcome != CANCELLED_BY_CLIENT)
        return _of_rank(self._latency, nearest_rank(q, due))

    @property
    def late(self) -> float:
        """Send delay in seconds at p99 of all requests sent; 0 without one."""
        return self._lag.percentile(99) if self._lag.count else 0.0


def _of_rank(histogram: Histogram, rank: int) -> str | None:
    if not histogram.count:
        return None
    return duration(histogram.of_rank(rank)) if rank <= histogram.count else "not reached"
