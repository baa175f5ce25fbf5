"""Calls that start together, kept as one thing for as long as nothing but plain answers comes to them.

An object for each call costs a microsecond to make, to look up and to end. A row is one object for many calls of one
head: their frames are made in one go, and their answers of one read are handed over together. As soon as anything
else happens to one of them, it becomes a call like any other (`Row.single`).
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol

from bench.wire.exchange import Exchange, RequestHead
from bench.wire.reply import Reply

STEP: Final = 2
"""From one stream of a client to the next."""
CHUNKS: Final = 2
"""Of a call in the connection's `out`: what stands in front of its message, and the message."""


_NONE: Final[Mapping[int, Any]] = MappingProxyType({})

Answer = tuple[Any, int, bytes]
"""A plain answer to a call of a row: the row, of the kind that its owner has started, the stream, the message."""


class Owner(Protocol):
    """The starter of rows. Each call ends exactly once, in one of these; both run in the hub and must not block."""

    def answered(self, answers: Sequence[Answer], done: float, /) -> None:
        """Calls were answered with OK; `done`: when the last frames of all these answers were read."""
        ...

    def ended(self, row: Any, position: int, reply: Reply, /) -> None:
        """The call at this position of a row has ended by itself."""
        ...


class Row:
    """Calls of one head, on streams that follow each other, whose bytes go to the kernel together."""

    __slots__ = ("_queue", "first", "head", "left", "link", "make", "messages", "owner", "sent", "singles")

    def __init__(self, head: RequestHead, messages: Sequence[bytes], owner: Owner) -> None:
        self.head = head
        self.messages = messages
        self.owner = owner
        self.first = 0
        """Stream of the first call."""
        self.left = len(messages)
        """Calls that have not ended."""
        self.sent: float | None = None
        """When the last byte of them was handed to the kernel."""
        self.make: Callable[[Row, int], Any]
        """Makes a call of its own of the one at a position."""
        self.singles: Mapping[int, Any] = _NONE
        """Those that were made, by their positions; they may be on another stream, or connection, by now."""
        self.link: Any = None
        """Where it is under way."""
        self._queue: dict[Any, float] | None = None  # where its deadline waits

    @property
    def streams(self) -> range:
        """Of its calls, in their order."""
        return range(self.first, self.first + STEP * len(self.messages), STEP)

    def part(self, where: slice) -> "Row":
        """Some of its calls as a row of their own; before it is sent."""
        return Row(self.head, self.messages[where], self.owner)

    def position(self, stream: int) -> int:
        """Of the call on a stream."""
        return (stream - self.first) // STEP

    def single(self, stream: int) -> Exchange:
        """The call of a stream as an exchange of its own, from now on."""
        position = self.position(stream)
        exchange: Exchange = self.make(self, position)
        exchange.stream, exchange.sent = stream, self.sent
        self.singles = {**self.singles, position: exchange}
        return exchange

    def stamp_singles(self, now: float) -> int:
        """All bytes have gone: stamp the calls of their own; gives those of them that had ended before."""
        ended = 0
        for exchange in self.singles.values():
            if exchange.sent is None:
                exchange.sent = now
            else:
                ended += 1
        return ended

    def drop(self, count: int) -> None:
        """So many of its calls have ended."""
        self.left -= count
        if not self.left and self._queue is not None:
            self._queue.pop(self, None)
            self._queue = None

    def calls(self) -> dict[int, Any]:
        """All that may not have ended, from now on as calls of their own, by their positions, which ascend."""
        self.link.connection.release(self)
        return dict(sorted(self.singles.items()))


class Rows(dict[int, Row]):
    """The calls under way on one connection that belong to rows, by stream."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Answer] = []
        """What has come since they were delivered."""
        self.leaving: list[tuple[int, Row]] = []
        """(chunks in the connection's `out` that end with it, row) of those whose bytes are there."""

    def stamp(self, now: float) -> int:
        """All that was leaving has gone to the kernel; gives the calls of them that had not ended before."""
        gone = 0
        for _, row in self.leaving:
            row.sent = now
            gone += len(row.messages) - row.stamp_singles(now) if row.singles else len(row.messages)
        self.leaving.clear()
        return gone

    def ends(self) -> list[tuple[int, Any]]:
        """What was leaving has not gone at once: (chunks that end with it, call) of each of their calls."""
        leaving, self.leaving = self.leaving, []
        return [
            (chunks - CHUNKS * (len(row.messages) - 1 - position), call)
            for chunks, row in leaving
            for position, call in row.calls().items()
        ]

    def deliver(self, now: float, on_error: Callable[..., Any]) -> None:
        """Hand `answers` over, which were read at this instant, to the owners of their rows."""
        answers, self.answers = self.answers, []
        first = answers[0][0].owner
        alike = True
        for row, _stream, _message in answers:
            row.left = left = row.left - 1
            if not left and row._queue is not None:
                row.drop(0)
            if row.owner is not first:
                alike = False
        for owner in (first,) if alike else dict.fromkeys(answer[0].owner for answer in answers):
            own = answers if alike else [answer for answer in answers if answer[0].owner is owner]
            try:
                owner.answered(own, now)
            except BaseException:  # noqa: BLE001  # whatever an owner raises, the other calls of this read go on
                on_error(owner, *sys.exc_info())

    def release(self, streams: Iterable[int], into: dict[int, Exchange]) -> None:
        """Make calls of their own of those on these streams, where they belong to a row."""
        for stream in streams:
            row = self.pop(stream, None)
            if row is not None:
                into[stream] = row.single(stream)
