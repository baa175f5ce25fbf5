"""Chunks: what a load process hands over at each flush, and their form on the way to the master.

numpy only: load processes import neither pandas nor pyarrow.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.runs.columns import NEVER, UNKNOWN, Columns, packed, unpacked, with_messages_of_slowest
from bench.runs.histogram import BUCKETS, EMPTY, Ints, Sparse, bucket
from bench.runs.sample import outcome

KINDS: Final = ("latency", "service", "lag", "mismatched")
"""What there are histograms of: three durations of all requests that were sent, and the latency of those among them that
were mismatched (see `Tally`), so that the others can be told from them."""
_MAGIC: Final = b"BCK3"
_WITHOUT_COUNTS: Final = b"BCK2"
"""Of records written before there was a fourth kind, which are read where they hold no histograms."""

Kinds = tuple[Sparse, Sparse, Sparse, Sparse]
"""Histograms in the order of KINDS."""

Pause = Callable[[], object]
"""Called between two pieces of work of some 0.2 ms each: a load process sends and reads meanwhile."""


def no_pause() -> None:
    """Where nobody waits."""


class Key(NamedTuple):
    """The key by which requests are counted apart, within one second of the run."""

    name: str
    version: int | None
    """Model version that answered; None: unknown."""
    batch: int
    outcome: str
    """Name of a gRPC status, UNSENT or CANCELLED_BY_CLIENT."""

    def tag(self, kind: str) -> str:
        """`name|version|batch|outcome|kind`, the name percent-encoded: a tag holds no comma, space or line end."""
        version = "-" if self.version is None else str(self.version)
        return f"{quote(self.name, safe='/:@()+!~*')}|{version}|{self.batch}|{self.outcome}|{kind}"

    @classmethod
    def of_tag(cls, tag: str) -> tuple[Self, str]:
        """The key and the kind in a tag. Raises ValueError."""
        name, version, batch, status, kind = tag.split("|")
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r}: expected {', '.join(KINDS)}")
        return cls(unquote(name), None if version == "-" else int(version), int(batch), status), kind


class Tally(NamedTuple):
    """Counts of one key in one second."""

    requests: int
    examples: int
    checked: int
    """Examples whose answer was compared with its label."""
    correct: int
    mismatched: int
    """Requests answered OK, yet not by the model, version or shape that was asked for, or not as before."""

    def plus(self, other: "Tally") -> "Tally":
        """The sum, field by field."""
        return Tally(*(a + b for a, b in zip(self, other, strict=True)))


class Span(NamedTuple):
    """From when to when requests were sent and answered, in seconds of the run."""

    first_due: float
    last_due: float
    last_done: float | None
    """None: nothing was sent."""

    def with_(self, other: "Span | None") -> "Span":
        """The span of both."""
        if other is None:
            return self
        done = [instant for instant in (self.last_done, other.last_done) if instant is not None]
        return Span(
            min(self.first_due, other.first_due),
            max(self.last_due, other.last_due),
            max(done, default=None),
        )


@dataclass
class Chunk:
    """Requests that have ended since the last flush: counts and histograms, and the requests themselves if kept."""

    names: list[str]
    requests: Columns | bytes | None
    """As columns where they were counted, packed where they came from elsewhere; None: only counts and histograms."""
    rows: int = 0
    """How many requests are kept."""
    tallies: dict[tuple[Key, int], Tally] = field(default_factory=dict)
    """By key and second of the run (of the due instant)."""
    histograms: dict[tuple[Key, int], Kinds] = field(default_factory=dict)
    """By key and second; what was never sent has none."""
    span: Span | None = None
    """None: no requests."""
    failures: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """How often requests of a name failed with an outcome and a text; bounded, see `bench.load.checking.failures`."""

    @classmethod
    def of(
        cls,
        *,
        names: list[str],
        name_codes: ArrayLike,
        batch: ArrayLike,
        due: ArrayLike,
        sent: ArrayLike,
        done: ArrayLike,
        status: ArrayLike,
        version: ArrayLike,
        correct: ArrayLike,
        mismatched: ArrayLike | None = None,
        message: ArrayLike | None = None,
        keep_samples: bool = True,
        pause: Pause = no_pause,
    ) -> Self:
        """A chunk of requests given as columns of equal length.

        due, sent and done are seconds since the start of the run (nan in sent or done: never sent); status is a
        gRPC code, -1 where nothing was sent or -2 where this client cancelled the call; version and correct are -1 where unknown.
        message: numbers of the messages in their pool, of which those of the slowest are kept.
        """
        due_ns = np.rint(np.asarray(due, dtype=np.float64) * 1e9).astype(np.int64)
        sent, done = np.asarray(sent, dtype=np.float64), np.asarray(done, dtype=np.float64)
        never = np.isnan(sent) | np.isnan(done)
        sent_ns = np.rint(np.where(never, 0.0, sent) * 1e9).astype(np.int64)
        done_ns = np.rint(np.where(never, 0.0, done) * 1e9).astype(np.int64)
        columns = Columns(
            name=np.asarray(name_codes, dtype=np.int32),
            batch=np.asarray(batch, dtype=np.int32),
            due=due_ns,
            lag=np.where(never, NEVER, sent_ns - due_ns),
            service=np.where(never, NEVER, done_ns - sent_ns),
            status=np.where(never, UNKNOWN, status).astype(np.int16),
            version=np.asarray(version, dtype=np.int64),
            correct=np.asarray(correct, dtype=np.int32),
            mismatched=np.zeros(len(due_ns), dtype=bool)
            if mismatched is None
            else np.asarray(mismatched, dtype=bool),
            message=np.full(len(due_ns), UNKNOWN, np.int32)
            if message is None
            else np.asarray(message, dtype=np.int32),
        )
        lengths = {len(column) for column in columns}
        if len(lengths) != 1:
            raise ValueError(f"columns of lengths {sorted(lengths)}: expected equal lengths")
        pause()
        columns = with_messages_of_slowest(columns) if keep_samples else columns
        return cls.count(names, columns, keep_samples=keep_samples, pause=pause)

    @classmethod
    def count(
        cls, names: list[str], columns: Columns, *, keep_samples: bool = True, pause: Pause = no_pause
    ) -> Self:
        """Count columns into tallies and histograms."""
        chunk = cls(list(names), columns if keep_samples else None, len(columns.due) if keep_samples else 0)
        if len(columns.due):
            chunk.span = _span(columns)
            keys, group, seconds = _groups(chunk.names, columns)
            cells = [
                (keys[g // len(seconds)], int(seconds[g % len(seconds)]))
                for g in range(len(keys) * len(seconds))
            ]
            chunk.tallies = _tallies(columns, group, cells)
            chunk.histograms = _histograms(columns, group, cells, pause)
        return chunk

    def __len__(self) -> int:
        """How many requests were counted."""
        return sum(tally.requests for tally in self.tallies.values())

    @property
    def columns(self) -> Columns | None:
        """The requests; None where they are not kept. Raises ValueError on packed ones that are damaged."""
        return unpacked(self.requests, self.rows) if isinstance(self.requests, bytes) else self.requests

    def packed(self) -> bytes | None:
        """The requests as few bytes, ordered by due and in whole microseconds; None where they are not kept."""
        if isinstance(self.requests, Columns):
            self.requests = packed(self.requests)
        return self.requests

    def to_bytes(self) -> bytes:
        """Magic, length and JSON of a header, then the histograms' arrays, little-endian, and the packed requests."""
        cells = list(self.tallies)
        parts: list[bytes] = []
        lengths = []
        for cell in cells:
            for sparse in self.histograms.get(cell, ()):
                lengths.append(len(sparse.indices))
                parts += [sparse.indices.astype("<i4").tobytes(), sparse.counts.astype("<i8").tobytes()]
        requests = self.packed()
        header = {
            "names": self.names,
            "rows": None if requests is None else self.rows,
            "packed": len(requests or b""),
            "span": self.span,
            "failures": [[*kind, times] for kind, times in self.failures.items()],
            "cells": [
                [*key, second, (key, second) in self.histograms, *self.tallies[key, second]]
                for key, second in cells
            ],
            "buckets": lengths,
        }
        text = json.dumps(header, separators=(",", ":")).encode()
        return b"".join([_MAGIC, len(text).to_bytes(4, "little"), text, *parts, requests or b""])

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """What `to_bytes` wrote, its requests still packed. Raises ValueError on anything else; executes nothing."""
        if raw[:4] not in (_MAGIC, _WITHOUT_COUNTS) or len(raw) < 8:
            raise ValueError("no chunk of records")
        start = 8 + int.from_bytes(raw[4:8], "little")
        header = json.loads(raw[8:start])
        if raw[:4] != _MAGIC and header["cells"]:
            raise ValueError("a chunk of records with counts by another version")
        rows = header["rows"]
        expected = start + 12 * sum(header["buckets"]) + header["packed"]
        if len(raw) != expected:
            raise ValueError(f"a chunk of records has {len(raw)} bytes, expected {expected}")
        chunk = cls(header["names"], None, rows or 0)
        chunk.span = Span(*header["span"]) if header["span"] else None
        chunk.failures = {
            (name, status, text): times for name, status, text, times in header.get("failures", ())
        }
        lengths = iter(header["buckets"])
        for name, version, batch, status, second, timed, *tally in header["cells"]:
            cell = Key(name, version, batch, status), second
            chunk.tallies[cell] = Tally(*tally)
            if timed:
                parts = []
                for _ in KINDS:
                    length = next(lengths)
                    indices = np.frombuffer(raw, "<i4", length, start).astype(np.int64)
                    counts = np.frombuffer(raw, "<i8", length, start + 4 * length).astype(np.int64)
                    parts.append(Sparse(indices, counts))
                    start += 12 * length
                chunk.histograms[cell] = (parts[0], parts[1], parts[2], parts[3])
        if rows is not None:
            chunk.requests = raw[start:]
        return chunk


def _span(columns: Columns) -> Span:
    ended = columns.service != NEVER
    done = columns.due[ended] + columns.lag[ended] + columns.service[ended]
    return Span(
        int(columns.due.min()) / 1e9,
        int(columns.due.max()) / 1e9,
        int(done.max()) / 1e9 if len(done) else None,
    )


def _codes(values: Ints) -> tuple[Ints, Ints]:
    """Distinct values and the code of each; a column of one value, the usual case, is not sorted."""
    if int(values.min()) == int(values.max()):
        return values[:1].astype(np.int64), np.zeros(len(values), dtype=np.int64)
    distinct, codes = np.unique(values, return_inverse=True)
    return distinct.astype(np.int64), codes.astype(np.int64)


def _groups(names: list[str], columns: Columns) -> tuple[list[Key], Ints, Ints]:
    """The keys, the group of each request (index of its key x seconds + index of its second), and the seconds."""
    distinct = []
    key_code = np.zeros(len(columns.due), dtype=np.int64)
    for column in (columns.name, columns.version, columns.batch, columns.status):
        values, codes = _codes(column.astype(np.int64))
        distinct.append(values)
        key_code = key_code * len(values) + codes
    used, key_of = _codes(key_code)
    keys = []
    for code in used.tolist():
        rest, picked = code, []
        for values in reversed(distinct):
            rest, at = divmod(rest, len(values))
            picked.append(int(values[at]))
        status, batch, version, name = picked
        answered_by = None if version == UNKNOWN else version
        keys.append(Key(names[name], answered_by, batch, outcome(None if status == UNKNOWN else status)))
    # clocks of worker processes are known to some 100 us: what was due just before the start belongs to its first second
    seconds, second_of = _codes(np.maximum(columns.due // 1_000_000_000, 0))
    return keys, key_of * len(seconds) + second_of, seconds


def _tallies(columns: Columns, group: Ints, cells: list[tuple[Key, int]]) -> dict[tuple[Key, int], Tally]:
    checked = columns.correct != UNKNOWN

    def total(values: NDArray[np.int32] | None = None, where: NDArray[np.bool_] | None = None) -> list[int]:
        at = group if where is None else group[where]
        weights = None if values is None else values if where is None else values[where]
        # float64 sums of whole numbers are exact below 2**53
        sums: list[int] = np.bincount(at, weights=weights, minlength=len(cells)).astype(np.int64).tolist()
        return sums

    table = zip(
        total(),
        total(columns.batch),
        total(columns.batch, checked),
        total(columns.correct, checked),
        total(None, columns.mismatched),
        strict=True,
    )
    return {cell: Tally(*row) for cell, row in zip(cells, table, strict=True) if row[0]}


def _histograms(
    columns: Columns, group: Ints, cells: list[tuple[Key, int]], pause: Pause
) -> dict[tuple[Key, int], Kinds]:
    ended = columns.service != NEVER
    if not ended.all():
        group = group[ended]
        columns = columns.where(ended)
    parts = []
    for values in (columns.lag + columns.service, columns.service, columns.lag):
        pause()
        parts.append(_split(group * BUCKETS + bucket(values), len(cells)))
    latency, service, lag = parts
    wrong = columns.mismatched
    mismatched = [EMPTY] * len(cells)
    if wrong.any():
        waited = (columns.lag + columns.service)[wrong]
        mismatched = _split(group[wrong] * BUCKETS + bucket(waited), len(cells))
    return {
        cell: (latency[g], service[g], lag[g], mismatched[g])
        for g, cell in enumerate(cells)
        if len(latency[g].indices)
    }


def _split(places: Ints, groups: int) -> list[Sparse]:
    """Sparse counts of each group, from group * BUCKETS + bucket of every duration."""
    used, counts = np.unique(places, return_counts=True)
    ends = np.searchsorted(used, np.arange(1, groups + 1) * BUCKETS)
    indices = used % BUCKETS
    starts = [0, *ends[:-1].tolist()]
    return [Sparse(indices[a:b], counts[a:b]) for a, b in zip(starts, ends.tolist(), strict=True)]
