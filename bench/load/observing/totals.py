"""The measurements of a run so far, as counters and histograms that only grow: for those who watch it live."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from bench.load.observing.signs import Signs
from bench.runs.chunk import KINDS, Chunk
from bench.runs.histogram import Histogram, bucket, nanoseconds

BOUNDS: Final = tuple(float(f"{digit}e{power}") for power in range(-4, 2) for digit in (1, 2, 5))
"""Seconds, from 100 us to 50 s: upper ends of the buckets that are exported. Ours are 0.1 % wide: a duration that is by less
than that above a bound is counted within it."""
_ENDS: Final = bucket(nanoseconds(BOUNDS))
LATENCY, LAG, GOODPUT = "latency", "lag", "goodput"
MISMATCHED: Final = "mismatched"
GAUGES: Final = {
    "in_flight_max": "requests in flight at most, in the last second",
    "users": "users of this process",
}
"""What telemetry observes of load processes and is exported: name there, and in words."""


class Series(NamedTuple):
    """A series that is counted apart: requests of a name with an outcome."""

    request: str
    outcome: str


class Buckets(NamedTuple):
    """A histogram as it is exported."""

    counts: list[int]
    """Of each of BOUNDS and above the last: not cumulative."""
    total: int
    sum: float
    """Seconds, each duration as the middle of its bucket of 0.1 %."""
    least: float
    most: float


class Totals:
    """Takes in what is recorded, and gives what has been since the start."""

    def __init__(self, *, open_loop: bool = False) -> None:
        """open_loop: as of `Signs`."""
        self.started = time.time_ns()
        self.signs = Signs(open_loop=open_loop)
        self.warnings: list[str] = []
        """Names of those in the report of the run, once it has ended."""
        self.requests: Counter[Series] = Counter()
        self.mismatched: Counter[Series] = Counter()
        self.gauges: dict[tuple[str, str], float] = {}
        """By name and source, such as `worker 0`: the newest observation."""
        self._durations: dict[tuple[str, Series], Histogram] = {}

    def add(self, chunk: Chunk) -> None:
        """What a load process handed over."""
        self.signs.add(chunk)
        for (key, _), tally in chunk.tallies.items():
            series = Series(key.name, key.outcome)
            self.requests[series] += tally.requests
            self.mismatched[series] += tally.mismatched
        for (key, _), kinds in chunk.histograms.items():
            for kind in (LATENCY, LAG, MISMATCHED):
                of = kind, Series(key.name, key.outcome)
                if of not in self._durations:
                    self._durations[of] = Histogram()
                self._durations[of].merge(kinds[KINDS.index(kind)])

    def observe(self, values: Mapping[str, Any]) -> None:
        """What telemetry observed, when and of which source."""
        self.signs.observe(values)
        for name in GAUGES:
            if isinstance(value := values.get(name), int | float):
                self.gauges[name, str(values.get("source"))] = value

    def durations(self, kind: str) -> Iterator[tuple[Series, Buckets]]:
        """The histograms of LATENCY (done - due) or LAG (sent - due) of all requests that were sent.

        GOODPUT: of the latency of those that were answered rightly, which within each bound are the goodput.
        """
        for (of, series), histogram in self._durations.items():
            if kind == GOODPUT and of == LATENCY and series.outcome == "OK":
                yield series, _without(histogram, self._durations[MISMATCHED, series])
            elif of == kind:
                yield series, buckets(histogram)


def _without(histogram: Histogram, part: Histogram) -> Buckets:
    whole = buckets(histogram)
    if not part.count:
        return whole
    less = buckets(part)
    counts = [every - some for every, some in zip(whole.counts, less.counts, strict=True)]
    return whole._replace(counts=counts, total=whole.total - less.total, sum=max(0.0, whole.sum - less.sum))


def buckets(histogram: Histogram) -> Buckets:
    """A histogram that is not empty by BOUNDS."""
    until = np.cumsum(histogram.counts)[_ENDS]
    total = histogram.count
    counts = np.diff(until, prepend=0, append=total)
    least, most = histogram.percentiles([0, 100]).tolist()
    return Buckets(counts.tolist(), total, histogram.mean * total, least, most)
