"""How does each answered call become a row, at a price that the load does not feel?"""

import time
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.load.validate import Checker
from bench.payload import Pool
from bench.sample import outcome
from bench.wire.client import Reply

CANCELLED = 1
SETTLE_ROWS = 256
"""Answers are checked this many at a time: few enough to hold the loop for some 100 us only."""
SETTLE_BYTES = 4_000_000
"""The same for large answers, so that what waits for its check stays small."""

TAKE_ROWS = 4096
"""So many leave for the run folder at once: counting them holds the loop for a millisecond."""

Floats = NDArray[np.float64]


class Rows(NamedTuple):
    """Checked calls of one request name, as columns of equal length."""

    due: Floats
    """Seconds on this process's clock (time.perf_counter), as the next two."""
    sent: Floats
    """nan: never sent."""
    done: Floats
    status: NDArray[np.int16]
    """gRPC status code; -1 where nothing was sent."""
    version: NDArray[np.int64]
    """-1 where the answer names none."""
    correct: NDArray[np.int32]
    """Examples answered with their label; -1 where nothing was checked."""
    mismatched: NDArray[np.bool_]
    """Answered OK, yet not by the model, version or shape that was asked for, or not as before."""


@dataclass
class Pending:
    """Calls that have ended and are not checked yet, in the order in which they ended."""

    instants: "array[float]" = field(default_factory=lambda: array("d"))
    statuses: "array[int]" = field(default_factory=lambda: array("h"))
    indices: list[int] = field(default_factory=list)
    replies: list[bytes] = field(default_factory=list)


class Recorder:
    """Takes the calls of one request name in one process.

    `add` is on the timed path and only appends; checking, counting and columns happen in `settle`, for
    hundreds of calls at once (0.3 us a call on the path; 1 us a call later).
    """

    def __init__(self, name: str, pool: Pool, checker: Checker) -> None:
        self.name = name
        self.pool = pool
        self.checker = checker
        self.errors: Counter[str] = Counter()
        """Failures since the last `take`, by `STATUS: details`."""
        self.recorded = 0
        self.unsent = 0
        """Of the calls recorded, those of which no byte left this process."""
        self._rows: list[Rows] = []
        self._taken = 0
        self._bytes = 0
        self._renew()

    @property
    def waiting(self) -> int:
        """Calls that have ended and were not taken yet."""
        return self.recorded - self._taken + len(self._pending.replies)

    def add(self, due: float | None, index: int, reply: Reply) -> None:
        """Record a call that has ended. `index`: its message in the pool; `due`: when it should have been sent,
        None in a closed loop, where that is when it was sent."""
        status, details, message, sent, done = reply
        if sent is None:  # given up before a byte left, as while the server is down
            sent = done
            self.unsent += 1
        self._extend((sent if due is None else due, sent, done))
        self._add_status(status)
        self._add_index(index)
        self._add_reply(message)
        if status:
            self.errors[f"{outcome(status)}: {details}"] += 1
        if len(message) > 4096:
            self._bytes += len(message)
        if len(self._pending.replies) >= SETTLE_ROWS or self._bytes > SETTLE_BYTES:
            self.settle()

    def add_cancelled(self, due: float | None, index: int, sent: float | None) -> None:
        """Record a call that its user gave up because Locust ends the user."""
        self.add(due, index, Reply(CANCELLED, "the user was stopped", b"", sent, time.perf_counter()))

    def add_unsent(self, due: float, index: int) -> None:
        """Record a request that was due and could not be sent."""
        self._extend((due, np.nan, np.nan))
        self._add_status(-1)
        self._add_index(index)
        self._add_reply(b"")
        self.unsent += 1
        self.errors["UNSENT: the cap on requests in flight was reached"] += 1

    def settle(self) -> None:
        """Check what has ended since the last time and keep it as columns."""
        pending = self._pending
        if not pending.replies:
            return
        self._renew()
        instants = np.frombuffer(pending.instants, dtype=np.float64).reshape(-1, 3)
        due, sent, done = instants.T
        status = np.frombuffer(pending.statuses, dtype=np.int16)
        version, correct, mismatched = self._check(status, pending)
        self._rows.append(Rows(due, sent, done, status, version, correct, mismatched))
        self.recorded += len(status)

    def take(self) -> list[Rows]:
        """All rows since the last call, checked, in pieces of some TAKE_ROWS."""
        self.settle()
        rows, self._rows = self._rows, []
        self._taken = self.recorded
        pieces: list[Rows] = []
        piece: list[Rows] = []
        length = 0
        for part in rows:
            piece.append(part)
            length += len(part.status)
            if length >= TAKE_ROWS:
                pieces.append(_joined(piece))
                piece, length = [], 0
        return [*pieces, _joined(piece)] if piece else pieces

    def _renew(self) -> None:
        self._pending = pending = Pending()
        self._bytes = 0
        self._extend = pending.instants.extend
        self._add_status = pending.statuses.append
        self._add_index = pending.indices.append
        self._add_reply = pending.replies.append

    def _check(self, status: NDArray[np.int16], pending: Pending) -> tuple[Any, Any, Any]:
        answered = status == 0
        if answered.all():
            checked = self.checker.check(pending.replies, pending.indices)
            return checked.version, checked.correct, checked.mismatched
        count = len(status)
        version = np.full(count, -1, dtype=np.int64)
        correct = np.full(count, -1, dtype=np.int32)
        mismatched = np.zeros(count, dtype=bool)
        where = np.flatnonzero(answered)
        if len(where):
            checked = self.checker.check(
                [pending.replies[i] for i in where], [pending.indices[i] for i in where]
            )
            version[where], correct[where], mismatched[where] = checked
        return version, correct, mismatched


def _joined(parts: list[Rows]) -> Rows:
    return parts[0] if len(parts) == 1 else Rows(*map(np.concatenate, zip(*parts, strict=True)))
