"""Forked workers and the process that forked them: each learns of the other's end, even if that was killed.

Locust's own workers notice a lost master after a minute, and send their load until then. What they have measured
since goes nowhere: the master was the one who wrote it down.
"""

import ctypes
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import ClassVar

import gevent
import psutil
from gevent.socket import wait_read

_PR_SET_PDEATHSIG = 1  # prctl(2), Linux
LOOK_SECONDS = 0.5
"""Elsewhere the parent is looked for so often."""


class _Forks:
    """The known forks of this process."""

    bound = False
    """Whether processes that are forked now shall end with this one."""
    maker: int = os.getpid()
    """The process that forks next, or has forked last."""
    parent: int | None = None
    """Who forked this process; None: nobody that it has to end with."""
    pipe: tuple[int, int] | None = None
    """Of the process that is being forked: it holds the writing end until it ends."""
    lines: ClassVar[list[int]] = []
    """The reading ends of all that were forked."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)


def bind_forks() -> None:
    """From now on processes that are forked end with this one: they get SIGTERM when it is gone.

    Called before Locust forks its workers, and as early as that: connecting to the master, which comes before any
    of Locust's events, takes a worker minutes where the master is gone.
    """
    _Forks.bound = True
    os.register_at_fork(before=_note_maker, after_in_parent=_keep_line, after_in_child=_follow)


def release_forks() -> None:
    """Processes that are forked from now on are no workers, and may outlive this one."""
    _Forks.bound = False


def watch_parent() -> None:
    """Look for the parent now and again, on systems that do not tell of its death."""
    if _Forks.parent is not None and _Forks.prctl is None:
        gevent.spawn(_watch)


def watch_workers(ended: Callable[[int, int], object]) -> None:
    """Have `ended(number, count)` called when one of `count` forked workers ends, of numbers from 1 on."""
    for number, line in enumerate(_Forks.lines, 1):
        gevent.spawn(_await_end, line, partial(ended, number, len(_Forks.lines)))


def end_fork(pid: int) -> None:
    """End a worker that was forked here and hangs, in which nobody hears SIGTERM; nothing where it is none, or has ended."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.ppid() == os.getpid():
            process.kill()


def orphaned() -> bool:
    """Whether the process that forked this worker is gone."""
    return _Forks.parent is not None and os.getppid() != _Forks.parent


def _note_maker() -> None:
    _Forks.maker = os.getpid()
    _Forks.pipe = os.pipe() if _Forks.bound else None


def _keep_line() -> None:
    if _Forks.pipe is not None:
        reading, writing = _Forks.pipe
        os.close(writing)
        _Forks.lines.append(reading)


def _follow() -> None:
    if not _Forks.bound:
        return
    if _Forks.pipe is not None:
        for line in (_Forks.pipe[0], *_Forks.lines):
            os.close(line)
        _Forks.lines.clear()
    _Forks.parent = _Forks.maker
    if _Forks.prctl is not None:
        _Forks.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if orphaned():  # it died before it was said that this matters
        os.kill(os.getpid(), signal.SIGTERM)


def _await_end(line: int, ended: Callable[[], object]) -> None:
    wait_read(line)  # nobody writes: what can be read is the end
    ended()


def _watch() -> None:
    while not orphaned():
        gevent.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
