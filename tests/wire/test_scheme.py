"""What is told at once where a server speaks something else than it is called with, by every client and verb."""

import socket
from collections.abc import Iterator

import gevent
import pytest
from gevent.server import StreamServer

from bench import BenchError
from bench.launch.ready import wait_available
from bench.launch.running import NotReady, Running, Served
from bench.wire.dial import TLS, OtherwiseReached
from bench.wire.transports import HTTP, open_channel
from tests.wire.certificates import Certificates, issue
from tests.wire.servers import serving

GRPC = ("native", "grpcio")
LONG = 60.0
"""Seconds that a client would wait for somebody who may still come."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return issue(tmp_path_factory.mktemp("certificates"))


def over_http(sock: socket.socket, _: object) -> None:
    """A server of HTTP/1.1, which answers whatever comes."""
    if sock.recv(65_536):
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    sock.close()


@pytest.fixture(scope="module")
def addresses(files: Certificates) -> Iterator[dict[str, str]]:
    """What a server speaks -> where it listens."""
    http = StreamServer(("127.0.0.1", 0), over_http)
    http.start()
    with (
        serving() as plain,
        serving(context=files.server_context()) as tls,
        serving(context=files.server_context(ask_client=True)) as mutual,
        serving(context=files.server_context(http2=False)) as https,
    ):
        yield {
            "gRPC": plain.address,
            "gRPC over TLS": tls.address,
            "mutual TLS": mutual.address,
            "HTTPS": https.address,
            "HTTP": f"127.0.0.1:{http.server_port}",
        }
    http.stop()


PLAIN, ENCRYPTED = False, True
CASES = [
    *((each, PLAIN, "gRPC over TLS", "the server speaks TLS", "--grpc-tls") for each in (*GRPC, HTTP)),
    *((each, PLAIN, "mutual TLS", "the server speaks TLS", "--grpc-tls") for each in GRPC),
    *((each, PLAIN, "HTTPS", "the server speaks TLS", "--grpc-tls") for each in (*GRPC, HTTP)),
    *((each, PLAIN, "HTTP", "speaks HTTP/1.1, not gRPC", "--protocol tfs-rest") for each in GRPC),
    *((each, ENCRYPTED, "gRPC", "does not speak TLS", "leave --grpc-tls out") for each in GRPC),
    *((each, ENCRYPTED, "HTTP", "does not speak TLS", "leave --grpc-tls out") for each in GRPC),
    *((each, ENCRYPTED, "mutual TLS", "client certificate", "--grpc-tls-cert") for each in GRPC),
    ("native", ENCRYPTED, "HTTPS", "ALPN h2", "its gRPC port"),
    (HTTP, PLAIN, "gRPC", "speaks HTTP/2", "its REST port"),
]


@pytest.mark.parametrize(("transport", "encrypted", "server", "reason", "remedy"), CASES)
def test_the_reason_and_the_remedy_are_one_line_at_once(
    addresses: dict[str, str],
    files: Certificates,
    transport: str,
    encrypted: bool,
    server: str,
    reason: str,
    remedy: str,
) -> None:
    channel = open_channel(transport, addresses[server], tls=TLS(ca=files.ca) if encrypted else None)
    try:
        with gevent.Timeout(LONG / 2), pytest.raises(OtherwiseReached) as told:
            channel.connect(LONG)
            channel.call("GET /v1/models/m", b"", LONG)
    finally:
        channel.close()
    assert addresses[server] in str(told.value)
    assert reason in str(told.value)
    assert remedy in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("transport", GRPC)
def test_another_certificate_is_told_at_once(
    addresses: dict[str, str], files: Certificates, transport: str
) -> None:
    channel = open_channel(transport, addresses["gRPC over TLS"], tls=TLS(ca=files.stranger))
    with gevent.Timeout(LONG / 2), pytest.raises(BenchError, match="trust its CA with --grpc-tls-ca"):
        channel.connect(LONG)
    channel.close()


@pytest.mark.parametrize("transport", GRPC)
def test_who_listens_and_is_silent_or_hangs_up_is_waited_for(transport: str) -> None:
    """As a proxy in front of a server that starts."""
    hang_up = StreamServer(("127.0.0.1", 0), lambda sock, _: sock.close())
    hang_up.start()
    channel = open_channel(transport, f"127.0.0.1:{hang_up.server_port}")
    with pytest.raises(BenchError, match=r"no connection within 0\.3 s .*start the server or correct"):
        channel.connect(0.3)
    channel.close()
    hang_up.stop()


@pytest.mark.parametrize(("tls", "server"), [(False, "gRPC over TLS"), (True, "gRPC")])
def test_an_experiment_does_not_wait_for_such_a_server(
    addresses: dict[str, str], files: Certificates, tls: bool, server: str
) -> None:
    with gevent.Timeout(LONG / 2), pytest.raises(NotReady, match="grpc-tls"):
        running = Running(addresses[server], lambda: None, str, tls=TLS(ca=files.ca) if tls else None)
        wait_available(running, [Served("m", None, ())], LONG)


def test_localhost_has_one_address_with_a_server(
    files: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens on the other one, which is no reason to wait."""
    with serving(context=files.server_context()) as server:
        port = int(server.address.rsplit(":", 1)[1])
        rows = [(socket.AF_INET, 1, 6, "", (host, port)) for host in ("127.0.0.2", "127.0.0.1")]
        monkeypatch.setattr(gevent.socket, "getaddrinfo", lambda *_: rows)
        channel = open_channel("native", f"models.test:{port}")
        with gevent.Timeout(LONG / 2), pytest.raises(OtherwiseReached, match="speaks TLS"):
            channel.connect(LONG)
        channel.close()
