"""One bound for what all clients together have sent of requests that are not complete."""

import threading
from typing import Final

MOST: Final = 1 << 30
FREE: Final = 16 << 10
"""Bytes of a connection that are not counted: a small request that comes in two reads is none that has to be refused."""


class Unfinished:
    """Bytes of requests that are not complete yet, of all connections of a process; may be used from any thread.

    A connection reports what it keeps only while that is more than FREE, so that requests which arrive whole cost nothing.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.bytes = 0
        self._lock = threading.Lock()

    def change(self, before: int, now: int) -> int:
        """What a connection keeps, instead of what it kept; gives what it is now counted with, 0 up to FREE.

        Raises NoRoomError where it keeps more than before and all of them more than they may: it is then as it was.
        """
        counted = now if now > FREE else 0
        if counted != before:
            with self._lock:
                whole = self.bytes + counted - before
                if counted > before and whole > self.most:
                    raise NoRoomError(
                        f"unfinished requests of all clients would take {whole} bytes: try again later"
                    )
                self.bytes = whole
        return counted


class NoRoomError(Exception):
    """There is no room for more of a request."""
