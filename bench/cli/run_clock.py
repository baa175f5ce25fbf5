"""Estimate the time that an experiment will still take."""

import time
from collections.abc import Callable, Sequence


class Clock:
    """The time left: the prediction, corrected by how long trials really took; or what is left of a budget."""

    def __init__(
        self,
        predicted: Sequence[float] = (0.0,),
        budget: float | None = None,
        *,
        at_most: bool = False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to count.

        predicted: seconds after which so many trials have ended, from none to all; budget: seconds of all of it;
        at_most: whether it may end before.
        """
        self._predicted, self._budget, self._now = predicted, budget, now
        self.at_most = at_most or budget is not None
        self._began = self._last = now()
        self.ended = 0

    def step(self) -> None:
        """One trial more has ended."""
        self.ended += 1
        self._last = self._now()

    def __str__(self) -> str:
        """Such as `at most 3:20 min left`."""
        return f"{'at most ' if self.at_most else ''}{duration(self.left)} left"

    @property
    def left(self) -> float:
        """Seconds; at most so many of a budget."""
        if self._budget is not None:
            return max(0.0, self._began + self._budget - self._now())
        done = self._predicted[min(self.ended, len(self._predicted) - 1)]
        # starts of servers are in the prediction: what is slower than predicted is so in trials and starts alike
        pace = (self._last - self._began) / done if done else 1.0
        return max(0.0, (self._predicted[-1] - done) * pace - (self._now() - self._last))


def duration(seconds: float) -> str:
    """Such as 45 s, 3:20 min or 2:05 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"
