"""Recorder: each answered call becomes a row, at a price that the load does not feel."""

import itertools
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.load.checking.checker import UNKNOWN, Checker
from bench.load.checking.failures import Failures, Kind
from bench.load.engine.encoding import encoded
from bench.payload import Pool
from bench.runs.sample import CANCELLED_STATUS
from bench.wire.reply import Reply
from bench.wire.rows import STEP, Answer
from bench.wire.unary import CANCELLED

SETTLE_ROWS = 128
"""Answers that are not known yet are read this many at a time: few enough to hold the loop for some 100 us only."""
SETTLE_BYTES = 4_000_000
"""The same for large answers, so that what waits for its check stays small."""

TAKE_ROWS = 4096
"""So many leave for the run folder at once at the most, with pauses: no step of it is to hold the loop for long."""
_NUMBERS: Final = 4
"""Of each call: due, sent, done and the number of its message."""

Floats = NDArray[np.float64]


class Rows(NamedTuple):
    """Checked calls of one request name, as columns of equal length."""

    due: Floats
    """Seconds on this process's clock (time.perf_counter), as the next two."""
    sent: Floats
    """nan: never sent."""
    done: Floats
    status: NDArray[np.int16]
    """gRPC status code; -1 where nothing was sent, -2 where this client cancelled the call."""
    version: NDArray[np.int64]
    """-1 where the answer names none."""
    correct: NDArray[np.int32]
    """Examples answered with their label; -1 where nothing was checked."""
    mismatched: NDArray[np.bool_]
    """Answered OK, yet not by the model, version or shape that was asked for, or not as before."""
    message: NDArray[np.int32]
    """Its number in the pool."""

    def part(self, start: int, end: int) -> "Rows":
        """The rows from `start` to before `end`."""
        columns: tuple[NDArray[Any], ...] = self
        return Rows(*(column[start:end] for column in columns))

    def where(self, mask: NDArray[np.bool_]) -> "Rows":
        """Those of the rows for which the mask is true."""
        columns: tuple[NDArray[Any], ...] = self
        return Rows(*(column[mask] for column in columns))


@dataclass
class _Unknown:
    """Calls that failed, and answers that nobody has read yet, in the order in which they ended."""

    rows: list[int] = field(default_factory=list)
    """Their places among all that ended."""
    statuses: list[int] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    bytes: int = 0


class Recorder:
    """Takes the calls of one request name in one process.

    `add` is on the timed path: it appends four numbers, and compares the answer with those to the same message that
    were read and found right before. Most equal one of them to the byte, and nothing else is asked of them (0.3 us);
    the others are checked in `settle`, many at once (1 us).
    """

    def __init__(self, name: str, pool: Pool, checker: Checker) -> None:
        self.api = checker.api
        pool = encoded(pool, self.api) if pool.encoded is None else pool
        self.name = name
        self.pool = pool
        self.checker = checker
        self.method = pool.method
        self.messages: Sequence[bytes] = pool.encoded or ()
        """Those of the pool, as they are sent."""
        self.over_http = self.api.over_http
        self.failures = Failures()
        self.recorded = 0
        self.unsent = 0
        """Of the calls recorded, those of which no byte left this process."""
        self._closing = False
        self._rows: list[Rows] = []
        self._taken = 0
        self._known = checker.known
        self._renew()

    @property
    def waiting(self) -> int:
        """Calls that have ended and were not taken yet."""
        return self.recorded - self._taken + len(self._numbers) // _NUMBERS

    def add(self, due: float | None, index: int, reply: Reply) -> None:
        """Record a call that has ended.

        index: its message in the pool; due: when it should have been sent, None in a closed loop, where that is when
        the user wanted to send it.
        """
        status, details, message, sent, done, held_since = reply
        if sent is None:  # given up before a byte left, as while the server is down
            sent = done
            self.unsent += 1
        if due is None:
            due = sent if held_since is None else held_since
        note = self._note
        note(due)
        note(sent)
        note(done)
        note(index)
        if status or message not in self._known[index]:
            if status == CANCELLED and self._closing:
                status = CANCELLED_STATUS
            self._look_at(index, status, message)
            if status and status != CANCELLED_STATUS:
                self.failures.add(status, details)

    def add_answers(self, answers: Sequence[Answer], done: float) -> None:
        """Record plain answers, read at once, to requests that left in rows.

        A row has the `numbers` of its messages, and their `dues` in an open loop.
        """
        note, known = self._note, self._known
        for row, stream, message in answers:
            at = (stream - row.first) // STEP
            index, dues, sent = row.numbers[at], row.dues, row.sent
            note(sent if dues is None else dues[at])
            note(sent)
            note(done)
            note(index)
            if message not in known[index]:
                self._look_at(index, 0, message)
                note = self._note

    def add_cancelled(
        self, due: float | None, index: int, sent: float | None, held_since: float | None = None
    ) -> None:
        """Record a call that its user gave up because Locust ends the user."""
        self.add(due, index, Reply(CANCELLED_STATUS, "", b"", sent, time.perf_counter(), held_since))

    def close(self) -> None:
        """From now on calls end as CANCELLED because their channel is closed, not because the server says so."""
        self._closing = True

    def add_unsent(self, due: float, index: int, reason: str) -> None:
        """Record a request that was due and could not be sent."""
        self._numbers.extend((due, np.nan, np.nan, index))
        self._look_at(index, UNKNOWN, b"")
        self.unsent += 1
        self.failures.add(None, reason)

    def settle(self) -> None:
        """Check what has ended since the last time and keep it as columns."""
        if not self._numbers:
            return
        numbers = np.frombuffer(self._numbers, dtype=np.float64).reshape(-1, _NUMBERS)
        unknown = self._unknown
        self._renew()
        due, sent, done = numbers.T[:3]
        index = numbers[:, 3].astype(np.int64)
        # looked up before the check, which may learn other answers to the same messages
        rows = Rows(
            due,
            sent,
            done,
            status=np.zeros(len(index), np.int16),
            version=self.checker.known_version[index],
            correct=self.checker.known_correct[index],
            mismatched=np.zeros(len(index), np.bool_),
            message=index.astype(np.int32),
        )
        if unknown.rows:
            self._check(unknown, rows)
        self._rows.append(rows)
        self.recorded += len(index)

    def take(self) -> list[Rows]:
        """All rows since the last call, checked, in even pieces of at most TAKE_ROWS."""
        self.settle()
        parts, self._rows = self._rows, []
        self._taken = self.recorded
        if not parts:
            return []
        whole = parts[0] if len(parts) == 1 else Rows(*map(np.concatenate, zip(*parts, strict=True)))
        count = len(whole.status)
        pieces = -(-count // TAKE_ROWS)
        bounds = [count * piece // pieces for piece in range(pieces + 1)]
        return [whole.part(start, end) for start, end in itertools.pairwise(bounds)]

    def _renew(self) -> None:
        self._numbers = array("d")
        self._unknown = _Unknown()
        self._note = self._numbers.append

    def _look_at(self, index: int, status: int, message: bytes) -> None:
        """Note that the newest call has failed, or that its answer has to be read."""
        unknown = self._unknown
        unknown.rows.append(len(self._numbers) // _NUMBERS - 1)
        unknown.statuses.append(status)
        unknown.indices.append(index)
        unknown.messages.append(message)
        unknown.bytes += len(message)
        if len(unknown.rows) >= SETTLE_ROWS or unknown.bytes > SETTLE_BYTES:
            self.settle()

    def _check(self, unknown: _Unknown, rows: Rows) -> None:
        """Fill in the rows of what was not known."""
        where = np.array(unknown.rows)
        status = np.array(unknown.statuses, np.int16)
        rows.status[where] = status
        answered = np.flatnonzero(status == 0)
        if len(answered) < len(where):
            rows.version[where] = UNKNOWN
            rows.correct[where] = UNKNOWN
        if len(answered):
            at = answered.tolist()
            checked = self.checker.check([unknown.messages[i] for i in at], [unknown.indices[i] for i in at])
            where = where[answered]
            rows.version[where], rows.correct[where], rows.mismatched[where] = checked


class Heard(NamedTuple):
    """The facts of a call that a listener of Locust's request event gets beside its row."""

    length: int
    """Bytes of the answer."""
    failure: Kind | None
    """None: it was answered."""


class HeardRecorder(Recorder):
    """A recorder that keeps more of each call, where somebody listens to Locust's request event."""

    def __init__(self, name: str, pool: Pool, checker: Checker) -> None:
        super().__init__(name, pool, checker)
        self._heard: list[Heard] = []

    def add(self, due: float | None, index: int, reply: Reply) -> None:
        """As `Recorder.add`."""
        failure = self.failures.kind(reply.status, reply.details) if reply.status else None
        self._heard.append(Heard(len(reply.message), failure))
        super().add(due, index, reply)

    def add_answers(self, answers: Sequence[Answer], done: float) -> None:
        """As `Recorder.add_answers`."""
        self._heard += [Heard(len(message), None) for _, _, message in answers]
        super().add_answers(answers, done)

    def add_unsent(self, due: float, index: int, reason: str) -> None:
        """As `Recorder.add_unsent`."""
        self._heard.append(Heard(0, self.failures.kind(None, reason)))
        super().add_unsent(due, index, reason)

    def heard(self, count: int) -> list[Heard]:
        """Of the next calls that `take` has given."""
        answers, self._heard = self._heard[:count], self._heard[count:]
        return answers
