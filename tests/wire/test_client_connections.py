"""A channel keeps its promises while servers refuse, restart, go away and stay silent."""

import socket
import struct
from typing import Any

import gevent
import gevent.event
import gevent.socket
import pytest
from gevent.server import StreamServer

from bench import BenchError
from bench.wire import frames
from bench.wire.client import Channel
from bench.wire.header_blocks import literal
from bench.wire.unary import Request
from tests.ports import free_port
from tests.wire.calls import ECHO, later
from tests.wire.servers import Peer, Server, echo, serving, silence, until
from tests.wire.wires import OPENING


def test_calls_made_before_the_connection_is_up_wait_for_it(server: Server) -> None:
    channel = Channel(server.address)
    assert channel.in_flight == 0
    assert channel.call(ECHO, b"x").message == b"x"
    channel.close()


def test_while_the_server_is_down_calls_fail_at_once() -> None:
    port = free_port()
    channel = Channel(f"127.0.0.1:{port}")
    for _ in range(3):
        reply = channel.call(ECHO, b"")
        assert reply.status == 14
        assert reply.details.startswith(f"failed to connect to all addresses; last error: 127.0.0.1:{port}")
        assert reply.sent is None
    with pytest.raises(BenchError, match=rf"within 0\.05 s.*127\.0\.0\.1:{port}.*refused"):
        channel.connect(0.05)
    with serving(port=port):
        channel.connect(60)
        assert channel.call(ECHO, b"up").message == b"up"
    channel.close()


def test_a_restart_fails_what_was_under_way_and_nothing_else(server: Server, channel: Channel) -> None:
    server.answer = silence
    under_way = later(channel)
    until(lambda: server.requests)
    server.answer = echo
    server.drop()
    reply = under_way.get(timeout=60)
    assert reply.status == 14
    assert "connection lost" in reply.details
    assert channel.call(ECHO, b"again").message == b"again"
    assert server.accepted == 2


def test_goaway_moves_calls_to_a_new_connection(server: Server, channel: Channel) -> None:
    """One call was processed and is answered on the old connection; the one behind it goes again on a new one."""
    old = server.peers[0]
    server.answer = silence
    first = later(channel, b"first")
    until(lambda: len(server.requests) == 1)
    old.connection.shut_down()
    second = later(channel, b"second")  # it crosses the GOAWAY
    gevent.sleep(0)
    server.answer = echo
    old.flush()
    assert second.get(timeout=60).message == b"second"
    assert channel.call(ECHO, b"third").message == b"third"
    assert server.accepted == 2
    assert len(server.requests) == 3
    old.connection.respond(1, message=b"answer")
    old.flush()
    assert first.get(timeout=60).message == b"answer"
    until(lambda: old not in server.peers)  # the drained connection is closed


def test_the_ends_of_connections_are_told_with_their_reason(server: Server) -> None:
    channel = Channel(server.address, connections=2)
    ended: list[str] = []
    channel.on_left = ended.append
    until(lambda: len(channel._ready) == 2)
    server.peers[0].connection.out.append(frames.goaway(0, frames.ENHANCE_YOUR_CALM, "too_many_pings"))
    server.peers[0].flush()
    until(lambda: len(ended) == 1)
    until(lambda: len(channel._ready) == 2)
    server.drop()
    until(lambda: len(ended) == 3)
    channel.close()
    assert ended[0] == "the server sent GOAWAY ENHANCE_YOUR_CALM too_many_pings"
    assert all(reason.startswith("connection lost: ") for reason in ended[1:])


def test_a_refused_stream_goes_again_once(server: Server, channel: Channel) -> None:
    def refuse(peer: Peer, request: Request) -> None:
        peer.connection.out.append(frames.rst_stream(request.stream, frames.REFUSED_STREAM))

    server.answer = refuse
    reply = channel.call(ECHO, b"")
    assert reply.status == 14
    assert len(server.requests) == 2


def test_a_server_that_speaks_something_else_is_named() -> None:
    def http1(sock: gevent.socket.socket, _: object) -> None:
        sock.recv(1000)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = StreamServer(("127.0.0.1", 0), http1)
    server.start()
    channel = Channel(f"127.0.0.1:{server.server_port}")
    reply = channel.call(ECHO, b"")
    assert reply.status == 14
    assert "speaks HTTP/1.1, not gRPC" in reply.details
    channel.close()
    server.stop()


def test_a_violation_in_the_middle_fails_the_calls_and_renews_the_connection(
    server: Server, channel: Channel
) -> None:
    server.answer = lambda peer, request: peer.send(frames.frame(frames.PING, 0, 0, b"short"))
    reply = channel.call(ECHO, b"")
    assert reply.status == 13
    assert "FRAME_SIZE_ERROR" in reply.details
    server.answer = echo
    assert channel.call(ECHO, b"x").message == b"x"


def test_one_stream_at_a_time_is_respected() -> None:
    most = 0

    def answer(peer: Peer, request: Request) -> None:
        nonlocal most
        most = max(most, peer.connection.in_flight)
        gevent.spawn_later(0.001, finish, peer, request)

    def finish(peer: Peer, request: Request) -> None:
        echo(peer, request)
        peer.flush()

    with serving(answer, most_streams=1) as server:
        channel = Channel(server.address)
        calls = [later(channel, b"%d" % n) for n in range(20)]
        assert [call.get(timeout=60).message for call in calls] == [b"%d" % n for n in range(20)]
        assert most == 1
        assert [request.message for request in server.requests] == [b"%d" % n for n in range(20)]
        channel.close()


def test_calls_wait_their_turn_on_several_full_connections() -> None:
    def answer(peer: Peer, request: Request) -> None:
        gevent.spawn_later(0.001, finish, peer, request)

    def finish(peer: Peer, request: Request) -> None:
        echo(peer, request)
        peer.flush()

    with serving(answer, most_streams=1) as server:
        channel = Channel(server.address, connections=2)
        until(lambda: len(channel._ready) == 2)
        calls = [later(channel, b"%d" % n) for n in range(20)]
        assert [call.get(timeout=60).message for call in calls] == [b"%d" % n for n in range(20)]
        assert [len(peer.requests) for peer in server.peers] == [10, 10]
        channel.close()


def test_a_connection_that_breaks_while_we_send_fails_its_calls(server: Server, channel: Channel) -> None:
    sock = server.peers[0].sock
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()  # a reset, which we have not read when we send
    reply = channel.call(ECHO, b"x")
    assert reply.status == 14
    assert "connection lost" in reply.details
    assert channel.call(ECHO, b"again").message == b"again"


def test_a_drained_connection_is_closed_when_its_last_call_is_given_up(
    server: Server, channel: Channel
) -> None:
    server.answer = silence
    old = server.peers[0]
    call = later(channel, timeout=0.2)
    until(lambda: server.requests)
    old.connection.shut_down()
    old.flush()
    until(lambda: server.accepted == 2)
    assert call.get(timeout=60).status == 4
    until(lambda: old not in server.peers)


def test_several_connections_share_the_calls(server: Server) -> None:
    channel = Channel(server.address, connections=3)
    until(lambda: server.accepted == 3 and len(channel._ready) == 3)
    gevent.joinall([later(channel) for _ in range(30)], timeout=60)
    assert [len(peer.requests) for peer in server.peers] == [10, 10, 10]
    server.peers[0].sock.shutdown(socket.SHUT_RDWR)
    until(lambda: server.accepted == 4 and len(channel._ready) == 3)
    assert all(channel.call(ECHO, b"").status == 0 for _ in range(6))
    channel.close()
    until(lambda: not server.peers)


def test_a_server_that_accepts_and_says_nothing_hangs_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    channel = Channel(address)
    assert channel.call(ECHO, b"", timeout=0.05).status == 4
    assert channel.in_flight == 0
    channel.close()
    monkeypatch.setattr("bench.wire.open.ATTEMPT_SECONDS", 0.1)
    channel = Channel(address)
    reply = channel.call(ECHO, b"")
    assert reply.status == 14
    assert "no HTTP/2 SETTINGS within 0.1 s" in reply.details
    channel.close()
    listener.close()


def test_unknown_names_are_reported() -> None:
    channel = Channel("no-such-host.invalid:1")
    reply = channel.call(ECHO, b"")
    assert reply.status == 14
    assert "no-such-host.invalid:1" in reply.details
    channel.close()


class Shutter:
    """An echo server that ends its connections after some answers, in order (GOAWAY) or not."""

    def __init__(self, answers: int, *, in_order: bool) -> None:
        self._answers, self._in_order = answers, in_order

    def __call__(self, peer: Peer, request: Request) -> None:
        if len(peer.requests) > self._answers:
            return  # unprocessed, as what comes behind a GOAWAY
        echo(peer, request)
        if len(peer.requests) < self._answers:
            return
        if self._in_order:
            peer.connection.out.append(frames.goaway(request.stream, frames.NO_ERROR))
        peer.flush()
        peer.sock.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("in_order", [True, False], ids=["GOAWAY", "end"])
@pytest.mark.parametrize("answers", [1, 3])
def test_connections_that_serve_and_end_at_once_fail_no_call(in_order: bool, answers: int) -> None:
    """Such as behind nginx with keepalive_requests, of which each lives for some milliseconds."""
    with serving(Shutter(answers, in_order=in_order)) as server:
        channel = Channel(server.address)
        for number in range(60):
            assert channel.call(ECHO, b"%d" % number, 10).message == b"%d" % number
            begun = (number + 1) // answers + 1
            until(lambda begun=begun: len(channel._ready) == 1 and server.accepted == begun)
        assert channel.sent_calls == 60
        assert channel.retries == 0
        channel.close()


def test_what_many_callers_have_sent_behind_the_last_call_of_a_connection_goes_again() -> None:
    with serving(Shutter(10, in_order=True)) as server:
        channel = Channel(server.address)
        channel.connect(60)
        calls = [later(channel, b"%d" % number, 30) for number in range(105)]
        assert [call.get(timeout=60).message for call in calls] == [b"%d" % number for number in range(105)]
        assert channel.sent_calls == 105
        assert channel.addresses == {server.address: 105}
        assert channel.retries == sum(range(5, 96, 10)), "each connection serves ten of them"
        assert len(server.requests) == 105 + channel.retries
        channel.close()


def test_a_server_that_serves_nothing_gets_no_call_for_ever(server: Server, channel: Channel) -> None:
    """Each connection ends in order, behind no call."""

    def leave(peer: Peer, _: Request) -> None:
        peer.connection.out.append(frames.goaway(0, frames.NO_ERROR))

    server.answer = leave
    reply = channel.call(ECHO, b"", 30)
    assert (reply.status, reply.details) == (14, "the server is going away: NO_ERROR")
    assert len(server.requests) == 6


def test_a_server_that_ends_each_connection_in_order_before_it_serves_fails_no_call(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Peer.run

    def leave(peer: Peer) -> None:
        if server.accepted <= 5:
            peer.flush()
            peer.send(frames.goaway(0, frames.NO_ERROR))
            while peer.sock.recv(65_536):
                pass
        else:
            run(peer)

    monkeypatch.setattr(Peer, "run", leave)
    channel = Channel(server.address)
    assert channel.call(ECHO, b"x", 10).message == b"x"
    channel.close()


def test_a_server_that_hangs_up_on_every_call_gets_pauses(server: Server, channel: Channel) -> None:
    server.answer = lambda peer, _: peer.sock.shutdown(socket.SHUT_RDWR)
    for _ in range(3):
        assert channel.call(ECHO, b"").status == 14
    assert server.accepted <= 3
    until(lambda: channel._failure is not None)
    assert "right after connecting" in channel.call(ECHO, b"").details


def test_a_refused_call_counts_once_with_its_first_instant(server: Server, channel: Channel) -> None:
    def refuse_first(peer: Peer, request: Request) -> None:
        if len(server.requests) == 1:
            gevent.sleep(0.05)
            peer.connection.out.append(frames.rst_stream(request.stream, frames.REFUSED_STREAM))
        else:
            echo(peer, request)

    server.answer = refuse_first
    reply = channel.call(ECHO, b"x", 10)
    assert reply.message == b"x"
    assert reply.sent is not None
    assert reply.done - reply.sent >= 0.05, "the retry is the caller's time"
    assert (channel.sent_calls, channel.retries, len(server.requests)) == (1, 1, 2)


def test_a_call_that_is_given_up_before_its_bytes_leave_is_not_sent(server: Server, channel: Channel) -> None:
    call = channel.start(ECHO, b"x", lambda _: None)
    assert call.cancel() is None
    assert channel.call(ECHO, b"y").message == b"y"
    assert channel.sent_calls == 1
    sent = channel.start(ECHO, b"z", lambda _: None)
    channel.flush()
    assert sent.cancel() is not None
    assert channel.sent_calls == 2


@pytest.mark.parametrize("window", [65_535, 2**30], ids=["held back by windows", "held back by the kernel"])
def test_a_call_that_is_answered_before_it_is_complete_is_not_sent(window: int) -> None:
    """As a server does that takes no messages of that size: it knows at the first bytes."""

    def refuse(sock: Any, _: Any) -> None:
        sock.sendall(frames.settings({frames.INITIAL_WINDOW_SIZE: window}) + frames.window_update(0, window))
        seen = b""
        while frames.PREFACE not in seen or len(seen) < 20_000:
            seen += sock.recv(10_000)
        sock.sendall(frames.frame(frames.HEADERS, 5, 1, OPENING + literal(b"grpc-status", b"8")))
        answered.wait()
        while sock.recv(2**20):
            pass

    answered = gevent.event.Event()
    server = StreamServer(("127.0.0.1", 0), refuse)
    server.start()
    channel = Channel(f"127.0.0.1:{server.server_port}")
    reply = channel.call(ECHO, bytes(30_000_000), 10)
    answered.set()
    (link,) = channel._links
    until(lambda: not link._rest)
    assert (reply.status, reply.sent, channel.sent_calls) == (8, None, 0)
    channel.close()
    server.stop(timeout=0)
