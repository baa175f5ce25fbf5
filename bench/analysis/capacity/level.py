"""One level of the rate: the requests that missed the service level, second by second."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BATCHES: Final = 12
"""Parts of a level whose counts show how much chance is in them (batch means)."""
TREND: Final = 3.0
"""Standard errors beyond which misses that grow from the first to the second half are no chance."""
RUNGS: Final = 24
"""Times up to that of the service level, STEP apart: how many requests take longer than each is counted."""
STEP: Final = 2**0.25
UNDER_WAY: Final = 12
"""Numbers of requests under way, 1, 2, 4, ..., of which the time with at least as many is measured."""
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
    errors: tuple[int, ...] = ()
    """Of these in each part, requests that were not answered rightly at all."""
    slower: tuple[tuple[int, ...], ...] = ()
    """As `misses`, had the service level one of RUNGS shorter times, each STEP times the one before; the last is `misses`."""
    busy: tuple[tuple[float, ...], ...] = ()
    """Seconds of each part with at least 1, 2, 4, ... requests under way."""
    arrivals: int | None = None
    """Levels of equal number had the same arrivals with the same requests."""

    @property
    def missed(self) -> int:
        """Requests that were not answered rightly in time."""
        return sum(self.misses)

    @property
    def share(self) -> float:
        """Of the requests due, those that missed the service level."""
        return self.missed / self.requests if self.requests else 0.0

    @property
    def of_errors(self) -> "Level":
        """As if only requests that were not answered rightly at all had missed the service level."""
        return self._replace(misses=self.errors)

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
    arrivals: int | None = None,
) -> Level:
    """The level of requests due from `begin` to `end`.

    due, latency: seconds, shape (n,), in the order of `due`; latency is inf without an answer. right: shape (n,), answered
    OK and rightly; sent: the same shape, None: all were. within: seconds of the service level; allowed: the share that may miss it.

    The number under way is measured by itself, as an integral over time, so that Little's law can be held against it.
    """
    inside = (due >= begin) & (due < end)
    at, took, ok = due[inside], latency[inside], right[inside]
    seconds = end - begin
    part = np.minimum(((at - begin) * (parts / seconds)).astype(np.int64), parts - 1)
    answered = took[ok]
    # the first rung that a request is in time for; RUNGS: it misses the service level
    rung = np.searchsorted(within * STEP ** np.arange(1 - RUNGS, 1.0), np.where(ok, took, np.inf))
    counted = np.bincount(part * (RUNGS + 1) + rung, minlength=parts * (RUNGS + 1)).reshape(parts, RUNGS + 1)
    slower = counted[:, ::-1].cumsum(axis=1)[:, -2::-1].T
    # time that answered requests spend between begin and end
    done = np.minimum((due + latency)[right], end)
    spent = np.clip(done - np.maximum(due[right], begin), 0.0, None).sum()
    ordered = np.sort(np.where(ok, took, np.inf))
    rank = int(np.ceil((1 - allowed) * len(ordered))) - 1
    p = float(ordered[rank]) if len(ordered) else np.inf
    return Level(
        rate=rate,
        seconds=seconds,
        misses=tuple(slower[-1].tolist()),
        requests=len(at),
        answered=int(ok.sum()),
        failed=int((~ok & np.isfinite(took)).sum()),
        unsent=0 if sent is None else int((~sent[inside]).sum()),
        in_system=float(spent / seconds),
        latency=float(answered.mean()) if len(answered) else 0.0,
        p=p if np.isfinite(p) else None,
        errors=tuple(np.bincount(part, ~ok, parts).astype(np.int64).tolist()),
        slower=tuple(tuple(each) for each in slower.tolist()),
        busy=_busy(due, due + latency, np.linspace(begin, end, parts + 1)),
        arrivals=arrivals,
    )


def _busy(due: Floats, done: Floats, edges: Floats) -> tuple[tuple[float, ...], ...]:
    """Seconds between the edges with at least 1, 2, 4, ... requests under way; shapes (n,), (n,), (parts + 1,)."""
    before = due < edges[-1]
    due, done = due[before], np.minimum(done[before], edges[-1])
    at = np.concatenate([due, done])
    order = np.argsort(at, kind="stable")
    under_way = np.cumsum(np.repeat([1, -1], len(due))[order])[:-1]
    at = at[order]
    spans = []
    for rung in range(UNDER_WAY):
        spent = np.concatenate([[0.0], np.cumsum(np.diff(at) * (under_way >= 2**rung))])
        spans.append(
            tuple(np.diff(np.interp(edges, at, spent)).tolist()) if len(at) else (0.0,) * (len(edges) - 1)
        )
    return tuple(spans)
