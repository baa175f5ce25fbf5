"""Both ends agree whatever the cuts and the windows, and a peer that breaks the rules ends its connection alone."""

import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.wire import frames
from bench.wire.exchange import Exchange, RequestHead
from bench.wire.frames import (
    CONTINUATION,
    DATA,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)
from bench.wire.http2_client import ClientConnection
from bench.wire.http2_server import ServerConnection
from bench.wire.unary import Request
from tests.wire.test_http2_server import opened
from tests.wire.wires import (
    OK,
    OPENING,
    answer_frames,
    asked,
    converse,
    goaway_code,
    message,
    pieces,
    read_frames,
    settled_client,
    settled_server,
)

SIZES = [0, 1, 4, 5, 100, 3_198, 16_379, 16_380, 65_530, 65_535, 100_000, 1_600_000]


@pytest.mark.parametrize("size", SIZES)
def test_a_message_of_any_size_arrives(size: int) -> None:
    client, server = ClientConnection("test:1"), ServerConnection()
    content = random.Random(size).randbytes(size)
    exchange = asked(client, content)
    assert converse(client, server) == [exchange]
    assert (exchange.status, exchange.message) == (0, content)
    assert client.in_flight == server.in_flight == 0


@pytest.mark.parametrize("window", [1, 2, 7, 100, 65_535])
def test_messages_pass_through_any_window(window: int) -> None:
    limits = {"stream_window": window, "connection_window": max(window, 65_535)}
    client, server = ClientConnection("test:1", **limits), ServerConnection(**limits)
    contents = [bytes([n]) * (n * 37) for n in range(20)]
    exchanges = [asked(client, content) for content in contents]
    ended = converse(client, server)
    assert len(ended) == len(exchanges)
    assert [exchange.message for exchange in exchanges] == contents


@given(st.integers(0, 2**32 - 1), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_the_cuts_between_reads_do_not_matter(seed: int, longest: int) -> None:
    def talk(cut_seed: int | None) -> list[tuple[int, int | None, str, bytes | None]]:
        rng = random.Random(seed)
        cuts = random.Random(cut_seed)
        client, server = (
            ClientConnection("test:1"),
            ServerConnection(stream_window=4000, connection_window=70_000),
        )

        def cut(data: bytes):  # type: ignore[no-untyped-def]  # a generator of bytes
            at = 0
            while at < len(data):
                size = len(data) if cut_seed is None else cuts.randint(1, longest)
                yield data[at : at + size]
                at += size

        def answer(server: ServerConnection, request: Request) -> None:
            if request.path == "/t/Fail":
                server.respond(request.stream, len(request.message) % 17, f"nö {len(request.message)} %")
            else:
                server.respond(request.stream, message=request.message[::-1])

        ended = []
        for _ in range(3):
            for _ in range(rng.randint(1, 5)):
                head = RequestHead(
                    rng.choice(["/t/Echo", "/t/Fail"]), rng.choice([None, 1.0]), [("x", str(rng.random()))]
                )
                client.request(Exchange(head, rng.randbytes(rng.choice([0, 10, 3000, 20_000]))))
            ended += converse(client, server, cut, answer)
        assert client.closed is server.closed is None
        return sorted((one.stream, one.status, one.details, one.message) for one in ended)

    assert talk(seed) == talk(None)


def random_frames(draw: st.DrawFn) -> bytes:
    kind = draw(st.one_of(st.integers(0, 10), st.integers(0, 255)))
    flags = draw(st.one_of(st.sampled_from([0, 1, 4, 5, 8, 13, 32, 45]), st.integers(0, 255)))
    stream = draw(
        st.one_of(st.sampled_from([0, 1, 2, 3, 5, 7, 2**31 - 1, 2**31 + 1]), st.integers(0, 2**32 - 1))
    )
    payload = draw(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [
                    OPENING,
                    OPENING + b"\x00\x0bgrpc-status\x010",
                    b"\0\0\0\0\0",
                    b"\0\0\0\0\x05hello",
                    b"\0" * 8,
                ]
            ),
        )
    )
    length = draw(st.one_of(st.just(len(payload)), st.just(len(payload)), st.integers(0, 2**24 - 1)))
    return frames.HEAD.pack(length << 8 | kind, flags, stream) + payload


FRAMES = st.lists(st.composite(random_frames)(), max_size=12).map(b"".join)


@given(FRAMES, st.integers(1, 50), st.booleans())
@settings(max_examples=200, deadline=None)
def test_no_frames_crash_or_hang_a_client(data: bytes, size: int, settled: bool) -> None:
    client = settled_client() if settled else ClientConnection("test:1")
    exchanges = [asked(client, b"x" * 70_000), asked(client), asked(client)]
    ended = []
    for part in pieces(size)(data):
        ended += client.receive(part)
    ended += client.lose("the end of the test")
    assert len(ended) + len(client.returned) == len(exchanges), "an exchange ended twice or never"
    assert {id(one) for one in [*ended, *client.returned]} == {id(one) for one in exchanges}
    assert all(one.status is not None for one in ended)
    assert client.in_flight == 0
    if client.closed != "the end of the test":
        assert goaway_code(client.take()) is not None


@given(FRAMES, st.integers(1, 50), st.booleans())
@settings(max_examples=200, deadline=None)
def test_no_frames_crash_or_hang_a_server(data: bytes, size: int, settled: bool) -> None:
    server = settled_server() if settled else ServerConnection()
    if settled:
        client = settled_client()
        asked(client), asked(client, b"x" * 70_000)
        for request in server.receive(client.take()):
            server.respond(request.stream, message=b"y" * 70_000)
    server.take()
    for part in pieces(size)(data):
        for request in server.receive(part):
            server.respond(request.stream, message=request.message)
    if server.closed is not None:
        assert goaway_code(server.take()) is not None


VIOLATIONS = [
    ("ping of 7 bytes", frame(PING, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    ("ping on a stream", frame(PING, 0, 1, bytes(8)), PROTOCOL_ERROR),
    ("settings on a stream", frame(SETTINGS, 0, 1), PROTOCOL_ERROR),
    ("settings of 5 bytes", frame(SETTINGS, 0, 0, bytes(5)), FRAME_SIZE_ERROR),
    ("settings acknowledgement with content", frame(SETTINGS, 1, 0, bytes(6)), FRAME_SIZE_ERROR),
    ("window beyond 2^31", frames.settings({frames.INITIAL_WINDOW_SIZE: 2**31}), FLOW_CONTROL_ERROR),
    ("frames too small", frames.settings({frames.MAX_FRAME_SIZE: 100}), PROTOCOL_ERROR),
    ("frames too large", frames.settings({frames.MAX_FRAME_SIZE: 2**24}), PROTOCOL_ERROR),
    ("push neither 0 nor 1", frames.settings({frames.ENABLE_PUSH: 2}), PROTOCOL_ERROR),
    ("window update of 3 bytes", frame(WINDOW_UPDATE, 0, 0, bytes(3)), FRAME_SIZE_ERROR),
    ("window update of 0", frame(WINDOW_UPDATE, 0, 0, bytes(4)), PROTOCOL_ERROR),
    ("window update of an idle stream", frames.window_update(101, 5), PROTOCOL_ERROR),
    ("connection window overflow", frames.window_update(0, 2**31 - 1), FLOW_CONTROL_ERROR),
    ("reset of 3 bytes", frame(RST_STREAM, 0, 1, bytes(3)), FRAME_SIZE_ERROR),
    ("reset of stream 0", frames.rst_stream(0, 8), PROTOCOL_ERROR),
    ("reset of an idle stream", frames.rst_stream(101, 8), PROTOCOL_ERROR),
    ("goaway of 7 bytes", frame(GOAWAY, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    ("goaway on a stream", frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL_ERROR),
    ("priority of 4 bytes", frame(PRIORITY, 0, 1, bytes(4)), FRAME_SIZE_ERROR),
    ("priority of stream 0", frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL_ERROR),
    ("push promise", frame(PUSH_PROMISE, 4, 1, bytes(4)), PROTOCOL_ERROR),
    ("continuation of nothing", frame(CONTINUATION, 4, 1), PROTOCOL_ERROR),
    ("headers interrupted", frame(HEADERS, 0, 1, OPENING) + frame(PING, 0, 0, bytes(8)), PROTOCOL_ERROR),
    ("continued on another stream", frame(HEADERS, 0, 1, OPENING) + frame(CONTINUATION, 4, 3), PROTOCOL_ERROR),
    ("empty continuation", frame(HEADERS, 0, 1, OPENING) + frame(CONTINUATION, 0, 1), ENHANCE_YOUR_CALM),
    ("endless continuations", frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1, bytes(16_384)) * 5, ENHANCE_YOUR_CALM),
    ("data of an idle stream", frame(DATA, 0, 101, b"x"), PROTOCOL_ERROR),
    ("data of stream 0", frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
    ("padding beyond the frame", frame(HEADERS, 12, 1, b"\x05ab"), PROTOCOL_ERROR),
    ("a frame of 2 MiB", (2**21).to_bytes(3, "big") + bytes(6), FRAME_SIZE_ERROR),
    ("no HPACK", frame(HEADERS, 4, 1, b"\xff\xff\xff\xff\xff\xff\xff"), frames.COMPRESSION_ERROR),
]  # fmt: skip
NAMES = [name for name, _, _ in VIOLATIONS]


@pytest.mark.parametrize(("name", "data", "code"), VIOLATIONS, ids=NAMES)
def test_a_server_that_breaks_the_rules_is_told_so(name: str, data: bytes, code: int) -> None:
    client = settled_client()
    exchange = asked(client)
    client.take()
    assert client.receive(data) == [exchange]
    assert exchange.status == 13
    assert exchange.details.startswith("protocol error by the server")
    assert frames.ERROR_NAMES[code] in exchange.details
    assert goaway_code(client.take()) == code
    assert client.receive(answer_frames(1, b"late")) == []


@pytest.mark.parametrize(("name", "data", "code"), VIOLATIONS, ids=NAMES)
def test_a_client_that_breaks_the_rules_is_told_so(name: str, data: bytes, code: int) -> None:
    server = settled_server()
    assert server.receive(data) == []
    assert server.closed is not None
    assert goaway_code(server.take()) == code


def test_a_ping_is_answered_and_unknown_frames_are_ignored() -> None:
    for end in (settled_client(), settled_server()):
        end.receive(
            frame(PING, 0, 0, b"12345678") + frame(0x77, 0xFF, 9, b"?") + frame(PRIORITY, 0, 3, bytes(5))
        )
        assert read_frames(end.take()) == [(PING, frames.ACK, 0, b"12345678")]
        assert end.closed is None


def test_a_connection_window_below_the_protocols_first_is_refused() -> None:
    with pytest.raises(ValueError, match="65535"):
        ClientConnection("test:1", connection_window=1000)


def test_a_stream_window_overflow_ends_the_connection() -> None:
    client = settled_client()
    asked(client, bytes(100_000))
    client.receive(frames.window_update(1, 2**31 - 1) * 2)
    assert goaway_code(client.take()) == FLOW_CONTROL_ERROR


def test_large_frames_in_small_reads_are_joined_once() -> None:
    client, server = (
        settled_client({frames.MAX_FRAME_SIZE: 2**20, frames.INITIAL_WINDOW_SIZE: 2**20}),
        settled_server(),
    )
    client.receive(frames.window_update(0, 2**20))
    client.take()
    content = random.Random(1).randbytes(1_000_000)
    asked(client, content)
    requests = [request for part in pieces(1000)(client.take()) for request in server.receive(part)]
    assert [request.message for request in requests] == [content]


def test_a_message_in_tiny_frames_takes_little_more_memory_than_its_size() -> None:
    """A piece of two bytes takes 40 and more: 24 times as much as the message that it is part of."""
    content = message(bytes(100_000))
    tiny = b"".join(frames.frame(frames.DATA, 0, 1, content[at : at + 2]) for at in range(0, len(content), 2))
    client, server = settled_client(), settled_server()
    exchange = asked(client)
    client.take()
    server.receive(opened(1))
    client.receive(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, OPENING))
    for end in (client, server):
        tracemalloc.start()
        try:
            end.receive(tiny)
            assert tracemalloc.get_traced_memory()[0] < 3 * len(content)
        finally:
            tracemalloc.stop()
    assert exchange.size == len(content)
    assert client.receive(frames.frame(frames.HEADERS, 5, 1, OK)) == [exchange]
    assert exchange.message == bytes(100_000)
    (request,) = server.receive(frames.frame(frames.DATA, frames.END_STREAM, 1, b""))
    assert request.message == bytes(100_000)
