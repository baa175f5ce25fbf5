"""Every call of a client ends once, with the status that the gRPC documents name."""

import gzip

import hpack
import pytest

from bench.wire import frames
from bench.wire.exchange import Exchange, RequestHead
from bench.wire.frames import CANCEL, DATA, HEADERS, REFUSED_STREAM, RST_STREAM, frame, goaway, rst_stream
from bench.wire.http2_client import ClientConnection
from tests.wire.wires import OK, OPENING, answer_frames, asked, message, read_frames, settled_client


def block(*fields: tuple[str, str]) -> bytes:
    coder = hpack.Encoder()
    coder.header_table_size = 0
    return coder.encode(fields)


def opened(stream: int, opening: bytes = OPENING) -> bytes:
    return frame(HEADERS, 4, stream, opening)


def closed(stream: int, closing: bytes = OK) -> bytes:
    return frame(HEADERS, 5, stream, closing)


def data(stream: int, payload: bytes, flags: int = 0) -> bytes:
    return frame(DATA, flags, stream, payload)


def test_a_request_carries_what_grpc_asks_for() -> None:
    client = ClientConnection("test:1", scheme="https", user_agent="agent/1", metadata=[("x-team", "a")])
    client.request(Exchange(RequestHead("/t.Test/Echo", 1.5, [("x-id", "7")]), b"question"))
    opening, settings, *rest = read_frames(client.take())
    assert opening[0] == frames.SETTINGS
    assert settings[0] == frames.WINDOW_UPDATE
    (kind, flags, stream, headers), body = rest
    assert (kind, flags, stream) == (HEADERS, frames.END_HEADERS, 1)
    assert list(hpack.Decoder().decode(headers)) == [
        (":method", "POST"), (":scheme", "https"), (":path", "/t.Test/Echo"), (":authority", "test:1"),
        ("te", "trailers"), ("content-type", "application/grpc"), ("user-agent", "agent/1"),
        ("grpc-accept-encoding", "identity,gzip"), ("x-team", "a"), ("grpc-timeout", "1500000u"), ("x-id", "7"),
    ]  # fmt: skip
    assert body == (DATA, frames.END_STREAM, 1, message(b"question"))


def test_the_second_request_is_a_few_indices() -> None:
    client = settled_client()
    head = RequestHead("/t.Test/Echo")
    for _ in range(3):
        client.request(Exchange(head, b""))
    blocks = [payload for kind, _, _, payload in read_frames(client.take()) if kind == HEADERS]
    assert len(blocks[0]) > 80
    assert blocks[1] == blocks[2]
    assert len(blocks[1]) < 12


@pytest.mark.parametrize("path", ["t/Echo", "", "/ä", "/a\n"])
def test_a_method_that_no_header_can_carry_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="method"):
        RequestHead(path)


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        (opened(1) + data(1, message(b"a")) + closed(1), 0, ""),
        (opened(1) + data(1, message(b"a")[:3]) + data(1, message(b"a")[3:]) + closed(1), 0, ""),
        (opened(1) + data(1, b"\x02" + message(b"a") + b"\0\0", frames.PADDED) + closed(1), 0, ""),
        (opened(1) + data(1, b"") + data(1, message(b"a")) + data(1, b"") + closed(1), 0, ""),
        (opened(1, block((":status", "103"))) + opened(1) + data(1, message(b"a")) + closed(1), 0, ""),
        (frame(HEADERS, 0, 1, OPENING[:9]) + frame(frames.CONTINUATION, 4, 1, OPENING[9:]) + data(1, message(b"a"))
         + frame(HEADERS, 1, 1, OK[:4]) + frame(frames.CONTINUATION, 4, 1, OK[4:]), 0, ""),
        (frame(HEADERS, 12, 1, b"\x01" + OPENING + b"\0") + data(1, message(b"a")) + closed(1), 0, ""),
        (opened(1, block((":status", "200"), ("content-type", "application/grpc+proto"), ("grpc-encoding", "gzip")))
         + data(1, message(gzip.compress(b"a", mtime=0), 1)) + closed(1), 0, ""),
        (closed(1, block((":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "5"),
                         ("grpc-message", "kein Modell %C3%BC"))), 5, "kein Modell ü"),
        (opened(1) + closed(1, block(("grpc-status", "3"), ("grpc-message", "bad"))), 3, "bad"),
        (opened(1) + data(1, message(b"a")) + closed(1, block(("grpc-status", "14"))), 14, ""),
        (opened(1) + closed(1), 13, "without a message"),
        (opened(1) + data(1, message(b"a")) + data(1, message(b"b")) + closed(1), 13, "more than one message"),
        (opened(1) + data(1, message(b"a") + message(b"b")) + closed(1), 13, "more than one message"),
        (opened(1) + data(1, message(b"abc")[:-1]) + closed(1), 13, "ends after 2"),
        (opened(1) + data(1, message(b"abc", 1)) + closed(1), 13, "only gzip"),
        (opened(1) + data(1, message(b"a"), frames.END_STREAM), 13, "without grpc-status"),
        (opened(1) + data(1, message(b"a")) + closed(1, block(("x", "y"))), 2, "without grpc-status"),
        (opened(1) + opened(1), 13, "trailers that do not end"),
        (data(1, message(b"a")), 13, "DATA before HEADERS"),
        (opened(1, block((":status", "503"))), 14, "HTTP status 503"),
        (closed(1, block((":status", "404"))), 12, "HTTP status 404"),
        (closed(1, block((":status", "200"), ("content-type", "text/html"))), 2, "text/html"),
        (opened(1) + data(1, b"\0\0\0\x10\0"), 8, "exceeds the limit of 1000"),
        (opened(1) + data(1, b"\0\0") + data(1, b"\0\x10\0"), 8, "exceeds the limit of 1000"),
        (rst_stream(1, CANCEL), 1, "CANCEL"),
        (rst_stream(1, frames.ENHANCE_YOUR_CALM), 8, "ENHANCE_YOUR_CALM"),
        (opened(1) + rst_stream(1, frames.NO_ERROR), 13, "NO_ERROR"),
    ],
)  # fmt: skip
def test_every_ending_has_its_status(answer: bytes, status: int, text: str) -> None:
    client = settled_client(largest_message=1000)
    exchange = asked(client)
    client.take()
    assert client.receive(answer) == [exchange]
    assert exchange.status == status
    assert text in exchange.details
    assert exchange.message == (b"a" if status == 0 else None)
    assert client.closed is None
    assert client.in_flight == 0
    following = asked(client)
    client.take()
    assert client.receive(answer_frames(3, b"next")) == [following]
    assert following.message == b"next"


def test_padding_counts_for_the_window() -> None:
    client = settled_client(stream_window=65_535, connection_window=65_535)
    asked(client)
    client.take()
    padded = bytes([255]) + b"x" + bytes(255)
    client.receive(
        opened(1) + data(1, b"\0" + (2**20).to_bytes(4, "big")) + data(1, padded, frames.PADDED) * 130
    )
    updates = [
        (s, int.from_bytes(p, "big"))
        for k, _, s, p in read_frames(client.take())
        if k == frames.WINDOW_UPDATE
    ]
    assert {stream for stream, _ in updates} == {0, 1}
    assert all(size > 32_767 for _, size in updates)


def test_a_server_that_ignores_the_window_ends_the_connection() -> None:
    client = settled_client(stream_window=65_535)
    client.receive(frame(frames.SETTINGS, frames.ACK, 0))
    exchange = asked(client)
    client.take()
    body = b"\0" + (2**20).to_bytes(4, "big") + bytes(65_531)
    assert client.receive(opened(1) + frames.frame(DATA, 0, 1, body)) == [exchange]
    assert "FLOW_CONTROL_ERROR" in exchange.details


def test_a_server_that_ignores_the_connection_window_ends_the_connection() -> None:
    client = settled_client(connection_window=65_535)
    exchange = asked(client)
    client.take()
    assert client.receive(opened(1) + data(1, message(bytes(70_000)))) == [exchange]
    assert "FLOW_CONTROL_ERROR" in exchange.details


def test_calls_beyond_the_limit_of_streams_wait_in_their_order() -> None:
    client = settled_client({frames.MAX_CONCURRENT_STREAMS: 1})
    exchanges = [asked(client, b"%d" % n) for n in range(4)]
    order = []
    for stream in (1, 3, 5, 7):
        bodies = [payload for kind, _, _, payload in read_frames(client.take()) if kind == DATA]
        assert len(bodies) == 1
        order.append(bodies[0][5:])
        client.receive(answer_frames(stream, b"ok"))
    assert order == [b"0", b"1", b"2", b"3"]
    assert [exchange.status for exchange in exchanges] == [0, 0, 0, 0]


def test_a_raised_limit_of_streams_starts_those_that_wait() -> None:
    client = settled_client({frames.MAX_CONCURRENT_STREAMS: 0})
    asked(client), asked(client)
    assert client.take() == b""
    client.receive(frames.settings({frames.MAX_CONCURRENT_STREAMS: 5}))
    assert [kind for kind, *_ in read_frames(client.take())] == [
        frames.SETTINGS,
        HEADERS,
        DATA,
        HEADERS,
        DATA,
    ]


def test_a_cancelled_call_makes_room_and_its_answer_is_ignored() -> None:
    client = settled_client({frames.MAX_CONCURRENT_STREAMS: 1})
    first, second, third = asked(client), asked(client), asked(client)
    client.take()
    assert client.cancel(second)
    assert client.cancel(first)
    assert not client.cancel(first)
    assert [(kind, stream) for kind, _, stream, _ in read_frames(client.take())] == [
        (RST_STREAM, 1),
        (HEADERS, 3),
        (DATA, 3),
    ]
    assert client.receive(answer_frames(1, b"late") + answer_frames(3, b"ok")) == [third]
    assert client.closed is None


def test_an_answer_before_the_request_is_complete_stops_the_sending() -> None:
    client = settled_client()
    exchange = asked(client, bytes(100_000))
    client.take()
    assert client.receive(
        closed(1, block((":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "8")))
    ) == [exchange]
    assert read_frames(client.take()) == [(RST_STREAM, 0, 1, bytes(4))]
    client.receive(frames.window_update(0, 100_000) + frames.window_update(1, 100_000))
    assert client.take() == b""


def test_goaway_gives_back_what_the_server_has_not_processed() -> None:
    client = settled_client()
    first, second, third = asked(client), asked(client), asked(client)
    client.take()
    assert client.receive(goaway(3, frames.NO_ERROR, "bye")) == []
    assert client.returned == [third]
    assert client.draining
    client.returned.clear()
    late = asked(client)
    assert client.returned == [late]
    assert client.receive(answer_frames(3, b"b") + answer_frames(1, b"a")) == [second, first]
    assert (first.message, second.message) == (b"a", b"b")


def test_a_graceful_goaway_comes_in_two_steps() -> None:
    client = settled_client()
    first, second = asked(client), asked(client)
    client.take()
    client.receive(goaway(2**31 - 1, frames.NO_ERROR))
    assert client.returned == []
    client.receive(goaway(1, frames.NO_ERROR))
    assert client.returned == [second]
    assert client.receive(answer_frames(1, b"a")) == [first]


@pytest.mark.parametrize(
    ("refusal", "most"), [(rst_stream(1, REFUSED_STREAM), 1), (goaway(0, frames.NO_ERROR), 5)]
)
def test_a_refused_call_goes_again_a_few_times_only(refusal: bytes, most: int) -> None:
    exchange = Exchange(RequestHead("/t.Test/Echo"), b"question")
    for _ in range(most):
        client = settled_client()
        client.request(exchange)
        client.take()
        assert client.receive(refusal) == []
        assert client.returned == [exchange]
        exchange.renew()
    last = settled_client()
    last.request(exchange)
    last.take()
    assert last.receive(refusal) == [exchange]
    assert exchange.status == 14


def test_waiting_calls_come_back_from_a_lost_connection_and_sent_ones_fail() -> None:
    client = settled_client({frames.MAX_CONCURRENT_STREAMS: 1})
    sent, waiting = asked(client), asked(client)
    assert client.lose("cable cut") == [sent]
    assert (sent.status, sent.details) == (14, "cable cut")
    assert client.returned == [waiting]
    assert waiting.status is None


def test_used_up_stream_ids_call_for_a_new_connection() -> None:
    client = settled_client(first_stream=2**31 - 3)
    first, second, third = asked(client), asked(client), asked(client)
    assert client.returned == [third]
    assert client.draining
    client.take()
    assert client.receive(answer_frames(2**31 - 3, b"a") + answer_frames(2**31 - 1, b"b")) == [first, second]


def test_closing_cancels_and_says_goodbye() -> None:
    client = settled_client()
    exchange = asked(client)
    client.take()
    assert client.close() == [exchange]
    assert exchange.status == 1
    assert [kind for kind, *_ in read_frames(client.take())] == [RST_STREAM, frames.GOAWAY]


@pytest.mark.parametrize(
    "opening", [b"HTTP/1.1 400 Bad Request\r\n\r\n", frame(HEADERS, 4, 1), frame(frames.SETTINGS, 1, 0)]
)
def test_a_server_that_does_not_speak_http2_is_named(opening: bytes) -> None:
    client = ClientConnection("test:1")
    client.receive(opening)
    assert client.closed is not None
    assert "does not open with SETTINGS" in client.closed


def test_header_table_changes_are_followed() -> None:
    client = settled_client()
    server = hpack.Decoder()
    head = RequestHead("/t.Test/Echo")
    for size in (None, None, 0, None, 100, 50, 4096, None, 100_000, None):
        if size is not None:
            client.receive(frames.settings({frames.HEADER_TABLE_SIZE: size}))
            server.max_allowed_table_size = size
        client.request(Exchange(head, b""))
        blocks = [payload for kind, _, _, payload in read_frames(client.take()) if kind == HEADERS]
        assert (":path", "/t.Test/Echo") in list(server.decode(blocks[0]))


def test_the_last_byte_of_a_request_is_noted_when_it_leaves() -> None:
    client = settled_client()
    small, large = asked(client), asked(client, bytes(70_000))
    assert [exchange for _, exchange in client.take_ends()] == [small]
    client.take()
    client.receive(frames.window_update(0, 70_000) + frames.window_update(3, 70_000))
    assert [exchange for _, exchange in client.take_ends()] == [large]
