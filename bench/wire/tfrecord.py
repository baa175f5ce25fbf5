"""TFRecord files.

Each record: length (8 bytes, little-endian), masked CRC32C of these 8 bytes, the record, masked CRC32C of it
(tensorflow/core/lib/io/record_writer.h).
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final

import google_crc32c

LARGEST: Final = 2**31 - 1
"""Bytes of a record: no message of protobuf has more."""
_MASK_DELTA: Final = 0xA282EAD8
_LENGTH: Final = struct.Struct("<QI")
_CHECK: Final = struct.Struct("<I")
HEAD: Final = _LENGTH.size
"""Bytes before a record."""


class CorruptError(ValueError):
    """The bytes are no TFRecord file, or not an intact one."""


def _masked(content: bytes) -> int:
    """The CRC-32C of bytes in the form in which it is stored beside them."""
    crc: int = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def frame(record: bytes) -> bytes:
    """The bytes that stand for one record in a file."""
    length = struct.pack("<Q", len(record))
    return length + _CHECK.pack(_masked(length)) + record + _CHECK.pack(_masked(record))


def begins(head: bytes) -> bool:
    """Whether a file that begins like this is one of TFRecords."""
    return len(head) >= HEAD and _CHECK.unpack_from(head, 8)[0] == _masked(head[:8])


def records(file: BinaryIO) -> Iterator[bytes]:
    """The records in a file. Raises CorruptError, naming the offset, at the first that is not intact."""
    at = 0
    while head := file.read(HEAD):
        if len(head) < HEAD:
            raise CorruptError(f"truncated record at {at}")
        length, check = _LENGTH.unpack(head)
        if check != _masked(head[:8]):
            raise CorruptError(f"corrupted record at {at}")
        record = file.read(length) if length <= LARGEST else b""
        tail = file.read(_CHECK.size)
        if len(record) < length or len(tail) < _CHECK.size:
            raise CorruptError(f"truncated record at {at}")
        if _CHECK.unpack(tail)[0] != _masked(record):
            raise CorruptError(f"corrupted record at {at}")
        yield record
        at += HEAD + length + _CHECK.size
