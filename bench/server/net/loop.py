"""The loop of the server's one I/O thread: reads, writes, timers, calls from other threads.

A plain epoll loop. Timers are precise to about 0.02 ms, which synthetic service times need: `epoll_wait` counts
whole milliseconds, `select` on the epoll descriptor counts microseconds.
"""

import heapq
import itertools
import os
import select
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from bench.server.unforeseen import unforeseen

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
_EVENTS_PER_TURN: Final = 256
_COARSE: Final = 4e-3
"""Seconds before a timer is due from which `select` waits for it; until then `epoll_wait` alone is cheaper."""

_SPIN: Final = 1e-4
"""Seconds before a timer is due that are spent looking instead of sleeping: waking up takes 0.05 to 0.1 ms."""

Callback = Callable[[], None]
OnEvent = Callable[[int], None]


class Timer:
    """A call that is due at an instant of `time.monotonic`."""

    __slots__ = ("call",)

    def __init__(self, call: Callback | None) -> None:
        self.call = call

    def cancel(self) -> None:
        """The call will not be made."""
        self.call = None


class Loop:
    """Descriptors, timers and calls of one thread. Only `post` and `stop` may be used from other threads."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._on_event: dict[int, OnEvent] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._posted: deque[Callback] = deque()
        self._stopping = False
        self.after_turn: list[Callback] = []
        """Called after each turn's events: what they have gathered is executed and written together."""
        self.register(self._wake, READ, self._drain_wake)

    def register(self, descriptor: int, events: int, on_event: OnEvent) -> None:
        """Call `on_event` with the event mask whenever the descriptor is ready for one of `events`."""
        self._on_event[descriptor] = on_event
        self._epoll.register(descriptor, events)

    def modify(self, descriptor: int, events: int) -> None:
        """Wait for other events from now on; 0 for hang-ups only."""
        self._epoll.modify(descriptor, events)

    def unregister(self, descriptor: int) -> None:
        """Forget the descriptor, before it is closed."""
        del self._on_event[descriptor]
        self._epoll.unregister(descriptor)

    def call_at(self, instant: float, call: Callback) -> Timer:
        """Call once at an instant of `time.monotonic`, or as soon after as possible."""
        timer = Timer(call)
        heapq.heappush(self._timers, (instant, next(self._order), timer))
        return timer

    def post(self, call: Callback) -> None:
        """Call soon, in the loop's thread; may be used from any thread."""
        self._posted.append(call)
        self._ring()

    def stop(self) -> None:
        """Return from `run` after the present turn; may be used from any thread and from signal handlers."""
        self._stopping = True
        self._ring()

    def run(self) -> None:
        """Take turns until `stop`."""
        while not self._stopping:
            for descriptor, mask in self._wait():
                # an earlier event of this turn may have closed the descriptor
                on_event = self._on_event.get(descriptor)
                if on_event is not None:
                    try:
                        on_event(mask)
                    except Exception as error:  # noqa: BLE001 - one client's event must not end the others
                        unforeseen(error, "an event")
            self._call_due()
            for call in self.after_turn:
                _make(call)

    def close(self) -> None:
        """Free the descriptors; `run` has returned."""
        self._epoll.close()
        wake, self._wake = self._wake, -1
        os.close(wake)

    def _wait(self) -> list[tuple[int, int]]:
        if self._posted:
            return self._epoll.poll(0, _EVENTS_PER_TURN)
        if not self._timers:
            return self._epoll.poll(-1, _EVENTS_PER_TURN)
        left = self._timers[0][0] - time.monotonic()
        if left > _COARSE:
            return self._epoll.poll(left - _COARSE / 2, _EVENTS_PER_TURN)
        if left > _SPIN:
            select.select([self._epoll], [], [], left - _SPIN)
        elif left > 0:
            while (
                not (events := self._epoll.poll(0, _EVENTS_PER_TURN))
                and time.monotonic() < self._timers[0][0]
            ):
                pass
            return events
        return self._epoll.poll(0, _EVENTS_PER_TURN)

    def _call_due(self) -> None:
        for _ in range(len(self._posted)):  # what these post comes after the next events
            _make(self._posted.popleft())
        timers = self._timers
        if not timers:
            return
        now = time.monotonic()
        while timers and timers[0][0] <= now:
            call = heapq.heappop(timers)[2].call
            if call is not None:
                _make(call)

    def _ring(self) -> None:
        if self._wake >= 0:  # a thread may still be at work when the loop has ended
            os.eventfd_write(self._wake, 1)

    def _drain_wake(self, _mask: int) -> None:
        os.eventfd_read(self._wake)


def _make(call: Callback) -> None:
    """Make a call; its error is logged and ends nothing else."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - the loop serves everybody
        unforeseen(error, "a call of the loop")
