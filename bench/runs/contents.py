"""The files of a run folder, each read once and as far as it is whole."""

import math
import os
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench import BenchError
from bench.runs import hlog, samples
from bench.runs.chunk import KINDS, Chunk, Key, Kinds, Tally
from bench.runs.columns import Columns
from bench.runs.histogram import added, encode
from bench.runs.jsonl import DAMAGED
from bench.runs.recording import COUNTS, ERRORS, EVENTS, HISTOGRAMS, SHARDS, TELEMETRY
from bench.runs.rows import Counted, Event, Failure, Observation, plain_rows, rows

MOST_KEYS: Final = 1_000
MOST_WORK: Final = 20_000_000
MOST_SPREAD: Final = 1_000_000
Tallies = dict[tuple[Key, int], Tally]


def _check_size(path: Path, keys: int, cells: int) -> None:
    """Each kind of requests is looked for in all that was counted: the product is what reading costs."""
    if keys > MOST_KEYS or keys * cells > MOST_WORK:
        raise BenchError(
            f"{path}: {keys:,} kinds of requests (name, version, batch, outcome) in {cells:,} counts, at most {MOST_KEYS:,} "
            f"kinds, and {MOST_WORK:,} for both multiplied, are read; record fewer names or a shorter run"
        )


def _check_spread(path: Path, columns: Columns) -> None:
    """Counting makes a table of the kinds and seconds of a record; a load process writes one each second."""
    seconds = len(np.unique(columns.due // 1_000_000_000))
    kinds = math.prod(len(np.unique(part)) for part in (columns.name, columns.version, columns.batch))
    if seconds * kinds > MOST_SPREAD:
        raise BenchError(
            f"{path}: a record of {kinds:,} kinds of requests in {seconds:,} seconds, at most {MOST_SPREAD:,} for both "
            f"multiplied are read; {DAMAGED}"
        )


class RecordedFiles:
    """The files of a run folder as they were read.

    Of a run that was not finished, what was written of counts and histograms may be two seconds behind its
    samples; they are then counted anew from the samples, where these were kept.
    """

    def __init__(self, path: Path, *, whole: bool) -> None:
        self.path = path
        self.whole = whole

    @cached_property
    def log(self) -> hlog.IntervalLog:
        """All intervals, their histograms still encoded. Raises BenchError."""
        return self._recounted[0] if self._recounted else hlog.IntervalLog.read(self.path / HISTOGRAMS)

    @cached_property
    def tallies(self) -> Tallies:
        """All counts by key and second. Raises BenchError."""
        return self._recounted[1] if self._recounted else self._read_tallies()

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """All events. Raises BenchError."""
        return plain_rows(self.path / EVENTS, Event)

    @cached_property
    def errors(self) -> list[dict[str, Any]]:
        """The first texts of each request name and outcome, the most frequent first. Raises BenchError."""
        last = {
            (row["name"], row["outcome"], row["text"]): row for row in plain_rows(self.path / ERRORS, Failure)
        }
        return sorted(last.values(), key=lambda row: -int(row["count"]))

    @cached_property
    def telemetry(self) -> list[dict[str, Any]]:
        """All observations. Raises BenchError."""
        return plain_rows(self.path / TELEMETRY, Observation)

    def _read_tallies(self) -> Tallies:
        tallies: Tallies = {}
        if not os.path.lexists(self.path / COUNTS):
            raise BenchError(
                f"{self.path / COUNTS}: missing, with what was counted: restore the file, or delete the run"
            )
        keys: set[Key] = set()
        for row in rows(self.path / COUNTS, Counted):
            key = Key(row.name, row.version, row.batch, row.outcome)
            tally = Tally(row.requests, row.examples, row.checked, row.correct, row.mismatched)
            cell = key, row.second
            tallies[cell] = tallies[cell].plus(tally) if cell in tallies else tally
            keys.add(key)
            _check_size(self.path / COUNTS, len(keys), len(tallies))
        return tallies

    @cached_property
    def _recounted(self) -> tuple[hlog.IntervalLog, Tallies] | None:
        if self.whole or not samples.shards(self.path / SHARDS):
            return None
        tallies: Tallies = {}
        histograms: dict[tuple[Key, int], list[Kinds]] = {}
        try:
            for table in samples.read_shards(self.path / SHARDS):
                _check_spread(self.path / SHARDS, table.columns)
                chunk = Chunk.count(table.names, table.columns, keep_samples=False)
                for cell, tally in chunk.tallies.items():
                    tallies[cell] = tallies[cell].plus(tally) if cell in tallies else tally
                for cell, parts in chunk.histograms.items():
                    histograms.setdefault(cell, []).append(parts)
        except FileNotFoundError:  # the run was finished and packed in this moment
            return None
        intervals = [
            hlog.Interval(key, kind, second, encode(whole).encode())
            for (key, second), parts in sorted(histograms.items(), key=lambda item: item[0][1])
            for kind, of_kind in zip(KINDS, zip(*parts, strict=True), strict=True)
            if len((whole := added(of_kind)).indices)
        ]
        return hlog.IntervalLog(self.path / SHARDS, intervals), tallies
