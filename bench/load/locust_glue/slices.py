"""Slices of time: in a duet both arms get all users in turn, each for a moment, with no call of the other one in flight.

Request by request, two versions of one server would wait for each other: where four users keep it busy, a request of the
faster version waits for those of the slower one, and the difference nearly disappears. In slices each is measured as if it
was alone, and noise of the machine that lasts longer than a slice still hits both alike.
"""

import random
import time
from collections.abc import Iterator, Sequence
from typing import Final

import gevent
from locust.exception import StopUser

from bench.load.locust_glue.session import Session

_PAUSE: Final = 0.0005
"""Seconds between two looks at whether the other arm's last answers have come."""


class Slices:
    """Whose turn it is: slices come in pairs, and chance decides which arm has the first of a pair."""

    def __init__(self, seconds: float, seed: int) -> None:
        self._seconds, self._seed = seconds, seed
        self._pair, self._first = -1, 0

    def arm(self, since: float) -> int:
        """0 or 1. since: seconds of the run."""
        pair, half = divmod(int(since / self._seconds), 2)
        if pair != self._pair:
            chance = random.Random(f"{self._seed}/{pair}")  # noqa: S311 - an order, no secret
            self._pair, self._first = pair, chance.randrange(2)
        return half ^ self._first

    def turns(self, loads: Sequence[Session]) -> Iterator[int]:
        """The arm of each request of a user, who waits until no call of the other one is in flight.

        loads: those of the two arms; the second is the first one's partner. Raises StopUser at the end of the load.
        """
        first, second = loads
        origin = first.run_time(0.0)
        while True:
            arm = self.arm(time.perf_counter() - origin)
            other = first.in_flight - second.in_flight if arm else second.in_flight
            if not other:
                yield arm
            elif first.draining:
                raise StopUser
            else:
                gevent.sleep(_PAUSE)
