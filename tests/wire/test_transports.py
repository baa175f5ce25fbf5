"""Both transports do the same against grpcio's servers, a C++ server and our own, in plain text and over TLS."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.server import StreamServer

from bench.wire.client import Channel
from bench.wire.messages import PREDICT
from bench.wire.transports import open_channel
from tests.wire import conformance
from tests.wire.calls import ECHO
from tests.wire.certificates import issue
from tests.wire.native import build, missing, running

ROOT = Path(__file__).parents[2]
Results = dict[str, str | None]


class Trials:
    """One process for all cases of a transport against a server; several at once, for most of each is waiting."""

    def __init__(self, folder: Path, wanted: Iterable[tuple[str, str, bool]]) -> None:
        self._folder = folder
        self._threads = ThreadPoolExecutor(3)
        self._results = {key: self._threads.submit(self._run, *key) for key in wanted}

    def of(self, transport: str, server: str, tls: bool) -> Results:
        return self._results[transport, server, tls].result()

    def end(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def _run(self, transport: str, server: str, tls: bool) -> Results:
        folder = [str(self._folder)] if tls else []
        with running([sys.executable, "-m", "tests.wire.peer", server, *folder]) as port:
            command = [
                sys.executable,
                "-m",
                "tests.wire.conformance",
                transport,
                f"127.0.0.1:{port}",
                *folder,
            ]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
        assert done.returncode == 0, done.stderr
        results: Results = json.loads(done.stdout.splitlines()[-1])
        return results


@pytest.fixture(scope="module")
def trials(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    folder = tmp_path_factory.mktemp("certificates")
    issue(folder)
    collected = [
        item.callspec.params
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.function is test_conformance
    ]
    trials = Trials(
        folder, dict.fromkeys((each["transport"], each["server"], each["tls"]) for each in collected)
    )
    yield trials
    trials.end()


@pytest.mark.parametrize("name", list(conformance.CASES))
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "mtls"])
@pytest.mark.parametrize("server", ["grpcio-sync", "grpcio-aio", "own"])
@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_conformance(trials: Trials, transport: str, server: str, tls: bool, name: str) -> None:
    problem = trials.of(transport, server, tls)[name]
    assert problem is None, problem


@pytest.fixture(scope="module")
def null_server() -> Path:
    if (reason := missing("grpc++")) is not None:
        pytest.skip(reason)
    return build()


@pytest.mark.parametrize("size", [0, 100, 70_000])
def test_a_cpp_server_answers_batches_of_any_size(null_server: Path, tmp_path: Path, size: int) -> None:
    reply = tmp_path / "reply"
    reply.write_bytes(bytes(size))
    with running([null_server, "0", reply]) as port:
        channel = Channel(f"127.0.0.1:{port}")
        assert channel.call("/any/Method", b"")[:2] == (12, "only Predict")
        for examples in (1, 32, 512):
            calls = [
                gevent.spawn(channel.call, PREDICT, conformance.batch(examples), 30.0) for _ in range(40)
            ]
            for call in calls:
                assert call.get(timeout=30)[:3] == (0, "", bytes(size))
        channel.close()


def test_a_grpcio_server_with_one_stream_and_tiny_windows_is_served() -> None:
    with running([sys.executable, "-m", "tests.wire.peer", "grpcio-narrow"]) as port:
        channel = Channel(f"127.0.0.1:{port}")
        calls = [
            gevent.spawn(channel.call, "/t.Test/Echo", conformance.batch(n), 30.0) for n in (1, 32, 1, 512, 1)
        ]
        assert [len(call.get(timeout=30).message) for call in calls] == [n * 3136 for n in (1, 32, 1, 512, 1)]
        channel.close()


def test_connections_that_grpcio_retires_cost_no_call() -> None:
    """GOAWAY every 0.3 s under load: what the server has not taken goes again, what it has taken is answered."""
    ended: list[int] = []
    with running([sys.executable, "-m", "tests.wire.peer", "grpcio-aging"]) as port:
        channel = Channel(f"127.0.0.1:{port}", connections=2)
        channel.connect(60)

        def user() -> None:
            while len(peers) < 8:
                reply = channel.call("/t.Test/Report", b"", 10.0)
                ended.append(reply.status)
                if reply.status == 0:
                    peers.add(json.loads(reply.message)["peer"])

        peers: set[str] = set()
        gevent.joinall([gevent.spawn(user) for _ in range(8)], timeout=30, raise_error=True)
        assert len(peers) >= 8, "the server retired no connection"
        assert set(ended) == {0}
        assert channel.in_flight == 0
        channel.close()


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_both_transports_are_back_soon_after_a_server(transport: str) -> None:
    """grpcio waits 1 s before its second attempt, then 1.6, 2.6, 4.1 and 6.6: all of it would count as the server's."""
    attempts: list[Any] = []

    def hang_up(sock: Any, _: Any) -> None:
        attempts.append(sock.close())

    listener = StreamServer(("127.0.0.1", 0), hang_up)
    listener.start()
    channel = open_channel(transport, f"127.0.0.1:{listener.server_port}")
    with gevent.Timeout(60):
        while len(attempts) < 6:
            assert channel.call(ECHO, b"", 5.0).status == 14
            gevent.sleep(0.01)
    channel.close()
    listener.stop()
