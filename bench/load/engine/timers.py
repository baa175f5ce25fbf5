"""Timers in gevent's loop that are exact to 0.1 ms.

The loop's own timers count whole milliseconds (libev hands epoll a timeout in them): arrivals paced by
`gevent.sleep` are 1.1 to 1.9 ms late at the 99th percentile. On Linux a timerfd wakes the loop instead, which is
0.05 to 0.2 ms late, and the loop turns through what is nearer than a sleep is worth. Elsewhere the loop's timer wakes it a little early and the rest is spun away, which costs CPU
time: up to SPIN_SECONDS for every instant.
"""

import ctypes
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import gevent.monkey
from gevent.hub import get_hub

SPIN_SECONDS: Final = 0.0015
"""How early the fallback wakes: a millisecond of the loop's counting and half of one for what else is running."""

SLEEP_TO_SPIN: Final = 3
"""A sleep costs about so many times what `sleep_cost` measures: setting the timer, and caches that others have used."""
LONGEST_SPIN: Final = 60e-6
"""Seconds that are turned through at the most, however dear a sleep is."""

_READ: Final = 1
_TFD_CLOEXEC, _TFD_NONBLOCK = 0o2000000, 0o4000  # include/uapi/linux/timerfd.h
_TFD_TIMER_ABSTIME: Final = 1


@cache
def sleep_cost() -> float:
    """CPU seconds that this process pays for one sleep: 2 us on bare metal, 15 to 25 in a virtual machine.

    There setting a timer and being woken by it are calls of the hypervisor. Measured once, in 2 ms.
    """
    sleep, spent = gevent.monkey.get_original("time", "sleep"), []
    for _ in range(_SLEEPS):
        before = time.thread_time()
        sleep(_SLEEP_SECONDS)
        spent.append(time.thread_time() - before)
    return statistics.median(spent)


_SLEEPS: Final = 15
_SLEEP_SECONDS: Final = 5e-5


class TimerfdTimer:
    """Runs a callback in the hub once the instant is reached that was set last; reusable.

    The kernel compares absolute instants of the clock that `time.perf_counter` reads (setting one takes 1 us, in a
    virtual machine 10 to 20). An instant that is nearer than a sleep costs in all is met by turning the loop, 1 us each,
    which reads answers meanwhile. `close` gives the descriptor back.
    """

    def __init__(self, callback: Callable[[], Any]) -> None:
        """`callback` takes nothing and must not block. Raises OSError where the system is out of descriptors."""
        # PyDLL keeps Python's lock: the calls never block, and letting it go and taking it again costs more
        library = ctypes.PyDLL(None, use_errno=True)
        self._fd = library.timerfd_create(time.CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self._fd < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        self._callback = callback
        # struct itimerspec: interval (seconds, nanoseconds), value (seconds, nanoseconds)
        self._spec = (ctypes.c_long * 4)()
        self._settime = library.timerfd_settime
        self._settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        self._pointer = ctypes.addressof(self._spec)
        self._due: float | None = None
        self._armed: float | None = None  # the instant that the kernel knows, also where it has passed
        self._near = min(SLEEP_TO_SPIN * sleep_cost(), LONGEST_SPIN)
        loop = get_hub().loop
        self._watcher = loop.io(self._fd, _READ)
        self._watcher.start(self._on_expiry)
        self._spinner = loop.idle(priority=loop.MAXPRI)  # each turn, whatever else there is to do
        self._spinning = False

    def set(self, due: float) -> None:
        """Run the callback at `due` on perf_counter's clock, or in the loop's next turn if that has passed."""
        self._due = due
        if due - time.perf_counter() < self._near:
            if not self._spinning:
                self._spinning = True
                self._spinner.start(self._on_turn)
        else:
            if self._spinning:
                self._stop_spinning()
            if due != self._armed:
                self._arm(due)

    def cancel(self) -> None:
        """Do not run the callback until an instant is set again."""
        self._due = None
        if self._spinning:
            self._stop_spinning()
        self._disarm()

    def close(self) -> None:
        """Never run the callback again and close the descriptor; a second call does nothing."""
        if self._fd >= 0:
            self._due = None
            self._stop_spinning()
            for watcher in (self._watcher, self._spinner):
                watcher.stop()
                watcher.close()
            os.close(self._fd)
            self._fd = -1

    def _arm(self, instant: float) -> None:
        spec = self._spec
        seconds = int(instant)
        spec[2], spec[3] = seconds, int((instant - seconds) * 1e9) or 1  # 0, 0 would switch the timer off
        self._armed = instant
        self._settime(self._fd, _TFD_TIMER_ABSTIME, self._pointer, None)

    def _disarm(self) -> None:
        """The descriptor stays readable until it is read or set."""
        if self._armed is not None:
            self._armed = None
            self._spec[2] = self._spec[3] = 0
            self._settime(self._fd, 0, self._pointer, None)

    def _stop_spinning(self) -> None:
        self._spinning = False
        self._spinner.stop()

    def _on_turn(self) -> None:
        if self._due is not None and time.perf_counter() >= self._due:
            self._ring()

    def _on_expiry(self) -> None:
        expired, due = self._armed, self._due
        if (
            due is None or time.perf_counter() < due
        ):  # another instant was set meanwhile, or the kernel was 1 ns early
            self._disarm()
            if due is not None:
                self.set(due)
            return
        self._ring()
        if self._armed == expired and self._fd >= 0:  # else it has been set anew, which is cheaper
            self._disarm()

    def _ring(self) -> None:
        self._due = None
        self._callback()
        if self._due is None and self._spinning:
            self._stop_spinning()


class SpinningTimer:
    """The same where there is no timerfd: woken SPIN_SECONDS early, then one turn of the loop after the other."""

    def __init__(self, callback: Callable[[], Any]) -> None:
        """`callback` takes nothing and must not block."""
        self._callback = callback
        self._loop = get_hub().loop
        self._timer: Any = None
        self._due: float | None = None
        self._spinning = False

    def set(self, due: float) -> None:
        """Run the callback at `due` on perf_counter's clock, or in the loop's next turn if that has passed."""
        self.cancel()
        self._due = due
        early = due - time.perf_counter() - SPIN_SECONDS
        if early > 0:
            self._timer = self._loop.timer(early)
            self._timer.start(self._spin_if_idle, update=True)
        else:
            self._spin_if_idle()

    def cancel(self) -> None:
        """Do not run the callback until an instant is set again."""
        self._due = None
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.stop()
            timer.close()

    def close(self) -> None:
        """Never run the callback again; a second call does nothing."""
        self.cancel()

    def _spin_if_idle(self) -> None:
        if not self._spinning:
            self._spinning = True
            self._loop.run_callback(self._spin)

    def _spin(self) -> None:
        self._spinning = False
        due = self._due
        if due is None:
            return
        left = due - time.perf_counter()
        if left > SPIN_SECONDS:  # set anew, further away, while this turn was waiting
            return
        if left > 0:
            self._spin_if_idle()
            return
        self.cancel()
        self._callback()


Timer: type[TimerfdTimer] | type[SpinningTimer] = (
    TimerfdTimer
    if sys.platform == "linux" and "MONOTONIC" in time.get_clock_info("perf_counter").implementation
    else SpinningTimer
)
"""The better of the two that this system has."""
