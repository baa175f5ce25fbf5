"""The frames of a server's response.

HEADERS, DATA with the whole message, HEADERS for an answer; HEADERS alone for a refusal. Our blocks are literals and
the static table's ":status 200": they leave the client's dynamic table alone, so each may stand anywhere. The first one
declares our use of it, a size of 0, which a client that announced less than 4,096 bytes insists on (RFC 7541, 4.2).
"""

import struct
from collections.abc import Callable
from typing import Final

import numpy as np

from bench.wire import frames, unary
from bench.wire.frames import DATA, HEAD_SIZE, HEADERS
from bench.wire.header_blocks import literal
from bench.wire.request_rows import Alike, Bytes, number_frames
from bench.wire.unary import PREFIX

_NO_TABLE: Final = b"\x20"
_OPENING: Final = b"\x88" + literal(b"content-type", b"application/grpc")
_OK: Final = literal(b"grpc-status", b"0")
_MOST_REFUSALS: Final = 256

Pack = Callable[..., bytes]


def _opening_packer(block: bytes) -> Pack:
    """HEADERS, the header of DATA and the length prefix packed in one go around an opening block of this length."""
    return struct.Struct(f">IBI{len(block)}sIBIBI").pack


_PACK_OPENING: Final = _opening_packer(_OPENING)
_DATA_AT: Final = HEAD_SIZE + len(_OPENING)
_MESSAGE_AT: Final = _DATA_AT + HEAD_SIZE + PREFIX.size
_PACK_CLOSING: Final = struct.Struct(f">IBI{len(_OK)}s").pack


class Replies:
    """The answers of one connection."""

    __slots__ = ("_closings", "_opening", "_pack_opening", "_row", "_row_of", "opened")

    def __init__(self) -> None:
        self.opened = False
        """The first block has been made: the following ones come without the declaration of the table's size."""
        self._opening = _NO_TABLE + _OPENING
        self._pack_opening = _opening_packer(self._opening)
        self._closings: dict[tuple[int, str], bytes] = {}
        self._row: Bytes | None = None
        self._row_of: tuple[bytes, int, bytes] | None = None

    def plain(self, stream: int, message: bytes) -> tuple[bytes, bytes, bytes]:
        """The whole answer in pieces, its message in one frame."""
        length, opening = len(message), self._opening
        front = self._pack_opening(
            len(opening) << 8 | HEADERS, 4, stream, opening, length + 5 << 8 | DATA, 0, stream, 0, length
        )
        if not self.opened:
            self._open()
        return front, message, _PACK_CLOSING(len(_OK) << 8 | HEADERS, 5, stream, _OK)

    def many(self, streams: range, messages: Alike) -> memoryview:
        """The whole answers to several requests, one behind the other, each message in one frame; not the first ones.

        They differ in the stream's number and the middle of the message only, and are written column by column.
        """
        head, middle, tail = messages
        count, size = middle.shape
        row = self._row
        if row is None or self._row_of != (head, size, tail):
            row = np.frombuffer(b"".join(self.plain(0, head + bytes(size) + tail)), np.uint8)
            self._row, self._row_of = row, (head, size, tail)
        table = np.empty((count, len(row)), np.uint8)
        table[:] = row
        number_frames(table, streams, 0, _DATA_AT, _MESSAGE_AT + messages.length)
        at = _MESSAGE_AT + len(head)
        table[:, at : at + size] = middle
        return table.reshape(-1).data

    def opening(self, stream: int) -> bytes:
        """The HEADERS in front of messages that are sent apart."""
        opened = frames.frame(HEADERS, frames.END_HEADERS, stream, self._opening)
        self._open()
        return opened

    def closing(self, stream: int, largest: int, status: int = 0, details: str = "") -> bytes:
        """The HEADERS that end an answer which has been opened; CONTINUATION follows from `largest` bytes on."""
        return frames.headers(stream, self._trailers(status, details), end_stream=True, largest=largest)

    def refusal(self, stream: int, largest: int, status: int, details: str) -> bytes:
        """A status other than OK in place of an answer; CONTINUATION follows from `largest` bytes on."""
        block = self._opening + self._trailers(status, details)
        self._open()
        return frames.headers(stream, block, end_stream=True, largest=largest)

    def declined(self, stream: int, http: bytes) -> bytes:
        """HTTP's own status for what is not gRPC."""
        block = (b"" if self.opened else _NO_TABLE) + literal(b":status", http)
        self._open()
        return frames.frame(HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, block)

    def _open(self) -> None:
        self.opened = True
        self._opening, self._pack_opening = _OPENING, _PACK_OPENING

    def _trailers(self, status: int, details: str) -> bytes:
        key = (status, details)
        block = self._closings.get(key)
        if block is None:
            block = literal(b"grpc-status", b"%d" % status)
            if details:
                block += literal(b"grpc-message", unary.percent_encoded(details))
            if status == unary.UNIMPLEMENTED:
                block += literal(b"grpc-accept-encoding", b"identity,gzip")
            if len(self._closings) >= _MOST_REFUSALS:
                self._closings.clear()
            self._closings[key] = block
        return block
