"""Errors that TensorFlow Serving is known for are recognised over gRPC and over REST, where they come in JSON."""

import contextlib
import json
import threading
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import gevent.socket
import grpc
import numpy as np
import pytest
from gevent.server import StreamServer

from bench.payload import Pool
from bench.protocol.hints import hint
from bench.runs.sample import outcome
from bench.wire.http_messages import error_text
from bench.wire.transports import open_channel
from tests.load.over_rest import connection_to
from tests.protocol.test_hints import OBSERVED

HTTP = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "NOT_FOUND": 404,
    "FAILED_PRECONDITION": 412,
    "RESOURCE_EXHAUSTED": 429,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""As TensorFlow Serving's util/net_http answers; UNKNOWN is 500 there like several others."""


@pytest.fixture(scope="module")
def grpc_address() -> Iterator[str]:
    """Ends each call as its message says."""

    def refuse(message: bytes, context: grpc.ServicerContext) -> bytes:
        status, details = json.loads(message)
        context.abort(grpc.StatusCode[status], details)
        raise AssertionError

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: Any) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(refuse)

    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


@pytest.fixture(scope="module")
def rest_address() -> Iterator[str]:
    """Refuses each request as its body says, in JSON of TensorFlow Serving's form."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            code, details = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps({"error": details}, indent=4).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_over_grpc(grpc_address: str, transport: str) -> None:
    with contextlib.closing(open_channel(transport, grpc_address)) as channel:
        channel.connect(60)
        for status, details, key in OBSERVED:
            reply = channel.call("/any/Call", json.dumps([status, details]).encode(), 10)
            found = hint(outcome(reply.status), reply.details)
            assert (reply.details, found and found.key) == (details, key)


def test_over_rest(rest_address: str) -> None:
    """The texts begin and end as over gRPC: `{ "error": "" }` did not name grpc_max_threads."""
    pool = Pool.of({"x": np.zeros((1, 1))}, None, output="y", model="m")
    connection = connection_to(rest_address, pool)
    seen = 0
    for status, details, key in OBSERVED:
        if status not in HTTP:  # the words of Python servers, which have no REST port
            continue
        body = json.dumps([HTTP[status], details]).encode()
        head = f"POST /v1/models/m:predict HTTP/1.1\r\nHost: m\r\nContent-Length: {len(body)}\r\n\r\n"
        reply = connection.ask(head.encode() + body, 10)
        found = hint(outcome(reply.status), reply.details)
        assert (outcome(reply.status), reply.details, found and found.key) == (status, details, key)
        seen += 1
    connection.close()
    assert seen == len(OBSERVED) - 1


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{ "error": "a \\"b\\"" }', 'a "b"'),
        (b"<html>502</html>", "<html>502</html>"),
        (b'{"error": 5}', '{"error": 5}'),
        (b'{"error"', '{"error"'),
        (b"{" + b'"a":[' * 5000, "{" + '"a":[' * 5000),
        (b"\xff", "\ufffd"),
        (b"", ""),
    ],
)
def test_other_bodies_are_shown_as_they_are(body: bytes, text: str) -> None:
    assert error_text(body) == text


@pytest.mark.parametrize("head", [b"Content-Length: 4000000000", b"Transfer-Encoding: chunked"])
def test_an_answer_beyond_the_limit_is_refused(head: bytes) -> None:
    def answer(sock: gevent.socket.socket, _: object) -> None:
        sock.recv(1000)
        sock.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(b"ffff\r\n" + b" " * 0xFFFF + b"\r\n")

    server = StreamServer(("127.0.0.1", 0), answer)
    server.start()
    pool = Pool.of({"x": np.zeros((1, 1))}, None, output="y", model="m")
    connection = connection_to(f"127.0.0.1:{server.server_port}", pool, largest=1 << 20)
    reply = connection.ask(b"x", 30)
    connection.close()
    server.stop(timeout=0)
    known = hint(outcome(reply.status), reply.details)
    assert (outcome(reply.status), known and known.key) == ("RESOURCE_EXHAUSTED", "answer size"), reply
    assert reply.details.endswith(f"exceeds the limit of {1 << 20}")
