"""What RFC 9113 asks of a client, as data: frames of a server, and how the call on stream 1 ends."""

from bench.wire import frames
from bench.wire.frames import (
    ACK,
    CANCEL,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITISED,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)  # fmt: skip
from bench.wire.unary import INTERNAL, OK, UNAVAILABLE, UNKNOWN
from tests.wire.rfc9113 import Case, Fields, data, fields, header

OPENING: Fields = [(":status", "200"), ("content-type", "application/grpc")]
CLOSING: Fields = [("grpc-status", "0")]
ENDS = END_HEADERS | END_STREAM


def answer(opening: Fields = OPENING, closing: Fields = CLOSING, body: bytes | None = None) -> bytes:
    """A whole answer on stream 1."""
    return header(1, opening) + (data(1, flags=0) if body is None else body) + header(1, closing, flags=ENDS)


def good(section: str, what: str, received: bytes) -> Case:
    return Case(section, what, received, status=OK)


def opening(section: str, what: str, listed: Fields) -> Case:
    """A response that opens in a malformed way: its stream is reset, and the call fails."""
    return Case(section, what, header(1, listed), status=INTERNAL, reset={1: PROTOCOL_ERROR})


def closing(section: str, what: str, *extra: tuple[str, str]) -> Case:
    """Trailers that are malformed: the call fails, although they say OK."""
    return Case(section, what, answer(closing=[*extra, *CLOSING]), status=INTERNAL)


def broken(section: str, what: str, received: bytes, code: int) -> Case:
    return Case(section, what, received, status=INTERNAL, goaway=code)


CASES = [
    good("8.1", "an answer", answer()),
    good("4.1", "a frame of an unknown type is ignored", frame(0xEE, 0xFF, 1, b"?") + answer()),
    good("4.1", "flags without a meaning are ignored", header(1, OPENING, flags=END_HEADERS | 0x42) + data(1, flags=0) + header(1, CLOSING, flags=ENDS)),
    good("4.3", "a block in two frames", frame(HEADERS, 0, 1, fields(OPENING)[:7]) + frame(CONTINUATION, 4, 1, fields(OPENING)[7:]) + data(1, flags=0) + header(1, CLOSING, flags=ENDS)),
    good("6.1", "padded DATA", answer(body=frame(DATA, PADDED, 1, b"\x02" + bytes(5) + bytes(2)))),
    good("8.1", "an answer in pieces", answer(body=data(1, flags=0, cut=3))),
    good("8.1", "an informational response before it", header(1, [(":status", "103")]) + answer()),
    good("8.1.1", "content-length that is right", answer([*OPENING, ("content-length", "13")])),
    good("8.1.1", "the same in pieces", answer([*OPENING, ("content-length", "13")], body=data(1, flags=0, cut=5))),
    good("gRPC", "an error text that ends with a blank", answer(closing=[*CLOSING, ("grpc-message", "has no shape ")])),
    Case("gRPC", "an error without content", header(1, [*OPENING, ("grpc-status", "14")], flags=ENDS), status=UNAVAILABLE),
    Case("gRPC", "an end without a status", answer(closing=[("x-a", "1")]), status=UNKNOWN),
    Case("gRPC", "DATA that ends the stream", header(1, OPENING) + data(1), status=INTERNAL),
    # 4 and 5
    broken("4.2", "a frame beyond SETTINGS_MAX_FRAME_SIZE", header(1, OPENING) + frame(DATA, 0, 1, bytes(1_048_577)), FRAME_SIZE_ERROR),
    broken("4.3", "a block that is not HPACK", frame(HEADERS, 4, 1, b"\xff\xff\xff\xff\xff\xff"), COMPRESSION_ERROR),
    broken("4.3", "a block interrupted by DATA", header(1, OPENING, flags=0) + data(1), PROTOCOL_ERROR),
    broken("7541 4.2", "three changes of the table's size in a block", frame(HEADERS, 4, 1, b"\x20" * 3 + fields(OPENING)), COMPRESSION_ERROR),
    broken("7541 4.2", "a hundred thousand of them", frame(HEADERS, 4, 1, b"\x20" * 100_000), ENHANCE_YOUR_CALM),
    broken("10.5.1", "a block beyond SETTINGS_MAX_HEADER_LIST_SIZE", frame(HEADERS, 4, 1, bytes(70_000)), ENHANCE_YOUR_CALM),
    broken("5.1", "HEADERS on a stream that we never opened", header(9, OPENING), PROTOCOL_ERROR),
    broken("5.1", "HEADERS on a stream of the server's", header(2, OPENING), PROTOCOL_ERROR),
    broken("5.1", "DATA on a stream that we never opened", data(9), PROTOCOL_ERROR),
    broken("5.1", "RST_STREAM on a stream that we never opened", frames.rst_stream(9, 8), PROTOCOL_ERROR),
    broken("5.1", "WINDOW_UPDATE on a stream that we never opened", frames.window_update(9, 1), PROTOCOL_ERROR),
    broken("5.1", "DATA on stream 0", data(0), PROTOCOL_ERROR),
    good("5.1", "frames behind the end are ignored", answer() + frames.window_update(1, 1) + data(1)),
    # 6
    broken("6.1", "padding as long as the payload", header(1, OPENING) + frame(DATA, PADDED, 1, b"\x05abcd"), PROTOCOL_ERROR),
    good("6.1", "DATA that is padding alone", answer(body=frame(DATA, PADDED, 1, b"\x04abcd") + data(1, flags=0))),
    broken("6.1", "padded DATA without a pad length", header(1, OPENING) + frame(DATA, PADDED, 1), FRAME_SIZE_ERROR),
    good("6.2", "padded and prioritised HEADERS", frame(HEADERS, PADDED | PRIORITISED | END_HEADERS, 1, b"\x02" + bytes(5) + fields(OPENING) + bytes(2)) + data(1, flags=0) + header(1, CLOSING, flags=ENDS)),
    broken("6.2", "HEADERS whose padding is too long", frame(HEADERS, PADDED | END_HEADERS, 1, b"\x09abc"), PROTOCOL_ERROR),
    broken("6.2", "padded HEADERS without a pad length", frame(HEADERS, PADDED | END_HEADERS, 1), FRAME_SIZE_ERROR),
    good("6.3", "a stream that depends on itself", frame(PRIORITY, 0, 1, b"\0\0\0\x01\x0f") + answer()),
    broken("6.3", "PRIORITY on stream 0", frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL_ERROR),
    broken("6.3", "PRIORITY of four bytes", frame(PRIORITY, 0, 1, bytes(4)), FRAME_SIZE_ERROR),
    good("6.5.2", "the least and the most of each setting", frames.settings({frames.HEADER_TABLE_SIZE: 2**32 - 1, frames.ENABLE_PUSH: 0, frames.MAX_CONCURRENT_STREAMS: 2, frames.INITIAL_WINDOW_SIZE: 2**31 - 1, frames.MAX_FRAME_SIZE: 2**24 - 1, frames.MAX_HEADER_LIST_SIZE: 0}) + answer()),
    broken("6.5.2", "MAX_FRAME_SIZE beyond 2^24 - 1", frames.settings({frames.MAX_FRAME_SIZE: 2**24}), PROTOCOL_ERROR),
    broken("6.5.2", "INITIAL_WINDOW_SIZE of 2^32 - 1", frames.settings({frames.INITIAL_WINDOW_SIZE: 2**32 - 1}), FLOW_CONTROL_ERROR),
    broken("6.6", "PUSH_PROMISE on stream 0", frame(PUSH_PROMISE, 4, 0, bytes(4)), PROTOCOL_ERROR),
    broken("6.9", "WINDOW_UPDATE of 0 on a stream", frames.window_update(1, 0), PROTOCOL_ERROR),
    broken("6.9", "an increment of the reserved bit alone", frame(WINDOW_UPDATE, 0, 0, b"\x80\0\0\0"), PROTOCOL_ERROR),
    broken("6.9.1", "a stream's window beyond 2^31 - 1", frames.window_update(1, 2**31 - 1), FLOW_CONTROL_ERROR),
    broken("6.10", "an empty CONTINUATION within a block", header(1, OPENING, flags=0) + frame(CONTINUATION, 0, 1), ENHANCE_YOUR_CALM),
    broken("6.10", "CONTINUATION on another stream", header(1, OPENING, flags=0) + frame(CONTINUATION, 4, 3), PROTOCOL_ERROR),
    broken("4.2", "SETTINGS of five bytes", frame(SETTINGS, 0, 0, bytes(5)), FRAME_SIZE_ERROR),
    broken("4.2", "GOAWAY of four bytes", frame(GOAWAY, 0, 0, bytes(4)), FRAME_SIZE_ERROR),
    broken("6.4", "RST_STREAM on stream 0", frames.rst_stream(0, 8), PROTOCOL_ERROR),
    broken("6.4", "RST_STREAM of three bytes", frame(RST_STREAM, 0, 1, bytes(3)), FRAME_SIZE_ERROR),
    broken("6.5", "SETTINGS on a stream", frame(SETTINGS, 0, 1), PROTOCOL_ERROR),
    broken("6.5", "an acknowledgement with content", frame(SETTINGS, ACK, 0, bytes(6)), FRAME_SIZE_ERROR),
    broken("6.5.2", "a server that announces ENABLE_PUSH", frames.settings({frames.ENABLE_PUSH: 1}), PROTOCOL_ERROR),
    broken("6.5.2", "MAX_FRAME_SIZE below 16,384", frames.settings({frames.MAX_FRAME_SIZE: 1}), PROTOCOL_ERROR),
    broken("6.5.2", "INITIAL_WINDOW_SIZE beyond 2^31 - 1", frames.settings({frames.INITIAL_WINDOW_SIZE: 2**31}), FLOW_CONTROL_ERROR),
    broken("6.6", "PUSH_PROMISE, which is switched off", frame(PUSH_PROMISE, 4, 1, bytes(4)), PROTOCOL_ERROR),
    broken("6.7", "PING on a stream", frame(PING, 0, 1, bytes(8)), PROTOCOL_ERROR),
    broken("6.7", "a PING of seven bytes", frame(PING, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    broken("6.8", "GOAWAY on a stream", frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL_ERROR),
    broken("6.9", "WINDOW_UPDATE of 0", frames.window_update(0, 0), PROTOCOL_ERROR),
    broken("6.9", "WINDOW_UPDATE of five bytes", frame(WINDOW_UPDATE, 0, 0, bytes(5)), FRAME_SIZE_ERROR),
    broken("6.9.1", "the connection's window beyond 2^31 - 1", frames.window_update(0, 2**31 - 1), FLOW_CONTROL_ERROR),
    broken("6.10", "CONTINUATION behind a whole block", header(1, OPENING) + frame(CONTINUATION, 4, 1), PROTOCOL_ERROR),
    # 8
    Case("8.1", "DATA before HEADERS", data(1, flags=0), status=INTERNAL, reset={1: CANCEL}),
    Case("8.1", "trailers that do not end the stream", header(1, OPENING) + data(1, flags=0) + header(1, CLOSING), status=INTERNAL, reset={1: CANCEL}),
    Case("8.1", "an informational response that ends the stream", header(1, [(":status", "100")], flags=ENDS), status=UNKNOWN),
    Case("8.1.1", "content-length that is too large", answer([*OPENING, ("content-length", "14")]), status=INTERNAL),
    Case("8.1.1", "content-length that is too small", answer([*OPENING, ("content-length", "5")]), status=INTERNAL),
    Case("8.1.1", "content-length without content", header(1, [*OPENING, ("grpc-status", "0"), ("content-length", "5")], flags=ENDS), status=INTERNAL),
    opening("8.1.1", "two lengths", [*OPENING, ("content-length", "1"), ("content-length", "2")]),
    opening("8.2.1", "an upper-case name", [*OPENING, ("X-Upper", "1")]),
    opening("8.2.1", "a blank in a name", [*OPENING, ("x y", "1")]),
    opening("8.2.1", "a line feed in a value", [*OPENING, ("x-a", "1\n2")]),
    opening("8.2.1", "a blank before a value", [*OPENING, ("x-a", " 1")]),
    opening("8.2.2", "connection", [*OPENING, ("connection", "close")]),
    opening("8.2.2", "transfer-encoding", [*OPENING, ("transfer-encoding", "chunked")]),
    opening("8.2.2", "te", [*OPENING, ("te", "trailers")]),
    opening("8.3", "an unknown pseudo-header field", [*OPENING[:1], (":extra", "1"), *OPENING[1:]]),
    opening("8.3", "a pseudo-header field of requests", [*OPENING[:1], (":path", "/"), *OPENING[1:]]),
    opening("8.3", "a pseudo-header field behind a regular one", [*OPENING[1:], *OPENING[:1]]),
    opening("8.3.2", ":status twice", [*OPENING[:1], *OPENING]),
    opening("8.3.2", ":status of four digits", [(":status", "2000"), *OPENING[1:]]),
    opening("8.3.2", ":status that is no number", [(":status", "ok"), *OPENING[1:]]),
    closing("8.1", "a pseudo-header field in trailers", (":status", "200")),
    closing("8.2.1", "an upper-case name in trailers", ("X-Upper", "1")),
    closing("8.2.2", "a connection field in trailers", ("connection", "close")),
    Case("8.3.2", "no :status", header(1, OPENING[1:]), status=UNKNOWN, reset={1: PROTOCOL_ERROR}),
]  # fmt: skip
