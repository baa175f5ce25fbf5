"""One HTTP/1.1 connection: bytes to requests, one at a time, and responses to bytes."""

import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Protocol

import h11

from bench.server.net.loop import READ, WRITE, Loop, Timer
from bench.server.net.unfinished import NoRoomError, Unfinished
from bench.server.unforeseen import unforeseen

_READ_SIZE: Final = 1 << 18
_IDLE_SECONDS: Final = 120.0
"""A client that neither asks nor reads for so long is cut off."""
_PROGRESS: Final = 65_536
"""Bytes of a request that show that its client goes on; a byte from time to time keeps no connection."""
_LINGER_SECONDS: Final = 1.0
_READ_AHEAD: Final = 1 << 20
"""Bytes that a client may send while its request is being answered; further ones stay in the kernel."""
_EVENTS_PER_TURN: Final = 64
"""Chunks of a body that are taken before others have their turn: 1 to 2 ms."""
_SMALL_CHUNKS: Final = 4096
"""A body may have so many chunks of whatever size; in more of them there have to be LEAST_CHUNK bytes on average."""
LEAST_CHUNK: Final = 16
"""Each takes 20 us, so that a MB in chunks of one byte would take 20 s."""


class Response(Protocol):
    """A response that is sent back."""

    @property
    def status(self) -> int:
        """HTTP status code."""

    @property
    def headers(self) -> dict[str, str]:
        """Header fields by name."""

    @property
    def body(self) -> bytes:
        """Its content."""


Answer = Callable[[str, str, Mapping[str, str], bytes], Response]
"""(method, target, headers by lower-case name, body) -> response; thread-safe."""


@dataclass(frozen=True)
class Limits:
    """Limits of what clients may use up."""

    threads: int
    seconds: float
    """For one request, from its last byte to the answer."""
    connections: int
    body_bytes: int
    unfinished: Unfinished = field(default_factory=Unfinished)
    """Of all clients, those of other listeners too."""


@dataclass(frozen=True)
class Plain:
    """A response that is made here and not by the API."""

    status: int
    body: bytes = b""

    @property
    def headers(self) -> dict[str, str]:
        """It is JSON, as the API's errors are."""
        return {"Content-Type": "application/json"}


class Owner(Protocol):
    """Whose connection it is."""

    loop: Loop
    pool: ThreadPoolExecutor
    answer: Answer
    limits: Limits

    def gone(self, each: "HttpConnection") -> None:
        """A connection has ended."""


class HttpConnection:
    """One client: one request at a time, as HTTP/1.1 has it."""

    def __init__(self, sock: socket.socket, web: Owner) -> None:
        self._sock: socket.socket | None = sock
        self._web = web
        self._http = h11.Connection(h11.SERVER)
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._counted = 0
        self._ahead = 0
        """Bytes that came while a request is being answered."""
        self._chunks = 0
        self._arriving = 0
        """Bytes of the request that is not complete yet, since the client was last seen."""
        self._busy = False
        """Whether more has been read than was handled in this turn."""
        self._answering = 0
        """Number of the request that is being answered; an answer to another comes too late."""
        self._served = 0
        self._unsent = b""
        self._closing = False
        self._draining = False
        self._limit: Timer | None = None
        self._last_seen = time.monotonic()
        self._idle = web.loop.call_at(self._last_seen + _IDLE_SECONDS, self._close_if_idle)
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._watched = READ
        web.loop.register(sock.fileno(), READ, self._on_event)

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._sock is None

    def drain(self) -> None:
        """Close after the request that is being answered, at once if there is none."""
        self._draining = True
        if not self._answering and not self._unsent:
            self.close()

    def close(self) -> None:
        """End the connection now."""
        sock, self._sock = self._sock, None
        if sock is None:
            return
        self._idle.cancel()
        if self._limit is not None:
            self._limit.cancel()
        self._drop_body()
        self._web.loop.unregister(sock.fileno())
        sock.close()
        self._web.gone(self)

    def _on_event(self, mask: int) -> None:
        try:
            if mask & WRITE:
                self._send(b"")
            if mask & ~WRITE and self._sock is not None:
                self._read()
        except Exception as error:  # noqa: BLE001 - what this client has sent must not touch the others
            unforeseen(error, "an HTTP connection")
            self.close()

    def _read(self) -> None:
        assert self._sock is not None  # noqa: S101 - the caller has looked: for the type checker
        try:
            data = self._sock.recv(_READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if self._closing:
            if not data:
                self.close()
            return
        if not data and self._answering:
            self.close()
            return
        if not self._arriving or self._arriving >= _PROGRESS:
            self._touch()
        self._arriving += len(data)
        if self._answering:
            self._ahead += len(data)
            self._watch()
        try:
            self._http.receive_data(data)
        except h11.RemoteProtocolError:
            self.close()
            return
        self._events()

    def _events(self) -> None:
        """Handle what has been parsed, up to a complete request, or until it is the turn of others."""
        for _ in range(_EVENTS_PER_TURN):
            if self._sock is None or self._answering or self._closing:
                return
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                self._respond(Plain(error.error_status_hint))
                self._finish()
                return
            if isinstance(event, h11.Request):
                self._request, self._chunks = event, 0
                self._body.clear()
                if {b"transfer-encoding", b"content-length"} <= {name for name, _ in event.headers}:
                    # RFC 9112, 6.1: what a proxy in between takes for the end of the request may be another place
                    self._respond(Plain(400, b'{"error": "both Transfer-Encoding and Content-Length"}'))
                    self._finish()
                    return
                if self._announced(event) > self._web.limits.body_bytes:
                    self._refuse_large()
                    return
                if self._http.they_are_waiting_for_100_continue:
                    self._send(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            elif isinstance(event, h11.Data):
                self._chunks += 1
                self._body += event.data
                if len(self._body) > self._web.limits.body_bytes:
                    self._refuse_large()
                    return
                try:
                    self._counted = self._web.limits.unfinished.change(self._counted, len(self._body))
                except NoRoomError as full:
                    self._respond(Plain(503, b'{"error": "%s"}' % str(full).encode()))
                    self._finish()
                    return
                if self._chunks > _SMALL_CHUNKS and len(self._body) < LEAST_CHUNK * self._chunks:
                    text = b'{"error": "a request body in chunks of fewer than %d bytes"}' % LEAST_CHUNK
                    self._respond(Plain(400, text))
                    self._finish()
                    return
            elif isinstance(event, h11.EndOfMessage):
                self._dispatch()
            elif isinstance(event, h11.ConnectionClosed):
                self.close()
            else:  # NEED_DATA, PAUSED
                return
        self._busy = True
        self._watch()
        self._web.loop.post(self._go_on)

    def _go_on(self) -> None:
        """Handle what was left over."""
        self._busy = False
        try:
            self._watch()
            self._events()
        except Exception as error:  # noqa: BLE001 - as above
            unforeseen(error, "an HTTP connection")
            self.close()

    @staticmethod
    def _announced(request: h11.Request) -> int:
        return next((int(value) for name, value in request.headers if name == b"content-length"), 0)

    def _refuse_large(self) -> None:
        text = b'{"error": "a request body of more than %d bytes"}' % self._web.limits.body_bytes
        self._respond(Plain(413, text))
        self._finish()

    def _dispatch(self) -> None:
        assert self._request is not None  # noqa: S101 - h11 gives EndOfMessage after Request: for the type checker
        self._served += 1
        self._answering = number = self._served
        request, body = self._request, bytes(self._body)
        self._drop_body()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
        method, target = request.method.decode("latin-1"), request.target.decode("latin-1")
        self._limit = self._web.loop.call_at(
            time.monotonic() + self._web.limits.seconds, lambda: self._answered(number, _TOO_LATE)
        )
        self._web.pool.submit(self._work, number, method, target, headers, body)

    def _work(self, number: int, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        """In a thread of the pool."""
        answer = self._web.answer(method, target, headers, body)
        self._web.loop.post(lambda: self._answered(number, answer))

    def _answered(self, number: int, answer: Response) -> None:
        if self._sock is None or self._answering != number:
            return
        if self._limit is not None:
            self._limit.cancel()
        self._answering = self._ahead = 0
        self._respond(answer)
        self._touch()
        if self.closed:  # the client had gone when the answer was sent
            return
        if self._draining or self._http.our_state is h11.MUST_CLOSE:
            self._finish()
        elif self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._events()

    def _drop_body(self) -> None:
        """What has come of a request is not kept here any longer."""
        self._body = bytearray()
        self._counted = self._web.limits.unfinished.change(self._counted, 0)

    def _respond(self, answer: Response) -> None:
        if self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        fields = [*answer.headers.items(), ("Content-Length", str(len(answer.body)))]
        if self._draining or self._closing:
            fields.append(("Connection", "close"))
        head = self._http.send(h11.Response(status_code=answer.status, headers=fields))
        bodiless = self._request is not None and self._request.method == b"HEAD"
        body = self._http.send(h11.Data(data=answer.body)) if answer.body and not bodiless else b""
        end = self._http.send(h11.EndOfMessage())
        self._send(b"".join(part for part in (head, body, end) if part))

    def _finish(self) -> None:
        """Close after everything has been sent, in a way that does not lose the answer (see connection.finish)."""
        self._closing = True
        self._drop_body()
        if self._sock is None or self._unsent:
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self._web.loop.call_at(time.monotonic() + _LINGER_SECONDS, self.close)

    def _send(self, data: bytes) -> None:
        if self._sock is None:
            return
        waiting = self._unsent + data
        try:
            sent = self._sock.send(waiting) if waiting else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        self._unsent = waiting[sent:]
        if sent:
            self._touch()
        self._watch()
        if self._closing and not self._unsent:
            self._finish()

    def _watch(self) -> None:
        """Read unless an answer waits, as that of a client that reads none, or more was read than is handled soon."""
        wanted = WRITE if self._unsent else 0 if self._busy or self._ahead > _READ_AHEAD else READ
        if self._sock is not None and wanted != self._watched:
            self._watched = wanted
            self._web.loop.modify(self._sock.fileno(), wanted)

    def _touch(self) -> None:
        """The client has shown that it is there."""
        self._last_seen, self._arriving = time.monotonic(), 0

    def _close_if_idle(self) -> None:
        # one timer for each connection, set anew when it rings, and not for each request
        until = self._last_seen + _IDLE_SECONDS
        if self._answering:
            until = time.monotonic() + _IDLE_SECONDS
        if until <= time.monotonic():
            self.close()
        else:
            self._idle = self._web.loop.call_at(until, self._close_if_idle)


_TOO_LATE: Final = Plain(504, b'{\n    "error": "Timed out waiting for notification"\n}')
