"""Ctrl-C, SIGTERM and closed terminals in a load process.

All three end the test in order: nothing more is sent, and what is in flight is waited for. Another one ends that wait. One
while the run is being written is warned of, and the next leaves at once, with the run unfinished and readable.
"""

import os
import signal
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

import gevent

INTERRUPTED = 130
"""Exit code of a program that Ctrl-C has ended."""


def hide_interrupt() -> None:
    """Ctrl-C where nobody takes it, as while modules are imported, ends the process without a traceback."""
    show = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print("bench: interrupted", file=sys.stderr)
        else:
            show(kind, error, trace)

    sys.excepthook = hook


class Interrupts:
    """The signals of one load process, taken over from where Locust makes its runner."""

    def __init__(self, say: Callable[[str], object], hurry: Callable[[], bool], *, first: bool) -> None:
        """Called in Locust's main greenlet, which is the one that waits for KeyboardInterrupt.

        Python raises it in whatever greenlet runs at that moment: under load a user, or the one that writes results.
        say: takes what the user is told. hurry: ends the wait for the last answers; False where nobody waits.
        first: this process decides when the test ends; a worker, which gets its master's Ctrl-C too, may wait already
        when its first one comes.
        """
        self._say, self._hurry, self._first = say, hurry, first
        self._main = gevent.getcurrent()
        self._ending = self._warned = False
        self._received = signal.SIGINT
        self.ended_by: signal.Signals | None = None
        """What ended the program, while nothing else did; None: nothing yet."""
        gevent.signal_handler(signal.SIGINT, self._interrupt)
        # Locust ends a test twice at once when SIGTERM comes, in two greenlets that get into each other's way, and
        # installs that after all of its events. The loop asks the system for a signal only when it has its first
        # listener, so that whoever asks after that decides: this does, and Locust's listener never hears of it.
        gevent.signal_handler(signal.SIGTERM, self._interrupt)
        signal.signal(signal.SIGTERM, self._as_interrupt)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
            signal.signal(signal.SIGHUP, self._as_interrupt)

    def broke_off(self, *, endless: bool) -> bool:
        """Whether a signal has ended the load before its time; Ctrl-C is how an endless one ends in order."""
        return self.ended_by is not None and not (endless and self.ended_by == signal.SIGINT)

    def ending(self, **_: Any) -> None:
        """The test ends already: what Ctrl-C asks for is under way. A listener of Locust's `quitting`."""
        self._ending = True

    def _interrupt(self) -> None:
        if (self._first or self._ending) and self._hurry():
            self._say(
                "ended at once: requests without an answer are recorded as cancelled by the load generator"
            )
        elif not self._ending:
            self._ending, self.ended_by = True, self._received
            self._main.throw(KeyboardInterrupt)
        elif not self._warned:
            self._warned = True
            self._say("the run is being written and checked; Ctrl-C again leaves at once")
        else:
            self._say("left before that was done")
            sys.stdout.flush()
            os._exit(INTERRUPTED)  # what runs at the end of Python would wait for the other processes

    def _as_interrupt(self, number: int, _: Any) -> None:
        self._received = signal.Signals(number)
        os.kill(os.getpid(), signal.SIGINT)
