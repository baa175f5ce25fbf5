"""Bounds of what parsing a message costs: the parser keeps the interpreter, so that all other calls wait for it."""

import functools
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from google.protobuf.descriptor import FieldDescriptor

_SMALL: Final = 65_536
"""Bytes of a message that is parsed unseen: some 3 ms at most."""
MOST_FIELDS: Final = 200_000
"""Protobuf fields of one message, at any depth; numbers packed together are one. 300,000 inputs in 3 MB take the parser's
table of names 1.5 s, and more of them take longer than in proportion."""
AT_ONCE: Final = 10_000
"""Fields that are counted where others wait for it: 4 ms; as many as are allowed take 70 ms."""
_VARINT, _EIGHT_BYTES, _DELIMITED, _FOUR_BYTES = 0, 1, 2, 5
_GROUP: Final = (3, 4)
"""Begin and end of an old kind of message, which parsers pass over; what is in it is counted as if it stood outside."""
_VARINTS: Final = frozenset(("INT32", "INT64", "UINT32", "UINT64", "SINT32", "SINT64", "BOOL", "ENUM"))


class Weight(NamedTuple):
    """The parts of a message that make its parsing long."""

    too_many: bool
    """Whether it has more fields than were to be counted."""
    packed: int
    """Bytes of packed varints, of which a MB takes the parser 10 to 35 ms."""


_LIGHT: Final = Weight(False, 0)


def weight(kind: Any, message: bytes, most: int = MOST_FIELDS) -> Weight:
    """Of a serialised message of this class, of which `most` fields are counted.

    One that is no protobuf weighs nothing: its parser sees it.
    """
    if len(message) <= _SMALL:
        return _LIGHT
    try:
        left, packed = _count(message, 0, len(message), kind.DESCRIPTOR, (most, 0))
    except (IndexError, ValueError):
        return _LIGHT
    return Weight(left < 0, packed)


def too_many(kind: Any, message: bytes) -> bool:
    """Whether a serialised message of this class has more than MOST_FIELDS fields; what is no protobuf is its parser's."""
    return weight(kind, message).too_many


def _count(message: bytes, at: int, end: int, descriptor: Any, known: tuple[int, int]) -> tuple[int, int]:
    """How many of the fields are left after those from `at` to before `end`, -1: too few; and bytes of packed varints.

    known: both before.
    """
    inner_of = _messages(descriptor)
    left, packed = known
    while at < end:
        left -= 1
        if left < 0:
            return -1, packed
        key = message[at]
        at += 1
        if key > 0x7F:
            key, at = _varint(message, at - 1)
        kind = key & 7
        if kind == _DELIMITED:
            size = message[at]
            at += 1
            if size > 0x7F:
                size, at = _varint(message, at - 1)
            inner = inner_of.get(key >> 3)
            if inner is _NUMBERS:
                packed += size
            elif inner is not None and size:
                left, packed = _count(message, at, min(at + size, end), inner, (left, packed))
                if left < 0:
                    return -1, packed
            at += size
        elif kind == _VARINT:
            _, at = _varint(message, at)
        elif kind == _EIGHT_BYTES:
            at += 8
        elif kind == _FOUR_BYTES:
            at += 4
        elif kind not in _GROUP:
            raise ValueError("no protobuf")
    return left, packed


_NUMBERS: Final = object()


@functools.cache
def _messages(descriptor: Any) -> Mapping[int, Any]:
    """The fields of a message that are messages, or lists of varints: number -> what they are."""
    kinds = {getattr(FieldDescriptor, f"TYPE_{name}") for name in _VARINTS}
    limits = {each.number: _NUMBERS for each in descriptor.fields if each.type in kinds}
    return limits | {
        each.number: each.message_type for each in descriptor.fields if each.message_type is not None
    }


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A varint and where it ends. Raises IndexError and ValueError."""
    value = shift = 0
    while shift < 70:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a varint of more than ten bytes")
