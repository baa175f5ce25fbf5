"""HTTP/1.1 as clients of all sorts speak it."""

import gzip
import http.client
import json
import re
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest

from bench.launch import server_process
from bench.launch.server_process import Server
from bench.server.net import http1
from bench.server.net.http1 import Plain
from bench.server.net.web import Web
from tests.server.clients import LONG, eventually, unread

PREDICT = "/v1/models/default:predict"
BODY = json.dumps(
    {"signature_name": "predict_images", "instances": np.zeros((2, 28, 28, 1)).tolist()}
).encode()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    flags = [
        "--backend=synthetic",
        "--service-time=constant(0ms)",
        "--rest_api_port=0",
        "--max-message-bytes=1000000",
    ]
    with server_process.embedded(flags) as made:
        yield made


@pytest.fixture
def connection(server: Server) -> Iterator[http.client.HTTPConnection]:
    made = http.client.HTTPConnection(str(server.rest), timeout=LONG)
    yield made
    made.close()


def raw(server: Server, *pieces: bytes) -> bytes:
    """What the server sends to these bytes until it closes."""
    host, port = str(server.rest).split(":")
    received = b""
    with socket.create_connection((host, int(port)), LONG) as sock:
        for piece in pieces:
            sock.sendall(piece)
        while data := sock.recv(65_536):
            received += data
    return received


def test_a_byte_from_time_to_time_keeps_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its request is whole a client has to go on; one that does is answered."""
    monkeypatch.setattr(http1, "_IDLE_SECONDS", 2.0)
    monkeypatch.setattr(http1, "_PROGRESS", 1000)
    listener = socket.create_server(("127.0.0.1", 0))
    web = Web(
        listener, lambda *_: Plain(200), http1.Limits(threads=1, seconds=LONG, body_bytes=1000, connections=9)
    )
    web.start()
    try:
        for at_once, answered in ((1, False), (11, True)):
            with socket.create_connection(listener.getsockname(), LONG) as sock:
                sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n")
                received = b""
                with suppress(ConnectionError):  # it has been closed
                    for _ in range(99 // at_once):
                        sock.sendall(b"x" * at_once)
                        if select.select([sock], [], [], 0.05)[0]:
                            break
                    received = sock.recv(1000)
                assert received.startswith(b"HTTP/1.1 200") == answered
    finally:
        web.stop(1)


def test_one_connection_serves_many_requests(connection: http.client.HTTPConnection) -> None:
    sockets = set()
    for _ in range(20):
        connection.request("POST", PREDICT, BODY)
        response = connection.getresponse()
        assert (response.status, response.getheader("content-type")) == (200, "application/json")
        assert len(json.load(response)["predictions"]) == 2
        sockets.add(connection.sock)
    assert len(sockets) == 1


def test_compressed_and_chunked_bodies(connection: http.client.HTTPConnection) -> None:
    connection.request("POST", PREDICT, gzip.compress(BODY), {"Content-Encoding": "gzip"})
    assert len(json.load(connection.getresponse())["predictions"]) == 2
    connection.request("POST", PREDICT, iter([BODY[:1000], BODY[1000:]]), encode_chunked=True)
    assert len(json.load(connection.getresponse())["predictions"]) == 2


def test_pipelined_requests_are_answered_in_their_order(server: Server) -> None:
    head = b"GET /v1/models/%s HTTP/1.1\r\nHost: x\r\n%s\r\n"
    received = raw(
        server,
        head % (b"default", b"") + head % (b"none", b"") + head % (b"default", b"Connection: close\r\n"),
    )
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200", b"404", b"200"]


def test_a_body_in_pieces_and_a_client_that_asks_before_sending(server: Server) -> None:
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n" % (
        PREDICT.encode(),
        len(BODY),
    )
    assert (
        b"200"
        in raw(server, head + b"\r\n", *(BODY[at : at + 4000] for at in range(0, len(BODY), 4000)))[:20]
    )
    asked = raw(server, head + b"Expect: 100-continue\r\n\r\n", BODY)
    assert asked.startswith(b"HTTP/1.1 100 ")
    assert b"HTTP/1.1 200 " in asked


def test_a_request_of_http_1_0_is_answered_and_closed(server: Server) -> None:
    assert raw(server, b"GET /v1/models/default HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")


STATUS = b"GET /v1/models/default HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
POST = b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" % PREDICT.encode()
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
SPOKEN: dict[str, tuple[bytes, str]] = {
    "a folded line": (POST + b"X: a\r\n b\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY, "200"),
    "a folded encoding": (POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNK, "200"),
    "lines that end with LF": (STATUS.replace(b"\r\n", b"\n") + b"\n", "200"),
    "a line with CR": (STATUS + b"X: a\rContent-Length: 5\r\n\r\n", "400"),
    "a header with NUL": (STATUS + b"X: a\0b\r\n\r\n", "400"),
    "20,000 headers": (STATUS + b"".join(b"X-%d: a\r\n" % n for n in range(20_000)) + b"\r\n", "431"),
    "extensions of chunks": (CHUNKED + CHUNK.replace(b"\r\n", b';a="b;c"\r\n', 1), "200"),
    "a negative chunk": (CHUNKED + b"-5\r\nabcde\r\n0\r\n\r\n", "400"),
    "a chunk with a sign": (CHUNKED + b"+5\r\nabcde\r\n0\r\n\r\n", "400"),
    "a chunk in C": (CHUNKED + b"0x5\r\nabcde\r\n0\r\n\r\n", "400"),
    "a chunk of 2^88 bytes": (CHUNKED + b"f" * 22 + b"\r\nabcde", "400"),
    "an end in the middle": (CHUNKED + b"5\r\nabcdef\r\n0\r\n\r\n", "400"),
    "trailers": (CHUNKED + CHUNK[:-2] + b"Content-Length: 3\r\n\r\n", "200"),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n" + CHUNK, "501"),
    "an encoding before chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNK, "501"),
    "a blank before the colon": (POST + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNK, "400"),
    "two lengths": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", "400"),
    "a negative length": (POST + b"Content-Length: -5\r\n\r\nabcde", "400"),
    "a length of 5,000 digits": (POST + b"Content-Length: %s\r\n\r\n" % (b"9" * 5000), "400"),
    "a length in other digits": (POST + "Content-Length: ٥\r\n\r\n".encode() + b"abcde", "400"),
    "a length that is too large, before any of it": (POST + b"Content-Length: 1000001\r\n\r\n", "413"),
    "a length that is too large, asked for before": (
        POST + b"Content-Length: 1000001\r\nExpect: 100-continue\r\n\r\n",
        "413",
    ),
    "another expectation": (
        POST + b"Expect: 1\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY,
        "200",
    ),
    "only a head": (STATUS.replace(b"GET", b"HEAD") + b"\r\n", "400"),
    "only a head, then all": (
        STATUS.replace(b"GET", b"HEAD").replace(b"Connection: close\r\n", b"") + b"\r\n" + STATUS + b"\r\n",
        "400 200",
    ),
    "options": (STATUS.replace(b"GET", b"OPTIONS") + b"\r\n", "400"),
    "trace": (STATUS.replace(b"GET", b"TRACE") + b"\r\n", "400"),
    "a tunnel": (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "404"),
    "no host": (b"GET /v1/models/default HTTP/1.1\r\n\r\n", "400"),
    "two hosts": (STATUS + b"Host: y\r\n\r\n", "400"),
    "HTTP/1.0 that asks to stay": (
        (STATUS.replace(b"1.1", b"1.0").replace(b"close", b"keep-alive") + b"\r\n") * 2,
        "200",
    ),
    "HTTP/0.9": (b"GET /v1/models/default\r\n\r\n", "400"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "404 400"),
    "a WebSocket": (
        STATUS + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
        "200",
    ),
    "a body where none is of use": (STATUS.replace(b"close", b"x") + b"Content-Length: 5\r\n\r\nabcde" + STATUS + b"\r\n", "200 200"),
    "a path that climbs": (b"GET /v1/models/../x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "400"),
    "a model of odd bytes": (b"GET /v1/models/%00%ff%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "404"),
    "an absolute target": (b"GET http://y/v1/models/default HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "404"),
}  # fmt: skip


@pytest.mark.parametrize(("request_bytes", "statuses"), SPOKEN.values(), ids=SPOKEN)
def test_each_request_is_answered_once(server: Server, request_bytes: bytes, statuses: str) -> None:
    received = raw(server, request_bytes)
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == statuses.encode().split()
    if request_bytes.startswith(b"HEAD"):
        assert received.partition(b"\r\n\r\n")[2] in (b"", raw(server, STATUS + b"\r\n"))


@pytest.mark.parametrize("size", [1, 2, 15])
def test_a_flood_of_tiny_chunks_is_ended_and_others_are_served(server: Server, size: int) -> None:
    """Each takes as long as one of a thousand bytes."""
    host, port = str(server.rest).split(":")
    chunk = b"%x\r\n%s\r\n" % (size, b" " * size)
    with socket.create_connection((host, int(port)), LONG) as sock:
        sock.sendall(CHUNKED + chunk * 4000)  # so many may be small
        assert b" 200 " in raw(server, STATUS + b"\r\n")
        with suppress(OSError):
            sock.sendall(chunk * 2000)
        with suppress(ConnectionResetError):  # it may have closed before the rest had been sent
            assert b" 400 " in sock.recv(100)


def test_small_chunks_of_an_honest_client(connection: http.client.HTTPConnection) -> None:
    pieces = [BODY[at : at + 20] for at in range(0, len(BODY), 20)]
    connection.request("POST", PREDICT, iter(pieces), encode_chunked=True)
    assert connection.getresponse().status == 200


@pytest.mark.parametrize("order", [1, -1])
def test_a_body_with_two_lengths_is_refused(server: Server, order: int) -> None:
    """RFC 9112, 6.1: a proxy in between may see another end of the request."""
    lengths = [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"][::order]
    request = (
        b"POST /v1/models/default:predict HTTP/1.1\r\nHost: x\r\n" + b"".join(lengths) + b"\r\n0\r\n\r\n"
    )
    assert raw(server, request).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nA b: c\r\n\r\n",
        b"GET /" + b"x" * 200_000,
    ],
)
def test_what_is_no_http_is_refused(server: Server, garbage: bytes) -> None:
    assert raw(server, garbage).startswith(b"HTTP/1.1 4")


def test_too_large_a_body_is_refused(server: Server) -> None:
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" % PREDICT.encode()
    assert raw(server, head, bytes(1_100_000)).startswith(b"HTTP/1.1 413 ")


def test_clients_that_leave_are_forgotten(server: Server, connection: http.client.HTTPConnection) -> None:
    host, port = str(server.rest).split(":")
    for piece in (
        b"",
        b"GET ",
        b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123",
    ):
        with socket.create_connection((host, int(port)), LONG) as sock:
            sock.sendall(piece)
    connection.request("GET", "/v1/models/default")
    assert connection.getresponse().read()


def test_many_at_once(server: Server) -> None:
    failures: list[object] = []

    def work() -> None:
        made = http.client.HTTPConnection(str(server.rest), timeout=LONG)
        for _ in range(10):
            made.request("POST", PREDICT, BODY)
            response = made.getresponse()
            if response.status != 200 or len(json.load(response)["predictions"]) != 2:
                failures.append(response.status)
        made.close()

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_requests_being_answered_end_before_the_server_does() -> None:
    flags = ["--backend=synthetic", "--service-time=constant(1s)", "--rest_api_port=0"]
    results: list[int] = []
    with server_process.embedded(flags) as server:
        made = http.client.HTTPConnection(str(server.rest), timeout=LONG)
        made.request("POST", PREDICT, BODY)
        asking = threading.Thread(target=lambda: results.append(made.getresponse().status))
        asking.start()
        eventually(lambda: unread(str(server.rest)) == 0)
        server.process.terminate()
        asking.join(LONG)
        made.close()
        assert server.process.wait(LONG) == 0
    assert results == [200]
