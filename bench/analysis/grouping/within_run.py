"""Intervals of a single run's own metrics, read from the counts of its seconds by `statistics.clustered`."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from bench.analysis.answers import numbers
from bench.analysis.grouping.metrics import METRICS
from bench.analysis.reading.cells import Cell, cells
from bench.analysis.reading.metric import GOODPUT_RATE, Percentile
from bench.analysis.reading.population import up_to
from bench.analysis.statistics.clustered import Seconds, mean, ranks_of_run
from bench.analysis.statistics.intervals import Floats
from bench.runs.chunk import Key, Tally
from bench.runs.histogram import EMPTY, Histogram, Sparse
from bench.runs.run import Run
from bench.runs.sample import CANCELLED_BY_CLIENT


@dataclass(frozen=True)
class WithinRun:
    """A cell's spread within its run; read when it is asked for, since most runs are one of several trials."""

    path: Path
    place: int
    """The cell's place among those of its run."""

    @property
    def seconds(self) -> int:
        """Whole seconds of its steady part in which requests were due; fewer than FEWEST_SECONDS show nothing."""
        return int(np.count_nonzero(self._by_second(lambda _, tally: tally.requests)))

    def interval(
        self, metric: str, confidence: float, answered_within: float | None = None
    ) -> tuple[float, float] | None:
        """Ends around a percentile, a rate or a mean; None of other metrics.

        answered_within: seconds within which goodput wants an answer.
        """
        if metric == GOODPUT_RATE and answered_within is not None:
            good = self._good(answered_within).part
            return mean(good, np.ones(len(good)), confidence)
        percentile = METRICS[metric].percentile
        if percentile is not None:
            return self._percentile(percentile, confidence)
        if metric in ("requests_per_second", "inferences_per_second"):
            series = self._answered * (self._cell.batch if metric[0] == "i" else 1)
            return mean(series, np.ones(len(series)), confidence)
        if metric == "mean":
            return mean(*self._sums, confidence)
        return numbers.interval(self._cell, metric, confidence)

    def requests_of(self, share: str, answered_within: float | None = None) -> Seconds:
        """By second, the requests of a share and those that it is of.

        answered_within: seconds within which goodput wants an answer.
        """
        return self._shares(share) if answered_within is None else self._good(answered_within)

    @cached_property
    def _cell(self) -> Cell:
        return cells(Run.open(self.path))[self.place]

    @cached_property
    def _numbers(self) -> list[int]:
        """The whole seconds of the steady part."""
        run = self._cell.run
        first, end = run.window or run.seconds
        last = end if run.duration >= sum(map(run.holds, range(first, end))) - 0.05 else end - 1
        return [second for second in range(first, last) if run.holds(second)]

    def _by_second(self, of: Callable[[Key, Tally], float]) -> Floats:
        sums: dict[int, float] = {}
        for (key, second), tally in self._cell.run.tallies.items():
            if key in self._cell.keys:
                sums[second] = sums.get(second, 0.0) + of(key, tally)
        return np.array([sums.get(second, 0.0) for second in self._numbers])

    @cached_property
    def _answered(self) -> Floats:
        return self._by_second(lambda key, tally: tally.requests if key.outcome == "OK" else 0)

    def _shares(self, metric: str) -> Seconds:
        if metric == "unattributed_share":  # of all versions: what names none is a cell of its own
            return self._unattributed
        if metric == "mismatch_share":
            return Seconds(self._by_second(lambda _, tally: tally.mismatched), self._answered)
        whole = self._by_second(lambda _, tally: tally.requests)
        unknown = self._by_second(lambda key, t: t.requests if key.outcome == CANCELLED_BY_CLIENT else 0)
        return Seconds(whole - self._answered - unknown, whole)

    @property
    def _unattributed(self) -> Seconds:
        """Answers without a version, of all requests of the run, by second."""
        part, whole = (dict.fromkeys(self._numbers, 0.0) for _ in range(2))
        for (key, second), tally in self._cell.run.tallies.items():
            if second in whole:
                whole[second] += tally.requests
                part[second] += tally.requests if key.outcome == "OK" and key.version is None else 0
        return Seconds(np.array(list(part.values())), np.array(list(whole.values())))

    def _good(self, seconds: float) -> Seconds:
        """Requests that were answered rightly within so many seconds, of all that were due."""
        right = np.zeros(len(self._numbers))
        for kind, sign in (("latency", 1), ("mismatched", -1)):
            each = dict(self._cell.run.series(kind, self._cell.keep))
            within = {
                second: histogram.count - histogram.above(seconds) for second, histogram in each.items()
            }
            right += sign * np.array([float(within.get(second, 0)) for second in self._numbers])
        return Seconds(right, self._by_second(lambda _, tally: tally.requests))

    @cached_property
    def _sums(self) -> tuple[Floats, Floats]:
        """Sum and number of the latencies of each second."""
        each = dict(self._cell.run.series("latency", self._cell.keep))
        empty = Histogram()
        rows = [each.get(second, empty) for second in self._numbers]
        counts = np.array([float(row.count) for row in rows])
        means = np.array([row.mean if row.count else 0.0 for row in rows])
        return means * counts, counts

    def _percentile(self, percentile: Percentile, confidence: float) -> tuple[float, float]:
        requests = percentile.of(self._cell)
        if not requests.count:
            return -math.inf, math.inf
        low, high = ranks_of_run(
            percentile.q,
            (requests.count, self.seconds),
            requests.bounds(percentile.q)[0],
            lambda seconds: self._beyond(percentile, seconds),
            lambda rank: self._beyond(percentile, requests.of_rank(rank)[0], cancelled_within=True),
            confidence=confidence,
        )
        return (
            -math.inf if low is None else requests.of_rank(low)[0],
            math.inf if high is None else requests.of_rank(high)[1],
        )

    def _beyond(self, percentile: Percentile, seconds: float, *, cancelled_within: bool = False) -> Seconds:
        """Requests that took longer, or have no answer, of all that the percentile is of.

        cancelled_within: a cancelled one that had waited for less would have been answered at once.
        """
        counted = percentile.counted
        whole = self._by_second(lambda key, tally: tally.requests if counted.all(key.outcome) else 0)
        recorded = self._durations(percentile.kind, counted.recorded)
        within = np.array([up_to(part, seconds) for part in recorded], dtype=np.float64)
        if (
            cancelled_within
            and counted.all(CANCELLED_BY_CLIENT)
            and not counted.recorded(CANCELLED_BY_CLIENT)
        ):
            waited = self._durations(percentile.kind, CANCELLED_BY_CLIENT.__eq__)
            within += [up_to(part, seconds) for part in waited]
        return Seconds(whole - within, whole)

    @lru_cache(maxsize=16)  # noqa: B019  # a run's few kinds of durations, for as long as it is judged
    def _durations(self, kind: str, outcomes: Callable[[str], bool]) -> list[Sparse]:
        """By second, those of the outcomes to keep."""
        series = self._cell.run.series(kind, lambda key: key in self._cell.keys and outcomes(key.outcome))
        each = {second: histogram.sparse() for second, histogram in series}
        return [each.get(second, EMPTY) for second in self._numbers]
