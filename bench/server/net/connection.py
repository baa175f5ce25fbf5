"""One gRPC connection: bytes of a socket to calls, and responses to bytes."""

import socket
import ssl
import time
from collections.abc import Callable
from typing import Final, Protocol

from bench.server.net.loop import READ, WRITE, Loop
from bench.server.net.outbox import Outbox
from bench.server.net.unfinished import NoRoomError, Unfinished
from bench.server.refusal import Refusal
from bench.server.unforeseen import unforeseen
from bench.wire.http2_server import ServerConnection
from bench.wire.request_rows import Alike, Burst
from bench.wire.unary import Packed, Request

# malloc maps and unmaps memory for a larger read: of 64 x 100 kB in flight each request cost 115 us instead of 28
_READ_SIZE: Final = 258_048
_UNSENT_LIMIT: Final = 4 << 20
"""Bytes that the kernel would not take, from which no further requests are read from this client."""
_MARGIN: Final = 16 << 20
"""By how much unfinished requests of one client may exceed the largest message."""
_UNREAD_LIMIT: Final = 64 << 20
"""Bytes of answers that a client's flow-control windows keep here, from which it is cut off."""
STALL_SECONDS: Final = 60.0
"""A client that takes nothing for so long is cut off."""
LINGER_SECONDS: Final = 1.0


class Owner(Protocol):
    """The owner to whom the connection reports."""

    def take(self, connection: "GrpcConnection", requests: list[Request]) -> None:
        """Complete requests have come."""

    def take_burst(self, connection: "GrpcConnection", burst: Burst) -> None:
        """Complete requests have come in a row."""

    def take_packed(self, connection: "GrpcConnection", packed: list[Packed]) -> None:
        """Complete requests have come that take long to unpack."""

    def answered(self, count: int = 1) -> None:
        """Calls have been answered or refused."""

    def dirty(self, connection: "GrpcConnection") -> None:
        """The connection has something to send: `flush` it at the end of the turn."""

    def gone(self, connection: "GrpcConnection", reason: str) -> None:
        """The connection has ended."""


class Secure:
    """TLS between the socket and HTTP/2, without touching the socket."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.shaken = False
        """The handshake is done: from now on clear text passes."""

    def unwrap(self, data: bytes) -> bytes:
        """The clear text of what was received, empty during the handshake. Raises ssl.SSLError."""
        self._incoming.write(data)
        parts = []
        try:
            if not self.shaken:
                self._tls.do_handshake()
                if self._tls.selected_alpn_protocol() != "h2":
                    raise ssl.SSLError("the client does not offer HTTP/2 (ALPN h2)")
                self.shaken = True
            while part := self._tls.read(_READ_SIZE):
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        return b"".join(parts)

    def wrap(self, data: bytes) -> bytes:
        """What has to be sent for this clear text, none before `shaken`, and for the handshake."""
        if data:
            self._tls.write(data)
        return self._outgoing.read()


class GrpcConnection:
    """One client. All methods belong to the I/O thread."""

    def __init__(
        self,
        sock: socket.socket,
        loop: Loop,
        owner: Owner,
        http: ServerConnection,
        secure: Secure | None,
        *,
        most_arriving: int,
        unfinished: Unfinished,
    ) -> None:
        self.http = http
        self.closing = False
        """Closed once everything has been sent."""
        self.queued = False
        """On its owner's list of connections to flush."""
        self._sock: socket.socket | None = sock
        self._loop = loop
        self._owner = owner
        self._most_arriving = most_arriving
        self._unfinished = unfinished
        self._counted = 0
        self._secure = secure
        self._outbox = Outbox(sock)
        self._lingering = False
        self._events = READ
        # bound once: these are used for every read and every answer
        self._recv: Callable[[int], bytes] = sock.recv
        self._respond = http.respond
        loop.register(sock.fileno(), READ, self._on_event)

    # the interface of health.Watcher

    def respond(self, call: int, message: bytes) -> None:
        """End a call with a message."""
        try:
            if self._respond(call, 0, "", message):
                self._owner.answered()
        except Exception as error:  # noqa: BLE001 - the clients of the same batch still wait for their answers
            self._fail(error)
        if not self.queued:
            self._owner.dirty(self)

    def respond_all(self, calls: range, messages: Alike) -> None:
        """End calls with a message each."""
        try:
            self._owner.answered(self.http.respond_all(calls, messages))
        except Exception as error:  # noqa: BLE001 - as in `respond`
            self._fail(error)
        if not self.queued:
            self._owner.dirty(self)

    def refuse(self, call: int, refusal: Refusal) -> None:
        """End a call with a refusal."""
        if self._respond(call, refusal.code, refusal.details):
            self._owner.answered()
        if not self.queued:
            self._owner.dirty(self)

    def push(self, call: int, message: bytes) -> None:
        """Send a message of a call that goes on."""
        self.http.push(call, message)
        self._owner.dirty(self)

    def wants(self, call: int) -> bool:
        """Whether the client still waits for a call."""
        return self.http.awaits(call)

    @property
    def idle(self) -> bool:
        """Nothing is being asked, executed or sent."""
        return (
            not self._outbox.size and not self.http.out and not self.http.in_flight and not self.http.unsent
        )

    @property
    def opened(self) -> bool:
        """The client has shown that it speaks HTTP/2."""
        return self.http.settled

    def drain(self) -> None:
        """Take no further calls; answer those that have come."""
        self.http.shut_down()
        self._owner.dirty(self)

    def flush(self) -> None:
        """Send what has gathered; what the kernel does not take stays in the outbox."""
        self.queued = False
        if self._sock is None:
            return
        try:
            self._flush()
        except Exception as error:  # noqa: BLE001 - other connections have something to send too
            self._fail(error)

    def _flush(self) -> None:
        secure = self._secure
        data = self.http.take() if secure is None or secure.shaken else b""
        if secure is not None:
            data = secure.wrap(data)
        if data:
            try:
                self._outbox.send(data)
            except OSError as error:
                self.close(str(error))
                return
        if self._outbox.size or self._events != READ:
            self._choose_events()
        self._limit()

    def close(self, reason: str) -> None:
        """End the connection now; calls under way are executed, and their answers dropped."""
        sock, self._sock = self._sock, None
        if sock is None:
            return
        self.http.lose(reason)
        self._counted = self._unfinished.change(self._counted, 0)
        self._release()
        self._loop.unregister(sock.fileno())
        sock.close()
        self._outbox.clear()
        self._owner.gone(self, reason)

    def finish(self) -> None:
        """Close from our side, so that what was sent last is not lost.

        Closing a socket with unread bytes makes the kernel send a reset, at which the client may throw away
        answers that it has not read: so we only stop sending, and read on until the client closes or for
        `LINGER_SECONDS`.
        """
        self.closing = True
        if self._sock is None or self._outbox.size or self.http.out or self._lingering:
            return
        self._lingering = True
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.close(str(error))
            return
        self._loop.call_at(time.monotonic() + LINGER_SECONDS, lambda: self.close("the server has ended"))

    def cut_if_stalled(self, now: float) -> None:
        """Close the connection if the client has taken nothing for long."""
        if self._outbox.size and now - self._outbox.progress > STALL_SECONDS:
            self.close(f"the client has read nothing for {STALL_SECONDS:g} s")

    def _release(self) -> None:
        """Calls that nobody waits for any more make room for others."""
        released, self.http.released = self.http.released, 0
        if released:
            self._owner.answered(released)

    def _on_event(self, mask: int) -> None:
        try:
            if mask & WRITE:
                self._write()
            if mask & ~WRITE and self._sock is not None:
                self._read()
        except Exception as error:  # noqa: BLE001 - what this client has sent must not touch the others
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """An error of ours: where the connection stands is not known any more, so it ends."""
        self.close(str(unforeseen(error, "a connection")))

    def _write(self) -> None:
        try:
            self._outbox.resume()
        except OSError as error:
            self.close(str(error))
            return
        self._owner.dirty(self)

    def _read(self) -> None:
        try:
            data = self._recv(_READ_SIZE)
            if self._secure is not None and data:
                data = self._secure.unwrap(data)
                self._owner.dirty(self)  # the handshake may have something to say
                if not data:
                    return
        except BlockingIOError:
            return
        except ssl.SSLError as error:
            self._owner.dirty(self)
            self.flush()  # the alert that tells the client why
            self.close(f"TLS: {error.reason or error}")
            return
        except OSError as error:
            self.close(str(error))
            return
        if not data:
            self.close("closed by the client")
            return
        http = self.http
        requests = http.receive(data)
        if http.released:  # before the calls that came behind the cancellations are taken
            self._release()  # the executor asks `wants` before it runs what has waited
        if requests:
            self._owner.take(self, requests)
        if http.bursts:
            for burst in http.bursts:
                self._owner.take_burst(self, burst)
            http.bursts.clear()
        if http.packed:
            packed, http.packed = http.packed, []
            self._owner.take_packed(self, packed)
        if http.held or http.arriving or self._counted:
            self._count(http.held + http.arriving)
        if (self.http.out or self.http.closed is not None) and not self.queued:
            self._owner.dirty(self)

    def _count(self, unfinished: int) -> None:
        """Account for requests that are not complete, and end a connection for which there is no room."""
        if unfinished > self._most_arriving:
            self.close(f"the client keeps requests of {unfinished} bytes unfinished")
            return
        try:
            self._counted = self._unfinished.change(self._counted, unfinished)
        except NoRoomError as full:
            self.http.refuse_more(str(full))
            self._release()
            self._counted = self._unfinished.change(self._counted, 0)

    def _choose_events(self) -> None:
        """Wait for room in the kernel while something is kept, and read on only while that is little."""
        assert self._sock is not None  # noqa: S101 - the caller has looked: for the type checker
        unsent = self._outbox.size
        events = READ if not unsent else WRITE if unsent > _UNSENT_LIMIT else READ | WRITE
        if events != self._events:
            self._events = events
            self._loop.modify(self._sock.fileno(), events)

    def _limit(self) -> None:
        """Close the connection if it is at its end, or if its client keeps too much here."""
        if self.http.closed is not None or self.closing:
            self.finish()
        elif self.http.unsent > _UNREAD_LIMIT:
            self.close(f"the client keeps {self.http.unsent} bytes of answers waiting")


def of(
    sock: socket.socket,
    loop: Loop,
    owner: Owner,
    context: ssl.SSLContext | None,
    *,
    most_streams: int,
    largest_message: int,
    unfinished: Unfinished,
) -> GrpcConnection:
    """A connection on a freshly accepted socket.

    `largest_message` is also what its requests that have not ended may take together; unfinished: those of all clients.
    """
    sock.setblocking(False)
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # a client that has vanished without a word is found out within two minutes
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALL_SECONDS * 1000))
    secure = None if context is None else Secure(context)
    http = ServerConnection(most_streams=most_streams, largest_message=largest_message, take_bursts=True)
    most = largest_message + _MARGIN
    return GrpcConnection(sock, loop, owner, http, secure, most_arriving=most, unfinished=unfinished)
