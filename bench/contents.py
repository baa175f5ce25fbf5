"""The files of a run folder, each read once and as far as it is whole."""

from functools import cached_property
from pathlib import Path
from typing import Any

from bench import BenchError, hlog, samples
from bench.chunk import KINDS, Chunk, Key, Kinds, Tally
from bench.histogram import encode
from bench.jsonl import DAMAGED, json_lines
from bench.recording import COUNTS, ERRORS, EVENTS, HISTOGRAMS, SHARDS, TELEMETRY

Tallies = dict[tuple[Key, int], Tally]


class RecordedFiles:
    """The files of a run folder as they were read.

    Of a run that was not finished, what was written of counts and histograms may be two seconds behind its
    samples; they are then counted anew from the samples, where these were kept.
    """

    def __init__(self, path: Path, *, finished: bool) -> None:
        self.path = path
        self.finished = finished

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
        return list(json_lines(self.path / EVENTS))

    @cached_property
    def errors(self) -> list[dict[str, Any]]:
        """The first texts of each request name and outcome, the most frequent first. Raises BenchError."""
        rows = {
            (row.get("name"), row.get("outcome"), row.get("text")): row
            for row in json_lines(self.path / ERRORS)
        }
        return sorted(rows.values(), key=lambda row: -int(row.get("count", 0)))

    @cached_property
    def telemetry(self) -> list[dict[str, Any]]:
        """All observations. Raises BenchError."""
        return list(json_lines(self.path / TELEMETRY))

    def _read_tallies(self) -> Tallies:
        found: Tallies = {}
        if not (self.path / COUNTS).exists():
            raise BenchError(
                f"{self.path / COUNTS}: missing, with what was counted: restore the file, or delete the run"
            )
        for row in json_lines(self.path / COUNTS):
            try:
                cell = Key(row["name"], row["version"], row["batch"], row["outcome"]), int(row["second"])
                tally = Tally(*(int(row[field]) for field in Tally._fields))
            except (KeyError, TypeError, ValueError) as error:
                raise BenchError(f"{self.path / COUNTS}: a line without {error}; {DAMAGED}") from error
            found[cell] = found[cell].plus(tally) if cell in found else tally
        return found

    @cached_property
    def _recounted(self) -> tuple[hlog.IntervalLog, Tallies] | None:
        if self.finished or not samples.shards(self.path / SHARDS):
            return None
        tallies: Tallies = {}
        histograms: dict[tuple[Key, int], list[Kinds]] = {}
        try:
            for table in samples.read_shards(self.path / SHARDS):
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
            if len((whole := hlog.add(list(of_kind))).indices)
        ]
        return hlog.IntervalLog(self.path / SHARDS, intervals), tallies
