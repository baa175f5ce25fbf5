"""Lines about what a program waits for."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Final

import gevent

log = logging.getLogger("bench")

PATIENCE: Final = 2.0
"""Seconds in silence."""


def _log(text: str) -> None:
    log.info("%s", text)


@contextlib.contextmanager
def awaited(subject: str, seconds: float, say: Callable[[str], object] = _log) -> Iterator[None]:
    """Say what is waited for, up to how many seconds, once it takes more than a moment; and then how long it took.

    say: takes a line; the log by default.
    """
    begun = time.perf_counter()

    def tell() -> None:
        # not spawn_later: that counts from the loop's last turn, which may be seconds ago
        gevent.sleep(PATIENCE)
        say(f"waiting for {subject}, up to {seconds:g} s")

    line = gevent.spawn(tell)
    try:
        yield
    finally:
        late = line.ready()
        line.kill(block=False)
        if late:
            say(f"waited {time.perf_counter() - begun:.1f} s for {subject}")
