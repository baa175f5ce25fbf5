"""Requests over HTTP, each user's on a connection of its own that is kept open, with answers recorded like any other."""

import itertools
from collections import Counter
from functools import partial

import gevent
from gevent.pool import Group

from bench.load.engine.encoding import expected_of
from bench.load.engine.recorder import Recorder
from bench.wire.http_connection import HttpConnection
from bench.wire.reply import Reply
from bench.wire.waits import CONNECTION, Waits


class HttpCalls:
    """The calls of one load process over HTTP: counted, and waited for when their user is gone."""

    def __init__(self, address: str | None, deadline: float, turn: int = 0, *, largest: int) -> None:
        """address: host:port of the server's HTTP API; None: no calls go there.

        turn: which of several addresses the first connection begins with. largest: bytes of an answer that is read.
        """
        self.address, self._deadline, self._largest = address, deadline, largest
        self.addresses: Counter[str] = Counter()
        """Requests handed to the kernel, by the server's addresses."""
        self.retries = 0
        """Requests that went again."""
        self.waits = Waits()
        self._turns = itertools.count(turn)
        self.in_flight = 0
        """Requests that have not ended."""
        self._closed = False
        self._left_behind = Group()

    @property
    def sent_calls(self) -> int:
        """Requests handed to the kernel; one that had to be sent again counts once."""
        return self.addresses.total()

    def connection(self, recorder: Recorder) -> HttpConnection:
        """A connection of a user's own."""
        if self.address is None:
            raise RuntimeError("the test began without a REST port, although it sends over REST")
        read = partial(recorder.api.read, expected=expected_of(recorder.pool))
        return HttpConnection(self.address, read, next(self._turns), self._largest)

    def ask(self, connection: HttpConnection, message: bytes, recorder: Recorder, index: int) -> int:
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

    def _resume(self, connection: HttpConnection, recorder: Recorder, index: int) -> None:
        try:
            self._ended(connection, connection.resume(), recorder, index)
        except gevent.GreenletExit:
            self._cancel(connection, recorder, index)
        connection.close()

    def _ended(self, connection: HttpConnection, reply: Reply, recorder: Recorder, index: int) -> int:
        self._count(connection)
        recorder.add(None, index, reply)
        return reply.status

    def _cancel(self, connection: HttpConnection, recorder: Recorder, index: int) -> None:
        connection.close()
        self._count(connection)
        recorder.add_cancelled(None, index, connection.sent, connection.held_since)

    def _count(self, connection: HttpConnection) -> None:
        """Count the newest request of a connection, which has ended."""
        self.in_flight -= 1
        if connection.sent is not None:
            self.addresses[connection.where] += 1
        if connection.held_since is not None:
            self.waits.counts[CONNECTION] += 1
        self.retries += connection.retries
        connection.retries = 0
