"""What a user waits inside the client - for a stream, a window, a connection - is in the latency of its request."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.socket
import numpy as np
import pytest
from gevent.event import Event
from gevent.server import StreamServer

from bench.load.engine.recorder import Recorder
from bench.load.engine.turns import Turns
from bench.payload import Pool
from bench.runs.sample import CANCELLED_STATUS
from bench.wire import http_connection
from bench.wire.client import Channel
from bench.wire.reply import Reply
from bench.wire.transports import open_channel
from bench.wire.unary import Request
from tests.load.over_rest import connection_to
from tests.load.test_checker import pool_of
from tests.load.test_record import checker_of, taken
from tests.wire.calls import ECHO, later
from tests.wire.servers import Peer, Server, echo, serving, silence, until

READS = Event()
TRANSPORTS = pytest.mark.parametrize("transport", ["native", "grpcio"])


def opened(transport: str, server: Server) -> Any:
    """A channel whose connection is up and has sent nothing that is not answered."""
    channel = open_channel(transport, server.address)
    channel.connect(60)
    assert channel.call(ECHO, b"first", 10).status == 0
    server.requests.clear()
    return channel


def begin(reply: Reply) -> float:
    """The instant from which a closed loop's latency counts."""
    recorder = Recorder("Predict", pool_of(), checker_of(pool_of()))
    recorder.add(None, 0, reply)
    (rows,) = recorder.take()
    assert reply.sent is None or rows.sent[0] == reply.sent
    return float(rows.due[0])


def finish(peer: Peer, request: Request) -> None:
    echo(peer, request)
    peer.flush()


@TRANSPORTS
def test_for_a_stream(transport: str) -> None:
    with serving(most_streams=1) as server:
        channel = opened(transport, server)
        server.answer = silence
        calls = [later(channel, b"%d" % number, 30) for number in range(2)]
        until(lambda: server.requests)
        between = time.perf_counter()
        server.answer = echo
        finish(server.peers[0], server.requests[0])
        first, second = (call.get(timeout=60) for call in calls)
        assert first.status == second.status == 0
        assert begin(first) < between < first.done
        assert begin(second) < between < second.done
        if transport == "native":
            assert first.held_since is None, "it left at once"
            assert second.sent > between
            assert (channel.waits.counts, channel.waits.most_streams) == ({"stream": 1}, 1)
        channel.close()


@TRANSPORTS
def test_for_windows_that_open_in_steps(transport: str) -> None:
    """The server grants what a large request needs after it has seen the beginning of it."""
    with serving(stream_window=1_000) as server:
        channel = opened(transport, server)
        (peer,) = server.peers
        gate, receive = Event(), peer.connection.receive

        def receive_late(data: bytes) -> list[Request]:
            gate.wait(20)
            return receive(data)

        peer.connection.receive = receive_late  # type: ignore[method-assign]
        call = later(channel, bytes(100_000), 30)
        gevent.sleep(0.01)
        between = time.perf_counter()
        gate.set()
        reply = call.get(timeout=60)
        assert reply.status == 0
        assert begin(reply) < between < reply.done
        if transport == "native":
            assert reply.sent is not None
            assert between < reply.sent
            assert channel.waits.counts == {"window": 1}
        channel.close()


@TRANSPORTS
def test_for_a_connection(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, run = Event(), Peer.run

    def greet_late(peer: Peer) -> None:
        gate.wait(20)
        run(peer)

    monkeypatch.setattr(Peer, "run", greet_late)
    with serving() as server:
        channel = open_channel(transport, server.address)
        call = later(channel, b"x", 30)
        until(lambda: server.accepted)
        between = time.perf_counter()
        gate.set()
        reply = call.get(timeout=60)
        assert reply.status == 0
        assert begin(reply) < between < reply.done
        assert channel.waits.counts == ({"connection": 1} if transport == "native" else {})
        channel.close()


def test_until_the_kernel_takes_it() -> None:
    """Behind a large request that its server does not read."""
    gate = Event()
    with serving() as server:
        channel = opened("native", server)
        (peer,) = server.peers
        receive = peer.connection.receive

        def receive_late(data: bytes) -> list[Request]:
            gate.wait(20)
            return receive(data)

        peer.connection.receive = receive_late  # type: ignore[method-assign]
        (link,) = channel._links
        large = later(channel, bytes(12_000_000), 30)
        until(lambda: link._rest)
        small = later(channel, b"behind", 30)
        gevent.sleep(0.01)
        between = time.perf_counter()
        gate.set()
        for call in (large, small):
            reply = call.get(timeout=60)
            assert reply.status == 0
            assert reply.sent is not None
            assert begin(reply) < between < reply.sent
        assert channel.waits.counts == {"kernel": 2}
        channel.close()


def answer_http(sock: Any, _: Any) -> None:
    """One answer for each request, once the whole of it has come."""
    file = sock.makefile("rb")
    while file.readline():
        size = int(file.readline().partition(b":")[2])
        READS.wait(20)
        file.read(len(b"\r\n") + size)
        sock.sendall(b"HTTP/1.1 429 Busy\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
def rest() -> Iterator[Any]:
    """A connection to a server that reads the content of requests while READS is set."""
    READS.set()
    server = StreamServer(("127.0.0.1", 0), answer_http)
    server.start()
    pool = Pool.of({"x": np.zeros((1, 1))}, None, output="y", model="m")
    connection = connection_to(f"127.0.0.1:{server.server_port}", pool)
    yield connection
    connection.close()
    server.stop(timeout=0)


def request(size: int) -> bytes:
    return b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)


def test_over_rest_for_a_connection(rest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[float] = []
    real = http_connection.connect_first

    def connect(*where: Any) -> Any:
        connected.append(time.perf_counter())
        return real(*where)

    monkeypatch.setattr(http_connection, "connect_first", connect)
    first, second = rest.ask(request(1), 20), rest.ask(request(1), 20)
    assert begin(first) < connected[0] < first.sent
    assert second.held_since is None, "the connection was kept"
    assert begin(second) == second.sent


def test_over_rest_until_the_kernel_takes_it(rest: Any) -> None:
    assert [rest.ask(request(1), 20).status for _ in range(2)] == [8, 8]
    assert rest.held_since is None
    READS.clear()
    call = gevent.spawn(rest.ask, request(12_000_000), 20)
    until(lambda: rest.held_since is not None)
    between = time.perf_counter()
    READS.set()
    reply = call.get(timeout=60)
    assert begin(reply) < between < reply.sent


def test_one_that_was_never_sent_has_waited_all_the_same() -> None:
    recorder = Recorder("Predict", pool_of(), checker_of(pool_of()))
    with serving(silence, most_streams=1) as server:
        channel = Channel(server.address)
        channel.connect(60)
        before = time.perf_counter()
        for _ in range(2):
            channel.start(ECHO, b"", lambda reply: recorder.add(None, 0, reply))
        until(lambda: server.requests)
        between = time.perf_counter()
        recorder.close()
        channel.close()
        until(lambda: recorder.waiting == 2)
    rows = taken(recorder)
    assert rows.status.tolist() == [CANCELLED_STATUS] * 2
    assert recorder.unsent == 1
    assert (before < rows.due).all() and (rows.due < between).all() and (between < rows.done).all()


USERS, REQUESTS = 4, 60


def calling(channel: Any, recorder: Recorder, over: Callable[[], bool]) -> None:
    """Users in greenlets of their own."""

    def user() -> None:
        while not over():
            recorder.add(None, 0, channel.call(ECHO, recorder.messages[0], 30))

    gevent.joinall([gevent.spawn(user) for _ in range(USERS)], timeout=30, raise_error=True)


def turning(channel: Any, recorder: Recorder, over: Callable[[], bool]) -> None:
    """Users whose requests leave in rows."""
    turns, stopped = Turns(channel, recorder, 30.0, over), Event()
    users = [gevent.spawn(turns.run, recorder.pool.sequence(number), stopped) for number in range(USERS)]
    until(lambda: over() and not channel.in_flight, 30)
    stopped.set()
    gevent.joinall(users, timeout=30, raise_error=True)


@pytest.mark.parametrize(
    ("transport", "load"),
    [("native", calling), ("native", turning), ("grpcio", calling)],
    ids=["native", "native in rows", "grpcio"],
)
def test_users_are_rate_times_latency(transport: str, load: Callable[..., None]) -> None:
    """Little's law, behind a server that takes one call at a time: three of four users always wait for a stream."""

    def answer(peer: Peer, request: Request) -> None:
        gevent.spawn_later(0.003, finish, peer, request)

    recorder = Recorder("Predict", pool_of(), checker_of(pool_of()))
    with serving(most_streams=1) as server:
        channel = opened(transport, server)
        server.answer = answer
        load(channel, recorder, lambda: len(server.requests) >= REQUESTS)
        channel.close()
    rows = taken(recorder)
    assert REQUESTS <= len(rows.done) < REQUESTS + USERS
    mean, seconds = (rows.done - rows.due).mean(), rows.done.max() - rows.due.min()
    assert 0.75 * USERS < len(rows.done) / seconds * mean < 1.01 * USERS
