"""Recognition of plain responses by one comparison.

HEADERS, DATA with a whole message, HEADERS: a server answers every good call alike, byte for byte but for the stream's
number and the message, and mostly in one piece. Two unpackings that are compared with the last such answer replace
the steps through three frames (of 1.9 us for a call remain 1.4). Whatever differs in any bit takes the common way.
"""

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from bench.wire.exchange import Exchange
from bench.wire.frames import HEAD_SIZE, HEADERS
from bench.wire.unary import PREFIX


class Likeness(NamedTuple):
    """What plain answers of a connection look like at present."""

    unpack_front: Callable[[bytes, int], tuple[Any, ...]]
    """(size and type, flags, stream, block) of HEADERS, (size and type, flags, stream) of DATA, compressed, length."""
    front: int
    """Bytes in front of the message."""
    opening_word: int
    opening: bytes
    unpack_back: Callable[[bytes, int], tuple[Any, ...]]
    """(size and type, flags, stream, block) of the closing HEADERS."""
    back: int
    """Bytes behind the message."""
    closing_word: int
    closing: bytes


@lru_cache(maxsize=64)
def likeness(opening: bytes, closing: bytes) -> Likeness:
    """For answers with these header blocks, whose meaning has to be that of a plain answer."""
    front = struct.Struct(f">IBI{len(opening)}sIBIBI")
    back = struct.Struct(f">IBI{len(closing)}s")
    return Likeness(
        front.unpack_from,
        HEAD_SIZE + len(opening) + HEAD_SIZE + PREFIX.size,
        len(opening) << 8 | HEADERS,
        opening,
        back.unpack_from,
        HEAD_SIZE + len(closing),
        len(closing) << 8 | HEADERS,
        closing,
    )


def take(
    like: Likeness, data: bytes, at: int, streams: dict[int, Exchange], done: list[Exchange], *, largest: int
) -> tuple[int, int]:
    """Take the answers that begin at `at` for as long as they are whole and look alike.

    Their exchanges go from `streams` to `done`. Gives where the first other thing begins, and how many bytes of DATA
    were taken; a body of more than `largest` bytes is another thing.
    """
    unpack_front, front, opening_word, opening, unpack_back, back, closing_word, closing = like
    last = len(data) - front - back
    consumed = 0
    while at <= last:
        word, flags, stream, block, data_word, data_flags, same, compressed, length = unpack_front(data, at)
        if word != opening_word or block != opening or flags != 4 or same != stream:
            break
        size = length + 5
        if data_word != size << 8 or data_flags or compressed or size > largest or at + length > last:
            break
        message = at + front
        behind = message + length
        if unpack_back(data, behind) != (closing_word, 5, stream, closing):
            break
        exchange = streams.get(stream)
        if exchange is None or exchange.encoding is not None:
            break
        del streams[stream]
        exchange.status = 0
        exchange.message = data[message:behind]
        done.append(exchange)
        consumed += size
        at = behind + back
    return at, consumed
