"""HTTP/2 frames and their numbers (RFC 9113, sections 4, 6 and 7)."""

import struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

HEAD: Final = struct.Struct(">IBI")
"""Frame header as (length << 8 | type, flags, stream): the 24-bit length and the type share a word."""
HEAD_SIZE: Final = 9

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITISED: Final = 0x20

HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6

DEFAULT_WINDOW: Final = 65_535
DEFAULT_FRAME: Final = 16_384
LARGEST_WINDOW: Final = 2**31 - 1
LARGEST_FRAME: Final = 2**24 - 1
LARGEST_STREAM: Final = 2**31 - 1

ERROR_NAMES: Final = (
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
)
(
    NO_ERROR,
    PROTOCOL_ERROR,
    INTERNAL_ERROR,
    FLOW_CONTROL_ERROR,
    SETTINGS_TIMEOUT,
    STREAM_CLOSED,
    FRAME_SIZE_ERROR,
    REFUSED_STREAM,
    CANCEL,
    COMPRESSION_ERROR,
    CONNECT_ERROR,
    ENHANCE_YOUR_CALM,
    INADEQUATE_SECURITY,
    HTTP_1_1_REQUIRED,
) = range(14)

_WORD: Final = struct.Struct(">I")
_TWO_WORDS: Final = struct.Struct(">II")
_SETTING: Final = struct.Struct(">HI")


class ProtocolError(Exception):
    """The peer broke HTTP/2; the connection has to end with this error code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({ERROR_NAMES[code]})")
        self.code = code


def error_name(code: int) -> str:
    """Name of an HTTP/2 error code; codes outside the specification are shown in hexadecimal."""
    return ERROR_NAMES[code] if code < len(ERROR_NAMES) else f"error 0x{code:x}"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame as bytes."""
    return HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame (RFC 9113, 6.5)."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*pair) for pair in values.items()))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """The (identifier, value) pairs of a SETTINGS payload; its length must be a multiple of 6."""
    return list(_SETTING.iter_unpack(payload))


def window_update(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0 is the connection (RFC 9113, 6.9)."""
    return frame(WINDOW_UPDATE, 0, stream, _WORD.pack(increment))


def rst_stream(stream: int, code: int) -> bytes:
    """A RST_STREAM frame (RFC 9113, 6.4)."""
    return frame(RST_STREAM, 0, stream, _WORD.pack(code))


def goaway(last_stream: int, code: int, text: str = "") -> bytes:
    """A GOAWAY frame; the text travels as debug data (RFC 9113, 6.8)."""
    return frame(GOAWAY, 0, 0, _TWO_WORDS.pack(last_stream, code) + text.encode("utf-8", "replace")[:512])


def headers(stream: int, block: bytes, *, end_stream: bool, largest: int) -> bytes:
    """A header block as HEADERS and, where it exceeds the peer's `largest` frame, CONTINUATION frames."""
    last = END_STREAM if end_stream else 0
    if len(block) <= largest:
        return frame(HEADERS, END_HEADERS | last, stream, block)
    cuts = [block[at : at + largest] for at in range(0, len(block), largest)]
    rest = b"".join(frame(CONTINUATION, 0, stream, cut) for cut in cuts[1:-1])
    return frame(HEADERS, last, stream, cuts[0]) + rest + frame(CONTINUATION, END_HEADERS, stream, cuts[-1])


def word(payload: bytes) -> int:
    """A 31-bit number: the reserved first bit is ignored (RFC 9113, 6.4, 6.8, 6.9)."""
    return int.from_bytes(payload[:4], "big") & LARGEST_WINDOW


def unpadded(flags: int, payload: bytes, *, prioritised: bool) -> bytes:
    """The content of a DATA or HEADERS payload without padding and, in HEADERS, without priority fields.

    Raises ProtocolError where the padding is as long as the payload or longer (RFC 9113, 6.1 and 6.2).
    """
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise ProtocolError(FRAME_SIZE_ERROR, "a padded frame without its pad length")
        start, end = 1, end - payload[0]
    if prioritised and flags & PRIORITISED:
        start += 5
        if start > len(payload):
            raise ProtocolError(FRAME_SIZE_ERROR, "a frame too short for its priority")
    if start > end:
        raise ProtocolError(PROTOCOL_ERROR, "padding longer than its frame")
    return payload[start:end]
