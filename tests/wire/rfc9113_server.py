"""What RFC 9113 asks of a server, as data: frames of a client, and what a server has to make of them."""

from bench.wire import frames
from bench.wire.frames import (
    ACK,
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
    STREAM_CLOSED,
    WINDOW_UPDATE,
    frame,
)  # fmt: skip
from tests.wire.rfc9113 import Case, asking, data, fields, header, without

U32 = 2**31 - 1
TRAILERS = END_HEADERS | END_STREAM


def changed(name: str, value: str) -> list[tuple[str, str]]:
    """The fields of a request, one of them with another value."""
    return [(each, value if each == name else usual) for each, usual in asking()]


def malformed(section: str, what: str, *extra: tuple[str, str], taken_out: str = "") -> Case:
    """A request whose header fields are malformed: its stream is reset."""
    return Case(section, what, header(1, [*without(taken_out), *extra]) + data(1), reset={1: PROTOCOL_ERROR})


def fine(section: str, what: str, sent: bytes, **expected: object) -> Case:
    return Case(section, what, sent, taken=(1,), **expected)  # type: ignore[arg-type]


def broken(section: str, what: str, sent: bytes, code: int) -> Case:
    return Case(section, what, sent, goaway=code)


SETTING = {
    "push": lambda value: frames.settings({frames.ENABLE_PUSH: value}),
    "window": lambda value: frames.settings({frames.INITIAL_WINDOW_SIZE: value}),
    "frame": lambda value: frames.settings({frames.MAX_FRAME_SIZE: value}),
}

CASES = [
    # 4 frames
    fine("4.1", "a frame of an unknown type is ignored", frame(0xEE, 0xFF, 1, b"?" * 20) + header(1) + data(1)),
    fine("4.1", "flags without a meaning are ignored", header(1, flags=END_HEADERS | 0x42) + data(1)),
    fine("4.1", "the reserved bit of the stream is ignored", header(1 | 1 << 31) + data(1)),
    fine("4.1", "an unknown setting is ignored", frames.settings({0x99: 7}) + header(1) + data(1)),
    broken("4.2", "a frame beyond SETTINGS_MAX_FRAME_SIZE", header(1) + frame(DATA, 0, 1, bytes(1_048_577)), FRAME_SIZE_ERROR),
    broken("4.2", "a PING of seven bytes", frame(PING, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    broken("4.2", "SETTINGS of five bytes", frame(SETTINGS, 0, 0, bytes(5)), FRAME_SIZE_ERROR),
    broken("4.2", "RST_STREAM of three bytes", header(1) + frame(RST_STREAM, 0, 1, bytes(3)), FRAME_SIZE_ERROR),
    broken("4.2", "WINDOW_UPDATE of five bytes", frame(WINDOW_UPDATE, 0, 0, bytes(5)), FRAME_SIZE_ERROR),
    broken("4.2", "GOAWAY of four bytes", frame(GOAWAY, 0, 0, bytes(4)), FRAME_SIZE_ERROR),
    broken("4.3", "a block that is not HPACK", frame(HEADERS, 4, 1, b"\xff\xff\xff\xff\xff\xff"), COMPRESSION_ERROR),
    broken("4.3", "an index beyond the tables", frame(HEADERS, 4, 1, b"\xc6"), COMPRESSION_ERROR),
    broken("4.3", "a block interrupted by PING", header(1, flags=0) + frame(PING, 0, 0, bytes(8)), PROTOCOL_ERROR),
    broken("4.3", "a block interrupted by DATA", header(1, flags=0) + data(1), PROTOCOL_ERROR),
    broken("4.3", "a block continued on another stream", header(1, flags=0) + frame(CONTINUATION, 4, 3), PROTOCOL_ERROR),
    fine("4.3", "a block in two frames", frame(HEADERS, 0, 1, fields(asking())[:9]) + frame(CONTINUATION, 4, 1, fields(asking())[9:]) + data(1)),
    broken("7541 4.2", "three changes of the table's size in a block", frame(HEADERS, 4, 1, b"\x20\x3f\x01\x20" + fields(asking())), COMPRESSION_ERROR),
    broken("7541 4.2", "a hundred thousand of them", frame(HEADERS, 4, 1, b"\x20" * 100_000), ENHANCE_YOUR_CALM),
    broken("7541 4.2", "a change of size behind a field", frame(HEADERS, 4, 1, fields(asking()) + b"\x20"), COMPRESSION_ERROR),
    broken("7541 5.1", "an integer without end", frame(HEADERS, 4, 1, b"\x7f" + b"\x80" * 2000), COMPRESSION_ERROR),
    broken("7541 5.2", "a string longer than its block", frame(HEADERS, 4, 1, b"\x00\x7e\x01"), COMPRESSION_ERROR),
    fine("7541 6.3", "two changes of the table's size", frame(HEADERS, 4, 1, b"\x20\x20" + fields(asking())) + data(1)),
    broken("10.5.1", "a block beyond SETTINGS_MAX_HEADER_LIST_SIZE", frame(HEADERS, 4, 1, bytes(70_000)), ENHANCE_YOUR_CALM),
    # 5 streams
    broken("5.1", "DATA on an idle stream", data(1), PROTOCOL_ERROR),
    broken("5.1", "RST_STREAM on an idle stream", frames.rst_stream(1, 8), PROTOCOL_ERROR),
    broken("5.1", "WINDOW_UPDATE on an idle stream", frames.window_update(1, 1), PROTOCOL_ERROR),
    broken("5.1", "CONTINUATION on an idle stream", frame(CONTINUATION, 4, 1, b""), PROTOCOL_ERROR),
    fine("5.1", "DATA after the request has ended", header(1) + data(1) + data(1), reset={1: STREAM_CLOSED}),
    fine("5.1", "HEADERS after the request has ended", header(1) + data(1) + header(1, flags=TRAILERS), reset={1: STREAM_CLOSED}),
    Case("5.1", "DATA after the client's own reset", header(1) + frames.rst_stream(1, 8) + data(1), reset={1: STREAM_CLOSED}),
    broken("5.1", "HEADERS after the client's own reset", header(1) + frames.rst_stream(1, 8) + header(1), PROTOCOL_ERROR),
    fine("5.1", "WINDOW_UPDATE after the request has ended", header(1) + data(1) + frames.window_update(1, 1)),
    fine("5.1", "RST_STREAM after the request has ended", header(1) + data(1) + frames.rst_stream(1, 8)),
    fine("5.1", "PRIORITY on an idle stream", frame(PRIORITY, 0, 9, bytes(5)) + header(1) + data(1)),
    Case("5.1", "DATA that crosses our reset is ignored", header(1, [("x-no-pseudo", "1")]) + data(1) + data(1), reset={1: PROTOCOL_ERROR}),
    Case("5.1", "HEADERS that cross our reset are ignored", header(1, [("x-no-pseudo", "1")]) + header(1, flags=TRAILERS), reset={1: PROTOCOL_ERROR}),
    broken("5.1.1", "a request on an even stream", header(2), PROTOCOL_ERROR),
    broken("5.1.1", "a request on stream 0", header(0), PROTOCOL_ERROR),
    Case("5.1.1", "a stream below the last one", header(5) + data(5) + header(3) + data(3), taken=(5,), goaway=PROTOCOL_ERROR),
    broken("5.1.1", "DATA on stream 0", data(0), PROTOCOL_ERROR),
    # 6 frame definitions
    broken("6.1", "padding as long as the payload", header(1) + frame(DATA, PADDED | END_STREAM, 1, b"\x05abcd"), PROTOCOL_ERROR),
    broken("6.1", "padded DATA without a pad length", header(1) + frame(DATA, PADDED, 1), FRAME_SIZE_ERROR),
    fine("6.1", "padded DATA", header(1) + frame(DATA, PADDED | END_STREAM, 1, b"\x03" + bytes(5) + bytes(3))),
    broken("6.2", "HEADERS whose padding is too long", frame(HEADERS, PADDED | END_HEADERS, 1, b"\x09abc"), PROTOCOL_ERROR),
    fine("6.2", "padded and prioritised HEADERS", frame(HEADERS, PADDED | PRIORITISED | END_HEADERS, 1, b"\x02" + bytes(5) + fields(asking()) + bytes(2)) + data(1)),
    Case("6.2", "HEADERS that are padding alone", frame(HEADERS, PADDED | END_HEADERS, 1, b"\x03abc") + data(1), reset={1: PROTOCOL_ERROR}),
    broken("6.2", "padded HEADERS without a pad length", frame(HEADERS, PADDED | END_HEADERS, 1), FRAME_SIZE_ERROR),
    broken("6.2", "prioritised HEADERS of four bytes", frame(HEADERS, PRIORITISED | END_HEADERS, 1, bytes(4)), FRAME_SIZE_ERROR),
    broken("6.2", "padding that leaves less than a priority", frame(HEADERS, PADDED | PRIORITISED | END_HEADERS, 1, b"\x04" + bytes(8)), PROTOCOL_ERROR),
    fine("6.2", "HEADERS that depend on themselves", frame(HEADERS, PRIORITISED | END_HEADERS, 1, b"\0\0\0\x01\x0f" + fields(asking())) + data(1)),
    fine("6.3", "a stream that depends on itself", frame(PRIORITY, 0, 1, b"\0\0\0\x01\x0f") + header(1) + data(1)),
    fine("6.1", "DATA that is padding alone", header(1) + frame(DATA, PADDED, 1, b"\x04abcd") + data(1)),
    fine("6.5.2", "the least and the most of each setting", frames.settings({frames.HEADER_TABLE_SIZE: 2**32 - 1, frames.ENABLE_PUSH: 1, frames.MAX_CONCURRENT_STREAMS: 0, frames.INITIAL_WINDOW_SIZE: U32, frames.MAX_FRAME_SIZE: 2**24 - 1, frames.MAX_HEADER_LIST_SIZE: 0}) + header(1) + data(1)),
    broken("6.5.2", "INITIAL_WINDOW_SIZE of 2^32 - 1", SETTING["window"](2**32 - 1), FLOW_CONTROL_ERROR),
    broken("6.5.2", "a setting that is wrong behind one that is right", frames.settings({frames.MAX_FRAME_SIZE: 20_000, frames.ENABLE_PUSH: 3}), PROTOCOL_ERROR),
    broken("6.6", "PUSH_PROMISE by a client, on stream 0", frame(PUSH_PROMISE, 4, 0, bytes(4)), PROTOCOL_ERROR),
    fine("6.9", "the reserved bit of an increment", frame(WINDOW_UPDATE, 0, 0, b"\x80\0\0\x01") + header(1) + data(1)),
    broken("6.9", "an increment of the reserved bit alone", frame(WINDOW_UPDATE, 0, 0, b"\x80\0\0\0"), PROTOCOL_ERROR),
    broken("6.3", "PRIORITY on stream 0", frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL_ERROR),
    broken("6.3", "PRIORITY of four bytes", frame(PRIORITY, 0, 1, bytes(4)), FRAME_SIZE_ERROR),
    broken("6.4", "RST_STREAM on stream 0", frames.rst_stream(0, 8), PROTOCOL_ERROR),
    broken("6.5", "SETTINGS on a stream", frame(SETTINGS, 0, 1), PROTOCOL_ERROR),
    broken("6.5", "an acknowledgement with content", frame(SETTINGS, ACK, 0, bytes(6)), FRAME_SIZE_ERROR),
    broken("6.5.2", "ENABLE_PUSH 2", SETTING["push"](2), PROTOCOL_ERROR),
    broken("6.5.2", "INITIAL_WINDOW_SIZE beyond 2^31 - 1", SETTING["window"](2**31), FLOW_CONTROL_ERROR),
    broken("6.5.2", "MAX_FRAME_SIZE below 16,384", SETTING["frame"](16_383), PROTOCOL_ERROR),
    broken("6.5.2", "MAX_FRAME_SIZE beyond 2^24 - 1", SETTING["frame"](2**24), PROTOCOL_ERROR),
    broken("6.6", "PUSH_PROMISE by a client", header(1) + frame(PUSH_PROMISE, 4, 1, bytes(4)), PROTOCOL_ERROR),
    broken("6.7", "PING on a stream", frame(PING, 0, 1, bytes(8)), PROTOCOL_ERROR),
    fine("6.7", "a PING that is an answer is not answered", frame(PING, ACK, 0, bytes(8)) + header(1) + data(1)),
    broken("6.8", "GOAWAY on a stream", frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL_ERROR),
    broken("6.9", "WINDOW_UPDATE of 0 on the connection", frames.window_update(0, 0), PROTOCOL_ERROR),
    broken("6.9", "WINDOW_UPDATE of 0 on a stream", header(1) + frames.window_update(1, 0), PROTOCOL_ERROR),
    broken("6.9.1", "the connection's window beyond 2^31 - 1", frames.window_update(0, U32), FLOW_CONTROL_ERROR),
    broken("6.9.1", "a stream's window beyond 2^31 - 1, at once", header(1) + frames.window_update(1, U32), FLOW_CONTROL_ERROR),
    broken("6.9.1", "a stream's window beyond 2^31 - 1, in two steps", header(1) + frames.window_update(1, 2**30) * 2, FLOW_CONTROL_ERROR),
    Case("6.9.2", "an initial window that makes a stream's too large", header(1) + data(1) + frames.window_update(1, 2**30) + SETTING["window"](2**31 - 2**30), taken=(1,), goaway=FLOW_CONTROL_ERROR),
    broken("6.10", "CONTINUATION behind a whole block", header(1) + frame(CONTINUATION, 4, 1, b""), PROTOCOL_ERROR),
    broken("6.10", "an empty CONTINUATION within a block", header(1, flags=0) + frame(CONTINUATION, 0, 1), ENHANCE_YOUR_CALM),
    # 8.1 requests
    fine("8.1", "trailers", header(1) + data(1, flags=0) + header(1, [("x-end", "1")], flags=TRAILERS)),
    Case("8.1", "trailers that do not end the stream", header(1) + data(1, flags=0) + header(1, [("x-end", "1")]), reset={1: PROTOCOL_ERROR}),
    Case("8.1", "a pseudo-header field in trailers", header(1) + data(1, flags=0) + header(1, [(":path", "/")], flags=TRAILERS), reset={1: PROTOCOL_ERROR}),
    Case("8.1", "a connection field in trailers", header(1) + data(1, flags=0) + header(1, [("upgrade", "x")], flags=TRAILERS), reset={1: PROTOCOL_ERROR}),
    fine("8.1.1", "content-length that is right", header(1, [*asking(), ("content-length", "13")]) + data(1)),
    fine("8.1.1", "the same in pieces", header(1, [*asking(), ("content-length", "13")]) + data(1, cut=4)),
    Case("8.1.1", "content-length that is too large", header(1, [*asking(), ("content-length", "14")]) + data(1), reset={1: PROTOCOL_ERROR}),
    Case("8.1.1", "content-length that is too small", header(1, [*asking(), ("content-length", "1")]) + data(1), reset={1: PROTOCOL_ERROR}),
    Case("8.1.1", "content-length without content", header(1, [*asking(), ("content-length", "5")], flags=TRAILERS), reset={1: PROTOCOL_ERROR}),
    malformed("8.1.1", "two lengths", ("content-length", "13"), ("content-length", "14")),
    malformed("8.1.1", "a length that is no number", ("content-length", "+13")),
    # 8.2 fields
    malformed("8.2.1", "an upper-case name", ("X-Upper", "1")),
    malformed("8.2.1", "a blank in a name", ("x y", "1")),
    malformed("8.2.1", "a NUL in a name", ("x\0y", "1")),
    malformed("8.2.1", "a byte beyond ASCII in a name", ("x\xff", "1")),
    malformed("8.2.1", "a colon within a name", ("x:y", "1")),
    malformed("8.2.1", "an empty name", ("", "1")),
    malformed("8.2.1", "a NUL in a value", ("x-a", "1\x002")),
    malformed("8.2.1", "a line feed in a value", ("x-a", "1\n2")),
    malformed("8.2.1", "a carriage return in a value", ("x-a", "1\r2")),
    malformed("8.2.1", "a blank before a value", ("x-a", " 1")),
    malformed("8.2.1", "a tab behind a value", ("x-a", "1\t")),
    malformed("8.2.2", "connection", ("connection", "close")),
    malformed("8.2.2", "keep-alive", ("keep-alive", "5")),
    malformed("8.2.2", "proxy-connection", ("proxy-connection", "close")),
    malformed("8.2.2", "transfer-encoding", ("transfer-encoding", "chunked")),
    malformed("8.2.2", "upgrade", ("upgrade", "h2c")),
    Case("8.2.2", "te: gzip", header(1, changed("te", "gzip")) + data(1), reset={1: PROTOCOL_ERROR}),
    fine("8.2.2", "te: trailers", header(1) + data(1)),
    fine("8.2.1", "an empty value", header(1, [*asking(), ("x-a", "")]) + data(1)),
    fine("8.2.1", "blanks and bytes beyond ASCII within a value", header(1, [*asking(), ("x-a", "1 \t\xe4 2")]) + data(1)),
    # 8.3 pseudo-header fields
    malformed("8.3", "an unknown pseudo-header field", (":extra", "1")),
    malformed("8.3", "a pseudo-header field of responses", (":status", "200")),
    malformed("8.3", ":protocol, which was not offered", (":protocol", "websocket")),
    Case("8.3", "a pseudo-header field behind a regular one", header(1, [*without(":path"), (":path", "/t.Test/Echo")]) + data(1), reset={1: PROTOCOL_ERROR}),
    Case("8.3.1", ":path twice", header(1, [(":path", "/a"), *asking()]) + data(1), reset={1: PROTOCOL_ERROR}),
    Case("8.3.1", ":method twice", header(1, [(":method", "POST"), *asking()]) + data(1), reset={1: PROTOCOL_ERROR}),
    malformed("8.3.1", "no :method", taken_out=":method"),
    malformed("8.3.1", "no :scheme", taken_out=":scheme"),
    malformed("8.3.1", "no :path", taken_out=":path"),
    Case("8.3.1", "an empty :path", header(1, changed(":path", "")) + data(1), reset={1: PROTOCOL_ERROR}),
    fine("8.3.1", "no :authority", header(1, without(":authority")) + data(1)),
    malformed("8.3.1", "a host that differs from :authority", ("host", "elsewhere")),
    fine("8.3.1", "a host that equals :authority", header(1, [*asking(), ("host", "test:1")]) + data(1)),
]  # fmt: skip
