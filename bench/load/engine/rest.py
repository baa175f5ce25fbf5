"""Requests over TensorFlow Serving's REST API, with answers recorded like any other.

POST /v1/models/NAME[/versions/N | /labels/L]:predict with row-format JSON, or with column format
where an input is no column of examples (TensorFlow Serving, "RESTful API"). HTTP/1.1
on a connection of each user, kept open; only as much of the protocol as such answers need.
"""

import base64
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import gevent
import numpy as np
from gevent import socket
from gevent.pool import Group

from bench import BenchError
from bench.load.engine.http_answers import TooLarge, error_text, read_answer
from bench.load.engine.recorder import Recorder
from bench.load.option_values import LARGEST_ANSWER
from bench.payload import Pool, array_of, tensor_of
from bench.payload.tensors import as_bytes
from bench.wire.dial import Address, ConnectError
from bench.wire.messages import PredictRequest, PredictResponse
from bench.wire.open import connect_first
from bench.wire.reply import Reply

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
UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE = 2, 4, 8, 13, 14
_READ: Final = 65536


def with_rest(pool: Pool, host: str | None = None, metadata: Iterable[tuple[str, str]] = ()) -> Pool:
    """The pool with its messages as HTTP requests too. Raises BenchError for what JSON cannot say.

    host: the virtual host that is called; metadata: further headers.
    """
    fields = [("Host", host or "model-server"), *metadata, ("Content-Type", "application/json")]
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    requests = (PredictRequest.FromString(each) for each in pool.messages)
    return replace(pool, over_rest=tuple(_http(each, head, by_row=pool.by_row) for each in requests))


def _http(request: Any, fields: str, *, by_row: bool) -> bytes:
    spec = request.model_spec
    pinned = f"/versions/{spec.version.value}" if spec.HasField("version") else ""
    pinned = f"/labels/{spec.version_label}" if spec.version_label else pinned
    columns = {name: _json_values(array_of(tensor)) for name, tensor in request.inputs.items()}
    if not by_row:
        asked: dict[str, Any] = {"inputs": columns}
    elif len(columns) == 1:
        asked = {"instances": next(iter(columns.values()))}
    else:
        rows = zip(*columns.values(), strict=True)
        asked = {"instances": [dict(zip(columns, row, strict=True)) for row in rows]}
    if spec.signature_name:
        asked = {"signature_name": spec.signature_name, **asked}
    body = json.dumps(asked, separators=(",", ":")).encode()
    head = (
        f"POST /v1/models/{spec.name}{pinned}:predict HTTP/1.1\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Dropped(OSError):  # noqa: N818  # it is caught here, and never shown
    """The server closed a connection that was kept open before it answered anything: as when its time-out crosses us."""


class _Late(Exception):  # noqa: N818  # as above
    """The request timeout has passed while an answer is read."""


@dataclass
class RestConnection:
    """One connection to a REST port, opened when it is first needed and again after a failure.

    A request that meets the end of a kept connection goes once more on a new one.
    """

    address: str
    """host:port; BenchError for others."""
    pool: Pool
    """What is asked: an answer over REST names neither model nor version, and its only output not either."""
    turn: int = 0
    """Which of several addresses is tried first."""
    largest: int = LARGEST_ANSWER
    """Bytes of an answer's content that is read."""

    def __post_init__(self) -> None:
        self._address = Address.parse(self.address)
        self._socket: Any = None
        self._kept = False  # the connection has brought an answer
        self.sent: float | None = None
        """When the last byte of the newest request was handed to the kernel, for the first time; None: it was not."""
        self.waiting = False
        """Whether the newest request is whole on its way, so that `resume` may wait for its answer."""
        self.retries = 0
        """Requests that went again."""
        self.where = ""
        """The server's address, such as 10.0.0.1:8501, that the newest request went to first."""
        self._message = b""
        self._received = bytearray()
        self._give_up = 0.0

    def ask(self, message: bytes, seconds: float) -> Reply:
        """Send one HTTP request and wait for its answer, as a PredictResponse; never raises for what a server does."""
        self.sent, self._message, self._give_up = None, message, time.perf_counter() + seconds
        return self._finish(begun=False)

    def resume(self) -> Reply:
        """Go on waiting for the answer to a request that was sent by a greenlet that has been killed since."""
        return self._finish(begun=True)

    def _finish(self, *, begun: bool) -> Reply:
        limit = gevent.Timeout(max(self._give_up - time.perf_counter(), 0.0))
        try:
            with limit:
                try:
                    if not begun:
                        self._begin()
                    status, body, done = self._read()
                except Dropped:
                    self.close()
                    self.retries += 1
                    self._begin()
                    status, body, done = self._read()
        except gevent.Timeout as expired:
            self.close()
            if expired is not limit:  # of the scenario's own
                raise
            return Reply(DEADLINE_EXCEEDED, "Deadline Exceeded", b"", self.sent, time.perf_counter())
        except _Late:
            self.close()
            return Reply(DEADLINE_EXCEEDED, "Deadline Exceeded", b"", self.sent, time.perf_counter())
        except TooLarge as error:
            self.close()
            return Reply(RESOURCE_EXHAUSTED, str(error), b"", self.sent, time.perf_counter())
        except Exception as error:  # noqa: BLE001  # whatever comes back: the request has left and needs an outcome
            self.close()
            reason = f"{self.address}: {_said(error).removeprefix(f'{self.address}: ')}"
            return Reply(UNAVAILABLE, reason, b"", self.sent, time.perf_counter())
        except gevent.GreenletExit:
            if not self.waiting:
                self.close()
            raise
        if status != 200:
            return Reply(_CODES.get(status, UNKNOWN), error_text(body), b"", self.sent, done)
        try:
            return Reply(0, "", self._response(body), self.sent, done)
        except Exception as error:  # noqa: BLE001  # as above: JSON can be anything
            return Reply(INTERNAL, f"not an answer to a prediction: {_said(error)}", b"", self.sent, done)

    def close(self) -> None:
        """Leave nothing behind."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _begin(self) -> None:
        """Send the newest request, on a new connection where there is none."""
        self.waiting, self._received = False, bytearray()
        if self._socket is None:
            self._socket, place = connect_first(self._address, self.turn)
            self._kept = False
            self.where = self.where if self.sent is not None else place.text
        rest = memoryview(self._message)
        try:
            while True:
                now = time.perf_counter()
                count = self._socket.send(rest)
                if count == len(rest):
                    break
                rest = rest[count:]
                socket.wait_write(self._socket.fileno())
        except OSError as problem:
            raise self._lost(problem) from None
        self.waiting = True
        if self.sent is None:
            self.sent = now

    def _lost(self, problem: OSError) -> OSError:
        return Dropped(*problem.args) if self._kept and not self._received else problem

    def _read(self) -> tuple[int, bytes, float]:
        """Status, body and the instant of the last byte. Raises OSError or ValueError."""
        answer = read_answer(self._received, self._receive, self.largest)
        done = time.perf_counter()
        self._kept, self.waiting = True, False
        if not answer.kept:
            self.close()
        return answer.status, answer.body, done

    def _receive(self, most: int = _READ) -> bytes:
        """What has come, at most so many bytes; nothing at the end of a connection within an answer."""
        if (
            time.perf_counter() > self._give_up
        ):  # a server that never pauses gives the loop no turn to notice it
            raise _Late
        try:
            piece: bytes = self._socket.recv(most)
        except OSError as problem:
            raise self._lost(problem) from None
        if not piece and not self._received:
            raise self._lost(OSError("the server closed the connection"))
        return piece

    def _response(self, body: bytes) -> bytes:
        answer, output = json.loads(body), self.pool.output
        by_row = self.pool.by_row
        values = answer["predictions" if by_row else "outputs"]
        if by_row and values and isinstance(values[0], dict) and "b64" not in values[0]:
            values = [row[output] for row in values] if all(output in row for row in values) else None
        elif not by_row and isinstance(values, dict) and "b64" not in values:
            values = values.get(output)
        response = PredictResponse()
        response.model_spec.name = self.pool.model
        if self.pool.version is not None:
            response.model_spec.version.value = self.pool.version
        if values is not None:
            response.outputs[output].CopyFrom(tensor_of(_array(values)))
        raw: bytes = response.SerializeToString()
        return raw


class RestCalls:
    """The calls of one load process over REST: counted, and waited for when their user is gone."""

    def __init__(self, address: str | None, deadline: float, turn: int = 0, *, largest: int) -> None:
        """address: host:port of the server's REST API; None: nobody asks there. turn: which of several addresses the
        first connection begins with. largest: bytes of an answer that is read."""
        self.address, self._deadline, self._largest = address, deadline, largest
        self.addresses: Counter[str] = Counter()
        """Requests handed to the kernel, by the server's addresses."""
        self.retries = 0
        """Requests that went again."""
        self._turns = itertools.count(turn)
        self.in_flight = 0
        """Requests that have not ended."""
        self._closed = False
        self._left_behind = Group()

    def connection(self, pool: Pool) -> RestConnection:
        """A connection of a user's own."""
        if self.address is None:
            raise RuntimeError("the test began without a REST port, although it sends over REST")
        return RestConnection(self.address, pool, next(self._turns), self._largest)

    def ask(self, connection: RestConnection, message: bytes, recorder: Recorder, index: int) -> int:
        """Send a request, wait for its answer and record it; gives its gRPC status code."""
        self.in_flight += 1
        try:
            reply = connection.ask(message, self._deadline)
        except gevent.GreenletExit:
            if not connection.waiting or self._closed:
                self._cancel(connection, recorder, index)
            else:
                self._left_behind.spawn(self._resume, connection, recorder, index)
            raise
        except BaseException:
            self._cancel(connection, recorder, index)
            raise
        return self._ended(connection, reply, recorder, index)

    def close(self) -> None:
        """Give up what is in flight, also what users do who are killed from now on."""
        self._closed = True
        self._left_behind.kill()

    def _resume(self, connection: RestConnection, recorder: Recorder, index: int) -> None:
        try:
            self._ended(connection, connection.resume(), recorder, index)
        except gevent.GreenletExit:
            self._cancel(connection, recorder, index)
        connection.close()

    def _ended(self, connection: RestConnection, reply: Reply, recorder: Recorder, index: int) -> int:
        self._count(connection)
        recorder.add(None, index, reply)
        return reply.status

    def _cancel(self, connection: RestConnection, recorder: Recorder, index: int) -> None:
        connection.close()
        self._count(connection)
        recorder.add_cancelled(None, index, connection.sent)

    def _count(self, connection: RestConnection) -> None:
        """Count the newest request of a connection, which has ended."""
        self.in_flight -= 1
        if connection.sent is not None:
            self.addresses[connection.where] += 1
        self.retries += connection.retries
        connection.retries = 0


def _said(error: Exception) -> str:
    """The text of an expected error; with its type that of another."""
    expected = isinstance(error, OSError | ValueError | ConnectError | BenchError)
    return str(error) if expected else f"{type(error).__name__}: {error}"


def _array(values: Any) -> "np.ndarray[Any, Any]":
    """JSON's numbers as float32 or int64, texts and `{"b64": ...}` as bytes; raises ValueError for uneven rows."""
    array = np.array(values)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype.kind == "U":
        return array.astype(object)
    if array.dtype.kind == "O":  # TensorFlow Serving writes bytes as {"b64": "..."}
        plain = [base64.b64decode(each["b64"]) for each in array.ravel().tolist()]
        array = np.array([*plain, None], object)[:-1].reshape(array.shape)
    return array


def _json_values(array: "np.ndarray[Any, Any]") -> Any:
    """The values as JSON has them; numbers with as few digits as tell them apart in their own precision."""
    if array.dtype.kind in "SUO":
        flat = [{"b64": base64.b64encode(as_bytes(each)).decode()} for each in array.ravel().tolist()]
        return np.array([*flat, None], object)[:-1].reshape(array.shape).tolist()
    if array.dtype.kind == "V":
        array = array.astype(np.float32)
    if array.dtype.kind == "f":
        values, places = np.unique(array, return_inverse=True)
        shortest = np.array([float(str(value)) for value in values], np.float64)
        return shortest[places].reshape(array.shape).tolist()
    if array.dtype.kind in "iub":
        return array.tolist()
    raise BenchError(f"an input of dtype {array.dtype}: JSON has no such numbers; use gRPC only")
