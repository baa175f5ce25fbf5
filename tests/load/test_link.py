"""The connection between master and workers: who joins, who is refused, and what is left out, on real sockets."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import msgpack
import pytest
from gevent.event import AsyncResult
from gevent.server import StreamServer
from gevent.socket import create_connection
from locust.argument_parser import get_empty_argument_parser, setup_parser_arguments
from locust.rpc import Message

from bench import BenchError
from bench.load.locust_glue import link
from tests.ports import free_port

TOKEN, OTHER = "a secret of the tests", "another secret of theirs"
SECONDS = 60

Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def _process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a program that has just been started."""
    monkeypatch.setattr(link._Process, "local", None)
    monkeypatch.setattr(link._Process, "lost", None)
    monkeypatch.setattr(link._Process, "main", gevent.getcurrent())
    monkeypatch.delenv(link.VARIABLE, raising=False)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes a socket in a process that has a token or none; closes it in the end."""
    made = []

    def opened(kind: Any, *arguments: Any, token: str | None) -> Any:
        with monkeypatch.context() as patch:
            if token is not None:
                patch.setenv(link.VARIABLE, token)
            made.append(kind(*arguments))
            return made[-1]

    yield opened
    for each in reversed(made):
        close(each)


def close(made: Any) -> None:
    context = None if made.socket is None else made.socket.context
    made.close(linger=0)
    if context is not None:
        context.destroy(linger=0)


def ready(name: str) -> Message:
    return Message("client_ready", "2.0", name)


@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_worker_with_the_masters_token_joins(make: Make, token: str | None) -> None:
    server = make(link.Server, "127.0.0.1", 0, token=token)
    client = make(link.Client, "127.0.0.1", server.port, "w", token=token)
    client.send(ready("w"))
    with gevent.Timeout(SECONDS):
        assert server.recv_from_client()[0] == "w"
        server.send_to_client(Message("ack", {"index": 0}, "w"))
        assert client.recv().data == {"index": 0}


@pytest.mark.parametrize(
    ("ours", "theirs"), [(TOKEN, OTHER), (TOKEN, None), (None, TOKEN)], ids=["other", "none", "too many"]
)
def test_a_worker_with_another_token_ends_with_one_line_and_the_master_names_it(
    make: Make,
    ours: str | None,
    theirs: str | None,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = make(link.Server, "127.0.0.1", 0, token=ours)
    client = make(link.Client, "127.0.0.1", server.port, "w", token=theirs)
    client.send(ready("w"))
    with pytest.raises(SystemExit) as ended:
        gevent.sleep(SECONDS)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"bench: the master at 127.0.0.1:{server.port} refuses this worker: {link.VARIABLE} "
    )
    with gevent.Timeout(SECONDS):
        while "is refused: its" not in caplog.text:
            gevent.sleep(0.01)
    assert TOKEN not in caplog.text + line
    assert OTHER not in caplog.text + line


FOREIGN = {
    "no msgpack": b"\xc1",
    "a number": msgpack.dumps(5),
    "two fields": msgpack.dumps(("stats", {})),
    "a type that is no text": msgpack.dumps((5, {}, "w")),
    "another worker's name": msgpack.dumps(("stats", {}, "honest")),
    "a name that is no text": msgpack.dumps(("stats", {}, {"a": 1})),
    "an object that is none": msgpack.dumps(("stats", {"__datetime__": True, "as_str": 5}, "w")),
    "depth": b"\x91" * 2000,
}


def test_what_no_worker_sends_is_left_out_and_named_once(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    server = make(link.Server, "127.0.0.1", 0, token=None)
    client = make(link.Client, "127.0.0.1", server.port, "w", token=None)
    for content in FOREIGN.values():
        client.socket.send(content)
    client.socket.send_multipart([b"one", b"more"])
    client.send(ready("w"))
    with gevent.Timeout(SECONDS), caplog.at_level(logging.WARNING):
        name, message = server.recv_from_client()
    assert (name, message.type) == ("w", "client_ready")
    assert caplog.text.count("ignored a message") == 1


LAST_WORDS = """
import atexit, os, sys
from bench.load.locust_glue import link
from locust.rpc import Message

link.LAST_SECONDS = 60
client = link.Client("127.0.0.1", int(sys.argv[1]), "w")
atexit.register(print, "ending", flush=True)
client.send(Message("bench-refused", {"reason": "no"}, "w"))
atexit._run_exitfuncs()
os._exit(0)  # Python goes on to take objects apart, and these messages then leave, or not
"""


def test_what_a_worker_says_last_has_left_when_it_ends(make: Make) -> None:
    port = free_port()
    command = [sys.executable, "-c", LAST_WORDS, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ending\n"
        server = make(link.Server, "127.0.0.1", port, token=None)
        with gevent.Timeout(SECONDS):
            assert server.recv_from_client()[1].data == {"reason": "no"}
    assert worker.returncode == 0


def test_a_worker_learns_that_its_master_is_gone(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "BACK_SECONDS", 0.2)
    lost: AsyncResult[str] = AsyncResult()
    link.when_lost(lost.set)
    server = link.Server("127.0.0.1", 0)
    client = make(link.Client, "127.0.0.1", server.port, "w", token=None)
    client.send(ready("w"))
    with gevent.Timeout(SECONDS):
        server.recv_from_client()
        close(server)
        assert lost.get() == f"the master at 127.0.0.1:{server.port} is gone: this load process ends"


def test_a_master_that_says_nothing_any_more_is_gone_too(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when its machine is: the connection stands, and nothing passes."""
    monkeypatch.setattr(link, "PING_SECONDS", 0.1)
    monkeypatch.setattr(link, "SILENT_SECONDS", 1.0)
    monkeypatch.setattr(link, "BACK_SECONDS", 0.2)
    lost: AsyncResult[str] = AsyncResult()
    link.when_lost(lost.set)
    server = make(link.Server, "127.0.0.1", 0, token=None)
    relay = make(Relay, server.port, token=None)
    client = make(link.Client, "127.0.0.1", relay.port, "w", token=None)
    client.send(ready("w"))
    with gevent.Timeout(SECONDS):
        server.recv_from_client()
        relay.passing = False
        assert "is gone" in lost.get()


class Relay:
    """Passes bytes on between clients and a server, until it is told to hold them back."""

    def __init__(self, server: int) -> None:
        self.passing, self.socket = True, None
        self._server = server
        self._listening = StreamServer(("127.0.0.1", 0), self._serve)
        self._listening.start()
        self.port = self._listening.server_port

    def _serve(self, client: Any, _: Any) -> None:
        with create_connection(("127.0.0.1", self._server)) as server, client:
            ways = [gevent.spawn(self._pass, *each) for each in ((client, server), (server, client))]
            gevent.joinall(ways, count=1)
            gevent.killall(ways)

    def _pass(self, source: Any, target: Any) -> None:
        while content := source.recv(1 << 16):
            if self.passing:
                target.sendall(content)

    def close(self, linger: int) -> None:
        self._listening.stop(timeout=1)


@pytest.mark.parametrize(
    ("kind", "arguments", "token", "told"),
    [
        (
            link.Server,
            ["*", 0],
            None,
            "--master-bind-host *: other machines reach it; set BENCH_WORKER_TOKEN",
        ),
        (link.Server, ["10.0.0.1", 0], None, "--master-bind-host 10.0.0.1: other machines"),
        (link.Client, ["master.test", 5557, "w"], None, "--master-host master.test: other machines"),
        (link.Server, ["*", 0], "short", "BENCH_WORKER_TOKEN has 5 characters: at least 16"),
    ],
)
def test_a_port_for_other_machines_needs_a_token(
    make: Make,
    capsys: pytest.CaptureFixture[str],
    kind: Any,
    arguments: list[Any],
    token: str | None,
    told: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        make(kind, *arguments, token=token)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_a_busy_port_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit):
            link.Server("127.0.0.1", port)
        assert f"--master-bind-port {port}: " in capsys.readouterr().err
        with pytest.raises(BenchError, match=f"--master-bind-port {port}: .*omit the option"):
            link.Local(port)


def parsed(*arguments: str) -> Any:
    parser = get_empty_argument_parser(default_config_files=[])
    setup_parser_arguments(parser)
    parser.set_defaults(master_bind_host="127.0.0.1")
    link.prepare(parser)
    return parser.parse_args(list(arguments))


def test_a_master_that_forks_its_workers_has_a_port_and_a_secret_of_this_run(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = parsed("--processes", "2")
    port = options.master_port
    assert (options.master_bind_host, options.master_host, options.master_bind_port) == (
        *["127.0.0.1"] * 2,
        port,
    )
    assert port != link.LOCUST_PORT
    assert parsed("--processes", "2").master_port == port, "Locust parses its command line more than once"
    server = make(link.Server, "127.0.0.1", port, token=None)
    client = make(link.Client, "127.0.0.1", port, "ours", token=None)
    client.send(ready("ours"))
    with gevent.Timeout(SECONDS):
        assert server.recv_from_client()[0] == "ours"
    monkeypatch.setattr(link._Process, "local", None)  # as in another run
    make(link.Client, "127.0.0.1", port, "theirs", token=None).send(ready("theirs"))
    with pytest.raises(SystemExit):
        gevent.sleep(SECONDS)
    assert parsed("--processes", "2").master_port != port
    assert link._Process.local is not None
    os.close(link._Process.local.take() or 0)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--master"],
        ["--worker"],
        ["--worker", "--processes", "2"],
        ["--master-bind-host=*", "--processes=2"],
    ],
)
def test_others_keep_the_port_that_locust_users_know(arguments: list[str]) -> None:
    options = parsed(*arguments)
    assert (options.master_port, options.master_bind_port) == (link.LOCUST_PORT, link.LOCUST_PORT)
