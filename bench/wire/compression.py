"""Compressed request messages, as gRPC (grpc-encoding) and HTTP (Content-Encoding) name them."""

import zlib
from typing import Final

GZIP: Final = "gzip"
_LEVEL: Final = 6
"""gRPC's own, and zlib's default."""
_GZIP_FORMAT: Final = 16 + zlib.MAX_WBITS


class Gzipped(bytes):
    """A message that is compressed already: whoever sends it says so and compresses nothing."""


def gzipped(message: bytes) -> Gzipped:
    """The message in the gzip format (RFC 1952), without a time in it: equal messages give equal bytes."""
    if isinstance(message, Gzipped):
        return message
    return Gzipped(zlib.compress(message, _LEVEL, _GZIP_FORMAT))
