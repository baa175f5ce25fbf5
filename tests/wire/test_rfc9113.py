"""Each case of the tables of RFC 9113, for both ends of a connection."""

import pytest

from bench.wire import frames
from bench.wire.frames import GOAWAY, PREFACE, RST_STREAM, SETTINGS, frame
from bench.wire.http2_server import ServerConnection
from tests.wire import rfc9113_client, rfc9113_server
from tests.wire.rfc9113 import Case, asking, data, fields, header
from tests.wire.wires import answer_frames, asked, read_frames, settled_client, settled_server

LATER = 101


def outcome(sent: bytes) -> tuple[dict[int, int], int | None]:
    """Error codes by stream that was reset, and the one of GOAWAY; leaving in order is none."""
    resets, goaway = {}, None
    for kind, _, stream, payload in read_frames(sent):
        if kind == RST_STREAM:
            resets[stream] = int.from_bytes(payload, "big")
        elif kind == GOAWAY:
            goaway = int.from_bytes(payload[4:8], "big")
    return resets, goaway


@pytest.mark.parametrize("case", rfc9113_server.CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("piece", [None, 1])
def test_server(case: Case, piece: int | None) -> None:
    if piece and len(case.received) > 5000:
        pytest.skip("bytes one by one say nothing more of a large frame")
    server = settled_server()
    taken = []
    parts = [case.received] if piece is None else [bytes([byte]) for byte in case.received]
    for part in parts:
        taken += [request.stream for request in server.receive(part)]
    assert (tuple(taken), outcome(server.take())) == (case.taken, (dict(case.reset), case.goaway))
    assert (server.closed is None) == (case.goaway is None)
    if case.goaway is None:  # the other streams of the connection are not touched
        assert [request.stream for request in server.receive(header(LATER) + data(LATER))] == [LATER]


@pytest.mark.parametrize("case", rfc9113_client.CASES, ids=lambda case: case.name)
def test_client(case: Case) -> None:
    client = settled_client()
    call, other = asked(client), asked(client)
    client.take()
    client.receive(case.received)
    resets, goaway = outcome(client.take())
    assert (call.status, resets, goaway) == (case.status, dict(case.reset), case.goaway), call.details
    if case.goaway is None and other.status is None:
        client.receive(answer_frames(other.stream, b"answer"))
        assert (other.status, other.message) == (0, b"answer")


@pytest.mark.parametrize(
    ("opening", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1),
        (PREFACE[:-1] + b"?", 1),
        (PREFACE + frame(frames.PING, 0, 0, bytes(8)), 1),
        (PREFACE + header(1), 1),
        (PREFACE + frame(SETTINGS, frames.ACK, 0), 1),
    ],
    ids=["HTTP/1.1", "a byte of the preface", "PING first", "HEADERS first", "an acknowledgement first"],
)
def test_how_a_client_has_to_open(opening: bytes, code: int) -> None:
    """RFC 9113, 3.4."""
    server = ServerConnection()
    server.take()
    server.receive(opening)
    assert outcome(server.take()) == ({}, code)


def test_there_are_enough_cases() -> None:
    assert len(rfc9113_server.CASES) + len(rfc9113_client.CASES) >= 100
    for cases in (rfc9113_server.CASES, rfc9113_client.CASES):
        assert len({case.name for case in cases}) == len(cases)


INDEXED = b"\x40\x01x" + b"\x7f\xa0\x1e" + b"v" * 3999


def bomb(number: int, times: int = 15) -> bytes:
    """A block of a few bytes that stands for 60 kB: one large field of the table again and again."""
    return fields(asking()) + fields([("x-n", str(number))]) + b"\xbe" * times


def test_a_few_bytes_cannot_stand_for_all_memory() -> None:
    """RFC 7541, 7.3: requests that never end and whose fields are large only once they are decoded."""
    server = settled_server()
    server.receive(frame(frames.HEADERS, 4, 1, fields(asking()) + INDEXED) + data(1))
    number = 0
    while server.closed is None and number < 1000:
        number += 1
        server.receive(frame(frames.HEADERS, 4, 2 * number + 1, bomb(number)))
    assert outcome(server.take())[1] == frames.ENHANCE_YOUR_CALM
    assert 100 < number < 200  # of some 60 kB each: 8 MiB


def test_requests_that_share_a_block_share_its_cost() -> None:
    server = settled_server()
    server.receive(frame(frames.HEADERS, 4, 1, fields(asking()) + INDEXED) + data(1))
    for number in range(1, 1000):
        server.receive(frame(frames.HEADERS, 4, 2 * number + 1, bomb(0)))
    assert server.closed is None


def test_answered_requests_are_not_charged() -> None:
    server = settled_server()
    server.receive(frame(frames.HEADERS, 4, 1, fields(asking()) + INDEXED) + data(1))
    for number in range(1, 1000):
        server.receive(frame(frames.HEADERS, 4, 2 * number + 1, bomb(number)) + data(2 * number + 1))
        server.respond(2 * number + 1, message=b"")
    assert server.closed is None


def test_remembered_blocks_are_charged_by_what_they_stand_for() -> None:
    server = settled_server()
    server.receive(frame(frames.HEADERS, 4, 1, fields(asking()) + INDEXED) + data(1))
    for number in range(1, 500):
        server.receive(frame(frames.HEADERS, 4, 2 * number + 1, bomb(number)) + data(2 * number + 1))
        server.respond(2 * number + 1, message=b"")
    assert len(server._decoder.known) < 20  # a mebibyte of some 60 kB each


def test_a_window_that_is_granted_before_the_answer_counts() -> None:
    server = settled_server({frames.INITIAL_WINDOW_SIZE: 0})
    assert server.receive(header(1) + data(1) + frames.window_update(1, 9))
    server.respond(1, message=b"answer")
    sent = b"".join(payload for kind, _, _, payload in read_frames(server.take()) if kind == frames.DATA)
    assert sent == b"\0\0\0\0\6answ"
