"""Deadlines of calls, at the cost of one dict entry each.

Calls of one load mostly have the same time limit, so they expire in the order in which they started: each limit has
its queue, a dict from which a call that ended is deleted at once. Nothing is left behind by the millions of calls
that end in time, as it would be on a heap; the heap holds one entry for each limit in use.
"""

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

Call = TypeVar("Call", bound=Hashable)
Queue = dict[Call, float]


class Deadlines(Generic[Call]):
    """Calls by the instant at which they expire; instants are of the caller's clock, in seconds."""

    def __init__(self) -> None:
        self._queues: dict[float, Queue[Call]] = {}
        self._heads: list[
            tuple[float, float]
        ] = []  # (not later than the first expiry of the queue, its limit)

    def add(self, call: Call, now: float, limit: float) -> Queue[Call]:
        """Let a call expire `limit` seconds from now; delete it from the returned queue when it ends before."""
        queue = self._queues.get(limit)
        if queue is None:
            queue = self._queues[limit] = {}
            heapq.heappush(self._heads, (now + limit, limit))
        queue[call] = now + limit
        return queue

    def next(self) -> float | None:
        """An instant before which nothing expires; None where no queue is waiting."""
        return self._heads[0][0] if self._heads else None

    def expired(self, now: float) -> list[Call]:
        """The calls whose time has run out, taken off their queues."""
        gone: list[Call] = []
        while self._heads and self._heads[0][0] <= now:
            _, limit = heapq.heappop(self._heads)
            queue = self._queues[limit]
            due, head = [], None
            for call, instant in queue.items():
                if instant > now:
                    head = instant
                    break
                due.append(call)
            for call in due:
                del queue[call]
            gone.extend(due)
            if head is None:
                del self._queues[limit]
            else:
                heapq.heappush(self._heads, (head, limit))
        return gone
