"""Does a channel keep its promises while servers refuse, restart, go away and stay silent?"""

import gc
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import gevent.event
import gevent.socket
import pytest
from gevent.server import StreamServer

from bench import BenchError
from bench.wire import frames
from bench.wire.client import Channel, Reply, open_channel
from bench.wire.http2_server import Request
from tests.wire.servers import Peer, Server, echo, serving, silence, until

ECHO = "/t.Test/Echo"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


@pytest.fixture
def channel(server: Server) -> Iterator[Channel]:
    one = Channel(server.address)
    one.connect(5)
    yield one
    one.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def later(
    channel: Channel, content: bytes = b"", timeout: float | None = None
) -> "gevent.Greenlet[..., Reply]":
    return gevent.spawn(channel.call, ECHO, content, timeout)


def test_a_call_is_answered_with_its_instants(channel: Channel) -> None:
    before = time.perf_counter()
    reply = channel.call(ECHO, b"question")
    assert (reply.status, reply.details, reply.message) == (0, "", b"question")
    assert reply.sent is not None
    assert before < reply.sent < reply.done < time.perf_counter()
    assert channel.sent_calls == 1
    assert channel.in_flight == 0


def test_many_calls_at_once_get_their_own_answers(channel: Channel) -> None:
    contents = [b"%d" % n * (n % 50) for n in range(500)]
    calls = [later(channel, content) for content in contents]
    assert [call.get(timeout=10).message for call in calls] == contents
    assert channel.sent_calls == 500


def test_calls_of_one_turn_leave_in_one_send(server: Server, channel: Channel) -> None:
    reads: list[int] = []
    channel.call(ECHO, b"")  # by now the server has read our acknowledgement of its SETTINGS too
    peer = server.peers[0]
    inner = peer.connection.receive
    peer.connection.receive = lambda data: (reads.append(len(data)), inner(data))[1]  # type: ignore[method-assign]
    gevent.joinall([later(channel, b"x" * 100) for _ in range(64)], timeout=10)
    assert len(reads) == 1


def test_sent_is_the_instant_of_the_last_byte(server: Server) -> None:
    """A server that stops reading holds a large request in the kernel's buffers and ours."""
    gate = gevent.event.Event()

    def answer(peer: Peer, request: Request) -> None:
        gate.wait(10)
        echo(peer, request)

    server.answer = answer
    server.options = {}
    channel = Channel(server.address)
    channel.connect(5)
    first = later(channel, b"small")
    until(lambda: server.requests)
    large = later(channel, bytes(60_000_000))
    small = later(channel, b"behind")
    gevent.sleep(0.05)
    opened = time.perf_counter()
    gate.set()
    replies = [call.get(timeout=20) for call in (first, large, small)]
    assert replies[0].sent is not None and replies[0].sent < opened
    assert replies[1].sent is not None and replies[1].sent > opened
    assert [len(reply.message) for reply in replies] == [5, 60_000_000, 6]
    channel.close()


def test_start_calls_back_in_the_hub(channel: Channel) -> None:
    got: list[tuple[Reply, object]] = []
    channel.start(ECHO, b"x", lambda reply: got.append((reply, gevent.getcurrent())))
    assert not got
    until(lambda: got)
    assert got[0][0].message == b"x"
    assert got[0][1] is gevent.get_hub()


def test_call_in_the_hub_is_an_error(channel: Channel) -> None:
    raised: list[BaseException] = []

    def callback() -> None:
        try:
            channel.call(ECHO, b"")
        except RuntimeError as problem:
            raised.append(problem)

    gevent.get_hub().loop.run_callback(callback)
    until(lambda: raised)
    assert "start()" in str(raised[0])


def test_an_owner_that_raises_harms_nobody_else(channel: Channel, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(reply: Reply) -> None:
        raise ValueError("the owner's fault")

    channel.start(ECHO, b"1", broken)
    following = later(channel, b"2")
    assert following.get(timeout=5).message == b"2"
    assert channel.call(ECHO, b"3").message == b"3"
    assert "the owner's fault" in capsys.readouterr().err


def test_a_greenlet_that_dies_on_its_answer_harms_nobody_else(
    channel: Channel, capsys: pytest.CaptureFixture[str]
) -> None:
    def user() -> None:
        channel.call(ECHO, b"1")
        raise ValueError("in the user")

    dying = gevent.spawn(user)
    assert later(channel, b"2").get(timeout=5).message == b"2"
    assert isinstance(dying.exception, ValueError)
    capsys.readouterr()


def test_metadata_and_agent_go_with_each_call(server: Server) -> None:
    channel = Channel(server.address, metadata=[("x-team", "a")])
    assert channel.call(ECHO, b"", 2.5, [("x-id", "7")]).status == 0
    request = server.requests[-1]
    assert request.metadata == (("x-team", "a"), ("x-id", "7"))
    assert request.timeout == 2.5
    channel.close()
    with pytest.raises(ValueError, match="grpc-x"):
        Channel(server.address, metadata=[("grpc-x", "1")])


def test_what_no_header_can_carry_is_refused_before_anything_is_sent(channel: Channel) -> None:
    with pytest.raises(ValueError, match="metadata"):
        channel.call(ECHO, b"", metadata=[("a b", "1")])
    with pytest.raises(ValueError, match="method"):
        channel.call("Echo", b"")
    assert channel.in_flight == channel.sent_calls == 0


def test_a_deadline_ends_the_call_here_and_there(server: Server, channel: Channel) -> None:
    server.answer = silence
    start = time.perf_counter()
    reply = channel.call(ECHO, b"", timeout=0.05)
    assert (reply.status, reply.details, reply.message) == (4, "Deadline Exceeded", b"")
    assert 0.05 <= reply.done - start < 5
    until(lambda: list(server.peers[0].connection.cancelled) == [1])
    assert channel.in_flight == 0


def test_deadlines_of_different_lengths_end_in_their_order(server: Server, channel: Channel) -> None:
    server.answer = silence
    ended: list[float] = []
    limits = [0.09, 0.03, 0.06, 0.03]
    for limit in limits:
        channel.start(ECHO, b"", lambda reply, limit=limit: ended.append(limit), limit)
    until(lambda: len(ended) == 4)
    assert ended == sorted(limits)


def test_calls_that_end_in_time_do_not_expire(channel: Channel) -> None:
    replies = [channel.call(ECHO, b"", timeout=0.05) for _ in range(20)]
    gevent.sleep(0.1)
    assert all(reply.status == 0 for reply in replies)
    assert channel.call(ECHO, b"", timeout=0.05).status == 0


def test_killing_a_greenlet_cancels_its_call(server: Server, channel: Channel) -> None:
    server.answer = silence
    user = later(channel)
    until(lambda: server.requests)
    user.kill()
    assert channel.in_flight == 0
    until(lambda: list(server.peers[0].connection.cancelled) == [1])
    server.answer = echo
    assert channel.call(ECHO, b"next").message == b"next"


def test_a_cancelled_call_never_calls_back(server: Server, channel: Channel) -> None:
    server.answer = silence
    got: list[Reply] = []
    call = channel.start(ECHO, b"", got.append, timeout=0.05)
    call.cancel()
    call.cancel()
    gevent.sleep(0.1)
    assert got == []
    assert channel.in_flight == 0


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


def test_closing_ends_every_call_and_leaks_nothing(server: Server) -> None:
    server.answer = silence
    channel = Channel(server.address, connections=2)
    channel.connect(5)
    calls = [later(channel, b"x", timeout) for timeout in (None, 5.0) for _ in range(5)]
    until(lambda: len(server.requests) == 10)
    channel.close()
    channel.close()
    assert [call.get(timeout=5).status for call in calls] == [1] * 10
    assert channel.call(ECHO, b"").status == 1
    until(lambda: not server.peers)


def test_channels_come_and_go_without_leaks(server: Server) -> None:
    def once() -> None:
        channel = Channel(server.address, connections=2)
        channel.call(ECHO, b"", 1.0)
        channel.close()
        until(lambda: not server.peers)

    def census() -> tuple[int, int]:
        gc.collect()
        files = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
        return files, sum(isinstance(one, gevent.Greenlet) for one in gc.get_objects())

    once()
    before = census()
    for _ in range(20):
        once()
    assert census() == before


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_both_ip_versions_are_spoken(host: str) -> None:
    try:
        context = serving(host=host)
        with context as server:
            channel = Channel(server.address)
            assert channel.call(ECHO, b"x").message == b"x"
            channel.close()
    except OSError as problem:
        pytest.skip(f"this machine has no {host}: {problem}")


def test_names_are_looked_up(server: Server) -> None:
    channel = Channel(f"localhost:{server.port}")
    assert channel.call(ECHO, b"x").message == b"x"
    channel.close()


def test_unknown_names_are_reported() -> None:
    channel = Channel("no-such-host.invalid:1")
    reply = channel.call(ECHO, b"")
    assert reply.status == 14
    assert "no-such-host.invalid:1" in reply.details
    channel.close()


def test_unix_sockets_are_spoken(tmp_path: Path) -> None:
    with serving(path=tmp_path / "socket") as server:
        channel = Channel(server.address)
        assert channel.call(ECHO, b"x" * 1_000_000).message == b"x" * 1_000_000
        channel.close()


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


def test_a_channel_may_be_closed_at_any_moment(server: Server) -> None:
    """While it connects, from a callback in the hub, while calls wait for their first connection."""
    channel = Channel(server.address)
    waiting = later(channel)
    gevent.sleep(0)
    channel.close()
    assert waiting.get(timeout=5).status == 1
    channel = Channel(server.address)
    channel.connect(5)
    replies: list[Reply] = []
    other = later(channel, b"other")
    channel.start(ECHO, b"x", lambda reply: (replies.append(reply), channel.close()))
    assert other.get(timeout=5).status in (0, 1)
    until(lambda: replies and not server.peers)


def test_an_unknown_transport_is_named() -> None:
    with pytest.raises(BenchError, match="native or grpcio"):
        open_channel("http3", "127.0.0.1:1")


def test_it_works_under_monkey_patching(tmp_path: Path) -> None:
    """As inside Locust, where sockets, threads and ssl are patched."""
    program = tmp_path / "program.py"
    program.write_text(
        "from gevent import monkey; monkey.patch_all()\n"
        "from tests.wire.servers import serving\n"
        "from bench.wire.client import Channel\n"
        "with serving() as server:\n"
        "    channel = Channel(server.address)\n"
        "    print(channel.call('/t.Test/Echo', b'patched', 5.0).message.decode())\n"
        "    channel.close()\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, program],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("patched\n", "")
