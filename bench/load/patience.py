"""A line about what lets the start of a load wait."""

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Final

import gevent

log = logging.getLogger("bench")

PATIENCE: Final = 2.0
"""Seconds in silence."""


@contextlib.contextmanager
def awaited(what: str, seconds: float) -> Iterator[None]:
    """Log what is waited for, up to how many seconds, once it takes more than a moment; and then how long it took."""
    begun = time.perf_counter()
    line = gevent.spawn_later(PATIENCE, log.info, "waiting for %s, up to %g s", what, seconds)
    try:
        yield
    finally:
        late = line.ready()
        line.kill(block=False)
        if late:
            log.info("waited %.1f s for %s", time.perf_counter() - begun, what)
