"""Requests in a row are the same requests, with the same bytes as answers, as one by one."""

import random
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.wire import frames
from bench.wire.exchange import Exchange, RequestHead
from bench.wire.frames import DATA, HEADERS, LARGEST_STREAM, PING, RST_STREAM, WINDOW_UPDATE, frame
from bench.wire.header_blocks import literal
from bench.wire.http2_client import ClientConnection
from bench.wire.http2_server import ServerConnection
from bench.wire.request_rows import LONGEST, SHORTEST, Alike, Burst
from bench.wire.unary import Request
from tests.wire.wires import OK, message, read_frames, settled_server

BLOCKS = [
    b"\x83\x86" + literal(b":path", path) + literal(b"content-type", b"application/grpc") + more
    for path, more in (
        (b"/t.Test/Echo", b""),
        (b"/t.Test/Nods", b""),
        (b"/t.Test/Echo", literal(b"grpc-timeout", b"7S")),
        (b"/t.Test/Echo", literal(b"x-id", bytes(600))),
    )
]
NOT_GRPC = b"\x82\x86" + literal(b":path", b"/t.Test/Echo") + literal(b"content-type", b"application/grpc")
Pair = tuple[ServerConnection, ServerConnection]


def request(stream: int, block: bytes, content: bytes) -> bytes:
    return frame(HEADERS, 4, stream, block) + frame(DATA, 1, stream, message(content))


def row(first: int, count: int, block: bytes = BLOCKS[0], size: int = 20, step: int = 2) -> bytes:
    """So many requests, each with a message of its own."""
    return b"".join(
        request(first + step * n, block, (b"%08d" % n * (size // 8 + 1))[:size]) for n in range(count)
    )


def both(**options: Any) -> Pair:
    """One that takes rows and one that does not; both have answered a request, and know its header block."""
    pair = settled_server(take_bursts=True, **options), settled_server(**options)
    for server in pair:
        for n, block in enumerate(BLOCKS[:3]):
            server.receive(request(2 * n + 1, block, b""))
            server.respond(2 * n + 1, message=b"first")
        server.take()
    return pair


def received(server: ServerConnection, data: bytes) -> tuple[list[Burst], list[Request]]:
    requests = server.receive(data)
    bursts, server.bursts[:] = [*server.bursts], []
    return bursts, requests


def all_of(bursts: list[Burst], requests: list[Request]) -> list[Request]:
    return sorted([*requests, *(one for burst in bursts for one in burst.each())])


def answer(server: ServerConnection, bursts: list[Burst], requests: list[Request]) -> None:
    """The question between two bytes."""
    for burst in bursts:
        server.respond_all(burst.streams, Alike(b"<", burst.messages, b">"))
    for one in requests:
        server.respond(one.stream, message=b"<" + one.message + b">")


def by_stream(sent: bytes) -> dict[int, list[Any]]:
    found = defaultdict(list)
    for one in read_frames(sent):
        found[one[2]].append(one)
    return found


def agree(pair: Pair, parts: list[bytes]) -> int:
    """Both see the same requests, states and ends, and give the same answers; how many requests came in rows."""
    count = 0
    for part in parts:
        (bursts, some), (none, every) = (received(server, part) for server in pair)
        assert none == []
        assert all_of(bursts, some) == sorted(every)
        assert all(len(burst.streams) >= SHORTEST for burst in bursts)
        in_rows, one_by_one = pair
        for fact in ("closed", "in_flight", "arriving", "released", "draining"):
            assert getattr(in_rows, fact) == getattr(one_by_one, fact), fact
        assert in_rows.take() == one_by_one.take()
        answer(in_rows, bursts, some)
        answer(one_by_one, [], every)
        assert by_stream(in_rows.take()) == by_stream(one_by_one.take())
        count += sum(len(burst.streams) for burst in bursts)
    return count


@pytest.mark.parametrize("size", [0, 1, 20, 3_200])
@pytest.mark.parametrize("count", [SHORTEST, 39, LONGEST, LONGEST + SHORTEST, 2 * LONGEST + 3])
def test_a_row_is_the_same_requests(count: int, size: int) -> None:
    rest = count % LONGEST if count > LONGEST else 0
    assert agree(both(), [row(101, count, size=size)]) == count - (rest if rest < SHORTEST else 0)


def test_fewer_are_taken_one_by_one() -> None:
    assert agree(both(), [row(101, SHORTEST - 1)]) == 0


def test_what_stands_before_and_behind_belongs_to_nobody() -> None:
    ping = frame(PING, 0, 0, b"12345678")
    data = ping + row(101, 20) + ping + row(141, 20, BLOCKS[2], 7) + row(181, 3) + row(187, 20, BLOCKS[1])
    assert agree(both(), [data]) == 40  # after the few, that read is not looked at any more


def test_the_deadline_and_the_fields_of_each_are_those_of_its_block() -> None:
    server, _ = both()
    bursts, _ = received(server, row(101, SHORTEST, BLOCKS[2]))
    assert [(one.path, one.timeout) for one in bursts[0].each()] == [("/t.Test/Echo", 7.0)] * SHORTEST


ODD_ONES = {
    "another block": request(121, BLOCKS[1], b"x" * 20),
    "another length": request(121, BLOCKS[0], b"x" * 21),
    "a message in two frames": frame(HEADERS, 4, 121, BLOCKS[0])
    + frame(DATA, 0, 121, message(b"x" * 20)[:9])
    + frame(DATA, 1, 121, message(b"x" * 20)[9:]),
    "a compressed message": frame(HEADERS, 4, 121, BLOCKS[0]) + frame(DATA, 1, 121, message(b"x" * 20, 1)),
    "a wrong length": frame(HEADERS, 4, 121, BLOCKS[0]) + frame(DATA, 1, 121, bytes(4) + b"\x13" + b"x" * 20),
    "DATA of another stream": frame(HEADERS, 4, 121, BLOCKS[0]) + frame(DATA, 1, 119, message(b"x" * 20)),
    "no end": frame(HEADERS, 4, 121, BLOCKS[0]) + frame(DATA, 0, 121, message(b"x" * 20)),
    "padding": frame(HEADERS, 4, 121, BLOCKS[0]) + frame(DATA, 9, 121, b"\x00" + message(b"x" * 19)),
    "an end in HEADERS": frame(HEADERS, 5, 121, BLOCKS[0]) + frame(DATA, 1, 121, message(b"x" * 20)),
    "a number left out": request(123, BLOCKS[0], b"x" * 20),
    "a number used before": request(111, BLOCKS[0], b"x" * 20),
    "an even number": request(122, BLOCKS[0], b"x" * 20),
    "a reserved bit": request(121 | 1 << 31, BLOCKS[0], b"x" * 20),
    "not gRPC": request(121, NOT_GRPC, b"x" * 20),
    "the end of one before": frame(RST_STREAM, 0, 103, bytes(4)) + request(121, BLOCKS[0], b"x" * 20),
    "a window": frame(WINDOW_UPDATE, 0, 103, b"\0\0\0\x01") + request(121, BLOCKS[0], b"x" * 20),
    "too large a frame": frames.HEAD.pack(200_000 << 8 | DATA, 1, 121),
}


@pytest.mark.parametrize("odd", ODD_ONES.values(), ids=ODD_ONES)
@pytest.mark.parametrize("settle", [0, 1])
def test_one_that_differs_is_read_as_ever(odd: bytes, settle: int) -> None:
    """In the middle of a row, and as the first of one."""
    pair = both()
    assert agree(pair, [row(101, 10), odd + row(125, 10)][: 1 + settle]) >= 10
    agree(both(), [row(101, 10) + odd + row(125, 10)])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=300, deadline=None)
def test_rows_with_flipped_bytes_in_any_pieces(seed: int) -> None:
    rng = random.Random(seed)
    data, stream = b"", 101
    for _ in range(rng.randint(1, 4)):
        count = rng.choice([1, 3, 8, 20, 40])
        data += row(stream, count, rng.choice(BLOCKS), rng.choice([0, 20, 20, 100]))
        stream += 2 * count + rng.choice([0, 0, 0, 2, 8])
    broken = bytearray(data)
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        at = rng.randrange(len(broken))
        broken[at] ^= 1 << rng.randrange(8)
    cuts = sorted(rng.randrange(len(broken)) for _ in range(rng.choice([0, 0, 1, 3])))
    parts = [bytes(broken[start:stop]) for start, stop in zip([0, *cuts], [*cuts, len(broken)], strict=True)]
    agree(both(), parts)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_what_a_client_sends_in_any_pieces(seed: int) -> None:
    """Its own frames, with the header table and all; the answers reach the calls they belong to."""
    rng = random.Random(seed)
    client, server = ClientConnection("test:1"), ServerConnection(take_bursts=True)
    client.receive(server.take())
    heads = [RequestHead("/t/One"), RequestHead("/t/Two", 1.0, [("x", "y")])]
    for _ in range(rng.randint(1, 4)):
        head, size = rng.choice(heads), rng.choice([0, 30, 3000])
        calls = [Exchange(head, rng.randbytes(size)) for _ in range(rng.choice([1, 9, 60]))]
        for call in calls:
            client.request(call)
        sent = client.take()
        while sent:
            part, sent = sent[: (size := rng.choice([100, 20_000, 10**6]))], sent[size:]
            answer(server, *received(server, part))
        client.receive(server.take())
        assert [(call.status, call.message) for call in calls] == [
            (0, b"<" + call.request + b">") for call in calls
        ]
    assert server.in_flight == client.in_flight == 0


@pytest.mark.parametrize("window", [65_535, 70_000])
def test_windows_are_given_back(window: int) -> None:
    limits = {"stream_window": window, "connection_window": window}
    client = ClientConnection("test:1")
    server = ServerConnection(take_bursts=True, **limits)
    client.receive(server.take())
    in_rows = 0
    for _ in range(20):
        calls = [Exchange(RequestHead("/t/One"), bytes([n]) * 3_000) for n in range(15)]
        for call in calls:
            client.request(call)
        while up := client.take():
            bursts, requests = received(server, up)
            in_rows += len(bursts)
            answer(server, bursts, requests)
            client.receive(server.take())
        assert all(call.message == b"<" + call.request + b">" for call in calls)
    assert in_rows > 10


def test_more_data_than_the_window_ends_the_connection() -> None:
    server = settled_server(take_bursts=True, stream_window=70_000, connection_window=70_000)
    server.receive(request(1, BLOCKS[0], b""))
    received(server, row(3, 30, size=3_000))
    assert server.closed is not None
    assert "window" in server.closed


@pytest.mark.parametrize("taken", [3, 30])
def test_streams_beyond_the_limit_are_refused(taken: int) -> None:
    pair = both(most_streams=taken)
    agree(pair, [row(101, 40)])
    agree(pair, [row(181, 40)])


def test_rows_of_what_is_no_good_are_no_rows() -> None:
    assert agree(both(), [row(102, 20)]) == 0  # even numbers
    assert agree(both(), [row(101, 1, NOT_GRPC), row(103, 20, NOT_GRPC)]) == 0
    assert agree(both(largest_message=10), [row(101, 20, size=11)]) == 0
    assert agree(both(), [row(101, 1, BLOCKS[3]), row(103, 20, BLOCKS[3])]) == 0  # a block that is large


def test_nothing_is_taken_while_draining() -> None:
    pair = both()
    for server in pair:
        server.shut_down()
    assert agree(pair, [row(101, 40)]) == 0


def test_numbers_end_where_the_protocol_says() -> None:
    for first in (LARGEST_STREAM - 2 * 39, LARGEST_STREAM - 2 * 20):
        agree(both(), [row(first, 40)])


def test_answers_leave_in_the_same_bytes_as_one_by_one() -> None:
    for settings_of_client in ({}, {frames.INITIAL_WINDOW_SIZE: 10}, {frames.MAX_FRAME_SIZE: 20_000}):
        for size in (3, 17_000):
            sent = []
            for rows in (True, False):
                server = settled_server(settings_of_client, take_bursts=True)
                server.receive(request(1, BLOCKS[0], b""))
                (burst,), _ = received(server, row(3, 20))
                middle = np.random.default_rng(1).integers(0, 255, (20, size), np.uint8)
                messages = Alike(b"head", middle, b"tail")
                server.respond(1, message=b"")
                if rows:
                    server.respond_all(burst.streams, messages)
                else:
                    for stream, one in zip(burst.streams, messages.each(), strict=True):
                        server.respond(stream, message=one)
                sent.append(server.take())
            assert sent[0] == sent[1]


def test_the_first_answers_and_answers_to_reset_streams() -> None:
    server, other = settled_server(take_bursts=True), settled_server()
    for each in (server, other):
        each.receive(request(1, BLOCKS[0], b""))
    rest = frame(RST_STREAM, 0, 7, bytes(4))
    (burst,), _ = received(server, row(3, 20))
    requests = other.receive(row(3, 20))
    for each in (server, other):
        each.receive(rest)
    answer(server, [burst], [])  # nothing has been answered before, and stream 7 wants nothing any more
    answer(other, [], requests)
    sent = server.take()
    assert sent == other.take()
    assert b"\x20\x88" in sent
    assert 7 not in by_stream(sent)
    assert server.in_flight == other.in_flight == 1


def test_one_of_a_row_may_be_answered_by_and_by() -> None:
    server, _ = both()
    assert len(received(server, row(101, 20))[0]) == 1
    server.push(105, b"one")
    server.push(105, b"two")
    server.respond(105)
    server.respond(107, message=b"three")
    pushed = by_stream(server.take())
    assert [payload for kind, _, _, payload in pushed[105] if kind == DATA] == [
        message(b"one"),
        message(b"two"),
    ]
    assert pushed[105][-1][3] == OK
    assert [kind for kind, *_ in pushed[107]] == [HEADERS, DATA, HEADERS]
    assert server.in_flight == 18


def test_rows_are_found_again_after_requests_that_repeat_nothing() -> None:
    server, _ = both()
    stream = 101
    for _ in range(5):
        mixed = b"".join(request(stream + 2 * n, BLOCKS[n % 2], bytes(20)) for n in range(100))
        assert received(server, mixed)[0] == []
        stream += 200
    found = 0
    for _ in range(30):
        found += len(received(server, row(stream, 50))[0])
        stream += 100
    assert found > 3
