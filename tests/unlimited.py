"""What a fixture of many tests takes is no time of the test that comes to need it first."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unlimited() -> Iterator[None]:
    """Stop the clock of pytest-timeout for the length of the block, which needs a limit of its own."""
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)


LIMIT = 1200.0
"""Seconds for what is ready within 15 of processor time."""
