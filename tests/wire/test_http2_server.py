"""A server takes every request that a client may send, and answers each as gRPC demands."""

import gzip
import os
from collections.abc import Callable

import hpack
import pytest

from bench.wire import frames
from bench.wire.frames import (
    CANCEL,
    CONTINUATION,
    DATA,
    HEADERS,
    REFUSED_STREAM,
    RST_STREAM,
    frame,
    rst_stream,
)
from bench.wire.http2_server import ServerConnection
from bench.wire.unary import Request
from tests.wire.wires import asked, message, read_frames, settled_client, settled_server

Fields = list[tuple[str, str]]
REQUEST = [
    (":method", "POST"), (":scheme", "http"), (":path", "/t.Test/Echo"), (":authority", "x"),
    ("te", "trailers"), ("content-type", "application/grpc"),
]  # fmt: skip


def block(*extra: tuple[str, str], without: str = "") -> bytes:
    coder = hpack.Encoder()
    coder.header_table_size = 0
    fields = [field for field in REQUEST if field[0] not in {without, *(name for name, _ in extra)}]
    return coder.encode(sorted(fields + list(extra), key=lambda field: not field[0].startswith(":")))


def opened(stream: int, opening: bytes | None = None, flags: int = 4) -> bytes:
    return frame(HEADERS, flags, stream, block() if opening is None else opening)


def body(stream: int, content: bytes = b"question", flags: int = frames.END_STREAM) -> bytes:
    return frame(DATA, flags, stream, message(content))


def fields_of(data: bytes) -> list[dict[str, str]]:
    decoder = hpack.Decoder()
    return [dict(decoder.decode(payload)) for kind, _, _, payload in read_frames(data) if kind == HEADERS]


def test_a_request_comes_with_all_that_was_said() -> None:
    server = settled_server()
    opening = block(("grpc-timeout", "250m"), ("x-id", "7"), ("trace-bin", "AAE"), ("user-agent", "me"))
    assert server.receive(opened(1, opening) + body(1)) == [
        Request(1, "/t.Test/Echo", (("x-id", "7"), ("trace-bin", "AAE")), b"question", 0.25)
    ]
    assert server.in_flight == 1


@pytest.mark.parametrize(
    "arrival",
    [
        opened(1) + frame(DATA, 0, 1, message(b"question")) + frame(DATA, 1, 1),
        opened(1) + frame(DATA, 0, 1, message(b"question")[:2]) + frame(DATA, 1, 1, message(b"question")[2:]),
        opened(1) + frame(DATA, 9, 1, b"\x03" + message(b"question") + b"\0\0\0"),
        opened(1, b"\x02" + block() + b"\0\0", flags=4 | frames.PADDED) + body(1),
        opened(1, b"\0\0\0\0\x0f" + block(), flags=4 | frames.PRIORITISED) + body(1),
        opened(1, block()[:9], flags=0) + frame(CONTINUATION, 0, 1, block()[9:20]) + frame(CONTINUATION, 4, 1, block()[20:])
        + body(1),
        opened(1) + frame(DATA, 0, 1, message(b"question")) + frame(HEADERS, 5, 1, b"\x00\x01x\x01y"),
        opened(1, block(("grpc-encoding", "gzip"))) + frame(DATA, 1, 1, message(gzip.compress(b"question"), 1)),
        opened(1, block(("grpc-encoding", "gzip"))) + body(1),
    ],
)  # fmt: skip
def test_requests_come_in_many_shapes(arrival: bytes) -> None:
    server = settled_server()
    assert [request.message for request in server.receive(arrival)] == [b"question"]
    assert server.closed is None


@pytest.mark.parametrize(("count", "aside"), [(300, False), (100_000, True)])
@pytest.mark.parametrize("content", [bytes, os.urandom], ids=["zeros", "noise"])
def test_what_takes_long_to_unpack_is_left_to_the_owner(
    count: int, aside: bool, content: Callable[[int], bytes]
) -> None:
    """Sixty messages of 4 kB in one read stand for 250 MB: unpacked here, they held everybody else up for 0.5 s."""
    asked = content(count)
    packed = gzip.compress(asked, mtime=0)
    server = settled_server(take_bursts=True)
    given = server.receive(
        opened(1, block(("grpc-encoding", "gzip"))) + frame(DATA, 1, 1, message(packed, 1))
    )
    assert [request.message for request in given] == ([] if aside else [asked])
    assert [each.unpacked().message for each in server.packed] == ([asked] if aside else [])
    assert server.in_flight == 1


def test_an_answer_is_headers_message_trailers() -> None:
    server = settled_server()
    server.receive(opened(1) + body(1))
    server.respond(1, message=b"answer")
    sent = server.take()
    assert [(kind, flags, stream) for kind, flags, stream, _ in read_frames(sent)] == [
        (HEADERS, 4, 1),
        (DATA, 0, 1),
        (HEADERS, 5, 1),
    ]
    assert read_frames(sent)[1][3] == message(b"answer")
    assert fields_of(sent) == [{":status": "200", "content-type": "application/grpc"}, {"grpc-status": "0"}]
    assert server.in_flight == 0


def test_an_error_is_trailers_only_with_percent_coded_details() -> None:
    server = settled_server()
    server.receive(opened(1) + body(1))
    server.respond(1, 5, "Servable nicht gefünden: 100%")
    sent = server.take()
    assert [(kind, flags) for kind, flags, *_ in read_frames(sent)] == [(HEADERS, 5)]
    assert fields_of(sent) == [
        {":status": "200", "content-type": "application/grpc", "grpc-status": "5",
         "grpc-message": "Servable nicht gef%C3%BCnden: 100%25"}
    ]  # fmt: skip


def test_details_longer_than_a_frame_are_continued() -> None:
    server, client = settled_server(), settled_client()
    exchange = asked(client)
    for request in server.receive(client.take()):
        server.respond(request.stream, 13, "x" * 20_000)
    sent = server.take()
    assert [kind for kind, *_ in read_frames(sent)] == [HEADERS, CONTINUATION]
    assert client.receive(sent) == [exchange]
    assert exchange.details == "x" * 20_000


def test_answers_may_come_in_any_order_and_late() -> None:
    server, client = settled_server(), settled_client()
    exchanges = [asked(client, b"%d" % n) for n in range(3)]
    requests = server.receive(client.take())
    for request in (requests[2], requests[0], requests[1]):
        server.respond(request.stream, message=request.message + b"!")
    assert client.receive(server.take()) == [exchanges[2], exchanges[0], exchanges[1]]
    assert [exchange.message for exchange in exchanges] == [b"0!", b"1!", b"2!"]


def test_an_answer_nobody_waits_for_is_dropped() -> None:
    server = settled_server()
    assert len(server.receive(opened(1) + body(1) + opened(3) + body(3))) == 2
    server.receive(rst_stream(1, CANCEL))
    assert server.released == 1
    server.respond(1, message=b"late")
    server.respond(99, message=b"never asked")
    assert server.take() == b""
    server.respond(3, message=b"x")
    server.respond(3, message=b"twice")
    assert len(read_frames(server.take())) == 3


def test_a_reset_stops_a_large_answer() -> None:
    server = settled_server()
    server.receive(opened(1) + body(1))
    server.respond(1, message=bytes(100_000))
    server.take()
    server.receive(rst_stream(1, CANCEL) + frames.window_update(0, 100_000))
    assert server.take() == b""


def test_requests_beyond_the_limit_of_streams_are_refused() -> None:
    server = settled_server(most_streams=1)
    assert len(server.receive(opened(1) + body(1) + opened(3) + body(3))) == 1
    assert read_frames(server.take()) == [(RST_STREAM, 0, 3, REFUSED_STREAM.to_bytes(4, "big"))]
    assert server.closed is None


@pytest.mark.parametrize(
    ("arrival", "status", "text"),
    [
        (opened(1) + frame(DATA, 1, 1), 13, "without a message"),
        (opened(1, flags=5), 13, "without a message"),
        (opened(1) + body(1, b"x" * 1001), 8, "exceeds the limit"),
        (opened(1) + frame(DATA, 0, 1, bytes(1010)), 8, "more than 1000"),
        (
            opened(1, block(("grpc-encoding", "snappy"))) + frame(DATA, 1, 1, message(b"x", 1)),
            12,
            "only gzip",
        ),
    ],
)
def test_requests_that_are_not_one_message_are_answered_with_the_reason(
    arrival: bytes, status: int, text: str
) -> None:
    server = settled_server(largest_message=1000)
    assert server.receive(arrival) == []
    fields = fields_of(server.take())[0]
    assert fields["grpc-status"] == str(status)
    assert text in fields["grpc-message"]
    assert server.in_flight == 0


@pytest.mark.parametrize(
    ("opening", "http"),
    [(block((":method", "GET")), "405"), (block(("content-type", "application/json")), "415")],
)
def test_what_is_not_grpc_gets_an_http_status(opening: bytes, http: str) -> None:
    server = settled_server()
    assert server.receive(opened(1, opening) + body(1)) == []
    assert fields_of(server.take()) == [{":status": http}]
    assert server.closed is None


@pytest.mark.parametrize(
    "opening", [block(without=":path"), block(("grpc-timeout", "soon")), block(("Upper", "x"))]
)
def test_a_malformed_request_is_reset(opening: bytes) -> None:
    server = settled_server()
    assert server.receive(opened(1, opening) + body(1)) == []
    assert read_frames(server.take()) == [(RST_STREAM, 0, 1, frames.PROTOCOL_ERROR.to_bytes(4, "big"))]
    assert len(server.receive(opened(3) + body(3))) == 1


def test_headers_on_a_server_stream_end_the_connection() -> None:
    server = settled_server()
    server.receive(opened(2))
    assert server.closed is not None


def test_data_after_the_end_resets_the_stream() -> None:
    server = settled_server()
    server.receive(opened(1) + body(1) + body(1))
    assert server.released == 1
    assert read_frames(server.take()) == [(RST_STREAM, 0, 1, frames.STREAM_CLOSED.to_bytes(4, "big"))]


@pytest.mark.parametrize(
    "greeting",
    [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX", frames.PREFACE + frame(HEADERS, 4, 1)],
)
def test_other_protocols_are_turned_away(greeting: bytes) -> None:
    server = ServerConnection()
    for part in (greeting[:3], greeting[3:]):
        server.receive(part)
    assert server.closed is not None
    assert read_frames(server.take())[-1][0] == frames.GOAWAY


def test_a_client_that_ignores_the_window_ends_the_connection() -> None:
    server = settled_server(stream_window=1000)
    server.receive(frame(frames.SETTINGS, frames.ACK, 0))
    server.take()
    server.receive(opened(1) + frame(DATA, 0, 1, bytes(1001)))
    assert server.closed is not None
    assert "FLOW_CONTROL_ERROR" in server.closed


def test_memory_is_bounded_whatever_errors_are_answered() -> None:
    server = settled_server()
    for n in range(1000):
        stream = 2 * n + 1
        server.receive(opened(stream) + body(stream))
        server.respond(stream, 13, f"error {n}")
        assert len(read_frames(server.take())) == 1
    assert len(server._replies._closings) <= 256
    for n in range(1000, 3000):
        server.receive(opened(2 * n + 1) + body(2 * n + 1) + rst_stream(2 * n + 1, CANCEL))
    assert server.in_flight == 0
    assert server.in_flight == 0


def test_shutting_down_lets_what_has_come_finish() -> None:
    server, client = settled_server(), settled_client()
    first = asked(client)
    (request,) = server.receive(client.take())
    server.shut_down()
    second = asked(client)
    assert server.receive(client.take()) == []
    server.respond(request.stream, message=b"done")
    assert client.receive(server.take()) == [first]
    assert client.returned == [second]
    assert client.draining
    assert server.in_flight == 0


def test_a_client_with_a_small_header_table_accepts_the_first_block() -> None:
    server = settled_server({frames.HEADER_TABLE_SIZE: 0})
    server.receive(opened(1) + body(1))
    server.respond(1, message=b"x")
    decoder = hpack.Decoder()
    decoder.max_allowed_table_size = 0  # it insists on being told that the table is no longer used
    for kind, _, _, payload in read_frames(server.take()):
        if kind == HEADERS:
            list(decoder.decode(payload))


def test_a_lost_connection_drops_everything() -> None:
    server = settled_server()
    server.receive(opened(1) + body(1))
    server.lose("cable cut")
    server.respond(1, message=b"x")
    assert server.take() == b""
    assert server.receive(opened(3) + body(3)) == []


def test_a_response_of_several_messages() -> None:
    server = settled_server()
    (request,) = server.receive(opened(1) + body(1))
    server.take()
    server.push(request.stream, b"first")
    server.push(request.stream, b"second")
    assert server.awaits(1)
    server.respond(request.stream, 14, "the end")
    sent = server.take()
    assert [(kind, flags) for kind, flags, _, _ in read_frames(sent)] == [
        (HEADERS, 4), (DATA, 0), (DATA, 0), (HEADERS, 5)
    ]  # fmt: skip
    assert [payload for kind, _, _, payload in read_frames(sent) if kind == DATA] == [
        message(b"first"),
        message(b"second"),
    ]
    opening, trailers = fields_of(sent)
    assert opening == {":status": "200", "content-type": "application/grpc"}
    assert trailers == {"grpc-status": "14", "grpc-message": "the end"}
    assert server.in_flight == 0
    server.push(request.stream, b"late")
    assert server.take() == b""


def test_messages_stay_within_the_streams_window() -> None:
    server = settled_server()
    server.receive(frames.settings({frames.INITIAL_WINDOW_SIZE: 12}))
    (request,) = server.receive(opened(1) + body(1))
    server.take()
    server.push(request.stream, b"12345")
    server.push(request.stream, b"1234")
    server.push(request.stream, b"never")
    assert sum(len(payload) for kind, _, _, payload in read_frames(server.take()) if kind == DATA) == 12
    server.receive(frames.window_update(1, 7))
    assert [payload for kind, _, _, payload in read_frames(server.take()) if kind == DATA] == [
        message(b"1234")[2:]
    ]
    server.respond(request.stream, 1)
    assert [kind for kind, *_ in read_frames(server.take())] == [HEADERS]


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param(lambda server: server.receive(frame(DATA, frames.END_STREAM, 1, bytes(50))), id="its rest"),
        pytest.param(lambda server: server.receive(rst_stream(1, CANCEL)), id="a reset"),
        pytest.param(lambda server: server.respond(1, 13, "early"), id="an early answer"),
        pytest.param(lambda server: server.receive(opened(1, b"", flags=5)), id="malformed trailers"),
        pytest.param(lambda server: server.lose("cable cut"), id="the end of the connection"),
        pytest.param(lambda server: server.refuse_more("no room"), id="no room"),
        pytest.param(lambda server: server.receive(frame(DATA, 0, 9, b"x")), id="a violation"),
    ],
)  # fmt: skip
def test_what_has_come_of_a_request_counts_until_it_ends(
    ending: Callable[[ServerConnection], object],
) -> None:
    server = settled_server()
    server.receive(opened(1) + frame(DATA, 0, 1, message(bytes(95))[:50]))
    assert server.arriving == 50
    half = opened(3) + frame(DATA, 0, 3, bytes(60))
    server.receive(half[:-30])
    assert (server.arriving, server.held) == (50, len(frame(DATA, 0, 3, bytes(60))) - 30)
    server.receive(half[-30:] + rst_stream(3, CANCEL))
    assert (server.arriving, server.held) == (50, 0)
    ending(server)
    assert (server.arriving, server.held) == (0, 0)


def test_a_header_block_in_pieces_counts_until_it_is_whole() -> None:
    server = settled_server()
    whole = block()
    server.receive(frame(HEADERS, 0, 1, whole[:20]))
    server.receive(frame(CONTINUATION, 0, 1, whole[20:30]))
    assert server.arriving == 30
    server.receive(frame(CONTINUATION, frames.END_HEADERS, 1, whole[30:]))
    assert (server.arriving, server.in_flight) == (0, 1)


def test_header_fields_of_open_requests_count_as_unfinished() -> None:
    """Each request has fields of its own, of 32 kB, and never ends."""
    server = settled_server()
    for number in range(200):
        server.receive(opened(2 * number + 1, block(("x-id", f"{number:032000}"))))
    assert 4 << 20 < server.arriving <= 200 * 33_000
