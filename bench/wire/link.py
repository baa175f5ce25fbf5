"""Transport of one connection's bytes between gevent's loop and the kernel.

All calls that become ready in one turn of the loop leave in one send; one read brings many answers, which are
delivered right from the read callback. Everything here runs in the hub, except `submit` and `cancel`.
"""

import itertools
import ssl
import time
from collections import deque
from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final

from gevent.event import Event
from gevent.hub import get_hub

from bench.wire.dial import Session, in_records
from bench.wire.exchange import Exchange
from bench.wire.http2_client import ClientConnection
from bench.wire.keepalive import Keepalive, Watch
from bench.wire.outflow import Buffer
from bench.wire.rows import Row
from bench.wire.waits import CONNECTION, KERNEL, STREAM, WINDOW, Waits

_READABLE, _WRITABLE = 1, 2
_LARGE: Final = 32_768  # bytes of a message from which joining it with others costs more than sending pieces
_PIECES: Final = 1024  # that one sendmsg takes (IOV_MAX of Linux)
_READ: Final = 129_024  # below the size from which malloc maps and unmaps memory for each read (13 us of 70)


class Link:
    """A connected socket with its HTTP/2 connection, until it is lost."""

    def __init__(
        self,
        sock: Any,
        session: Session | None,
        connection: ClientConnection,
        deliver: Callable[[Any, float], None],
        changed: Callable[["Link"], None],
        *,
        address: str = "",
        keepalive: Keepalive | None = None,
        waits: Waits | None = None,
    ) -> None:
        """Take over a connected socket.

        deliver: gets each exchange that ended and the instant of the read, and gives it a `sent` where it has none:
        bytes of it that leave later count for nothing. changed: is called at `connection`'s first SETTINGS, its
        draining, its returned exchanges, its end. waits: where calls are counted that cannot leave at once.
        """
        self.connection = connection
        self._waits = waits or Waits()
        self.address = address
        """Where it leads to."""
        self.opened = Event()
        """Set when the server's SETTINGS have come, and when the link is lost."""
        self.leaving = Event()
        """Set when no further call may start here: the link is lost, or finishes what it has begun."""
        self.lost: str | None = None
        """Why the link is gone; None: it is up, or coming up."""
        self.answered = False
        """Whether the server has ended a call here."""
        self.sent_calls = 0
        """Requests whose last byte went to the kernel here, before anywhere else; one that ended before is not counted."""
        self.heard = time.perf_counter()
        """When something was read last, on the clock of `time.perf_counter`."""
        self._keepalive = keepalive
        self._watch: Watch | None = None
        self._sock = sock
        self._session = session
        self._deliver = deliver
        self._changed = changed
        self._scheduled = False
        self._rest: deque[Buffer] = deque()  # what the kernel did not take
        self._left = 0  # bytes in `_rest`
        self._taken = 0  # bytes that the kernel took of what did not leave at once
        self._marks: deque[tuple[int, Exchange]] = deque()  # (`_taken` when it has gone, exchange)
        hub = get_hub()
        self._run_callback = hub.loop.run_callback
        self._on_error = hub.handle_error
        self._reader = hub.loop.io(sock.fileno(), _READABLE)
        self._writer = hub.loop.io(sock.fileno(), _WRITABLE)

    def open(self) -> None:
        """Greet the server and start reading."""
        self._reader.start(self._on_readable)
        self.schedule()
        if self._keepalive is not None:
            self._watch = Watch(self, self._keepalive)
        if self._session is not None:
            self._run_callback(self._on_handshake_rest)

    def _on_handshake_rest(self) -> None:
        """What the server sent right behind its last flight of the handshake lies decrypted, with no read to come."""
        if self.lost is not None or self._session is None:
            return
        try:
            data = self._session.decrypt(b"")
        except ssl.SSLError as problem:
            self.break_off(f"connection lost: {problem.strerror or problem}")
            return
        if data:
            self._on_bytes(data, time.perf_counter())

    def submit(self, call: Exchange) -> None:
        """Let a call leave with the next send."""
        if not self.connection.request(call):
            self._note_wait(call)
        if not self._scheduled:
            self._scheduled = True
            self._run_callback(self._flush)

    def _note_wait(self, call: Exchange) -> None:
        if call.stream:
            cause = WINDOW
        elif self.connection.draining or self.connection.closed is not None:
            cause = CONNECTION
        else:
            cause, self._waits.most_streams = STREAM, self.connection.most_streams
        self._waits.note(call, cause, time.perf_counter())

    def submit_row(self, row: Row, flushed: bool) -> bool:
        """The same for the calls of a row; False where the connection does not take them all at once.

        `flushed`: `flush` follows, and this turn of the loop need not end for it.
        """
        if not self.connection.request_row(row):
            return False
        row.link = self
        if not self._scheduled:
            self._scheduled = True
            if not flushed:
                self._run_callback(self._flush)
        return True

    def schedule(self) -> None:
        """Let what is in the connection's `out` leave with the next send."""
        if not self._scheduled:
            self._scheduled = True
            self._run_callback(self._flush)

    def flush(self) -> None:
        """Send now what was to leave at the end of this turn of the loop."""
        if self._scheduled:
            self._flush()

    def close(self) -> list[Exchange]:
        """Take leave of the server, without waiting for anything; gives the calls that were under way."""
        if self.lost is not None:
            return []
        ended = self.connection.close()
        self._flush()
        self._drop("closed by the client")
        return ended

    def break_off(self, reason: str) -> None:
        """The connection is of no use any more: end its calls as UNAVAILABLE. In the hub only."""
        if self.lost is None:
            self._drop(reason)
            now = time.perf_counter()
            for call in self.connection.lose(reason):
                self._deliver(call, now)
            self._changed(self)

    def _on_readable(self) -> None:
        try:
            data = self._sock.recv(_READ)
            now = time.perf_counter()
            if not data:
                self.break_off("connection lost: the server closed it")
                return
            if self._session is not None:
                data = self._session.decrypt(data)
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, ssl.SSLError) as problem:
            self.break_off(f"connection lost: {problem.strerror or problem}")
            return
        if data is None:
            self.break_off("connection lost: the server ended the TLS session")
        elif data:
            self._on_bytes(data, now)

    def _on_bytes(self, data: bytes, now: float) -> None:
        self.heard = now
        connection, deliver = self.connection, self._deliver
        self._scheduled = True  # what the woken users send leaves below, without another callback
        ended = connection.receive(data)
        for call in ended:
            deliver(call, now)
        answered = bool(connection.rows.answers)
        if answered:
            connection.rows.deliver(now, self._on_error)
        if self.lost is not None:
            return
        if (ended or answered) and connection.closed is None:
            self.answered = True
        if connection.draining or connection.returned or connection.closed or not self.opened.is_set():
            self._notice()
        self._flush()

    def _notice(self) -> None:
        if self.connection.settled:
            self.opened.set()
        if self.connection.draining:
            self.leaving.set()
        if self.connection.closed is not None:
            self._flush()  # the GOAWAY that tells the server what it did
            self.break_off(f"connection closed: {self.connection.closed}")
        else:
            self._changed(self)

    def _flush(self) -> None:
        self._scheduled = False
        connection = self.connection
        out, rows = connection.out, connection.rows
        if not out or self.lost is not None:
            return
        data = b"".join(out) if self._session is not None or len(out[-1]) <= _LARGE else None
        ends = connection.take_ends()
        # Read before the call: the kernel may run the server on this core first, and the call then returns
        # when the answer is there (7 us were seen between a late stamp and the answer, of 180 in truth).
        now = time.perf_counter()
        try:
            if data is None:
                size = sum(map(len, out))
                count = 0 if self._rest else self._sock.sendmsg(out[:_PIECES])
            else:
                if self._session is not None:
                    data = self._session.encrypt(data)
                size = len(data)
                count = 0 if self._rest else self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            count = 0
        except OSError as problem:  # ssl.SSLError is one, as after the server has ended the session
            out.clear()
            self.break_off(f"connection lost: {problem.strerror or problem}")
            return
        if count == size:
            known = 0
            for _, call in ends:
                if call.sent is None:
                    call.sent = now
                else:  # an attempt of a request that was sent before, or has ended meanwhile
                    known += 1
            self.sent_calls += len(ends) - known
            if rows.leaving:
                self.sent_calls += rows.stamp(now)
        else:
            reached = list(itertools.accumulate(map(len, out)))
            if data is not None and self._session is not None:
                reached = in_records(bytes(data), reached)
            if rows.leaving:
                ends = sorted(ends + rows.ends(), key=itemgetter(0))
            before = self._taken + self._left
            for chunks, call in ends:
                mark = before + reached[chunks - 1]
                if mark > self._taken + count:
                    self._waits.note(call, KERNEL, now)
                self._marks.append((mark, call))
            if not self._rest:
                self._writer.start(self._on_writable)
            self._rest.extend(out if data is None else [data])
            self._left += size
            self._note_taken(count, now)
        out.clear()

    def _on_writable(self) -> None:
        if not self._rest:
            return
        now = time.perf_counter()
        try:
            count = self._sock.sendmsg(list(itertools.islice(self._rest, _PIECES)))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as problem:
            self.break_off(f"connection lost: {problem.strerror or problem}")
            return
        self._note_taken(count, now)
        if not self._rest:
            self._writer.stop()

    def _note_taken(self, count: int, now: float) -> None:
        """The kernel took so many bytes of what waits: stamp the calls whose last byte has gone with that instant."""
        self._taken += count
        self._left -= count
        pieces, marks = self._rest, self._marks
        while pieces and count >= len(pieces[0]):
            count -= len(pieces.popleft())
        if count:
            pieces[0] = memoryview(pieces[0])[count:]
        while marks and marks[0][0] <= self._taken:
            call = marks.popleft()[1]
            if call.sent is None:
                call.sent = now
                self.sent_calls += 1

    def _drop(self, reason: str) -> None:
        self.lost = reason
        self._rest.clear()
        self._marks.clear()
        for watcher in (self._reader, self._writer):
            watcher.stop()
            watcher.close()
        if self._watch is not None:
            self._watch.stop()
        self._sock.close()
        self.opened.set()
        self.leaving.set()
