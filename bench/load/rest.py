"""How is the same request asked over TensorFlow Serving's REST API, and its answer recorded like any other?

POST /v1/models/NAME[/versions/N | /labels/L]:predict with row-format JSON (TensorFlow Serving, "RESTful API"). HTTP/1.1
on a connection of each user, kept open; only as much of the protocol as such answers need.
"""

import json
import time
from dataclasses import dataclass, replace
from typing import Any, Final

import gevent
import numpy as np
from gevent import socket
from gevent.pool import Group

from bench import BenchError
from bench.load.record import Recorder
from bench.payload import Pool, array_of, tensor_of
from bench.wire.client import Reply
from bench.wire.messages import PredictRequest, PredictResponse

_CODES: Final = {
    400: 3,
    401: 16,
    403: 7,
    404: 5,
    408: 4,
    409: 10,
    412: 9,
    429: 8,
    500: 13,
    501: 12,
    503: 14,
    504: 4,
}
"""HTTP status -> gRPC status code (google/rpc/code.proto, read backwards; 412 is FAILED_PRECONDITION)."""
UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE = 2, 4, 13, 14
_READ: Final = 65536


def with_rest(pool: Pool) -> Pool:
    """The pool with its messages as HTTP requests too. Raises BenchError for what JSON cannot say."""
    return replace(pool, over_rest=tuple(_http(PredictRequest.FromString(each)) for each in pool.messages))


def _http(request: Any) -> bytes:
    spec = request.model_spec
    pinned = f"/versions/{spec.version.value}" if spec.HasField("version") else ""
    pinned = f"/labels/{spec.version_label}" if spec.version_label else pinned
    columns = {name: _json_rows(array_of(tensor)) for name, tensor in request.inputs.items()}
    rows: list[Any] = (
        next(iter(columns.values()))
        if len(columns) == 1
        else [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    )
    body = json.dumps(
        {"signature_name": spec.signature_name, "instances": rows}, separators=(",", ":")
    ).encode()
    head = (
        f"POST /v1/models/{spec.name}{pinned}:predict HTTP/1.1\r\nHost: model-server\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _json_rows(array: "np.ndarray[Any, Any]") -> list[Any]:
    """The rows as JSON values; numbers with as few digits as tell them apart in their own precision."""
    if array.dtype.kind == "f":
        values, places = np.unique(array, return_inverse=True)
        shortest = np.array([float(str(value)) for value in values], np.float64)
        return list(shortest[places].reshape(array.shape).tolist())
    if array.dtype.kind in "iub":
        return list(array.tolist())
    raise BenchError(f"an input of dtype {array.dtype}: only numbers and booleans are sent over REST here")


@dataclass
class RestConnection:
    """One connection to a REST port, opened when it is first needed and again after a failure."""

    address: str
    """host:port"""
    output: str
    """What the answers' values are called; REST does not say."""
    model: str
    version: int | None
    """That was asked for by number: an answer over REST names none."""

    def __post_init__(self) -> None:
        self._socket: Any = None
        self.sent: float | None = None
        """When the newest request was handed to the kernel; None: it was not, or not all of it."""
        self._received = bytearray()
        self._give_up = 0.0

    def ask(self, message: bytes, seconds: float) -> Reply:
        """Send one HTTP request and wait for its answer, as a PredictResponse; never raises for what a server does."""
        self.sent, self._received, self._give_up = None, bytearray(), time.perf_counter() + seconds
        return self._finish(message)

    def resume(self) -> Reply:
        """Go on waiting for the answer to a request that was sent by a greenlet that has been killed since."""
        return self._finish(None)

    def _finish(self, message: bytes | None) -> Reply:
        limit = gevent.Timeout(max(self._give_up - time.perf_counter(), 0.0))
        try:
            with limit:
                if message is not None:
                    if self._socket is None:
                        self._connect()
                    self._socket.sendall(message)
                    self.sent = time.perf_counter()
                status, body, done = self._read()
        except gevent.Timeout as expired:
            self.close()
            if expired is not limit:  # of the scenario's own
                raise
            return Reply(DEADLINE_EXCEEDED, "Deadline Exceeded", b"", self.sent, time.perf_counter())
        except (OSError, ValueError) as error:
            self.close()
            return Reply(UNAVAILABLE, f"{self.address}: {error}", b"", self.sent, time.perf_counter())
        except gevent.GreenletExit:
            if self.sent is None:
                self.close()
            raise
        if status != 200:
            return Reply(_CODES.get(status, UNKNOWN), body.decode(errors="replace"), b"", self.sent, done)
        try:
            return Reply(0, "", self._response(body), self.sent, done)
        except (ValueError, KeyError, BenchError) as error:
            return Reply(INTERNAL, f"not an answer to a prediction: {error}", b"", self.sent, done)

    def close(self) -> None:
        """Leave nothing behind."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> None:
        host, _, port = self.address.rpartition(":")
        self._socket = socket.create_connection((host.strip("[]"), int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _read(self) -> tuple[int, bytes, float]:
        """Status, body and the instant of the last byte. Raises OSError or ValueError."""
        received = self._received
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._receive()
        lines = received[:end].decode("latin-1").split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        if "content-length" not in headers:
            raise ValueError("an HTTP answer without Content-Length")
        size = end + 4 + int(headers["content-length"])
        while len(received) < size:
            received += self._receive()
        done = time.perf_counter()
        if headers.get("connection", "").lower() == "close":
            self.close()
        return int(lines[0].split()[1]), bytes(received[end + 4 : size]), done

    def _receive(self) -> bytes:
        piece: bytes = self._socket.recv(_READ)
        if not piece:
            raise OSError("the server closed the connection")
        return piece

    def _response(self, body: bytes) -> bytes:
        rows = json.loads(body)["predictions"]
        if rows and isinstance(rows[0], dict):
            rows = [row[self.output] for row in rows]
        response = PredictResponse()
        response.model_spec.name = self.model
        if self.version is not None:
            response.model_spec.version.value = self.version
        response.outputs[self.output].CopyFrom(tensor_of(np.array(rows, np.float32)))
        raw: bytes = response.SerializeToString()
        return raw


class RestCalls:
    """The calls of one load process over REST: counted, and waited for when their user is gone."""

    def __init__(self, address: str | None, deadline: float) -> None:
        """address: host:port of the server's REST API; None: nobody asks there."""
        self.address, self._deadline = address, deadline
        self.sent = 0
        """Requests handed to the kernel."""
        self.in_flight = 0
        """Requests that have not ended."""
        self._closed = False
        self._left_behind = Group()

    def connection(self, pool: Pool) -> RestConnection:
        """A connection of a user's own."""
        if self.address is None:
            raise RuntimeError("the test began without a REST port, although it asks over REST")
        return RestConnection(self.address, pool.output, pool.model, pool.version)

    def ask(self, connection: RestConnection, message: bytes, recorder: Recorder, index: int) -> int:
        """Send a request, wait for its answer and record it; gives its gRPC status code."""
        self.in_flight += 1
        try:
            reply = connection.ask(message, self._deadline)
        except gevent.GreenletExit:
            if connection.sent is None or self._closed:
                self._cancel(connection, recorder, index)
            else:
                self._left_behind.spawn(self._resume, connection, recorder, index)
            raise
        except BaseException:
            self._cancel(connection, recorder, index)
            raise
        return self._ended(reply, recorder, index)

    def close(self) -> None:
        """Give up what is in flight, also what users do who are killed from now on."""
        self._closed = True
        self._left_behind.kill()

    def _resume(self, connection: RestConnection, recorder: Recorder, index: int) -> None:
        try:
            self._ended(connection.resume(), recorder, index)
        except gevent.GreenletExit:
            self._cancel(connection, recorder, index)
        connection.close()

    def _ended(self, reply: Reply, recorder: Recorder, index: int) -> int:
        self.in_flight -= 1
        self.sent += reply.sent is not None
        recorder.add(None, index, reply)
        return reply.status

    def _cancel(self, connection: RestConnection, recorder: Recorder, index: int) -> None:
        connection.close()
        self.in_flight -= 1
        self.sent += connection.sent is not None
        recorder.add_cancelled(None, index, connection.sent)
