"""What did a run leave behind, and which of it was the steady state?

Reads the folder that `bench.recording` writes; its layout is described there. Files are read when they are asked
for, and only as far as they are whole.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import BenchError, hlog, samples
from bench.chunk import Chunk, Key, Tally
from bench.histogram import Histogram
from bench.recording import (
    COUNTS,
    EVENTS,
    HISTOGRAMS,
    MANIFEST,
    SAMPLES,
    SCHEMA,
    SHARDS,
    TELEMETRY,
    RunWriter,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Chunk", "Run", "RunWriter", "Unreadable", "find_runs"]


def _answered(key: Key) -> bool:
    return key.outcome == "OK"


@dataclass(frozen=True)
class Unreadable:
    """A folder that should hold a run and cannot be read as one."""

    path: Path
    reason: str
    """One line with the remedy."""


@dataclass(frozen=True)
class Run:
    """A run folder, or the part of it that lies within a window of seconds."""

    path: Path
    manifest: dict[str, Any]
    window: tuple[int, int] | None = None
    """Only the seconds from the first to before the second of these; None: all."""
    files: "RecordedFiles | None" = field(default=None, repr=False, compare=False)
    """What has been read; shared by all windows of a run."""

    @classmethod
    def open(cls, path: Path) -> "Run":
        """Raises BenchError where the folder has no manifest that this version can read."""
        try:
            manifest = json.loads((path / MANIFEST).read_bytes())
        except FileNotFoundError as error:
            raise BenchError(f"{path}: no {MANIFEST} in it; is it the folder of a run?") from error
        except OSError as error:
            raise BenchError(f"{path / MANIFEST}: {error.strerror}; check the permissions") from error
        except ValueError as error:
            raise BenchError(
                f"{path / MANIFEST}: no JSON ({error}); restore the file or delete the run"
            ) from error
        schema = manifest.get("schema") if isinstance(manifest, dict) else None
        if not isinstance(schema, int):
            raise BenchError(f"{path / MANIFEST}: no schema in it; it was not written by serving-bench")
        if schema > SCHEMA:
            raise BenchError(
                f"{path / MANIFEST}: schema {schema}, {SCHEMA} is known; use a newer serving-bench"
            )
        return cls(path, manifest, files=RecordedFiles(path))

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @property
    def finished(self) -> bool:
        """Whether the load ended and everything was written."""
        return bool(self.manifest.get("state") == "finished")

    @cached_property
    def log(self) -> hlog.IntervalLog:
        """The histograms of the window. Raises BenchError."""
        log = self._files.log
        return log if self.window is None else log.select(lambda interval: self._inside(interval.second))

    @property
    def _files(self) -> "RecordedFiles":
        return self.files or RecordedFiles(self.path)

    def _inside(self, second: int) -> bool:
        return self.window is None or self.window[0] <= second < self.window[1]

    def histogram(self, kind: str, keep: Callable[[Key], bool] = _answered) -> Histogram:
        """The durations of one kind (latency, service, lag) of the keys to keep. Raises BenchError."""
        return self.log.select(lambda interval: interval.kind == kind and keep(interval.key)).total()

    def series(self, kind: str, keep: Callable[[Key], bool] = _answered) -> Iterator[tuple[int, Histogram]]:
        """The same by second of the run, in order; seconds in which nothing was due are missing."""
        return self.log.select(lambda interval: interval.kind == kind and keep(interval.key)).by_second()

    @cached_property
    def tallies(self) -> dict[tuple[Key, int], Tally]:
        """Counts by key and second of the window. Raises BenchError."""
        return {cell: tally for cell, tally in self._files.tallies.items() if self._inside(cell[1])}

    @cached_property
    def counts(self) -> "pd.DataFrame":
        """The same as a table: second, name, version (Int64), batch, outcome and the counts."""
        import pandas as pd

        rows = [(second, *key, *tally) for (key, second), tally in self.tallies.items()]
        table = pd.DataFrame(rows, columns=["second", *Key._fields, *Tally._fields])
        return table.astype({"version": "Int64"}).sort_values("second", ignore_index=True)

    @property
    def events(self) -> list[dict[str, Any]]:
        """What happened during the run."""
        return list(_json_lines(self.path / EVENTS))

    @property
    def telemetry(self) -> list[dict[str, Any]]:
        """What was observed beside the requests."""
        return list(_json_lines(self.path / TELEMETRY))

    @property
    def seconds(self) -> tuple[int, int]:
        """The first second in which a request was due, and the one after the last; (0, 0) of an empty run."""
        found = [second for _, second in self.tallies]
        return (min(found), max(found) + 1) if found else (0, 0)

    def within(self, first: int, end: int) -> "Run":
        """The same run, only the seconds from `first` to before `end`."""
        return replace(self, window=(first, end))

    def sample_frames(self) -> Iterator["pd.DataFrame"]:
        """All requests (of the whole run, in parts), as `bench.samples.frame` lays them out. Raises BenchError."""
        packed = self.path / SAMPLES
        if not packed.is_file():
            try:
                yield from map(samples.frame, samples.read_shards(self.path / SHARDS))
            except FileNotFoundError:  # packed in this moment
                pass
            else:
                return
        if packed.is_file():
            yield from samples.read_packed(packed)

    @property
    def samples(self) -> "pd.DataFrame":
        """All requests at once, in the order of their due instants; empty where they were not kept."""
        import pandas as pd

        frames = list(self.sample_frames()) or [samples.empty_frame()]
        table = pd.concat(frames, ignore_index=True)
        return table.sort_values("due", ignore_index=True, kind="stable")


class RecordedFiles:
    """The files of a run folder as they were read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def log(self) -> hlog.IntervalLog:
        """All intervals, their histograms still encoded."""
        return hlog.IntervalLog.read(self.path / HISTOGRAMS)

    @cached_property
    def tallies(self) -> dict[tuple[Key, int], Tally]:
        """All counts by key and second."""
        found: dict[tuple[Key, int], Tally] = {}
        for row in _json_lines(self.path / COUNTS):
            try:
                cell = Key(row["name"], row["version"], row["batch"], row["outcome"]), int(row["second"])
                tally = Tally(*(int(row[field]) for field in Tally._fields))
            except (KeyError, TypeError, ValueError) as error:
                raise BenchError(f"{self.path / COUNTS}: a line without {error}; {hlog.DAMAGED}") from error
            found[cell] = found[cell].plus(tally) if cell in found else tally
        return found


def find_runs(paths: Iterable[Path]) -> list[Run | Unreadable]:
    """Every run in the paths: run folders, or folders of them. Nothing that looks like a run is left out."""
    found: list[Run | Unreadable] = []
    for path in paths:
        if not path.exists():
            found.append(Unreadable(path, f"{path}: does not exist"))
        elif not path.is_dir() or _looks_like_run(path):
            found.append(_open(path))
        else:
            found += [
                _open(below) for below in sorted(path.iterdir()) if below.is_dir() and _looks_like_run(below)
            ]
    return found


def _open(path: Path) -> Run | Unreadable:
    try:
        return Run.open(path)
    except BenchError as error:
        return Unreadable(path, str(error))


def _looks_like_run(path: Path) -> bool:
    return any((path / name).exists() for name in (MANIFEST, HISTOGRAMS, COUNTS, SAMPLES, SHARDS))


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file, without a last one that has no end. Raises BenchError; a missing file has none."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}; check the file's permissions") from error
    for number, text in enumerate(raw[: raw.rfind(b"\n") + 1].splitlines(), 1):
        try:
            row = json.loads(text)
        except ValueError as error:
            raise BenchError(f"{path}:{number}: no JSON ({error}); {hlog.DAMAGED}") from error
        if not isinstance(row, dict):
            raise BenchError(f"{path}:{number}: no JSON object; {hlog.DAMAGED}")
        yield row
