"""A proxy in the environment keeps nobody from this machine's servers, whatever the protocol."""

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from bench import BenchError
from bench.launch import server_process
from bench.load.observing.container import ContainerProbe
from bench.load.observing.counters import fetch
from bench.protocol.registry import api_named
from bench.wire import direct
from bench.wire.direct import PROXY, open_url
from bench.wire.messages import GET_MODEL_STATUS, GetModelStatusRequest
from bench.wire.transports import open_channel

NOBODY = "http://127.0.0.1:9"


class Answers(http.server.BaseHTTPRequestHandler):
    """Docker's version, a Prometheus page, and that it was asked as a proxy is."""

    def do_GET(self) -> None:
        docker = self.path.endswith("/json")
        content = json.dumps({"ApiVersion": "1.43", "message": f"none at {self.path}"}).encode()
        if self.path == "/metrics":
            content = b':tensorflow:serving:request_count{model_name="m",status="OK"} 7\n'
        self.send_response(404 if docker else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY", "grpc_proxy"):
        monkeypatch.setenv(name, NOBODY)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_pages_and_docker_are_asked_directly(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetch(f"http://{address}/metrics", "m", api_named("tfs"))["ok"] == 7
    monkeypatch.setenv("DOCKER_HOST", f"tcp://{address}")
    with pytest.raises(BenchError, match="no such container"):
        ContainerProbe("gone")


def test_a_proxy_that_the_user_names_is_used(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROXY, f"http://{address}")
    with open_url("http://nowhere.invalid/page", timeout=10) as answer:
        assert json.load(answer)["message"] == "none at http://nowhere.invalid/page"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
def test_a_proxy_that_the_user_names_is_not_used_for_the_loopback(
    address: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PROXY, NOBODY)
    with open_url(f"http://{host}:{address.split(':')[1]}/page", timeout=10) as answer:
        assert json.load(answer)["message"] == "none at /page"


@pytest.mark.parametrize("host", ["localhost:1", "a.localhost", "127.9.9.9:80", "[::1]:8501", "0.0.0.0:1"])
def test_hosts_on_the_loopback(host: str) -> None:
    assert direct._on_loopback(host)


@pytest.mark.parametrize(
    "host", ["example.com", "localhost.example.com:80", "128.0.0.1", "[::2]:80", "mylocalhost"]
)
def test_hosts_elsewhere(host: str) -> None:
    assert not direct._on_loopback(host)


@pytest.mark.usefixtures("address")
@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_calls_are_made_directly(transport: str) -> None:
    with server_process.embedded(["--backend", "null"]) as server:
        channel = open_channel(transport, server.address)
        try:
            channel.connect(60)
            asked = GetModelStatusRequest()
            asked.model_spec.name = "mnist"
            assert channel.call(GET_MODEL_STATUS, asked.SerializeToString(), 20).status in (0, 5)
        finally:
            channel.close()
