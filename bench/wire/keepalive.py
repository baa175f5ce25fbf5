"""Keepalive pings: notice of a vanished server while calls wait (RFC 9113, 6.7)."""

import time
from dataclasses import dataclass
from typing import Any, Protocol

from gevent.hub import get_hub

from bench.wire.http2_client import ClientConnection


@dataclass(frozen=True)
class Keepalive:
    """The instants of pings to a silent server. Seconds.

    gRPC servers hang up (GOAWAY "too_many_pings") on clients that ask oftener than they permit, which is every
    300 s unless they are configured otherwise: so nothing is asked by default, as in gRPC.
    """

    every: float
    """Ask after so long without a byte from the server while calls are under way, at most twice as long where they
    began in silence; without calls nothing is asked."""
    limit: float = 20.0
    """Without a byte for so long after the question the connection is given up, its calls end as UNAVAILABLE. As in
    gRPC it does not delay the next question where an answer came."""

    def __post_init__(self) -> None:
        for name, seconds in (("every", self.every), ("limit", self.limit)):
            if not 0 < seconds < float("inf"):
                raise ValueError(f"keepalive {name} {seconds}: expected a number > 0 (seconds)")


class Watched(Protocol):
    """The connection that is watched: `link.Link`."""

    connection: ClientConnection
    heard: float

    def schedule(self) -> None:
        """Send what is waiting, soon."""

    def break_off(self, reason: str) -> None:
        """End the connection as lost."""


class Watch:
    """Watches one connection; costs a timer, and nothing for each call."""

    def __init__(self, link: Watched, keepalive: Keepalive) -> None:
        self._link = link
        self._keepalive = keepalive
        self._idle = True  # no call was under way at the last look
        self._since = 0.0  # the first look at which one was
        self._pinged: float | None = None
        self._timer: Any = None
        self._look_in(keepalive.every)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None

    def _look_in(self, seconds: float) -> None:
        self.stop()
        self._timer = get_hub().loop.timer(max(seconds, 0.001), ref=False)
        self._timer.start(self._look)

    def _look(self) -> None:
        now, link, keepalive = time.perf_counter(), self._link, self._keepalive
        if self._pinged is not None and link.heard < self._pinged:
            left = self._pinged + keepalive.limit - now
            if left <= 0:
                link.break_off(f"connection lost: no answer to a PING within {keepalive.limit:g} s")
            else:
                self._look_in(min(left, keepalive.every))  # it may answer, and fall silent again
            return
        self._pinged = None
        was_idle, self._idle = self._idle, not link.connection.in_flight
        if was_idle:  # what is under way now has not been for long
            self._since = now
        left = max(link.heard, self._since) + keepalive.every - now
        if self._idle:
            left = keepalive.every
        elif left <= 0:
            link.connection.ping()
            link.schedule()
            self._pinged, left = now, min(keepalive.limit, keepalive.every)
        self._look_in(left)
