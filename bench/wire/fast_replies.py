"""Recognition of plain responses by one comparison.

HEADERS, DATA with a whole message, HEADERS: a server answers every good call alike, byte for byte but for the stream's
number and the message, and mostly in one piece. Answers of one length that follow each other are records of one size,
unpacked one after the other and compared with the last such answer, which replaces the steps through three frames (of
1.9 us for a call remain 1.1). Whatever differs in any bit takes the common way.
"""

import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, NamedTuple

from bench.wire.exchange import Exchange
from bench.wire.frames import DATA, HEAD, HEAD_SIZE, HEADERS
from bench.wire.rows import Rows
from bench.wire.unary import PREFIX

_MOST_SIZES: Final = 1024
_KIND: Final = 5  # bytes of a frame's head before its stream: size, type, flags


class Records(NamedTuple):
    """Plain answers with messages of one length."""

    layout: struct.Struct
    """What all have in common, stream, and so on in turn; the message is the sixth."""
    stride: int
    """Bytes of one."""
    size: int
    """Bytes of its DATA."""
    common: tuple[bytes, ...]


class Likeness:
    """The bytes that plain answers of a connection have in common at present."""

    def __init__(self, opening: bytes, closing: bytes) -> None:
        self.opening, self.closing = opening, closing
        self.opening_word = len(opening) << 8 | HEADERS
        self._data_at = HEAD_SIZE + len(opening)
        self._least = self._data_at + HEAD_SIZE + PREFIX.size + HEAD_SIZE + len(closing)
        self._known: dict[int, Records] = {}

    def records(self, data: bytes, at: int, largest: int) -> tuple[Iterable[tuple[Any, ...]], Records | None]:
        """The records from `at` on, as many whole ones as there are, of the size that the first one announces."""
        data_at, left = at + self._data_at, len(data) - at
        if left < self._least:
            return (), None
        size: int = HEAD.unpack_from(data, data_at)[0] >> 8
        if not PREFIX.size <= size <= largest:
            return (), None
        known = self._known.get(size) or self._learn(size)
        layout, stride, _, _ = known
        if stride <= left < 2 * stride:
            return (layout.unpack_from(data, at),), known
        return layout.iter_unpack(memoryview(data)[at : at + left - left % stride]), known

    def _learn(self, size: int) -> Records:
        if len(self._known) >= _MOST_SIZES:
            self._known.clear()
        opening, closing, length = self.opening, self.closing, size - PREFIX.size
        text = f">{_KIND}sI{len(opening) + _KIND}sI{PREFIX.size}s{length}s{_KIND}sI{len(closing)}s"
        known = self._known[size] = Records(
            struct.Struct(text),
            struct.calcsize(text),
            size,
            (
                _kind(len(opening), HEADERS, 4),
                opening + _kind(size, DATA, 0),
                PREFIX.pack(0, length),
                _kind(len(closing), HEADERS, 5),
                closing,
            ),
        )
        return known


def _kind(size: int, kind: int, flags: int) -> bytes:
    return HEAD.pack(size << 8 | kind, flags, 0)[:_KIND]


@lru_cache(maxsize=64)
def likeness(opening: bytes, closing: bytes) -> Likeness:
    """For answers with these header blocks, whose meaning has to be that of a plain answer."""
    return Likeness(opening, closing)


def take(
    like: Likeness, data: bytes, at: int, streams: dict[int, Exchange], done: list[Exchange], *, largest: int
) -> tuple[int, int]:
    """Take the answers that begin at `at` for as long as they are whole, of one length, and look alike.

    Their exchanges go from `streams` to `done`. Gives where the first other thing begins, and how many bytes of DATA
    were taken; a body of more than `largest` bytes is another thing.
    """
    records, known = like.records(data, at, largest)
    if known is None:
        return at, 0
    common, count = known.common, 0
    for kind, stream, front, same, prefix, message, last_kind, again, back in records:
        if (kind, front, prefix, last_kind, back) != common or stream != same or stream != again:
            break
        exchange = streams.get(stream)
        if exchange is None or exchange.encoding is not None:
            break
        del streams[stream]
        exchange.status = 0
        exchange.message = message
        done.append(exchange)
        count += 1
    return at + count * known.stride, count * known.size


def take_of_rows(like: Likeness, data: bytes, at: int, rows: Rows, *, largest: int) -> tuple[int, int]:
    """The same of calls that belong to rows."""
    records, known = like.records(data, at, largest)
    if known is None:
        return at, 0
    common, count, note = known.common, 0, rows.answers.append
    for kind, stream, front, same, prefix, message, last_kind, again, back in records:
        if (kind, front, prefix, last_kind, back) != common or stream != same or stream != again:
            break
        row = rows.get(stream)
        if row is None or row.sent is None:
            break
        del rows[stream]
        note((row, stream, message))
        count += 1
    return at + count * known.stride, count * known.size
