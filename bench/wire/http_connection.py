"""A kept HTTP/1.1 connection that carries one request at a time, with answers as replies like those of gRPC calls."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import gevent
from gevent import socket

from bench import BenchError
from bench.wire.dial import Address, ConnectError
from bench.wire.http_messages import TooLarge, error_text, read_answer
from bench.wire.open import connect_first
from bench.wire.reply import LARGEST_ANSWER, Reply

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


class Dropped(OSError):  # noqa: N818  # it is caught here, and never shown
    """The server closed a connection that was kept open before it answered anything: as when its time-out crosses us."""


class _Late(Exception):  # noqa: N818  # as above
    """The request timeout has passed while an answer is read."""


@dataclass
class HttpConnection:
    """One connection to an HTTP port, opened when it is first needed and again after a failure.

    A request that meets the end of a kept connection goes once more on a new one.
    """

    address: str
    """host:port; BenchError for others."""
    read: Callable[[bytes], bytes]
    """Turns the content of an answer into the message of a reply; any exception: it is no answer to what was asked."""
    turn: int = 0
    """Which of several addresses is tried first."""
    largest: int = LARGEST_ANSWER
    """Bytes of an answer's content that is read."""

    def __post_init__(self) -> None:
        self._address = Address.parse(self.address)
        self._socket: Any = None
        self._answered = False  # the connection has brought an answer
        self.sent: float | None = None
        """When the last byte of the newest request was handed to the kernel, for the first time; None: it was not."""
        self.held_since: float | None = None
        """When it was to leave, where it could not leave at once; None: it could."""
        self.waiting = False
        """Whether the newest request is whole on its way, so that `resume` may wait for its answer."""
        self.retries = 0
        """Requests that went again."""
        self.where = ""
        """The server's address, such as 10.0.0.1:8501, that the newest request went to first."""
        self._message = b""
        self._received = bytearray()
        self._begun = self._give_up = 0.0

    def ask(self, message: bytes, seconds: float) -> Reply:
        """Send one HTTP request and wait for its answer; never raises for what a server does."""
        self.sent = self.held_since = None
        self._message, self._begun = message, time.perf_counter()
        self._give_up = self._begun + seconds
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
            return self._failed(DEADLINE_EXCEEDED, "Deadline Exceeded")
        except _Late:
            self.close()
            return self._failed(DEADLINE_EXCEEDED, "Deadline Exceeded")
        except TooLarge as error:
            self.close()
            return self._failed(RESOURCE_EXHAUSTED, str(error))
        except Exception as error:  # noqa: BLE001  # whatever comes back: the request has left and needs an outcome
            self.close()
            reason = f"{self.address}: {_text_of(error).removeprefix(f'{self.address}: ')}"
            return self._failed(UNAVAILABLE, reason)
        except gevent.GreenletExit:
            if not self.waiting:
                self.close()
            raise
        if status != 200:
            return self._failed(_CODES.get(status, UNKNOWN), error_text(body), done)
        try:
            return Reply(0, "", self.read(body), self.sent, done, self.held_since)
        except Exception as error:  # noqa: BLE001  # as above: JSON can be anything
            return self._failed(INTERNAL, f"not an answer to a prediction: {_text_of(error)}", done)

    def _failed(self, status: int, details: str, done: float | None = None) -> Reply:
        """done: None: now."""
        return Reply(status, details, b"", self.sent, done or time.perf_counter(), self.held_since)

    def close(self) -> None:
        """Leave nothing behind."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def connect(self) -> None:
        """Open the connection where there is none. Raises ConnectError."""
        if self._socket is None:
            self._socket, place = connect_first(self._address, self.turn)
            self._answered = False
            self.where = self.where if self.sent is not None else place.text

    def _begin(self) -> None:
        """Send the newest request, on a new connection where there is none."""
        self.waiting, self._received = False, bytearray()
        if self._socket is None:
            self._hold()
            self.connect()
        rest = memoryview(self._message)
        try:
            while True:
                now = time.perf_counter()
                count = self._socket.send(rest)
                if count == len(rest):
                    break
                rest = rest[count:]
                self._hold()
                socket.wait_write(self._socket.fileno())
        except OSError as problem:
            raise self._lost(problem) from None
        self.waiting = True
        if self.sent is None:
            self.sent = now

    def _hold(self) -> None:
        """Note that the newest request cannot leave at once."""
        if self.sent is None:
            self.held_since = self._begun

    def _lost(self, problem: OSError) -> OSError:
        return Dropped(*problem.args) if self._answered and not self._received else problem

    def _read(self) -> tuple[int, bytes, float]:
        """Status, body and the instant of the last byte. Raises OSError or ValueError."""
        answer = read_answer(self._received, self._receive, self.largest)
        done = time.perf_counter()
        self._answered, self.waiting = True, False
        if not answer.reusable:
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


def _text_of(error: Exception) -> str:
    """The text of an expected error; with its type that of another."""
    expected = isinstance(error, OSError | ValueError | ConnectError | BenchError)
    return str(error) if expected else f"{type(error).__name__}: {error}"
