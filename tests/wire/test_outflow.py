"""A message leaves within the peer's windows, byte for byte, and as early as they permit."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.wire import frames
from bench.wire.frames import FLOW_CONTROL_ERROR, ProtocolError
from bench.wire.outflow import Buffer, Outflow
from tests.wire.wires import message, read_frames


def sent(out: list[Buffer]) -> dict[int, bytes]:
    bodies: dict[int, bytes] = {}
    for kind, _, stream, payload in read_frames(b"".join(out)):
        assert kind == frames.DATA
        bodies[stream] = bodies.get(stream, b"") + payload
    return bodies


def test_what_fits_leaves_at_once_as_one_frame() -> None:
    out: list[Buffer] = []
    outflow = Outflow(out)
    outflow.send(1, b"hello", None)
    assert read_frames(b"".join(out)) == [(frames.DATA, frames.END_STREAM, 1, message(b"hello"))]
    assert outflow.sent == [(1, len(out))]


def test_the_closing_follows_the_last_byte() -> None:
    out: list[Buffer] = []
    outflow = Outflow(out)
    outflow.send(1, bytes(65_535), b"CLOSE")
    assert b"CLOSE" not in b"".join(out)
    outflow.grant(0, 5), outflow.grant(1, 5)
    outflow.pump()
    assert b"".join(out).endswith(b"CLOSE")
    assert outflow.sent == [(1, len(out))]


def test_the_oldest_message_leaves_first_when_the_connection_is_the_limit() -> None:
    out: list[Buffer] = []
    outflow = Outflow(out)
    for stream in (1, 3):
        outflow.send(stream, bytes(65_530), None)
        outflow.grant(stream, 100_000)
    out.clear()
    outflow.grant(0, 65_535 + 4)
    outflow.pump()
    assert {stream: len(body) for stream, body in sent(out).items()} == {3: 65_535}
    outflow.send(5, bytes(65_530), None)
    assert {stream: len(body) for stream, body in sent(out).items()} == {3: 65_535, 5: 4}


def test_frames_are_no_larger_than_the_peer_allows() -> None:
    out: list[Buffer] = []
    outflow = Outflow(out)
    outflow.reframe(20_000)
    outflow.send(1, bytes(50_000), None)
    assert [len(payload) for *_, payload in read_frames(b"".join(out))] == [20_000, 20_000, 10_005]


@pytest.mark.parametrize("stream", [0, 1])
def test_a_window_beyond_its_largest_is_a_violation(stream: int) -> None:
    outflow = Outflow([])
    outflow.send(1, bytes(100_000), None)
    with pytest.raises(ProtocolError) as violation:
        outflow.grant(stream, 2**31 - 1), outflow.grant(stream, 1)
    assert violation.value.code == FLOW_CONTROL_ERROR


def test_a_first_window_that_overflows_an_open_stream_is_a_violation() -> None:
    outflow = Outflow([])
    outflow.send(1, bytes(100_000), None)
    outflow.grant(1, 2**31 - 1 - 10)
    with pytest.raises(ProtocolError):
        outflow.resize(65_535 + 11)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_windows_are_kept_and_messages_arrive_whole(seed: int) -> None:
    """Against a peer that keeps its own account of what it has granted."""
    rng = random.Random(seed)
    out: list[Buffer] = []
    outflow = Outflow(out)
    first, connection = 65_535, 65_535
    granted: dict[int, int] = {}
    contents: dict[int, bytes] = {}
    bodies: dict[int, bytes] = {}
    for step in range(60):
        choice = rng.random()
        if choice < 0.3 and len(contents) < 10:
            stream = 2 * len(contents) + 1
            contents[stream] = rng.randbytes(rng.choice([0, 3, 1000, 70_000]))
            granted[stream] = first
            outflow.send(stream, contents[stream], None)
        elif choice < 0.5:
            new = rng.choice([0, 1, 3, 10, 1000, 65_535])
            for stream in granted:
                granted[stream] += new - first
            first = new
            outflow.resize(first)
        elif choice < 0.8 and granted:
            stream, size = rng.choice(sorted(granted)), rng.randint(1, 5000)
            granted[stream] += size
            outflow.grant(stream, size)
        else:
            size = rng.randint(1, 5000)
            connection += size
            outflow.grant(0, size)
        outflow.pump()
        for stream, body in sent(out).items():
            bodies[stream] = bodies.get(stream, b"") + body
            granted[stream] -= len(body)
            connection -= len(body)
            assert granted[stream] >= 0
            assert connection >= 0, f"step {step}"
        out.clear()
    outflow.grant(0, 2_000_000)
    for stream in granted:
        outflow.grant(stream, 200_000)
    outflow.pump()
    for stream, body in sent(out).items():
        bodies[stream] = bodies.get(stream, b"") + body
    assert bodies == {stream: message(content) for stream, content in contents.items()}
    assert sorted(stream for stream, _ in outflow.sent) == sorted(contents)
