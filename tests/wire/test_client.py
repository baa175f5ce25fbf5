"""A channel ends each call as its caller wants: answered, in time, cancelled, with its instants."""

import os
import subprocess
import sys
import time
from pathlib import Path

import gevent
import gevent.event
import gevent.socket
import pytest

from bench import BenchError
from bench.wire.client import Channel
from bench.wire.reply import Reply
from bench.wire.transports import open_channel
from bench.wire.unary import Request
from tests.wire.calls import ECHO, later
from tests.wire.servers import Peer, Server, echo, serving, silence, until


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
    assert [call.get(timeout=60).message for call in calls] == contents
    assert channel.sent_calls == 500


def test_calls_of_one_turn_leave_in_one_send(server: Server, channel: Channel) -> None:
    reads: list[int] = []
    channel.call(ECHO, b"")  # by now the server has read our acknowledgement of its SETTINGS too
    peer = server.peers[0]
    inner = peer.connection.receive
    peer.connection.receive = lambda data: (reads.append(len(data)), inner(data))[1]  # type: ignore[method-assign]
    gevent.joinall([later(channel, b"x" * 100) for _ in range(64)], timeout=60)
    assert len(reads) == 1


def test_flush_sends_at_once_what_would_leave_at_the_end_of_the_turn(
    server: Server, channel: Channel
) -> None:
    reads: list[int] = []
    channel.call(ECHO, b"")
    peer, inner = server.peers[0], server.peers[0].connection.receive
    peer.connection.receive = lambda data: (reads.append(len(data)), inner(data))[1]  # type: ignore[method-assign]
    ended: list[Reply] = []
    counted: list[int] = []

    def start_two_and_flush() -> None:  # in one turn of the loop
        for _ in range(2):
            channel.start(ECHO, b"x" * 100, ended.append)
            counted.append(channel.sent_calls)
        channel.flush()
        counted.append(channel.sent_calls)
        channel.flush()

    gevent.get_hub().loop.run_callback(start_two_and_flush)
    until(lambda: len(ended) == 2)
    assert counted == [1, 1, 3]
    assert len(reads) == 1


def test_sent_is_the_instant_of_the_last_byte(server: Server) -> None:
    """A server that stops reading holds a large request in the kernel's buffers and ours."""
    gate = gevent.event.Event()

    def answer(peer: Peer, request: Request) -> None:
        gate.wait(60)
        echo(peer, request)

    server.answer = answer
    server.options = {}
    channel = Channel(server.address)
    channel.connect(60)
    first = later(channel, b"small")
    until(lambda: server.requests)
    large = later(channel, bytes(60_000_000))
    small = later(channel, b"behind")
    gevent.sleep(0.05)
    opened = time.perf_counter()
    gate.set()
    replies = [call.get(timeout=60) for call in (first, large, small)]
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
    assert following.get(timeout=60).message == b"2"
    assert channel.call(ECHO, b"3").message == b"3"
    assert "the owner's fault" in capsys.readouterr().err


def test_a_greenlet_that_dies_on_its_answer_harms_nobody_else(
    channel: Channel, capsys: pytest.CaptureFixture[str]
) -> None:
    def user() -> None:
        channel.call(ECHO, b"1")
        raise ValueError("in the user")

    dying = gevent.spawn(user)
    assert later(channel, b"2").get(timeout=60).message == b"2"
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
    until(lambda: server.peers[0].connection.released == 1)
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
    replies = [channel.call(ECHO, b"", timeout=0.5) for _ in range(20)]
    gevent.sleep(0.6)
    assert all(reply.status == 0 for reply in replies)
    assert channel.call(ECHO, b"", timeout=0.5).status == 0


def test_killing_a_greenlet_cancels_its_call(server: Server, channel: Channel) -> None:
    server.answer = silence
    user = later(channel)
    until(lambda: server.requests)
    user.kill()
    assert channel.in_flight == 0
    until(lambda: server.peers[0].connection.released == 1)
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


def test_closing_ends_every_call_and_leaks_nothing(server: Server) -> None:
    server.answer = silence
    channel = Channel(server.address, connections=2)
    channel.connect(60)
    calls = [later(channel, b"x", timeout) for timeout in (None, 5.0) for _ in range(5)]
    until(lambda: len(server.requests) == 10)
    channel.close()
    channel.close()
    assert [call.get(timeout=60).status for call in calls] == [1] * 10
    assert channel.call(ECHO, b"").status == 1
    until(lambda: not server.peers)


def test_channels_come_and_go_without_leaks() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.wire.leaks"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


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


def test_unix_sockets_are_spoken(tmp_path: Path) -> None:
    with serving(path=tmp_path / "socket") as server:
        channel = Channel(server.address)
        assert channel.call(ECHO, b"x" * 1_000_000).message == b"x" * 1_000_000
        channel.close()


def test_a_channel_may_be_closed_at_any_moment(server: Server) -> None:
    """While it connects, from a callback in the hub, while calls wait for their first connection."""
    channel = Channel(server.address)
    waiting = later(channel)
    gevent.sleep(0)
    channel.close()
    assert waiting.get(timeout=60).status == 1
    channel = Channel(server.address)
    channel.connect(60)
    replies: list[Reply] = []
    other = later(channel, b"other")
    channel.start(ECHO, b"x", lambda reply: (replies.append(reply), channel.close()))
    assert other.get(timeout=60).status in (0, 1)
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
