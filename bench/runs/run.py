"""Reader of run folders: a run and its steady state.

Reads the folder that `bench.runs.recording` writes; its layout is described there. Files are read when they are asked
for, and only as far as they are whole.
"""

import hashlib
import math
import os
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from bench import BenchError
from bench.runs import checksums, hlog, parquet, samples
from bench.runs.chunk import Chunk, Key, Tally
from bench.runs.contents import RecordedFiles
from bench.runs.files import read_file
from bench.runs.finding import READ, places
from bench.runs.histogram import Histogram, Sparse, highest_ns
from bench.runs.jsonl import LARGEST
from bench.runs.manifest import Manifest
from bench.runs.recording import COUNTS, SAMPLES, SHARDS, RunWriter
from bench.runs.warmup import Seconds, transient

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Chunk", "Experiment", "Found", "Run", "RunWriter", "Unreadable", "WarmUp", "find_runs"]


AUTOMATIC: Final = "transient at the start"
CONSTANT_LOADS: Final = ("closed", "constant", "poisson")
"""Kinds of load that do not change while they last; warm-up and trend can be judged in them only."""
PARTIAL: Final = 0.05
"""A last second that lacks less than this counts as whole."""


class WarmUp(NamedTuple):
    """The part that is left out of a run's beginning, and the rule by which it is."""

    rule: str
    seconds: float
    settled: bool = True
    """False: the transient was not over when a warm-up has to end."""


class Turn(NamedTuple):
    """The seconds of one kind of requests where several kinds take turns."""

    number: int
    kinds: int
    seconds: int
    """Of each turn; the first of them is warm-up."""

    def holds(self, second: int) -> bool:
        """Whether a second of the run belongs to it."""
        return second // self.seconds % self.kinds == self.number and second % self.seconds > 0


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
    manifest: Manifest
    window: tuple[int, int] | None = None
    """Only the seconds from the first to before the second of these; None: all."""
    turn: Turn | None = None
    """Of these only those of one kind of requests; None: all."""
    files: RecordedFiles | None = field(default=None, repr=False, compare=False)
    """What has been read; shared by all windows of a run."""

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Run":
        """Raises BenchError where the folder has no manifest that this version can read."""
        path = Path(path)
        manifest = Manifest.read(path)
        return cls(path, manifest, files=RecordedFiles(path, whole=manifest.whole))

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @cached_property
    def id(self) -> str:
        """What tells the run, and copies of it, from others; of old runs a checksum of when they began and what they counted."""
        if self.manifest.run_id:
            return self.manifest.run_id
        try:
            content = read_file(self.path / COUNTS, LARGEST)
        except OSError:
            content = str(self.path.resolve()).encode()
        return hashlib.sha256(self.manifest.started.encode(errors="replace") + content).hexdigest()[:32]

    @property
    def content(self) -> str:
        """Checksum of its single requests, the same in a copy that was given another id; empty where they were not kept."""
        return checksums.recorded(self.path, SAMPLES)

    @cached_property
    def altered(self) -> list[str]:
        """Which files are not as they were when the run ended; nothing is known of runs from before there were ids."""
        known = self.manifest.run_id or os.path.lexists(self.path / checksums.FILE)
        if not self.manifest.whole or not known:
            return []
        return checksums.altered(self.path, READ)

    @property
    def finished(self) -> bool:
        """Whether the load ended as planned and everything was written."""
        return self.manifest.finished

    @property
    def duration(self) -> float:
        """Seconds of load in the window, with parts of seconds at the run's own beginning and end."""
        first, end = self.window or self.seconds
        begun = self.manifest.span.first_due or 0.0
        if self.turn is not None:
            held = filter(self.turn.holds, range(first, end))
            return sum(max(0.0, min(s + 1.0, self._ended) - max(float(s), begun)) for s in held)
        return max(0.0, min(float(end), self._ended) - max(float(first), begun))

    @property
    def _ended(self) -> float:
        """The instant at which the load ended: when it was stopped, else when the last request was due or answered."""
        span, stopped = self.manifest.span, self.manifest.stopped
        # after the stop answers are waited for: that is no load
        known = [span.last_due, span.last_done if stopped is None else stopped]
        return max((float(instant) for instant in known if instant is not None), default=math.inf)

    @cached_property
    def warm_up(self) -> WarmUp:
        """What is left out of the beginning: as the manifest says, else by the rule of `bench.runs.warmup`."""
        rule, seconds = self.manifest.warmup.rule or AUTOMATIC, self.manifest.warmup.seconds
        if seconds is not None:
            return WarmUp(rule, seconds)
        if rule != AUTOMATIC:
            return WarmUp(rule, 0.0)
        if not self.constant_load:
            return WarmUp("none: the load changes by plan", 0.0)
        settling = transient(self._by_second())
        return WarmUp(AUTOMATIC, float(settling.at), settling.settled)

    @property
    def cut(self) -> "Run":
        """The warm-up that the steady part leaves out; an empty window where nothing is."""
        first, _ = self.seconds
        window = self.steady.window or (first, first)
        return self.within(first, window[0])

    @cached_property
    def steady(self) -> "Run":
        """The run without its warm-up, from the next whole second on."""
        first, end = self.seconds
        return self.within(min(first + math.ceil(self.warm_up.seconds), end), end)

    @property
    def constant_load(self) -> bool:
        """Whether the load was planned to stay the same from beginning to end."""
        load = self.manifest.load
        return load.kind in CONSTANT_LOADS and not load.shape and load.turns is None

    def rate_and_latency(self) -> tuple[list[float], list[float]]:
        """Requests answered OK, and their median latency in seconds, by whole second of the window.

        The median, since one stall of the server would hide every change of a mean. A second without an answer has rate 0 and the latency of the second before.
        """
        first, end = self.window or self.seconds
        counts: dict[int, int] = {}
        for (key, second), tally in self.tallies.items():
            if _answered(key):
                counts[second] = counts.get(second, 0) + tally.requests
        medians = self.log.select(lambda i: i.kind == "latency" and _answered(i.key)).medians()
        rates: list[float] = []
        latencies: list[float] = []
        for second in range(first, math.floor(min(float(end), self._ended) + PARTIAL)):
            rates.append(float(counts.get(second, 0)))
            latencies.append(medians.get(second, latencies[-1] if latencies else math.nan))
        return rates, latencies

    def _by_second(self) -> Seconds:
        """Load and latency of the whole seconds."""
        first, end = self.window or self.seconds
        begun = self.manifest.span.first_due or 0.0
        seconds = range(first, math.floor(min(float(end), self._ended) + PARTIAL))
        answered = self.log.select(lambda i: i.kind == "latency" and _answered(i.key)).by_second_briefly()
        load: dict[int, float] = {}
        if self.manifest.load.kind == "closed":
            # by Little's law as many are under way as the time adds up to that requests take in a second
            each = self.log.select(lambda i: i.kind == "latency").by_second_briefly()
            load = {second: brief.total for second, brief in each.items()}
        else:
            for (_, second), tally in self.tallies.items():
                load[second] = load.get(second, 0.0) + tally.requests
        covered = [max(1e-3, min(1.0, second + 1 - begun)) for second in seconds]
        none = hlog.Brief(math.nan, math.nan, 0.0)
        return Seconds(
            np.array([load.get(second, 0.0) / part for second, part in zip(seconds, covered, strict=True)]),
            np.array([answered.get(second, none).quick for second in seconds]),
            np.array([answered.get(second, none).median for second in seconds]),
        )

    @cached_property
    def log(self) -> hlog.IntervalLog:
        """The histograms of the window. Raises BenchError."""
        log = self._files.log
        if self.window is None and self.turn is None:
            return log
        return log.select(lambda interval: self.holds(interval.second))

    @property
    def _files(self) -> RecordedFiles:
        return self.files or RecordedFiles(self.path, whole=self.manifest.whole)

    def holds(self, second: int) -> bool:
        """Whether a second lies in the window and in the turn."""
        inside = self.window is None or self.window[0] <= second < self.window[1]
        return inside and (self.turn is None or self.turn.holds(second))

    def histogram(self, kind: str, keep: Callable[[Key], bool] = _answered) -> Histogram:
        """The durations of one kind (latency, service, lag) of the keys to keep. Raises BenchError."""
        return self.log.select(lambda interval: interval.kind == kind and keep(interval.key)).total()

    def sparse(self, kind: str, keep: Callable[[Key], bool] = _answered) -> Sparse:
        """The buckets of `histogram` that are not empty. Raises BenchError."""
        return self.log.select(lambda interval: interval.kind == kind and keep(interval.key)).sparse()

    def series(self, kind: str, keep: Callable[[Key], bool] = _answered) -> Iterator[tuple[int, Histogram]]:
        """The same by second of the run, in order; seconds in which nothing was due are missing."""
        return self.log.select(lambda interval: interval.kind == kind and keep(interval.key)).by_second()

    @cached_property
    def tallies(self) -> dict[tuple[Key, int], Tally]:
        """Counts by key and second of the window. Raises BenchError."""
        return {cell: tally for cell, tally in self._files.tallies.items() if self.holds(cell[1])}

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
        return self._files.events

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The first error texts of the whole run: name, outcome, text and count, the most frequent first."""
        return self._files.errors

    @property
    def telemetry(self) -> list[dict[str, Any]]:
        """What was observed beside the requests."""
        return self._files.telemetry

    @property
    def seconds(self) -> tuple[int, int]:
        """The first second in which a request was due, and the one after the last of load; (0, 0) of an empty run.

        The last ones may be without a request: nothing is due while all users wait for a server that hangs.
        """
        numbers = [second for _, second in self.tallies]
        if not numbers:
            return (0, 0)
        last = max(numbers) + 1
        if self.window is None and math.isfinite(self._ended):
            last = max(last, math.ceil(self._ended))
        return (min(numbers), last)

    def within(self, first: int, end: int) -> "Run":
        """The same run, only the seconds from `first` to before `end`."""
        return replace(self, window=(first, end))

    def in_turn(self, name: str) -> "Run":
        """The same run, only the seconds in which it was the turn of requests of this name; all where none take turns."""
        turns = self.manifest.load.turns
        if turns is None or name not in turns.names:
            return self
        return replace(self, turn=Turn(turns.names.index(name), len(turns.names), turns.seconds))

    def requests_in_parts(self) -> Iterator[samples.Requests]:
        """All requests of the whole run. Raises BenchError."""
        packed = self.path / SAMPLES
        if not packed.is_file() and (not os.path.lexists(packed) or samples.shards(self.path / SHARDS)):
            try:
                yield from map(samples.requests_of, samples.read_shards(self.path / SHARDS))
            except FileNotFoundError:  # packed in this moment
                pass
            else:
                return
        if os.path.lexists(packed):
            yield from parquet.read_packed(packed)

    @property
    def samples(self) -> "pd.DataFrame":
        """All requests at once, in the order of their due instants, as `bench.runs.samples.frame` lays them out.

        Empty where they were not kept. Raises BenchError.
        """
        whole = samples.joined(list(self.requests_in_parts()) or [samples.no_requests()])
        return samples.frame(whole.where(np.argsort(whole.due, kind="stable")))

    @property
    def requests(self) -> "pd.DataFrame":
        """The same for a notebook, with latency (done - due), service (done - sent) and send_delay (sent - due).

        Instants are seconds since the run began; `frame.attrs["units"]` has the units of all columns with one. BenchError: not kept.
        """
        if not any(os.path.lexists(self.path / name) for name in (SAMPLES, SHARDS)):
            raise BenchError(f"{self.path}: {samples.NOT_KEPT}")
        table = self.samples
        table["latency"] = table["done"] - table["due"]
        table["service"] = table["done"] - table["sent"]
        table["send_delay"] = table["sent"] - table["due"]
        table.attrs["units"] = dict.fromkeys(("due", "sent", "done", "latency", "service", "send_delay"), "s")
        return table

    def latency_histogram(self) -> "pd.Series[int]":
        """Latencies of all requests answered OK: how many, by the upper end of their bucket in seconds (log scale).

        Buckets are at most 0.1 % wide, see `bench.runs.histogram`. Raises BenchError.
        """
        import pandas as pd

        histogram = self.sparse("latency")
        ends = pd.Index(highest_ns(histogram.indices) / 1e9, name="seconds")
        return pd.Series(histogram.counts, index=ends, name="requests")


def broken(path: Path, error: Exception) -> str:
    """One line about a run whose files hold something else than what this version writes, and where it showed."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}:{last.lineno}"
    return (
        f"{path}: cannot be read: {type(error).__name__}: {error} ({where}); its files were damaged or changed, or this is "
        "an error of serving-bench: restore them, or report it with the folder"
    )


@dataclass(frozen=True)
class Experiment:
    """An experiment's folder; `bench.runs.journal` reads it."""

    path: Path
    whole: bool
    """False: only some of its runs were named."""


Found = Run | Unreadable | Experiment


def find_runs(paths: Iterable[Path], apart: Path | None = None) -> list[Found]:
    """Every run in the paths, which are run folders or folders of them, however deep, and every experiment.

    What cannot be read, or holds nothing, is named as `Unreadable`. apart: a folder, such as the baseline, that is
    passed over where it lies in one of the paths.
    """
    results: list[Found] = []
    for place in places(paths, apart):
        if place.kind == "run":
            results.append(_open(place.path))
            continue
        whole = place.kind == "experiment"
        nothing = place.kind == "nothing"
        results.append(Unreadable(place.path, place.reason) if nothing else Experiment(place.path, whole))
    return results


def _open(path: Path) -> Run | Unreadable:
    try:
        return Run.open(path)
    except BenchError as error:
        return Unreadable(path, str(error))
    except Exception as error:  # noqa: BLE001 - one folder must not keep the others from being read
        return Unreadable(path, broken(path, error))
