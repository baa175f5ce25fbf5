"""The interval log of a run: its histograms in HdrHistogram's log format.

The log is HdrHistogram's text format, version 1.3 with tags: one line for each key, kind and second of the run,

    Tag=Predict|2|1|OK|latency,17.000,1.000,3.146,HISTFAAAA...

that is tag, start and length of the interval in seconds, its longest duration in milliseconds and the histogram.
Several lines of one tag and second add up. Lines are only ever appended while a run lasts, each in one write; a
last line without its end is what a killed process left and is ignored.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench import BenchError
from bench.runs.chunk import Key
from bench.runs.files import MIB, read_file
from bench.runs.histogram import (
    Histogram,
    Sparse,
    added,
    body,
    decode_bodies,
    encode,
    highest_ns,
    middle_ns,
    nearest_rank,
)
from bench.runs.jsonl import DAMAGED
from bench.runs.sample import LONGEST_RUN

LARGEST = 256 * MIB
MOST_LINES = 1_000_000
"""Of a log: an hour of a hundred different requests."""
SPARE, UNPACKED = 4 * MIB, 8
"""Bytes of counts that a log's histograms may unpack to: so many, and so many times their own; theirs are at most twice as many."""
MOST_COUNTED = 10**12
"""In one bucket of a histogram: a million of such add up without an overflow."""
LINES_KEPT = 600
"""Histograms of a log that is no longer are kept once they are decoded: a report asks for them several times."""
LINES_AT_ONCE = 256
"""Histograms decoded together: enough to make numpy's calls cheap, few enough to stay small in memory."""


def header(started: datetime) -> str:
    """The comment lines that open a log; intervals count from `started`."""
    epoch = f"{started.timestamp():.3f} (seconds since epoch)"
    return (
        "#[Histogram log format version 1.3]\n"
        f"#[StartTime: {epoch}, {started.isoformat()}]\n"
        f"#[BaseTime: {epoch}]\n"
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n'
    )


def line(key: Key, kind: str, second: int, histogram: Sparse) -> str:
    """One interval."""
    longest_ms = int(highest_ns(histogram.indices[-1:])[0]) / 1e6 if len(histogram.indices) else 0.0
    return f"Tag={key.tag(kind)},{second:.3f},1.000,{longest_ms:.3f},{encode(histogram)}\n"


class Interval(NamedTuple):
    """One line of a log, its histogram still encoded."""

    key: Key
    kind: str
    second: int
    payload: bytes


class Brief(NamedTuple):
    """Some durations, in seconds."""

    quick: float
    """Their tenth percentile."""
    median: float
    total: float
    """Their sum."""


def _brief(histogram: Sparse) -> Brief:
    indices, counts = histogram
    cumulative = np.cumsum(counts)
    ranks = [nearest_rank(q, int(cumulative[-1])) for q in (10, 50)]
    quick, median = (highest_ns(indices[np.searchsorted(cumulative, ranks)]) / 1e9).tolist()
    return Brief(quick, median, float(middle_ns(indices) @ counts) / 1e9)


class IntervalLog:
    """The intervals of a log in the order of the file; histograms are decoded when they are required."""

    def __init__(self, path: Path, intervals: list[Interval], whole: "IntervalLog | None" = None) -> None:
        self.path = path
        self.intervals = intervals
        self._keep: bool = whole._keep if whole else len(intervals) <= LINES_KEPT
        self._known: dict[bytes, Sparse] = whole._known if whole else {}
        self._briefs: dict[bytes, Brief] = whole._briefs if whole else {}

    @classmethod
    def read(cls, path: Path) -> "IntervalLog":
        """Read a log. Raises BenchError naming the line that is none of ours; a missing file is an empty log."""
        try:
            raw = read_file(path, LARGEST)
        except FileNotFoundError:
            return cls(path, [])
        except OSError as error:
            raise BenchError(f"{path}: {error.strerror}; check the file and its permissions") from error
        intervals: list[Interval] = []
        keys: dict[bytes, tuple[Key, str]] = {}
        for number, text in enumerate(raw[: raw.rfind(b"\n") + 1].splitlines(), 1):
            if text.startswith((b"#", b'"')):
                continue
            try:
                tag, start, _, _, payload = text.split(b",")
                if tag not in keys:
                    keys[tag] = Key.of_tag(tag.removeprefix(b"Tag=").decode())
                second = float(start)
                if not 0 <= second <= LONGEST_RUN:
                    raise ValueError(f"second {second:g}, 0 to {LONGEST_RUN:,} are read")
                if len(intervals) == MOST_LINES:
                    raise ValueError(f"more than {MOST_LINES:,} intervals, the maximum")
                intervals.append(Interval(*keys[tag], int(second), payload))
            except ValueError as error:
                raise BenchError(
                    f"{path}:{number}: no interval of a histogram log ({error}); {DAMAGED}"
                ) from error
        return cls(path, intervals)

    def select(self, keep: Callable[[Interval], bool]) -> "IntervalLog":
        """Only some of the intervals."""
        return IntervalLog(self.path, [each for each in self.intervals if keep(each)], self)

    def decoded(self) -> Iterator[tuple[Interval, Sparse]]:
        """Each interval with its histogram. Raises BenchError where one cannot be decoded."""
        spare = SPARE
        for start in range(0, len(self.intervals), LINES_AT_ONCE):
            part = self.intervals[start : start + LINES_AT_ONCE]
            new = [interval.payload for interval in part if interval.payload not in self._known]
            try:
                unpacked = [body(payload) for payload in new]
                spare += sum(
                    UNPACKED * len(raw) - len(whole) for raw, whole in zip(new, unpacked, strict=True)
                )
                if spare < 0:
                    raise ValueError(f"histograms that unpack to more than {UNPACKED} times their size")
                fresh = dict(zip(new, decode_bodies(unpacked), strict=True))
                most = max((int(each.counts.max(initial=0)) for each in fresh.values()), default=0)
                if most > MOST_COUNTED:
                    raise ValueError(f"a count of {most}, where at most {MOST_COUNTED} are read")
            except ValueError as error:
                raise BenchError(f"{self.path}: {error}; {DAMAGED}") from error
            if self._keep:
                self._known.update(fresh)
            for interval in part:
                yield interval, fresh.get(interval.payload) or self._known[interval.payload]

    def total(self) -> Histogram:
        """The sum of all histograms."""
        return Histogram.sum(histogram for _, histogram in self.decoded())

    def sparse(self) -> Sparse:
        """The buckets of `total` that are not empty; without the memory of a histogram where there are none."""
        return added(histogram for _, histogram in self.decoded())

    def medians(self) -> dict[int, float]:
        """The median of each second, in seconds, in order."""
        return {second: brief.median for second, brief in self.by_second_briefly().items()}

    def by_second_briefly(self) -> "dict[int, Brief]":
        """What each second held, in order; quicker than by way of whole histograms."""
        parts = self._parts()
        return {second: self._brief(parts[second]) for second in sorted(parts)}

    def sparse_by_second(self) -> dict[int, Sparse]:
        """The sum of the histograms of each second, in order, without empty buckets."""
        parts = self._parts()
        return {second: added(histogram for _, histogram in parts[second]) for second in sorted(parts)}

    def _parts(self) -> dict[int, list[tuple[bytes, Sparse]]]:
        """By second its histograms that are not empty, with what they are decoded from."""
        parts: dict[int, list[tuple[bytes, Sparse]]] = {}
        for interval, histogram in self.decoded():
            if len(histogram.indices):
                parts.setdefault(interval.second, []).append((interval.payload, histogram))
        return parts

    def _brief(self, parts: list[tuple[bytes, Sparse]]) -> "Brief":
        """Of histograms with what they are decoded from: one alone is looked at several times, of several sets of keys."""
        payload = parts[0][0]
        if len(parts) > 1:
            return _brief(added(histogram for _, histogram in parts))
        if payload not in self._briefs:
            brief = _brief(parts[0][1])
            if not self._keep:
                return brief
            self._briefs[payload] = brief
        return self._briefs[payload]

    def by_second(self) -> Iterator[tuple[int, Histogram]]:
        """The sum of the histograms of each second, in order; one at a time, since a histogram takes 270 kB."""
        ordered = IntervalLog(self.path, sorted(self.intervals, key=lambda interval: interval.second), self)
        for second, lines in groupby(ordered.decoded(), key=lambda line: line[0].second):
            yield second, Histogram.sum(histogram for _, histogram in lines)
