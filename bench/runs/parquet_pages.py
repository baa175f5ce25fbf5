"""Sizes in the page headers of a Parquet file, summed before anything is unpacked.

A page says itself what it unpacks to, whatever the end of the file says of its column: 35 kB can become a GB. Headers are
structures of Thrift's compact protocol (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md),
field 2 is the size before compression and field 3 that after it (PageHeader in parquet.thrift).
"""

from typing import Any, BinaryIO, Final

_LONGEST_HEAD: Final = 65_536
_UNPACKED, _PACKED = 2, 3
_DEEPEST: Final = 8
_INTEGER: Final = 5
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, 7, 8, 12
_VARINTS: Final = (4, 5, 6)


def unpacked_bytes(file: BinaryIO, group: Any) -> int:
    """What the pages of a row group unpack to, in all. Raises ValueError for headers that are none."""
    total = 0
    for number in range(group.num_columns):
        column = group.column(number)
        starts = [column.data_page_offset, column.dictionary_page_offset]
        at = min(start for start in starts if start is not None)
        end = at + column.total_compressed_size
        while at < end:
            file.seek(at)
            unpacked, packed, length = _page(file.read(_LONGEST_HEAD))
            total += unpacked
            at += length + packed
    return total


def _page(head: bytes) -> tuple[int, int, int]:
    """Size before and after compression of the page that a header is of, and the header's length."""
    try:
        fields: dict[int, int] = {}
        length = _struct(head, 0, fields, 0)
        unpacked, packed = fields[_UNPACKED], fields[_PACKED]
    except (IndexError, KeyError):
        raise ValueError("a page without a readable header") from None
    if unpacked < 0 or packed < 0:
        raise ValueError(f"a page of {packed} bytes that unpack to {unpacked}")
    return unpacked, packed, length


def _struct(head: bytes, at: int, fields: dict[int, int], depth: int) -> int:
    """Where a structure ends; its 32-bit integers go into `fields`. Raises IndexError where it does not end."""
    if depth > _DEEPEST:
        raise ValueError("a page header that is nested too deep")
    field = 0
    while True:
        kind = head[at]
        at += 1
        if kind == 0:
            return at
        field += kind >> 4
        if not kind >> 4:
            field, at = _integer(head, at)
        kind &= 15
        if kind == _INTEGER:
            fields[field], at = _integer(head, at)
        else:
            at = _skipped(head, at, kind, depth)


def _skipped(head: bytes, at: int, kind: int, depth: int) -> int:
    """Where a value ends, which is a field's."""
    if kind in (_TRUE, _FALSE):
        return at
    if kind == _BYTE:
        return at + 1
    if kind in _VARINTS:
        return _varint(head, at)[1]
    if kind == _DOUBLE:
        return at + 8
    if kind == _BINARY:
        length, at = _varint(head, at)
        return at + length
    if kind == _STRUCT:
        return _struct(head, at, {}, depth + 1)
    raise ValueError("a page header with a list")  # no version of the format has one


def _integer(head: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(head, at)
    return value >> 1 ^ -(value & 1), at


def _varint(head: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = head[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a page header with an endless number")
