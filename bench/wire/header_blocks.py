"""HPACK header blocks, cached between requests.

A block may be used again, or its meaning looked up by its bytes, for as long as the dynamic table (RFC 7541, 2.3.2)
stays as it was: both directions remember blocks and forget all of them when a block changes the table. In a steady
load every block is remembered: the encoder's constant fields are in the peer's table after the first request, and
our own announced table size of 0 makes the peer's blocks independent of each other.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Final, Generic, TypeVar

import hpack

from bench.wire.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ProtocolError

Field = tuple[bytes, bytes]
Meaning = TypeVar("Meaning")

_OWN_TABLE: Final = 4096  # the encoder's table, whatever more the peer would allow (RFC 7541's first size)
_MOST_BLOCKS: Final = 4096
_MOST_REMEMBERED: Final = 1 << 20  # bytes of decoded fields
_MOST_RESIZES: Final = 2  # RFC 7541, 4.2: the least size in between, and the last
_LONGEST_BLOCK: Final = 1024  # longer ones carry something unique, such as a stack trace in grpc-message


def _state(table: hpack.hpack.HeaderTable) -> tuple[object, int, int]:
    """What changes whenever a dynamic table does.

    Insertion puts a new object at the head; eviction without insertion changes the length; resizing the size.
    The head is kept alive by the comparison, so its identity cannot be taken over by another object.
    """
    entries = table.dynamic_entries
    return (entries[0] if entries else None, len(entries), table.maxsize)


def _same(first: tuple[object, int, int], other: tuple[object, int, int]) -> bool:
    return first[0] is other[0] and first[1:] == other[1:]


class HeaderEncoder(Generic[Meaning]):
    """Header blocks for one connection, in the order in which they are sent."""

    def __init__(self, prepare: Callable[[bytes], Meaning]) -> None:
        self._encoder = hpack.Encoder()
        self._prepare = prepare
        self._resized = False
        self.known: dict[Hashable, Meaning] = {}
        """What `prepare` made of each remembered block, for a look-up without a call; a miss goes through `encode`."""

    def resize(self, limit: int) -> None:
        """Follow the peer's SETTINGS_HEADER_TABLE_SIZE; the next block announces the change (RFC 7541, 4.2)."""
        size = min(limit, _OWN_TABLE)
        if (
            size != self._encoder.header_table_size
        ):  # hpack forgets a pending change when told the same size again
            self._encoder.header_table_size = size
            # Of several changes the least and the last are to be declared; hpack would declare all of them, also
            # those that the peer's present limit no longer allows.
            least = min(self._encoder.table_size_changes)
            self._encoder.table_size_changes = [least, size] if least < size else [size]
            self.known.clear()
            self._resized = True

    def encode(self, key: Hashable, fields: Iterable[Field], passing: bytes) -> Meaning:
        """Encode `fields`, which enter the peer's table, followed by `passing`, a part made by `literal`.

        The caller has to send the block at once: the peer's table follows the blocks it sees. What `prepare` made
        of it is remembered under `key` if the same bytes will do next time.
        """
        before = _state(self._encoder.header_table)
        block: bytes = self._encoder.encode(fields, huffman=False) + passing
        prepared = self._prepare(block)
        if self._resized:
            self._resized = False  # the block opens with the change of size
        elif not _same(before, _state(self._encoder.header_table)):
            self.known.clear()
        elif len(block) <= _LONGEST_BLOCK:
            if len(self.known) >= _MOST_BLOCKS:
                self.known.clear()
            self.known[key] = prepared
        return prepared


class HeaderDecoder(Generic[Meaning]):
    """The meaning of header blocks of one connection, which have to be given in the order of their arrival.

    The peer may go on using a table of 4,096 bytes after we have announced 0: that is decoded correctly, only
    more slowly, so no peer is turned away for it.
    """

    def __init__(self, interpret: Callable[[list[Field]], Meaning], largest_list: int) -> None:
        self._decoder = hpack.Decoder(max_header_list_size=largest_list)
        self._interpret = interpret
        self._largest = largest_list
        self._remembered = 0
        self.known: dict[bytes, Meaning] = {}
        """Meanings by block, for a look-up without a call; a miss has to go through `decode`."""

    def decode(self, block: bytes) -> Meaning:
        """The meaning of a block; raises ProtocolError where it is not HPACK or too large."""
        known = self.known.get(block)
        if known is not None:
            return known
        # both before hpack sees the block: a mebibyte of changes of the table's size would take seconds
        if len(block) > self._largest:
            raise ProtocolError(ENHANCE_YOUR_CALM, f"a header block of more than {self._largest} bytes")
        if _resizes(block) > _MOST_RESIZES:
            raise ProtocolError(
                COMPRESSION_ERROR, "a header block with more than two changes of the table's size"
            )
        table = self._decoder.header_table
        before = _state(table)
        try:
            fields = [(name, value) for name, value in self._decoder.decode(block, raw=True)]
        except hpack.HPACKError as problem:
            raise ProtocolError(
                COMPRESSION_ERROR, f"a header block cannot be decoded: {problem}"
            ) from problem
        meaning = self._interpret(fields)
        if not _same(before, _state(table)):
            self.known.clear()
            self._remembered = 0
        elif len(block) <= _LONGEST_BLOCK:
            # a few bytes may stand for a whole table: what is remembered is charged by what it decodes to
            size = len(block) + sum(len(name) + len(value) + 32 for name, value in fields)
            self._remembered += size
            if len(self.known) >= _MOST_BLOCKS or self._remembered > _MOST_REMEMBERED:
                self.known.clear()
                self._remembered = size
            if size <= _MOST_REMEMBERED:
                self.known[block] = meaning
        return meaning


def _resizes(block: bytes) -> int:
    """How many changes of the table's size open a block, at most one more than allowed (RFC 7541, 6.3)."""
    at = count = 0
    while count <= _MOST_RESIZES and at < len(block) and block[at] & 0xE0 == 0x20:
        count += 1
        if block[at] & 0x1F == 0x1F:
            at += 1
            while at < len(block) and block[at] & 0x80:
                at += 1
        at += 1
    return count


def literal(name: bytes, value: bytes) -> bytes:
    """One field as a literal without indexing: touches no table, so it may stand in any block (RFC 7541, 6.2.2)."""
    return b"\x00" + _string(name) + _string(value)


def _string(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes([len(text)]) + text
    rest, head = len(text) - 127, bytearray([127])
    while rest >= 128:
        head.append(rest & 127 | 128)
        rest >>= 7
    head.append(rest)
    return bytes(head) + text
