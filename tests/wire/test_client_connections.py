"""Does a channel keep its promises while servers refuse, restart, go away and stay silent?"""

import socket
import struct

import gevent
import gevent.event
import gevent.socket
import pytest
from gevent.server import StreamServer

from bench import BenchError
from bench.wire import frames
from bench.wire.client import Channel
from bench.wire.unary import Request
from tests.wire.calls import ECHO, later
from tests.wire.servers import Peer, Server, echo, serving, silence, until


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


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
        channel.connect(10)
        assert channel.call(ECHO, b"up").message == b"up"
    channel.close()


def test_a_restart_fails_what_was_under_way_and_nothing_else(server: Server, channel: Channel) -> None:
    server.answer = silence
    under_way = later(channel)
    until(lambda: server.requests)
    server.answer = echo
    server.drop()
    reply = under_way.get(timeout=5)
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
    assert second.get(timeout=5).message == b"second"
    assert channel.call(ECHO, b"third").message == b"third"
    assert server.accepted == 2
    assert len(server.requests) == 3
    old.connection.respond(1, message=b"answer")
    old.flush()
    assert first.get(timeout=5).message == b"answer"
    until(lambda: old not in server.peers)  # the drained connection is closed


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
    assert "does not open with SETTINGS" in reply.details
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
        assert [call.get(timeout=10).message for call in calls] == [b"%d" % n for n in range(20)]
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
        assert [call.get(timeout=10).message for call in calls] == [b"%d" % n for n in range(20)]
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
    assert call.get(timeout=5).status == 4
    until(lambda: old not in server.peers)


def test_several_connections_share_the_calls(server: Server) -> None:
    channel = Channel(server.address, connections=3)
    until(lambda: server.accepted == 3 and len(channel._ready) == 3)
    gevent.joinall([later(channel) for _ in range(30)], timeout=10)
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
    monkeypatch.setattr("bench.wire.client._DIAL_LIMIT", 0.1)
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
