"""Writer of run folders, safe against a kill at any moment.

A run is a folder, `<UTC start>-<scenario>[-<note>]`:

    manifest.json     what was measured, with what, on what; "state" is "running" until the load has ended, then
                      "finished", or "interrupted" where it was ended before its time
    histograms.hlog   latency, service time and lag, and the latency of mismatched answers, by second of the run and
                      key (bench.runs.hlog)
    counts.jsonl      requests, examples, checked, correct, mismatched, by second of the run and key
    samples/          requests, one file a load process (bench.runs.samples), while the run lasts
    samples.parquet   the same afterwards; neither exists where samples are not kept
    events.jsonl      what happened during the run: time, kind, text
    telemetry.jsonl   what was observed beside the requests, a line an observation
    errors.jsonl      the first texts of each outcome: name, outcome, text and count; the last line of a text counts
    answers.npz       which class each example was given, where the scenario asks for it (bench.runs.choices)
    SHA256SUMS        checksums of all these, written when the run has ended (bench.runs.checksums)

A key is request name, model version, batch and outcome (bench.runs.chunk.Key). Files are only appended to, the
manifest and the Parquet file are replaced in one step: whatever kills the writer leaves a folder that can be read
and that says it is not finished. The last second or two of its histograms may then be missing.

SCHEMA, the version of this layout: 1, the first; 2, single requests in whole microseconds instead of nanoseconds; 3,
histograms of mismatched answers.
"""

import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench import BenchError, extras
from bench.runs import checksums, hlog, samples
from bench.runs.chunk import KINDS, Chunk, Key, Kinds, Pause, Span, Tally, no_pause
from bench.runs.histogram import added
from bench.runs.jsonl import json_line, json_text
from bench.runs.sample import MOST_VERSIONS

log = logging.getLogger("bench")

SCHEMA: Final = 3
MANIFEST, HISTOGRAMS, COUNTS, SAMPLES = "manifest.json", "histograms.hlog", "counts.jsonl", "samples.parquet"
EVENTS, TELEMETRY, SHARDS = "events.jsonl", "telemetry.jsonl", "samples"
WORKER_LOST, RECORDING_ENDED = "worker lost", "recording ended"
CLOCK_STEPPED, CONNECTION_ENDED = "wall clock stepped", "connection ended"
"""Kinds of events: a load process, or the disk, failed while the load lasted; a clock jumped; a server hung up."""
ERRORS: Final = "errors.jsonl"
FINISHED, INTERRUPTED = "finished", "interrupted"
"""States of a run whose folder is whole."""
MOST_TEXTS: Final = 20
"""Of each request name and outcome; what comes after them is counted without its text."""
OTHERS: Final = "(other texts)"


class RunWriter:
    """Writes one run folder. Not thread-safe: one greenlet or thread appends."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self._files: dict[str, int] = {}
        self._tallies: dict[tuple[Key, int], Tally] = {}
        self._versions: dict[str, set[int]] = {}
        """By request name, those that are told apart."""
        self._histograms: dict[tuple[Key, int], list[Kinds]] = {}
        self._failures: dict[tuple[str, str, str], int] = {}
        self._newest = 0
        self._span: Span | None = None
        self._sealed = False

    @staticmethod
    def check_root(root: Path) -> None:
        """Raise BenchError unless run folders can be made in `root`, which is made where it is missing."""
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BenchError(f"{root}: {error.strerror}; name another folder for results") from error
        if not os.access(root, os.W_OK | os.X_OK):
            raise BenchError(
                f"{root}: not writable; name another folder for results or change its permissions"
            )

    @classmethod
    def create(cls, root: Path, scenario: str, note: str | None, manifest: dict[str, Any]) -> "RunWriter":
        """Make the folder of a run that starts now, with its manifest. Raises BenchError."""
        cls.check_root(root)
        started = datetime.now(UTC)
        path = _make_folder(root, "-".join(filter(None, (f"{started:%Y%m%dT%H%M%SZ}", scenario, note))))
        head = {
            "schema": SCHEMA,
            "run_id": secrets.token_hex(
                16
            ),  # a copy of the run is known by it, whatever its folder is called
            "state": "running",
            "started": started.isoformat(),
            "scenario": scenario,
            "note": note,
        }
        writer = cls(path, head | manifest)
        try:
            writer._append(HISTOGRAMS, hlog.header(started).encode())
            writer._append(COUNTS, b"")
            writer._write_manifest()
        except BenchError:
            writer.abandon()
            shutil.rmtree(path, ignore_errors=True)  # nothing was measured yet
            raise
        return writer

    def append(self, worker: int, chunk: Chunk, pause: Pause = no_pause) -> None:
        """Take in what a load process sent; not to be called again before it returns.

        Raises BenchError when the disk refuses it.
        """
        if chunk.rows:
            self._append(f"{SHARDS}/{worker}{samples.ROWS_SUFFIX}", samples.record_bytes(chunk))
        if chunk.span is not None:
            self._span = chunk.span.with_(self._span)
        for (name, outcome, text), times in chunk.failures.items():
            self._count_failures(name, outcome, text, times)
        for (key, second), tally in chunk.tallies.items():
            cell = (self._told_apart(key), second)
            known = self._tallies.get(cell)
            self._tallies[cell] = tally if known is None else known.plus(tally)
        for (key, second), histograms in chunk.histograms.items():
            self._histograms.setdefault((self._told_apart(key), second), []).append(histograms)
        newest = max((second for _, second in chunk.tallies), default=0)
        if newest > self._newest:
            self._newest = newest
            # Slower workers still report on the second before: waiting for them makes one line of it, not many.
            self._flush(before=newest - 1, pause=pause)

    def _told_apart(self, key: Key) -> Key:
        """The key, without its version where that is one too many: each load process has seen others."""
        if key.version is None:
            return key
        known = self._versions.setdefault(key.name, set())
        if len(known) < MOST_VERSIONS:
            known.add(key.version)
        return key if key.version in known else key._replace(version=None)

    def _count_failures(self, name: str, outcome: str, text: str, times: int) -> None:
        """Count a text; a new one is written at once, so that a killed run tells its reasons too."""
        known = self._failures
        if (name, outcome, text) not in known and sum(k[:2] == (name, outcome) for k in known) >= MOST_TEXTS:
            text = OTHERS
        new = (name, outcome, text) not in known
        known[name, outcome, text] = known.get((name, outcome, text), 0) + times
        if new:
            self._write_failures([(name, outcome, text)])

    def _write_failures(self, kinds: Iterable[tuple[str, str, str]]) -> None:
        fields = ("name", "outcome", "text", "count")
        lines = [json_line(dict(zip(fields, (*kind, self._failures[kind]), strict=True))) for kind in kinds]
        if lines:
            self._append(ERRORS, b"".join(lines))

    def update(self, **fields: Any) -> None:
        """Set fields of the manifest."""
        self.manifest |= fields
        self._write_manifest()

    def event(self, time: float, kind: str, text: str, **values: float | str) -> None:
        """Note what happened, in seconds of the run."""
        self._append(EVENTS, json_line({"time": time, "kind": kind, "text": text} | values))

    def telemetry(self, time: float, **values: float | str | None) -> None:
        """Note an observation, in seconds of the run."""
        self._append(TELEMETRY, json_line({"time": time} | values))

    def attach(self, name: str, content: bytes) -> None:
        """Put one more file into the folder."""
        self._append(name, content)

    def finish(self, *, state: str = FINISHED, **fields: Any) -> None:
        """Write what is left, and say that the run is finished, or was interrupted.

        Its samples are records still; who packs and seals it (`bench.runs.conclusion`) calls `concluded` afterwards.
        """
        self._flush(before=None)
        self._write_failures(self._failures)
        for name, descriptor in self._files.items():
            try:
                os.fsync(descriptor)
            except OSError as error:
                raise BenchError(
                    f"{self.path / name}: {error.strerror}; the run cannot be recorded"
                ) from error
        self.abandon()
        self.update(state=state, span=self._span._asdict() if self._span else None, **fields)
        missing = extras.lacking("pyarrow") if (self.path / SHARDS).is_dir() else None
        if missing is not None:  # reports read them there too
            log.info("the samples stay in %s/, not packed into %s: %s", SHARDS, SAMPLES, missing)

    def concluded(self) -> None:
        """Take note that the folder was packed and sealed; seal it where that was not done. Raises BenchError."""
        self._sealed = (self.path / checksums.FILE).is_file()
        if not self._sealed:
            self._seal()

    def abandon(self) -> None:
        """Close the files: a folder that was not finished stays as it is, and says so."""
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()

    def _seal(self, *names: str) -> None:
        """Write the checksums of all files, or anew those of some. Raises BenchError."""
        try:
            checksums.seal(self.path, names or None)
        except OSError as error:
            raise BenchError(
                f"{self.path / checksums.FILE}: {error.strerror}; the run cannot be recorded"
            ) from error
        self._sealed = True

    def _flush(self, before: int | None, pause: Pause = no_pause) -> None:
        """Write counts and histograms of the seconds before `before`; of all where that is None."""
        ready = [cell for cell in self._tallies if before is None or cell[1] < before]
        counts, intervals = [], []
        for key, second in sorted(ready, key=lambda cell: cell[1]):
            tally = self._tallies.pop((key, second))
            counts.append(json_line({"second": second, **key._asdict(), **tally._asdict()}))
            parts = self._histograms.pop((key, second), [])
            for kind, of_kind in zip(KINDS, zip(*parts, strict=True), strict=False):
                pause()
                whole = added(of_kind)
                if len(whole.indices):
                    intervals.append(hlog.line(key, kind, second, whole))
        if ready:
            self._append(HISTOGRAMS, "".join(intervals).encode())
            self._append(COUNTS, b"".join(counts))

    def _append(self, name: str, content: bytes) -> None:
        """Append with one write, so that what a kill can cut is the end of the last one."""
        try:
            if name not in self._files:
                path = self.path / name
                path.parent.mkdir(exist_ok=True)
                self._files[name] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(self._files[name], rest) :]
        except OSError as error:
            raise BenchError(f"{self.path / name}: {error.strerror}; the run cannot be recorded") from error
        if self._sealed:
            self._seal(name)

    def _write_manifest(self) -> None:
        temporary = self.path / f".{MANIFEST}.{os.getpid()}"
        try:
            with temporary.open("w") as file:
                file.write(json_text(json.loads(json.dumps(self.manifest, default=str))) + "\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path / MANIFEST)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise BenchError(
                f"{self.path / MANIFEST}: {error.strerror}; the run cannot be recorded"
            ) from error
        if self._sealed:
            self._seal(MANIFEST)


def _make_folder(root: Path, name: str) -> Path:
    attempt, path = 1, root / name
    while True:
        try:
            path.mkdir()
        except FileExistsError:  # another run started in the same second
            attempt += 1
            path = root / f"{name}-{attempt}"
        except OSError as error:
            raise BenchError(f"{path}: {error.strerror}; name another folder for results") from error
        else:
            return path
