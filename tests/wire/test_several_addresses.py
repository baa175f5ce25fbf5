"""A name that stands for several addresses: each is tried, none holds the others up, all get their share."""

import contextlib
import errno
import itertools
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import gevent
import gevent.socket
import numpy as np
import pytest
from gevent.server import StreamServer

from bench.load.engine.http_calls import HttpCalls
from bench.load.senders import Senders
from bench.payload import Pool
from bench.wire import open as opening
from bench.wire.client import Channel
from bench.wire.dial import Address, ConnectError
from tests.load.over_rest import REST, connection_to
from tests.load.test_rest import plain_options
from tests.wire.calls import ECHO
from tests.wire.servers import Server, serving, until

NAME = "models.test"
Names = Callable[..., None]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Say what a name server answers for NAME: addresses, families by their looks."""
    real = gevent.socket.getaddrinfo

    def stand_for(*hosts: str, mixed: bool = False) -> None:
        turns = itertools.count()

        def look_up(host: str, port: int, *rest: Any) -> list[Any]:
            if host != NAME:
                return list(real(host, port, *rest))
            turn = next(turns) % len(hosts) if mixed else 0
            return [
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (each, port, 0, 0))
                if ":" in each
                else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
                for each in (*hosts[turn:], *hosts[:turn])
            ]

        monkeypatch.setattr(gevent.socket, "getaddrinfo", look_up)

    return stand_for


@pytest.fixture
def mute() -> Iterator[str]:
    """An address that takes connections from the kernel's queue only, until that is full: SYNs are swallowed."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.9", 0))
        listener.listen(0)
        fillers = []
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        yield f"127.0.0.9:{listener.getsockname()[1]}"
        for filler in fillers:
            filler.close()


def test_families_take_turns_and_all_processes_count_the_same_way(names: Names) -> None:
    names("::2", "10.0.0.3", "10.0.0.1", "::1", "10.0.0.2", mixed=True)
    address = Address.parse(f"{NAME}:8500")
    orders = [[place.text for place in opening.resolve(address, turn)] for turn in range(5)]
    families = [["[" in text for text in order] for order in orders]
    assert families[0] == [True, False, True, False, False]
    assert {frozenset(order) for order in orders} == {
        frozenset(["[::1]:8500", "[::2]:8500", "10.0.0.1:8500", "10.0.0.2:8500", "10.0.0.3:8500"])
    }
    names("10.0.0.3", "10.0.0.1", "10.0.0.2", mixed=True)
    firsts = [opening.resolve(address, turn)[0].text for turn in range(6)]
    assert firsts == [f"10.0.0.{n}:8500" for n in (1, 2, 3, 1, 2, 3)]


def test_an_address_that_swallows_syns_holds_nobody_up(names: Names, mute: str) -> None:
    port = int(mute.rsplit(":", 1)[1])
    names("127.0.0.9", "127.0.0.10")
    with serving(host="127.0.0.10", port=port) as server:
        begin = time.perf_counter()
        channel = Channel(f"{NAME}:{port}")
        channel.connect(5)
        assert time.perf_counter() - begin < 5
        assert channel.call(ECHO, b"x").message == b"x"
        assert channel.addresses == {f"127.0.0.10:{port}": 1}
        channel.close()
        until(lambda: not server.peers)


@pytest.mark.parametrize("behaviour", ["refuses", "hangs up", "speaks http/1", "is silent"])
def test_an_address_that_does_not_serve_is_passed_over(names: Names, behaviour: str) -> None:
    def misbehave(sock: Any, _: Any) -> None:
        if behaviour == "speaks http/1":
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        elif behaviour == "is silent":
            gevent.sleep(60)

    bad = StreamServer(("127.0.0.9", 0), misbehave)
    bad.start()
    if behaviour == "refuses":
        bad.stop()
    names("127.0.0.9", "127.0.0.10")
    with serving(host="127.0.0.10", port=bad.server_port):
        channel = Channel(f"{NAME}:{bad.server_port}")
        channel.connect(10)
        assert channel.call(ECHO, b"x").message == b"x"
        channel.close()
    bad.stop(timeout=0)


def test_where_all_fail_each_is_named_with_its_reason(names: Names) -> None:
    names("127.0.0.9", "127.0.0.10")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    channel = Channel(f"{NAME}:{port}")
    reply = channel.call(ECHO, b"")
    assert reply.status == 14
    assert f"{NAME}:{port} (127.0.0.9): Connection refused" in reply.details
    assert f"{NAME}:{port} (127.0.0.10): Connection refused" in reply.details
    channel.close()


def failing_sockets(monkeypatch: pytest.MonkeyPatch, code: int, family: int | None) -> None:
    """No socket can be made, of the family or of any, until the patch is undone."""
    real = gevent.socket.socket

    class Failing(real):  # type: ignore[misc, valid-type]
        def __init__(self, wanted: int = -1, *rest: Any, **named: Any) -> None:
            if family in (None, wanted):
                raise OSError(code, "no socket")
            super().__init__(wanted, *rest, **named)

    monkeypatch.setattr(gevent.socket, "socket", Failing)


def test_a_family_that_the_kernel_lacks_is_passed_over(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server:
        names("::1", "127.0.0.1")
        failing_sockets(monkeypatch, errno.EAFNOSUPPORT, socket.AF_INET6)
        channel = Channel(f"{NAME}:{server.port}")
        assert channel.call(ECHO, b"x").message == b"x"
        channel.close()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EAFNOSUPPORT, errno.EPERM])
def test_without_sockets_calls_fail_until_there_are_some(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    with serving() as server:
        failing_sockets(monkeypatch, code, None)
        channel = Channel(server.address)
        reply = channel.call(ECHO, b"")
        assert (reply.status, reply.sent) == (14, None)
        assert "no socket" in reply.details
        monkeypatch.undo()
        channel.connect(10)
        assert channel.call(ECHO, b"x").message == b"x"
        assert channel.sent_calls == 1
        channel.close()


def test_an_error_that_nobody_foresaw_ends_no_keeper(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server:
        real, count = opening.resolve, itertools.count()

        def resolve(address: Address, turn: int = 0) -> list[opening.Place]:
            if next(count) < 2:
                raise ZeroDivisionError("unforeseen")
            return real(address, turn)

        monkeypatch.setattr(opening, "resolve", resolve)
        channel = Channel(server.address)
        assert "unforeseen" in channel.call(ECHO, b"").details
        channel.connect(10)
        assert channel.call(ECHO, b"x").status == 0
        channel.close()


def test_a_connection_is_renewed_to_what_the_name_stands_for_then(names: Names) -> None:
    names("127.0.0.9")
    with serving(host="127.0.0.9") as first:
        channel = Channel(f"{NAME}:{first.port}")
        assert channel.call(ECHO, b"1").status == 0
        with serving(host="127.0.0.10", port=first.port) as second:
            names("127.0.0.10")
            first.drop()
            until(lambda: second.accepted)
            channel.connect(10)
            assert channel.call(ECHO, b"2").status == 0
            assert len(second.requests) == 1
            assert channel.addresses == {f"127.0.0.9:{first.port}": 1, f"127.0.0.10:{first.port}": 1}
            channel.close()


def test_connections_of_all_processes_take_the_addresses_in_turn(names: Names) -> None:
    hosts = ["127.0.0.9", "127.0.0.10", "127.0.0.11"]
    with serving(host=hosts[0]) as first:
        servers = [first]
        others = [Server(host=host, port=first.port) for host in hosts[1:]]
        servers += others
        names(*hosts, mixed=True)
        channels = [Channel(f"{NAME}:{first.port}", connections=2, turn=2 * process) for process in range(3)]
        until(lambda: all(len(channel._ready) == 2 for channel in channels))
        assert [len(server.peers) for server in servers] == [2, 2, 2]
        for channel in channels:
            assert all(channel.call(ECHO, b"").status == 0 for _ in range(4))
            assert sorted(channel.addresses.values()) == [2, 2]
            channel.close()
        for server in others:
            server.close()


def test_load_processes_begin_with_addresses_of_their_own(names: Names) -> None:
    """Each of a process's connections leads elsewhere than those of the processes before it, over gRPC and REST."""
    hosts = ["127.0.0.9", "127.0.0.10", "127.0.0.11"]
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(serving(host=hosts[0])).port
        for host in hosts[1:]:
            stack.enter_context(serving(host=host, port=port))
        names(*hosts, mixed=True)
        pool = Pool.of({"x": np.zeros((1, 1))}, None, output="y", model="m")
        recorder: Any = SimpleNamespace(api=REST, pool=pool)
        for connections in (1, 2):
            options = replace(plain_options(), connections=connections, rest=f"{NAME}:{port}")
            for worker in range(3):
                senders = Senders(f"{NAME}:{port}", options, worker)
                until(lambda: len(senders.channel._ready) == connections)  # noqa: B023
                assert all(senders.channel.call(ECHO, b"").status == 0 for _ in range(connections))
                numbers = [worker * connections + number for number in range(connections)]
                assert senders.addresses == {f"{hosts[number % 3]}:{port}": 1 for number in numbers}
                assert senders.http.connection(recorder).turn == numbers[0]
                senders.close()


def test_losers_of_the_race_are_closed(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "STAGGER_SECONDS", 0.0)
    names("127.0.0.9", "127.0.0.10")
    with serving(host="127.0.0.9") as first, serving(host="127.0.0.10", port=first.port) as second:
        channel = Channel(f"{NAME}:{first.port}")
        channel.connect(10)
        until(lambda: len(first.peers) + len(second.peers) == 1)
        channel.close()
        until(lambda: not first.peers and not second.peers)


def test_rest_tries_the_addresses_in_the_same_way(names: Names) -> None:
    def answer(sock: Any, _: Any) -> None:
        sock.recv(1000)
        sock.sendall(b"HTTP/1.1 429 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    names("127.0.0.9", "127.0.0.10")
    server = StreamServer(("127.0.0.10", 0), answer)
    server.start()
    pool = Pool.of({"x": np.zeros((1, 1))}, None, output="y", model="m")
    connection = connection_to(f"{NAME}:{server.server_port}", pool)
    assert connection.ask(b"x", 5).status == 8
    assert connection.where == f"127.0.0.10:{server.server_port}"
    server.stop(timeout=0)


def test_connections_over_rest_of_all_processes_take_the_addresses_in_turn(names: Names) -> None:
    """Users have a connection each: those of process p begin with address number p x connections."""

    def answer(sock: Any, _: Any) -> None:
        while sock.recv(1000):
            sock.sendall(b"HTTP/1.1 429 Busy\r\nContent-Length: 0\r\n\r\n")

    hosts = ["127.0.0.9", "127.0.0.10", "127.0.0.11"]
    names(*hosts)
    servers = [StreamServer((hosts[0], 0), answer)]
    servers[0].start()
    port = servers[0].server_port
    for host in hosts[1:]:
        servers.append(StreamServer((host, port), answer))
        servers[-1].start()
    pool = Pool.of({"x": np.zeros((1, 1))}, None, output="y", model="m")
    recorder: Any = SimpleNamespace(api=REST, pool=pool, add=lambda *_: None)
    for process in range(3):
        calls = HttpCalls(f"{NAME}:{port}", 5.0, process, largest=1000)
        users = [calls.connection(recorder) for _ in range(2)]
        for user in users * 2:
            assert calls.ask(user, b"x", recorder, 0) == 8
            user_host = user.where.rsplit(":", 1)[0]
            assert user_host == hosts[(process + users.index(user)) % 3]
        assert sorted(calls.addresses.values()) == [2, 2]
        for user in users:
            user.close()
    for server in servers:
        server.stop(timeout=0)


def test_the_name_of_an_unknown_host_is_told() -> None:
    for host in ("no-such-host.invalid", "a" * 70 + ".test", "a..b"):
        with pytest.raises(ConnectError, match=r"the name .* is not found"):
            opening.resolve(Address.parse(f"{host}:1"))
