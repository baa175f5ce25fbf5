"""Plain answers are taken at a glance only where the common way comes to the same."""

import random
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.wire import frames, http2_client
from bench.wire.exchange import Exchange, RequestHead
from bench.wire.fast_replies import likeness, take
from bench.wire.frames import DATA, HEADERS, frame
from bench.wire.http2_client import ClientConnection
from tests.wire.wires import OK, OPENING, answer_frames, asked, message, settled_client

LIKE = likeness(OPENING, OK)
PLAIN = answer_frames(3, b"content")


def taken(data: bytes, *, largest: int = 1000, stream: int = 3) -> tuple[int, int, list[Exchange]]:
    exchange = Exchange(RequestHead("/t/Echo"), b"")
    streams, done = {stream: exchange}, []
    ended, size = take(LIKE, data, 0, streams, done, largest=largest)
    assert (exchange in done) == (stream not in streams)
    return ended, size, done


def test_plain_answers_are_taken_until_something_else_comes() -> None:
    ended, size, done = taken(PLAIN + frame(frames.PING, 0, 0, bytes(8)))
    assert (ended, size) == (len(PLAIN), 12)
    assert [(one.status, one.message) for one in done] == [(0, b"content")]


@pytest.mark.parametrize(
    "data",
    [
        PLAIN[:-1],
        answer_frames(5, b"of a stream that is not under way"),
        frame(HEADERS, 4, 3, OPENING) + frame(DATA, 1, 3, message(b"x")) + frame(HEADERS, 5, 3, OK),
        frame(HEADERS, 4, 3, OPENING) + frame(DATA, 0, 3, message(b"x", 1)) + frame(HEADERS, 5, 3, OK),
        frame(HEADERS, 4, 3, OPENING) + frame(DATA, 0, 3, message(b"x") + b"!") + frame(HEADERS, 5, 3, OK),
        frame(HEADERS, 4, 3, OPENING) + frame(DATA, 0, 3, message(b"xy")[:-1]) + frame(HEADERS, 5, 3, OK),
        frame(HEADERS, 4, 3, OPENING) + frame(DATA, 0, 5, message(b"x")) + frame(HEADERS, 5, 3, OK),
        frame(HEADERS, 4, 3, OPENING) + frame(DATA, 0, 3, message(b"x")) + frame(HEADERS, 5, 5, OK),
        frame(HEADERS, 4, 3, OPENING) + frame(DATA, 0, 3, message(b"x")) + frame(HEADERS, 4, 3, OK),
        frame(HEADERS, 4, 3, OPENING)
        + frame(DATA, 0, 3, message(b"x"))
        + frame(HEADERS, 5, 3, OK[:-1] + b"5"),
        frame(HEADERS, 5, 3, OPENING) + frame(DATA, 0, 3, message(b"x")) + frame(HEADERS, 5, 3, OK),
        frame(HEADERS, 4, 3, OPENING[:-1] + b"!")
        + frame(DATA, 0, 3, message(b"x"))
        + frame(HEADERS, 5, 3, OK),
        answer_frames(3, bytes(996)),
    ],
)
def test_any_difference_is_left_to_the_common_way(data: bytes) -> None:
    assert taken(data) == (0, 0, [])


def story(data: bytes, cut: int) -> tuple[object, ...]:
    """All that can be seen of a client that reads these bytes after a plain answer has shown it what they look like."""
    client = settled_client(largest_message=5000, connection_window=70_000)
    first = asked(client)
    client.receive(answer_frames(first.stream, b"first"))
    assert first.message == b"first"
    assert client._opening_word >= 0, "the likeness has not been learnt"
    exchanges = [asked(client) for _ in range(6)]
    client.take()
    ended = []
    for at in range(0, len(data), cut):
        ended += [one.stream for one in client.receive(data[at : at + cut])]
    outcomes = [(one.status, one.details, one.message) for one in exchanges]
    return ended, outcomes, client.closed, client.take(), client._credit, client.in_flight


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.sampled_from([7, 100, 10**6]))
def test_both_ways_come_to_the_same(seed: int, spoiled: int, cut: int) -> None:
    """Plain answers among others, out of order, and with some bytes spoiled."""
    rng = random.Random(seed)
    streams = [3, 5, 7, 9, 11, 13]
    rng.shuffle(streams)
    parts = []
    for stream in streams:
        content = rng.randbytes(rng.choice([0, 5, 300, 4995, 4996]))
        divided = frame(HEADERS, 4, stream, OPENING) + frame(DATA, 0, stream, message(content)[:3])
        divided += frame(DATA, 0, stream, message(content)[3:]) + frame(HEADERS, 5, stream, OK)
        error = frame(HEADERS, 5, stream, OPENING + b"\x00\x0bgrpc-status\x015")
        parts.append(
            rng.choice(
                [answer_frames(stream, content)] * 4 + [divided, error, frame(frames.PING, 0, 0, bytes(8))]
            )
        )
    data = bytearray(b"".join(parts))
    for _ in range(spoiled):
        data[rng.randrange(min(len(data), 200))] = rng.randrange(256)
    common = mock.patch.object(http2_client, "take", lambda like, data, at, streams, done, largest: (at, 0))
    with common:
        expected = story(bytes(data), cut)
    assert story(bytes(data), cut) == expected


def test_a_changed_table_ends_the_likeness() -> None:
    """A server that uses a dynamic table may give the same bytes another meaning."""
    client: ClientConnection = settled_client()
    asked(client), asked(client)
    client.receive(answer_frames(1, b"a"))
    assert client._opening_word >= 0
    client.receive(frame(HEADERS, 4, 3, OPENING + b"\x40\x01x\x01y"))
    assert client._opening_word == -1
