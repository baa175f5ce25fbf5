"""A unary gRPC call in terms of HTTP/2 (the gRPC over HTTP/2 protocol document)."""

import base64
import binascii
import re
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from bench.wire import field_rules, frames
from bench.wire.header_blocks import literal

OK: Final = 0
CANCELLED: Final = 1
UNKNOWN: Final = 2
DEADLINE_EXCEEDED: Final = 4
PERMISSION_DENIED: Final = 7
RESOURCE_EXHAUSTED: Final = 8
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13
UNAVAILABLE: Final = 14
UNAUTHENTICATED: Final = 16

PREFIX: Final = struct.Struct(">BI")
"""Before each message: compressed flag, length."""

LARGEST_MESSAGE: Final = 2**31 - 1 - PREFIX.size
"""What fits a stream's window at its largest."""

_UNITS: Final = ((b"n", 10**9), (b"u", 10**6), (b"m", 10**3), (b"S", 1))
_PER_SECOND: Final = {b"H": 1 / 3600, b"M": 1 / 60, b"S": 1.0, b"m": 1e3, b"u": 1e6, b"n": 1e9}
_LONGEST_TIMEOUT: Final = 99_999_999  # seconds, three years: eight digits are the most a value may have

_STATUS_OF_RESET: Final = {
    frames.REFUSED_STREAM: UNAVAILABLE,
    frames.CANCEL: CANCELLED,
    frames.ENHANCE_YOUR_CALM: RESOURCE_EXHAUSTED,
    frames.INADEQUATE_SECURITY: PERMISSION_DENIED,
    frames.STREAM_CLOSED: UNKNOWN,
}
_STATUS_OF_HTTP: Final = {
    b"400": INTERNAL,
    b"401": UNAUTHENTICATED,
    b"403": PERMISSION_DENIED,
    b"404": UNIMPLEMENTED,
    b"429": UNAVAILABLE,
    b"502": UNAVAILABLE,
    b"503": UNAVAILABLE,
    b"504": UNAVAILABLE,
}
_RESERVED: Final = frozenset(
    (
        *(b"te", b"content-type", b"content-length", b"user-agent", b"host"),
        *(b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"),
    )
)
"""The protocol's own names, and those of one connection, which HTTP/2 forbids (RFC 9113, 8.2.2)."""
_NAME: Final = re.compile(r"[0-9a-z_.-]+")
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")


class MessageError(Exception):
    """A message cannot be taken from its frames; `code` is the gRPC status that says so."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def quantised(seconds: float) -> float:
    """A time limit with three significant digits, rounded up: few values occur, each with its remembered header block.

    1 ns is the least, about three years the most.
    """
    if seconds >= _LONGEST_TIMEOUT:
        return float(_LONGEST_TIMEOUT)
    nanoseconds = max(1, round(seconds * 1e9))
    step = 10 ** max(0, len(str(nanoseconds)) - 3)
    rounded: int = -(-nanoseconds // step) * step
    return rounded / 1e9


def timeout_text(seconds: float) -> bytes:
    """The value of grpc-timeout for a quantised limit."""
    nanoseconds = round(seconds * 1e9)
    for unit, per_second in _UNITS:
        value, rest = divmod(nanoseconds * per_second, 10**9)
        if value <= 99_999_999 and not rest:
            return b"%d%s" % (value, unit)
    return b"%dS" % min(-(-nanoseconds // 10**9), _LONGEST_TIMEOUT)


def read_timeout(text: bytes) -> float | None:
    """Seconds of a grpc-timeout value; None where it is not one (a malformed one is to be refused)."""
    per_second, digits = _PER_SECOND.get(text[-1:]), text[:-1]
    if per_second is None or not digits.isdigit() or len(digits) > 8:
        return None
    return int(digits) / per_second


def percent_encoded(text: str) -> bytes:
    """A grpc-message: bytes outside printable ASCII, the per cent sign, and blanks at the ends as %XX of their UTF-8."""
    raw = text.encode("utf-8", "replace")
    start, end = len(raw) - len(raw.lstrip(b" ")), len(raw.rstrip(b" "))
    return b"".join(
        bytes((byte,)) if 0x20 <= byte <= 0x7E and byte != 0x25 and start <= at < end else b"%%%02X" % byte
        for at, byte in enumerate(raw)
    )


def percent_decoded(value: bytes) -> str:
    """The text of a grpc-message; what is not valid stays as it is, as the protocol document asks."""
    return _ESCAPE.sub(lambda match: bytes((int(match[1], 16),)), value).decode("utf-8", "replace")


def metadata_fields(metadata: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Call metadata as header fields; values of names ending in -bin are given as base64 and stay so.

    Raises ValueError for names that gRPC reserves or HTTP/2 cannot carry, and values that are not printable ASCII.
    """
    fields = []
    for name, value in metadata:
        lower = name.lower()
        if lower in ("host", ":authority"):
            raise ValueError(f"metadata name {name!r} is reserved: --authority NAME sets it")
        if not _NAME.fullmatch(lower) or lower.startswith("grpc-") or lower.encode() in _RESERVED:
            raise ValueError(
                f"metadata name {name!r} is reserved or holds characters that a header cannot carry"
            )
        text = value.strip(" ")
        if not text.isascii() or (text and not text.isprintable()):
            raise ValueError(
                f"metadata value of {name!r} is not printable ASCII: use a name ending in -bin and base64"
            )
        if lower.endswith("-bin"):
            try:
                binary_value(text)
            except ValueError:
                raise ValueError(f"metadata value of {name!r} is not base64, as -bin requires") from None
        fields.append((lower.encode(), text.encode()))
    return fields


def passing_fields(timeout: float | None, metadata: Iterable[tuple[str, str]]) -> bytes:
    """A call's own fields, its time limit in seconds and its metadata, as literals that leave every table alone."""
    fields = metadata_fields(metadata)
    if timeout is not None:
        fields.insert(0, (b"grpc-timeout", timeout_text(timeout)))
    return b"".join(literal(name, value) for name, value in fields)


def status_of_reset(code: int) -> int:
    """The gRPC status of a stream ended by RST_STREAM with this HTTP/2 error code ("Errors")."""
    return _STATUS_OF_RESET.get(code, INTERNAL if code < len(frames.ERROR_NAMES) else UNKNOWN)


class ResponseBlock(NamedTuple):
    """One header block of a response, as a client reads it."""

    informational: bool
    """A 1xx block, which the real one follows."""
    refusal: tuple[int, str] | None
    """Status and details where the block, as the first of a response, is not gRPC's."""
    encoding: bytes
    """grpc-encoding of the response's messages."""
    status: int | None
    """grpc-status; None: absent, as in a block that opens a response."""
    details: str
    closing: str | None
    """Why the block cannot end a response that was opened; None: it can."""
    plain_end: bool
    """It can, and says OK."""
    malformed: bool
    """No response may open like this: `refusal` says why."""
    length: int | None
    """content-length; None: not announced."""


def read_response_block(fields: Sequence[tuple[bytes, bytes]]) -> ResponseBlock:
    """Interpret a block of a response, opening or closing; later fields of the same name win."""
    named = dict(fields)
    problem, closing = field_rules.response_problem(fields), field_rules.trailers_problem(fields)
    http = named.get(b":status", b"")
    content = named.get(b"content-type", b"")
    details = percent_decoded(named.get(b"grpc-message", b""))
    refusal = None
    if problem is not None and (closing is not None or http):
        refusal = (INTERNAL, f"the server sent a malformed header block: {problem}")
    elif http != b"200":
        shown = http.decode("ascii", "replace") or "missing"
        refusal = (_STATUS_OF_HTTP.get(http, UNKNOWN), f"the server answered with HTTP status {shown}")
    elif not content.startswith(b"application/grpc"):
        refusal = (
            UNKNOWN,
            f"the server's content-type is {content.decode('ascii', 'replace')!r}, not gRPC's",
        )
    status = None
    if (text := named.get(b"grpc-status")) is not None:
        status = int(text) if text.isdigit() and len(text) <= 3 else UNKNOWN
    return ResponseBlock(
        informational=len(http) == 3 and http.startswith(b"1"),
        refusal=refusal,
        encoding=named.get(b"grpc-encoding", b"identity"),
        status=status,
        details=details,
        closing=closing,
        plain_end=closing is None and status == OK,
        malformed=problem is not None,
        length=None if problem is not None else field_rules.content_length(fields),
    )


class RequestBlock(NamedTuple):
    """The header block of a request, as a server reads it."""

    method: str
    path: str
    content_type: str
    encoding: bytes
    timeout: float | None
    """Seconds; None: no limit."""
    metadata: tuple[tuple[str, str], ...]
    """Every field that is neither HTTP/2's nor gRPC's own."""
    malformed: str | None
    """Why the block cannot open a request; None: it can."""
    malformed_trailers: str | None
    """Why the block cannot end a request; None: it can."""
    length: int | None
    """content-length; None: not announced."""
    cost: int
    """Bytes that the decoded fields take, each with the 32 of RFC 9113, 6.5.2."""
    opens: bool
    """Whether it opens a gRPC call: found out once for each block, and not for each request that has it."""


def read_request_block(fields: Sequence[tuple[bytes, bytes]]) -> RequestBlock:
    """Interpret the block that opens a request (RFC 9113, 8.3; gRPC "Requests")."""
    named = dict(fields)
    malformed = field_rules.request_problem(fields)
    timeout = None
    if (text := named.get(b"grpc-timeout")) is not None:
        timeout = read_timeout(text)
        if timeout is None:
            malformed = "a malformed grpc-timeout"
    method, content = named.get(b":method", b""), named.get(b"content-type", b"")
    return RequestBlock(
        method=method.decode("latin-1"),
        path=named.get(b":path", b"").decode("latin-1"),
        content_type=content.decode("latin-1"),
        encoding=named.get(b"grpc-encoding", b"identity"),
        timeout=timeout,
        metadata=tuple(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in fields
            if not name.startswith((b":", b"grpc-")) and name not in _RESERVED
        ),
        malformed=malformed,
        malformed_trailers=field_rules.trailers_problem(fields),
        length=None if malformed is not None else field_rules.content_length(fields),
        cost=sum(len(name) + len(value) + 32 for name, value in fields),
        opens=malformed is None and method == b"POST" and content.startswith(b"application/grpc"),
    )


class Request(NamedTuple):
    """A complete unary request."""

    stream: int
    """What `respond` has to be given."""
    path: str
    metadata: tuple[tuple[str, str], ...]
    """Header fields that are neither HTTP/2's nor gRPC's; -bin values in base64."""
    message: bytes
    timeout: float | None
    """Seconds that the client grants, from the arrival on; None: no limit."""


class Packed(NamedTuple):
    """A request whose message takes long to unpack."""

    request: Request
    """With its message as it was sent."""
    largest: int
    """Bytes that the message may have."""

    def unpacked(self) -> Request:
        """With its message. Raises MessageError; may be called in any thread."""
        return self.request._replace(message=decompressed(self.request.message, b"gzip", self.largest))


_SMALL_PIECE: Final = 1024


def gather(parts: list[bytes | bytearray], content: bytes) -> None:
    """Add a piece of a body to those before it, so that all of them take little more memory than their content.

    A piece takes about 40 bytes beside its content: 1 MiB in DATA frames of two bytes would take 25 MiB.
    """
    if len(content) >= _SMALL_PIECE:
        parts.append(content)
    elif parts and isinstance(last := parts[-1], bytearray):
        last += content
    else:
        parts.append(bytearray(content))


def one_message(
    parts: Sequence[bytes | bytearray], encoding: bytes, largest: int, *, at_once: bool = False
) -> bytes:
    """The single message of a unary body in parts; raises MessageError where there is none, more than one, or a broken one.

    at_once: raise StillPacked for one that takes longer than a moment to unpack.
    """
    if not parts:
        raise MessageError(INTERNAL, "a unary call without a message")
    first, *others = parts if len(parts[0]) >= PREFIX.size else (b"".join(parts),)
    if len(first) < PREFIX.size:
        raise MessageError(INTERNAL, "a message ends within its length prefix")
    compressed, length = PREFIX.unpack_from(first)
    size = len(first) + sum(map(len, others)) - PREFIX.size
    if length > largest:
        raise MessageError(RESOURCE_EXHAUSTED, f"a message of {length} bytes exceeds the limit of {largest}")
    if size < length:
        raise MessageError(INTERNAL, f"a message of {length} bytes ends after {size}")
    if size > length:
        raise MessageError(INTERNAL, "more than one message in a unary call")
    content = b"".join((memoryview(first)[PREFIX.size :], *others))
    if compressed == 0:
        return content
    if compressed != 1:
        raise MessageError(INTERNAL, f"compressed flag {compressed}")
    if at_once and encoding == b"gzip" and _long(content):
        raise StillPacked(content)
    return decompressed(content, encoding, largest)


class StillPacked(Exception):  # noqa: N818 - an adjective says what the message is
    """A message takes longer than a moment to unpack; `args` has it as it was sent."""


def _long(content: bytes) -> bool:
    """Whether a gzip message has more than 64 KiB, or 16 times what was sent: what comes in one read unpacks in 10 ms."""
    most = min(_UNPACKED_AT_ONCE, _RATIO_AT_ONCE * len(content))
    try:
        return len(zlib.decompressobj(wbits=16 + zlib.MAX_WBITS).decompress(content, most + 1)) > most
    except zlib.error:
        return False  # `decompressed` says what is wrong


_UNPACKED_AT_ONCE: Final = 65_536
_RATIO_AT_ONCE: Final = 16
_USUAL_RATIO: Final = 100
_ALWAYS_UNPACKED: Final = 4 << 20


def decompressed(content: bytes, encoding: bytes, largest: int) -> bytes:
    """A gzip message's content; other encodings are refused with MessageError.

    At most `largest` bytes, and no more than 4 MiB or a hundred times what was sent: who unpacks a message unpacks
    nothing else meanwhile, and zeros shrink to a thousandth.
    """
    if encoding != b"gzip":
        shown = encoding.decode("ascii", "replace")
        raise MessageError(
            INTERNAL if encoding == b"identity" else UNIMPLEMENTED,
            f"a compressed message with grpc-encoding {shown!r}: only gzip is understood",
        )
    largest = min(largest, max(_ALWAYS_UNPACKED, _USUAL_RATIO * len(content)))
    inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        message = inflate.decompress(content, largest + 1)
    except zlib.error as problem:
        raise MessageError(INTERNAL, f"a gzip message cannot be decompressed: {problem}") from problem
    if len(message) > largest:
        raise MessageError(RESOURCE_EXHAUSTED, f"a decompressed message exceeds the limit of {largest} bytes")
    if not inflate.eof or inflate.unused_data:
        raise MessageError(INTERNAL, "a gzip message is cut short or followed by other bytes")
    return message


def binary_value(value: str) -> bytes:
    """The bytes of a -bin metadata value: base64 with or without padding; raises ValueError where it is neither."""
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except binascii.Error as problem:
        raise ValueError(f"not base64: {value!r}") from problem
