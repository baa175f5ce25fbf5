"""HTTP/1.1 as clients of all sorts speak it."""

import gzip
import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from bench.launch import server_process
from bench.launch.server_process import Server
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
