"""The frames in front of a request's message, made once for each head and packed in one go from then on."""

import struct
from collections.abc import Callable, Sequence

from bench.wire import unary
from bench.wire.exchange import RequestHead
from bench.wire.frames import HEADERS
from bench.wire.header_blocks import HeaderEncoder

Prepared = tuple[Callable[..., bytes], int, bytes]
"""Packs HEADERS, the head of DATA and the length prefix; the first frame's size and type; the block."""


class RequestHeads(HeaderEncoder[Prepared]):
    """The bytes in front of the messages of one connection."""

    def __init__(
        self,
        authority: str,
        scheme: str,
        user_agent: str,
        metadata: Sequence[tuple[str, str]],
        compression: str | None = None,
    ) -> None:
        """compression: of all messages, such as gzip; None: they are sent as they are."""
        super().__init__(_packer)
        self._before_path = [(b":method", b"POST"), (b":scheme", scheme.encode())]
        self._after_path = [
            (b":authority", authority.encode()),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"user-agent", user_agent.encode()),
            (b"grpc-accept-encoding", b"identity,gzip"),
            *([] if compression is None else [(b"grpc-encoding", compression.encode())]),
            *unary.metadata_fields(metadata),
        ]

    def prepare(self, head: RequestHead) -> Prepared:
        """For a head that is not in `known`; to be sent at once and once only, see `encode`."""
        fields = [*self._before_path, (b":path", head.path), *self._after_path]
        return self.encode(head, fields, head.passing)


def _packer(block: bytes) -> Prepared:
    return struct.Struct(f">IBI{len(block)}sIBIBI").pack, len(block) << 8 | HEADERS, block
