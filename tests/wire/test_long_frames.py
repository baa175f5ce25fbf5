"""A long frame in pieces means what it means in one, and is copied once more than the kernel does."""

import tracemalloc

import pytest

from bench.wire.frames import DATA, END_STREAM, HEADERS, PADDED, frame
from tests.wire.test_http2_server import block, body, opened
from tests.wire.wires import OK, OPENING, asked, message, settled_client, settled_server

LONG = bytes(range(256)) * 400
CUTS = (5, 9, 13, 14, 15, 60_000)
FRAMES = {
    "a whole message": frame(DATA, END_STREAM, 1, message(LONG)),
    "a part": frame(DATA, 0, 1, message(LONG)[:90_000]) + frame(DATA, END_STREAM, 1, message(LONG)[90_000:]),
    "padded": frame(DATA, END_STREAM | PADDED, 1, b"\7" + message(LONG) + bytes(7)),
    "compressed, it says": frame(DATA, END_STREAM, 1, message(LONG, 1)),
    "less than it says": frame(DATA, END_STREAM, 1, message(LONG)[:-1]),
    "another stream": frame(DATA, END_STREAM, 3, message(LONG)),
    "no stream": frame(DATA, END_STREAM, 0, message(LONG)),
    "a reserved bit": frame(DATA, END_STREAM, 1 | 1 << 31, message(LONG)),
    "not DATA": frame(0x42, END_STREAM, 1, message(LONG)),
    "no prefix": frame(DATA, END_STREAM, 1, b"\0\0\0"),
}


@pytest.mark.parametrize("sent", FRAMES.values(), ids=list(FRAMES))
@pytest.mark.parametrize("length", [None, "102405"])
def test_a_long_request_in_pieces_is_the_same(sent: bytes, length: str | None) -> None:
    opening = opened(1, block(*([("content-length", length)] if length else [])))
    found = []
    for cut in (0, *CUTS):
        server = settled_server()
        server.receive(opening)
        behind = sent + opened(5) + body(5)
        requests = [
            *server.receive(behind[:cut]),
            *server.receive(behind[cut:70_000]),
            *server.receive(behind[70_000:]),
        ]
        found.append((requests, server.take(), server.closed, server.arriving, server.held))
    assert all(each == found[0] for each in found)


@pytest.mark.parametrize(
    "sent",
    [
        message(LONG),
        message(LONG)[:-1],
        message(LONG, 1),
        message(LONG) + message(b"more"),
    ],
)
@pytest.mark.parametrize("flags", [0, END_STREAM, PADDED])
def test_a_long_answer_in_pieces_is_the_same(sent: bytes, flags: int) -> None:
    content = b"\7" + sent + bytes(7) if flags == PADDED else sent
    behind = frame(DATA, flags, 1, content) + frame(HEADERS, 5, 1, OK)
    found = []
    for cut in (0, *CUTS):
        client = settled_client()
        exchange = asked(client)
        client.receive(frame(HEADERS, 4, 1, OPENING))
        for part in (behind[:cut], behind[cut:70_000], behind[70_000:]):
            client.receive(part)
        found.append((exchange.status, exchange.details, exchange.message, client.take(), client.held))
    assert all(each == found[0] for each in found)


def test_a_long_frame_takes_one_copy() -> None:
    server = settled_server()
    server.receive(opened(1))
    sent = frame(DATA, END_STREAM, 1, message(LONG * 8))
    cuts = [sent[at : at + 250_000] for at in range(0, len(sent), 250_000)]
    for part in cuts[:-1]:
        assert not server.receive(part)
    tracemalloc.start()
    try:
        (request,) = server.receive(cuts[-1])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert request.message == LONG * 8
    assert peak < 1.1 * len(sent)
