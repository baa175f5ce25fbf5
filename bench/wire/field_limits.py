"""Bounds of what parsing a message costs: the parser keeps the interpreter, so that all other calls wait for it."""

import functools
from collections.abc import Mapping
from typing import Any, Final

_SMALL: Final = 65_536
"""Bytes of a message that is parsed unseen: some 3 ms at most."""
MOST_FIELDS: Final = 200_000
"""Protobuf fields of one message, at any depth; numbers packed together are one. 300,000 inputs in 3 MB take the parser's
table of names 1.5 s, and more of them take longer than in proportion."""
_VARINT, _EIGHT_BYTES, _DELIMITED, _FOUR_BYTES = 0, 1, 2, 5
_GROUP: Final = (3, 4)
"""Begin and end of an old kind of message, which parsers pass over; what is in it is counted as if it stood outside."""


def too_many(kind: Any, message: bytes) -> bool:
    """Whether a serialised message of this class has more than MOST_FIELDS fields; what is no protobuf is its parser's."""
    if len(message) <= _SMALL:
        return False
    try:
        return _count(message, 0, len(message), kind.DESCRIPTOR, MOST_FIELDS) < 0
    except (IndexError, ValueError):
        return False


def _count(message: bytes, at: int, end: int, descriptor: Any, left: int) -> int:
    """How many of the `left` fields are left after those from `at` to before `end`; -1: too few."""
    inner_of = _messages(descriptor)
    while at < end:
        left -= 1
        if left < 0:
            return -1
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
            if inner is not None and size:
                left = _count(message, at, min(at + size, end), inner, left)
                if left < 0:
                    return -1
            at += size
        elif kind == _VARINT:
            _, at = _varint(message, at)
        elif kind == _EIGHT_BYTES:
            at += 8
        elif kind == _FOUR_BYTES:
            at += 4
        elif kind not in _GROUP:
            raise ValueError("no protobuf")
    return left


@functools.cache
def _messages(descriptor: Any) -> Mapping[int, Any]:
    """The fields of a message that are messages: number -> what they are."""
    return {each.number: each.message_type for each in descriptor.fields if each.message_type is not None}


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
