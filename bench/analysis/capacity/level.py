"""What one level of the rate showed: how many requests missed the service level, second by second."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BATCHES: Final = 12
"""Parts of a level whose counts show how much chance is in them (batch means)."""
TREND: Final = 3.0
"""Standard errors beyond which misses that grow from the first to the second half are no chance."""
LITTLE: Final = 0.1
"""Share by which the number under way may differ from arrivals times latency where the queue is steady."""


class Level(NamedTuple):
    """A time at one rate."""

    rate: float
    """Arrivals per second, as planned."""
    seconds: float
    """That count: without the beginning, in which the queue fills, and the end, whose answers are not awaited."""
    misses: tuple[int, ...]
    """Requests that were not answered rightly in time, in parts of equal length."""
    requests: int
    """Due in these seconds."""
    answered: int = 0
    """Of these, answered rightly, sooner or later."""
    failed: int = 0
    """Of these, refused or answered with an error."""
    unsent: int = 0
    """Of these, never sent: as many were in flight as are allowed."""
    in_system: float = 0.0
    """Mean number of requests that are under way."""
    latency: float = 0.0
    """Mean latency of answered requests in seconds."""
    p: float | None = None
    """The percentile of the service level in seconds; None: among requests without an answer."""

    @property
    def missed(self) -> int:
        """Requests that were not answered rightly in time."""
        return sum(self.misses)

    @property
    def share(self) -> float:
        """Of the requests due, those that missed the service level."""
        return self.missed / self.requests if self.requests else 0.0

    @property
    def steady(self) -> bool:
        """Whether as many come as leave: Little's law holds (L = lambda W; Little 1961), and misses do not increase."""
        expected = self.answered / self.seconds * self.latency
        return not self.growing and abs(self.in_system - expected) <= LITTLE * max(expected, 1e-9)

    @property
    def growing(self) -> bool:
        """Whether the misses increase within the level by more than chance: the queue grows, and no share is reached."""
        half = len(self.misses) // 2
        first, second = np.array(self.misses[:half]), np.array(self.misses[-half:])
        spread = float(np.sqrt((first.var(ddof=1) + second.var(ddof=1)) / half)) if half > 1 else 0.0
        return bool(spread > 0 and (second.mean() - first.mean()) / spread > TREND)


def level_of(
    due: Floats,
    latency: Floats,
    right: Bools,
    *,
    sent: Bools | None = None,
    rate: float,
    begin: float,
    end: float,
    within: float,
    allowed: float,
    parts: int = BATCHES,
) -> Level:
    """The level of requests due from `begin` to `end`.

    due, latency: seconds, shape (n,), in the order of `due`; latency is inf without an answer. right: shape (n,), answered
    OK and rightly; sent: the same shape, None: all were. within: seconds of the service level; allowed: the share that may miss it.

    The number under way is measured by itself, as an integral over time, so that Little's law can be held against it.
    """
    inside = (due >= begin) & (due < end)
    at, took, ok = due[inside], latency[inside], right[inside]
    missed = ~(ok & (took <= within))
    seconds = end - begin
    which = np.minimum(((at - begin) * (parts / seconds)).astype(np.int64), parts - 1)
    answered = took[ok]
    # time that answered requests spend between begin and end
    done = np.minimum((due + latency)[right], end)
    spent = np.clip(done - np.maximum(due[right], begin), 0.0, None).sum()
    ordered = np.sort(np.where(ok, took, np.inf))
    rank = int(np.ceil((1 - allowed) * len(ordered))) - 1
    p = float(ordered[rank]) if len(ordered) else np.inf
    return Level(
        rate=rate,
        seconds=seconds,
        misses=tuple(int(n) for n in np.bincount(which, missed, parts)),
        requests=len(at),
        answered=int(ok.sum()),
        failed=int((~ok & np.isfinite(took)).sum()),
        unsent=0 if sent is None else int((~sent[inside]).sum()),
        in_system=float(spent / seconds),
        latency=float(answered.mean()) if len(answered) else 0.0,
        p=p if np.isfinite(p) else None,
    )
