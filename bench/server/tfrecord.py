"""TFRecord files.

Each record: length (8 bytes, little-endian), masked CRC32C of these 8 bytes, the record, masked CRC32C of it
(tensorflow/core/lib/io/record_writer.h).
"""

import struct
from collections.abc import Iterator
from typing import Final

_POLYNOMIAL: Final = 0x82F63B78  # Castagnoli, reflected (RFC 3720, appendix B.4)
_MASK_DELTA: Final = 0xA282EAD8
_LENGTH: Final = struct.Struct("<QI")
_CHECK: Final = struct.Struct("<I")


class CorruptError(ValueError):
    """The bytes are no TFRecord file, or not an intact one."""


def _table() -> tuple[int, ...]:
    entries = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        entries.append(value)
    return tuple(entries)


_TABLE: Final = _table()


def crc32c(content: bytes) -> int:
    """CRC-32C of the bytes. Plain Python, 10 MB/s: meant for warm-up files, which hold some requests."""
    value = 0xFFFFFFFF
    table = _TABLE
    for byte in content:
        value = table[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """The form in which a CRC is stored beside the bytes that it covers."""
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def frame(record: bytes) -> bytes:
    """The bytes that stand for one record in a file."""
    length = struct.pack("<Q", len(record))
    return length + _CHECK.pack(masked(crc32c(length))) + record + _CHECK.pack(masked(crc32c(record)))


def records(content: bytes) -> Iterator[bytes]:
    """The records in a file's content. Raises CorruptError, naming the offset, at the first that is not intact."""
    at = 0
    while at < len(content):
        if len(content) - at < _LENGTH.size:
            raise CorruptError(f"truncated record at {at}")
        length, check = _LENGTH.unpack_from(content, at)
        if check != masked(crc32c(content[at : at + 8])):
            raise CorruptError(f"corrupted record at {at}")
        start = at + _LENGTH.size
        stop = start + length
        if stop + _CHECK.size > len(content):
            raise CorruptError(f"truncated record at {at}")
        record = content[start:stop]
        if _CHECK.unpack_from(content, stop)[0] != masked(crc32c(record)):
            raise CorruptError(f"corrupted record at {at}")
        yield record
        at = stop + _CHECK.size
