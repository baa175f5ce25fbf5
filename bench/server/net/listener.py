"""Listener: accepts connections and ends them all together."""

import errno
import logging
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from bench.server.net import connection
from bench.server.net.connection import GrpcConnection
from bench.server.net.loop import READ, Loop, Timer
from bench.server.net.unfinished import Unfinished
from bench.wire.request_rows import Burst
from bench.wire.unary import Packed, Request

log = logging.getLogger(__name__)

_ACCEPTS_PER_TURN: Final = 64
_GREETING_SECONDS: Final = 20.0
"""A client that has not opened HTTP/2 by then is cut off."""
_SWEEP_SECONDS: Final = 5.0
_MOST_STREAMS: Final = 16_384
"""Calls that one connection may have in flight, as announced; gRPC clients wait with further ones."""


class Calls(Protocol):
    """The receiver of requests."""

    def take(self, connection: GrpcConnection, requests: list[Request]) -> None:
        """Requests that came in one read."""

    def take_burst(self, connection: GrpcConnection, burst: Burst) -> None:
        """Requests of one shape that came in a row."""

    def take_packed(self, connection: GrpcConnection, packed: list[Packed]) -> None:
        """Compressed requests, which are unpacked in a thread."""

    def answered(self, count: int = 1) -> None:
        """So many calls were answered."""


@dataclass(frozen=True)
class Limits:
    """Limits of what clients may use up."""

    connections: int
    message_bytes: int
    unfinished: Unfinished = field(default_factory=Unfinished)
    """Of all clients, those of other listeners too."""


class Front:
    """Listening sockets and the connections that came in through them."""

    def __init__(self, loop: Loop, calls: Calls, limits: Limits, context: ssl.SSLContext | None) -> None:
        self._loop = loop
        self._calls = calls
        self._limits = limits
        self._context = context
        self._listeners: list[socket.socket] = []
        self._connections: dict[GrpcConnection, Timer] = {}
        """With the look at whether the client has opened HTTP/2: it would keep the connection's memory."""
        self._dirty: list[GrpcConnection] = []
        self._drained: Callable[[], None] | None = None
        self._drain_limit: Timer | None = None
        self._refused = 0
        # the per-request way is one call shorter than through a method of ours
        self.take = calls.take
        self.take_burst = calls.take_burst
        self.take_packed = calls.take_packed
        self.answered = calls.answered
        loop.call_at(time.monotonic() + _SWEEP_SECONDS, self._sweep)

    @property
    def connections(self) -> int:
        """Clients that are connected now."""
        return len(self._connections)

    def listen(self, listener: socket.socket) -> None:
        """Accept clients from a bound socket."""
        listener.setblocking(False)
        listener.listen(4096)
        self._listeners.append(listener)
        self._loop.register(listener.fileno(), READ, lambda _mask: self._accept(listener))

    def flush(self) -> None:
        """Send whatever the turn's calls have gathered. The loop calls it after the executor's flush."""
        while self._dirty:
            dirty, self._dirty = self._dirty, []
            for each in dirty:
                each.flush()
        if self._drained is not None:
            self._finish_idle()

    def dirty(self, each: GrpcConnection) -> None:
        """See `connection.Owner`."""
        if not each.queued:
            each.queued = True
            self._dirty.append(each)

    def gone(self, each: GrpcConnection, reason: str) -> None:
        """See `connection.Owner`."""
        expecting = self._connections.pop(each, None)
        if expecting is not None:
            expecting.cancel()
        log.debug("connection ended: %s", reason)

    def drain(self, seconds: float, done: Callable[[], None]) -> None:
        """Take no more clients and calls; call `done` when the calls in flight are answered, or after `seconds`."""
        if self._drained is not None:
            return
        self._drained = done
        for listener in self._listeners:
            self._loop.unregister(listener.fileno())
            listener.close()
        for each in list(self._connections):
            each.drain()
        self._drain_limit = self._loop.call_at(time.monotonic() + seconds, self._give_up)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                sock, _address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._pause(listener, error)
                # others concern the one client, who has left already (accept(2), "Error handling")
                return
            if len(self._connections) >= self._limits.connections:
                self._refuse(sock)
                continue
            each = connection.of(
                sock,
                self._loop,
                self,
                self._context,
                most_streams=_MOST_STREAMS,
                largest_message=self._limits.message_bytes,
                unfinished=self._limits.unfinished,
            )
            self._connections[each] = self._loop.call_at(
                time.monotonic() + _GREETING_SECONDS,
                lambda each=each: _expect_opened(each),  # type: ignore[misc]  # a default binds the value
            )
            self.dirty(each)

    def _refuse(self, sock: socket.socket) -> None:
        if not self._refused:
            log.warning("more than %d connections: further ones are closed", self._limits.connections)
        self._refused += 1
        sock.close()

    def _pause(self, listener: socket.socket, error: OSError) -> None:
        """Out of descriptors: waiting clients would wake the loop without end, so look again in a while."""
        log.warning("cannot accept: %s", error)
        self._loop.modify(listener.fileno(), 0)

        def resume() -> None:
            if listener.fileno() >= 0:
                self._loop.modify(listener.fileno(), READ)

        self._loop.call_at(time.monotonic() + 0.5, resume)

    def _sweep(self) -> None:
        now = time.monotonic()
        for each in list(self._connections):
            each.cut_if_stalled(now)
        self._loop.call_at(now + _SWEEP_SECONDS, self._sweep)

    def _finish_idle(self) -> None:
        for each in list(self._connections):
            if not each.closing and each.idle:
                each.finish()
        if not self._connections:
            self._end()

    def _give_up(self) -> None:
        left = len(self._connections)
        if left:
            log.warning("%d connections were cut: their calls did not end in time", left)
        for each in list(self._connections):
            each.close("the server has ended")
        self._end()

    def _end(self) -> None:
        done, self._drained = self._drained, None
        if self._drain_limit is not None:
            self._drain_limit.cancel()
        if done is not None:
            done()


def _expect_opened(each: GrpcConnection) -> None:
    if not each.opened:
        each.close("the client has not opened HTTP/2 in time")
