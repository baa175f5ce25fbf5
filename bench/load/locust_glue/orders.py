"""The orders in which the users of a load process send the messages of their pools."""

import time
from collections.abc import Callable, Iterator

import gevent
from locust.exception import StopUser

from bench.payload import Pool

LAST_SECONDS = 0.05
"""What is due last is sent before its load ends."""


class Orders:
    """Endless walks of each user; of requests that are sent once, orders that the users of a process share."""

    def __init__(self) -> None:
        self.number, self.of = 0, 1
        """Which part of the requests that are sent once is this process's, of how many."""
        self.used_up: Callable[[], object] = lambda: None
        """Called once, when the first of the orders has come to its end."""
        self._shared: dict[str, _Shared] = {}
        self._ended = False

    def order(self, name: str, pool: Pool, stream: int) -> Iterator[int]:
        """Indices of the messages that user number `stream` sends of the requests of a name."""
        if not pool.sending:
            return pool.sequence(stream)
        if name not in self._shared:
            self._shared[name] = _Shared(pool.once(self.number, self.of), self.end)
        return self._shared[name]

    def end(self, at: float = 0.0) -> None:
        """No message is left from an instant on perf_counter's clock on."""
        if not self._ended:
            self._ended = True
            gevent.spawn_later(max(0.0, at - time.perf_counter()) + LAST_SECONDS, self.used_up)


class _Shared(Iterator[int]):
    """An order that ends every user that asks for more than there is."""

    def __init__(self, indices: Iterator[int], ended: Callable[[], object]) -> None:
        self._indices, self._on_end = indices, ended

    def __next__(self) -> int:
        for index in self._indices:
            return index
        self._on_end()
        raise StopUser
