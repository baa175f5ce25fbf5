"""Hold what a server knows of streams that are open, and of those that it ended before the client did."""

from collections.abc import Mapping
from typing import Final

from bench.wire.frames import ENHANCE_YOUR_CALM, ProtocolError
from bench.wire.unary import RequestBlock

_MOST_ENDED: Final = 4096
_MOST_FIELDS: Final = 8 << 20


class Incoming:
    """A stream between its HEADERS and its answer."""

    __slots__ = ("complete", "credit", "head", "parts", "pushed", "size")

    def __init__(self, head: RequestBlock, credit: int, *, complete: bool = False) -> None:
        self.head = head
        self.credit = credit
        self.parts: list[bytes | bytearray] | None = None
        self.size = 0
        self.complete = complete
        self.pushed: int | None = None
        """Bytes of DATA that `push` has given to the stream; None: not even its opening has been sent."""


class EndedEarly:
    """Streams that ended on our side first: what the client had already sent for them is to be ignored."""

    def __init__(self) -> None:
        self._streams: dict[int, None] = {}

    def add(self, stream: int) -> None:
        """Note one; the oldest of many is forgotten."""
        self._streams[stream] = None
        if len(self._streams) > _MOST_ENDED:
            del self._streams[next(iter(self._streams))]

    def __contains__(self, stream: int) -> bool:
        return stream in self._streams


LOOK_AFTER: Final = 2 << 20
"""Bytes of decoded header fields after which those of the open requests are counted."""


def open_fields(head: RequestBlock, streams: Mapping[int, Incoming]) -> int:
    """Bytes of the decoded header fields of a request that opens and of the open ones: a few bytes can stand for 64 kB.

    Requests that share a remembered block share its fields. Raises ProtocolError where they are too many.
    """
    heads = {id(each.head): each.head.cost for each in streams.values()}
    whole = sum(heads.values()) + head.cost
    if whole > _MOST_FIELDS:
        raise ProtocolError(ENHANCE_YOUR_CALM, f"open requests with {whole} bytes of header fields")
    return whole
