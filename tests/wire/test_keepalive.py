"""A server that has vanished is noticed, and one that only takes its time is left alone."""

from collections.abc import Iterator
from types import SimpleNamespace

import gevent
import gevent.event
import pytest

from bench.wire import frames
from bench.wire.client import Channel
from bench.wire.keepalive import Keepalive, Watch
from bench.wire.unary import Request
from tests.wire.calls import ECHO, later
from tests.wire.servers import Peer, Server, echo, silence, until
from tests.wire.wires import read_frames

PING = frames.frame(frames.PING, 0, 0, bytes(8))[:9]


class Pings:
    """Counts the pings that a server's first connection reads."""

    def __init__(self, server: Server) -> None:
        self.count = 0
        self._connection = server.peers[0].connection
        self._inner = self._connection.receive
        self._connection.receive = self._receive  # type: ignore[method-assign]  # listens in

    def _receive(self, data: bytes) -> list[Request]:
        self.count += data.count(PING)
        return self._inner(data)


@pytest.fixture
def channel(server: Server) -> Iterator[Channel]:
    one = Channel(server.address, keepalive=Keepalive(0.02, 0.2))
    one.connect(60)
    yield one
    one.close()


def test_a_server_that_takes_its_time_is_asked_and_left_alone(server: Server, channel: Channel) -> None:
    server.answer = silence
    pings = Pings(server)
    call = later(channel, b"slow")
    until(lambda: pings.count >= 3)
    server.peers[0].connection.respond(1, message=b"at last")
    server.peers[0].flush()
    assert call.get(timeout=60)[:3] == (0, "", b"at last")
    assert server.accepted == 1


def test_a_server_that_has_vanished_ends_its_calls(server: Server, channel: Channel) -> None:
    """It holds the connection and reads nothing, as a host behind a broken route seems to."""
    gate = gevent.event.Event()

    def hang(peer: Peer, request: Request) -> None:
        gate.wait(60)

    server.answer = hang
    replies = [call.get(timeout=60) for call in (later(channel, b"1"), later(channel, b"2"))]
    details = "connection lost: no answer to a PING within 0.2 s"
    assert [(reply.status, reply.details) for reply in replies] == [(14, details)] * 2
    server.answer = echo
    assert channel.call(ECHO, b"again").message == b"again"
    assert server.accepted == 2
    gate.set()


def test_nothing_is_asked_while_no_call_is_under_way(server: Server, channel: Channel) -> None:
    assert channel.call(ECHO, b"x").message == b"x"
    pings = Pings(server)
    gevent.sleep(0.1)  # five times as long as a call may be silent
    assert pings.count == 0


def test_a_call_that_begins_in_silence_gets_its_time_first() -> None:
    connection = SimpleNamespace(in_flight=0, asked=0)
    connection.ping = lambda: setattr(connection, "asked", connection.asked + 1)
    link = SimpleNamespace(connection=connection, heard=0.0, schedule=lambda: None)
    watch = Watch(link, Keepalive(1e-6))  # type: ignore[arg-type]  # as much of a link as it looks at
    watch._look()
    connection.in_flight = 1
    watch._look()
    assert connection.asked == 0
    watch._look()
    assert connection.asked == 1
    watch.stop()


def test_a_server_that_answers_is_asked_again_before_the_limit(server: Server) -> None:
    """An hour to answer in does not mean an hour between questions."""
    server.answer = silence
    channel = Channel(server.address, keepalive=Keepalive(0.02, 3600))
    channel.connect(60)
    pings = Pings(server)
    call = later(channel, b"slow")
    until(lambda: pings.count >= 3)
    channel.close()
    assert call.get(timeout=60).details == "the channel was closed"


def test_without_keepalive_nothing_is_asked(server: Server) -> None:
    server.answer = silence
    channel = Channel(server.address)
    channel.connect(60)
    pings = Pings(server)
    assert channel.call(ECHO, b"", timeout=0.1).status == 4
    channel.close()
    assert pings.count == 0


def test_a_ping_is_a_frame_of_8_bytes_and_its_answer_asks_nothing(server: Server, channel: Channel) -> None:
    (link,) = channel._links
    link.connection.ping()
    ((kind, flags, stream, payload),) = read_frames(link.connection.take())
    assert (kind, flags, stream, len(payload)) == (frames.PING, 0, 0, 8)
    assert link.connection.receive(frames.frame(frames.PING, frames.ACK, 0, payload)) == []
    assert link.connection.take() == b""


def test_a_watch_ends_with_its_connection(server: Server, channel: Channel) -> None:
    (link,) = channel._links
    channel.close()
    assert link._watch is not None
    assert link._watch._timer is None


@pytest.mark.parametrize(("every", "limit"), [(0, 1), (1, 0), (float("nan"), 1), (1, float("inf"))])
def test_impossible_times_are_refused(every: float, limit: float) -> None:
    with pytest.raises(ValueError, match="a number > 0"):
        Keepalive(every, limit)
