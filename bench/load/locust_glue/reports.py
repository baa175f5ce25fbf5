"""Bounds of what a load process can report: a message beyond them comes from a fault, or from somebody else."""

import math
from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np

from bench.runs.choices import Choices
from bench.runs.chunk import Chunk
from bench.runs.histogram import BUCKETS
from bench.runs.recording import CLOCK_STEPPED, CONNECTION_ENDED

MOST_PER_SECOND: Final = 1_000_000
"""Requests of one load process: some fifty times what one can send."""
CLOCK_SECONDS: Final = 2.0
"""A worker's clock may be ahead of the master's by so much, and its first requests due before the start."""
LONGEST_TEXT: Final = 4096
MOST_CELLS: Final = 10_000
"""Names, versions, batch sizes, outcomes and seconds that differ within one message."""
MOST_EVENTS: Final = 50
"""What happens to one load process in a second: clocks and connections are told together where they are more."""
HEAD_BYTES: Final = 1024
"""Of an array in a file."""
MOST_VALUES: Final = 1024
"""Entries of what a worker observes of itself, or counts by address."""


class ReportError(ValueError):
    """A report that no load process of this test can have made; the text says what of it."""


def whole(value: object, name: str, most: float) -> int:
    """A count. Raises ReportError."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ReportError(f"{name} {_short(value)}: an integer from 0 to {most:,.0f} is possible")
    return value


def instant(value: object, name: str, now: float) -> float:
    """A second of the run, which is `now` seconds old. Raises ReportError."""
    if not isinstance(value, int | float) or not -CLOCK_SECONDS <= value <= now + CLOCK_SECONDS:
        raise ReportError(f"{name} {_short(value)}: the run has lasted {now:.1f} s")
    return float(value)


def number(value: object, name: str) -> float:
    """A finite number. Raises ReportError."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ReportError(f"{name} {_short(value)}: expected a number")
    return float(value)


def table(value: object, name: str) -> dict[str, Any]:
    """A message's table with few text keys. Raises ReportError."""
    if not isinstance(value, dict) or len(value) > MOST_VALUES:
        raise ReportError(f"{name}: expected a table of at most {MOST_VALUES} entries")
    if not all(isinstance(key, str) and len(key) <= LONGEST_TEXT for key in value):
        raise ReportError(f"{name}: expected strings as keys")
    return value


def text(value: object, name: str) -> str:
    """A text of bounded length. Raises ReportError."""
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise ReportError(f"{name} {_short(value)}: expected a string")
    return value


def chunk_of(raw: object, names: Collection[str], now: float) -> Chunk:
    """The records in a message. names: of the requests that are planned. Raises ReportError, or ValueError."""
    if not isinstance(raw, bytes):
        raise ReportError("records are not bytes")
    chunk = Chunk.from_bytes(raw)
    most = MOST_PER_SECOND * (now + CLOCK_SECONDS)
    if len(chunk.tallies) > MOST_CELLS:
        raise ReportError(f"{len(chunk.tallies):,} kinds of requests in one message")
    for (key, second), tally in chunk.tallies.items():
        if key.name not in names:
            raise ReportError(f"requests named {_short(key.name)}, which are not planned")
        whole(second, "second", now + CLOCK_SECONDS)
        text(key.outcome, "outcome")
        if not isinstance(key.version, int | None):
            raise ReportError(f"version {_short(key.version)}: expected an integer")
        requests = whole(tally.requests, "requests", MOST_PER_SECOND)
        if tally.examples != requests * whole(key.batch, "batch", 1 << 31):
            raise ReportError(f"{_short(tally.examples)} examples in {requests:,} requests of {key.batch}")
        checked = whole(tally.checked, "checked examples", tally.examples)
        whole(tally.correct, "right examples", checked)
        whole(tally.mismatched, "wrong answers", requests)
        for part in chunk.histograms.get((key, second), ()):
            if len(part.indices) and not 0 <= part.indices.min() <= part.indices.max() < BUCKETS:
                raise ReportError("a histogram with an unknown bucket")
            if len(part.counts) and (part.counts.min() < 0 or np.sum(part.counts, dtype=float) > requests):
                raise ReportError(f"a histogram of more than its {requests:,} requests")
    counted = whole(len(chunk), "requests", most)
    if chunk.rows not in (0, counted):
        raise ReportError(f"{_short(chunk.rows)} rows of {counted:,} requests")
    if chunk.span is not None:
        for name, value in chunk.span._asdict().items():
            if value is not None:
                instant(value, name, now)
    for (name, outcome, details), times in chunk.failures.items():
        for each in (name, outcome, details):
            text(each, "failure")
        whole(times, "failures", most)
    return chunk


def event(data: object, now: float) -> dict[str, Any]:
    """What happened to a load process: time, kind, text and values. Raises ReportError."""
    content = table(data, "event")
    if content.get("kind") not in (CLOCK_STEPPED, CONNECTION_ENDED):
        raise ReportError(f"kind {_short(content.get('kind'))}: no event of a load process")
    values = table(content.get("values"), "values")
    if values.keys() - {"lasting", "count"}:
        raise ReportError(f"values {_short(sorted(values))}: expected lasting and count")
    return {
        "time": instant(content.get("time"), "time", now),
        "kind": content["kind"],
        "text": text(content.get("text"), "text"),
        **{name: number(value, name) for name, value in values.items()},
    }


def last_words(data: object, now: float) -> Mapping[str, Any]:
    """A worker's counts at the end of a test. Raises ReportError."""
    content = table(data, "counts")
    most = MOST_PER_SECOND * (now + CLOCK_SECONDS)
    for name in ("sent", "unsent", "recorded", "late_plans"):
        whole(content.get(name), name, most)
    if content.get("retries") is not None:
        whole(content["retries"], "retries", most)
    if content.get("most_streams") is not None:
        whole(content["most_streams"], "most_streams", 2**32 - 1)
    for name in ("addresses", "waited"):
        for key, count in table(content.get(name), name).items():
            whole(count, f"{name} {_short(key)}", most)
    number(content.get("clock_offset"), "clock_offset")
    if number(content.get("clock_bound"), "clock_bound") < 0:
        raise ReportError("a negative clock bound")
    if not isinstance(content.get("choices"), bytes | None):
        raise ReportError("choices are not bytes")
    for causes in table(content.get("wrong_answers"), "wrong answers").values():
        for cause, tally in table(causes, "causes").items():
            whole(table(tally, cause).get("count"), cause, most)
            text(tally.get("example"), cause)
    return content


def choices_of(raw: bytes, names: Mapping[str, int]) -> Choices:
    """The classes in a worker's last message. names: of the requests that are planned, with their numbers of examples.

    Raises ReportError, or BenchError.
    """
    most = max(names.values(), default=0)
    sizes = [each + HEAD_BYTES for each in (4 * most, 4 * most * len(names), 4 * sum(map(len, names)))]
    choices = Choices.from_bytes(raw, largest=2 * sum(sizes))
    if len(choices.labels) > most:
        raise ReportError(f"choices of {len(choices.labels):,} examples, of which {most:,} are planned")
    for name in choices.chosen:
        if name not in names:
            raise ReportError(f"choices of requests named {_short(name)}, which are not planned")
    return choices


def _short(value: object) -> str:
    shown = f"{value:,}" if type(value) is int and abs(value) < 10**18 else repr(value)
    return shown if len(shown) <= 60 else shown[:60] + "..."
