"""Do both transports do the same against grpcio's servers, a C++ server and our own, in plain text and over TLS?"""

import json
import subprocess
import sys
from pathlib import Path

import gevent
import pytest

from bench.wire.client import Channel
from bench.wire.messages import PREDICT
from tests.wire import conformance
from tests.wire.certificates import issue
from tests.wire.native import build, missing, running

ROOT = Path(__file__).parents[2]
Results = dict[str, str | None]


class Trials:
    """One process for all cases of a transport against a server, started when the first of them is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._done: dict[tuple[str, str, bool], Results] = {}

    def of(self, transport: str, server: str, tls: bool) -> Results:
        key = (transport, server, tls)
        if key not in self._done:
            self._done[key] = self._run(transport, server, [str(self._folder)] if tls else [])
        return self._done[key]

    def _run(self, transport: str, server: str, folder: list[str]) -> Results:
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
def trials(tmp_path_factory: pytest.TempPathFactory) -> Trials:
    folder = tmp_path_factory.mktemp("certificates")
    issue(folder)
    return Trials(folder)


@pytest.mark.parametrize("name", list(conformance.CASES))
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "mtls"])
@pytest.mark.parametrize("server", ["grpcio-sync", "grpcio-aio", "own"])
@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_conformance(trials: Trials, transport: str, server: str, tls: bool, name: str) -> None:
    problem = trials.of(transport, server, tls)[name]
    assert problem is None, problem


@pytest.fixture(scope="module")
def null_server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if (reason := missing("grpc++")) is not None:
        pytest.skip(reason)
    return build(tmp_path_factory.mktemp("null_server"))


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
