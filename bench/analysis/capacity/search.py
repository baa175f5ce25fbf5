"""Choose the next rate until the capacity is known well enough or the time is up.

A ramp finds the region; levels on both sides of the estimate, at half and at twice the allowed share of misses, then tell
the most (of a line, where two points carry what is known). No level depends on the one before: the queue is drained
between them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from bench.analysis.capacity.bracket import bracket
from bench.analysis.capacity.estimate import Estimate, estimate, halfway, slope_of
from bench.analysis.capacity.level import Level

RAMP: Final = (0.3, 0.45, 0.6, 0.75, 0.9, 1.05)
"""Shares of the saturated throughput in the ramp."""
UP: Final = 1.4
"""Factor of the rate while all levels pass."""
DOWN: Final = 0.6
"""Factor of the rate while all levels fail."""
SIDE: Final = 2.0
"""Factor of the allowed share of misses, at which levels lie on either side."""
FARTHEST: Final = 0.25
"""Of the logarithm of the rate: a level is no farther from the estimate."""
SHORTEST: Final = 4.0
"""Seconds that count of a level that is no part of the ramp."""
CONFIDENCE: Final = 0.95


class Wanted(NamedTuple):
    """A level to be measured."""

    rate: float
    seconds: float
    """That count."""


@dataclass
class Search:
    """The search of one capacity."""

    allowed: float
    """Share of requests that may miss the service level."""
    precision: float
    """Half width of the interval at which it ends, as a share."""
    each: float
    """Seconds that count of a level near the capacity."""
    saturated: float
    """Requests per second that the server answers when it always has some."""
    confidence: float = CONFIDENCE
    max_errors: float | None = None
    """Share of requests that may fail; None: as many as may miss the service level."""
    beside: list[Level] = field(default_factory=list)
    """The ramp of a condition that should be alike, where it had none of its own."""
    levels: list[Level] = field(default_factory=list)

    @property
    def ramp(self) -> list[float]:
        """Rates of the first, short levels."""
        return [share * self.saturated for share in RAMP]

    def add(self, levels: Sequence[Level]) -> None:
        """What was measured."""
        self.levels += levels

    @property
    def estimate(self) -> Estimate | None:
        """The capacity as far as it is known: the least that a part of the service level allows."""
        estimates = [self._estimate(levels, allowed) for levels, allowed in self._parts]
        return min((each for each in estimates if each is not None), key=lambda each: each.rate, default=None)

    @property
    def decided(self) -> bool:
        """Whether the capacity is known as precisely as is wanted."""
        estimate = self.estimate
        return estimate is not None and estimate.half_width <= self.precision and self.two_sided

    @property
    def bracket(self) -> tuple[float | None, float | None]:
        """The highest rate below which none failed, and the lowest above which none passed; None: there is none."""
        return bracket((level.rate, not self.fails(level)) for level in self.levels)

    def next(self) -> Wanted | None:
        """The level to measure now; None: the search is over."""
        known = [*self.beside, *self.levels]
        if not any(map(self.fails, known)):
            highest = max(level.rate for level in known)
            # a short ramp may pass by luck: what the server answers at most is tried before an overload
            beyond = highest * UP
            return Wanted(min(beyond, self.saturated) if highest < self.saturated else beyond, SHORTEST)
        if all(map(self.fails, known)):
            return Wanted(min(level.rate for level in known) * DOWN, SHORTEST)
        estimate = self.estimate
        if estimate is None:
            rates = [halfway(levels, allowed) for levels, allowed in self._parts if _fail(levels, allowed)]
            return Wanted(min(rates), self.each)
        if self.decided:
            return None
        return Wanted(estimate.rate * math.exp(self._side(estimate)), self.each)

    def side(self, slope: float) -> float:
        """How far from the capacity levels lie, in the logarithm of the rate."""
        return min(FARTHEST, math.log(SIDE) / slope)

    def _side(self, estimate: Estimate) -> float:
        """Of the logarithm of the rate, from the estimate: to the side that has fewer seconds."""
        distance = self.side(estimate.slope)
        near = [
            (math.log(level.rate / estimate.rate), level.seconds)
            for level in self.levels
            if abs(math.log(level.rate / estimate.rate)) < 3 * distance
        ]
        balance = sum(math.copysign(seconds, offset) for offset, seconds in near)
        return -distance if balance > 0 else distance

    @property
    def two_sided(self) -> bool:
        """Whether levels below and above the estimate were long enough to be no ramp."""
        estimate = self.estimate
        sides = {level.rate > estimate.rate for level in self.long} if estimate else ()
        return len(sides) == 2

    @property
    def long(self) -> list[Level]:
        """Levels that are no part of a ramp."""
        return [level for level in self.levels if level.seconds >= SHORTEST]

    @property
    def slope(self) -> float:
        """Of the share of misses, as theory expects it."""
        known = [*self.beside, *self.levels]
        return slope_of(self.allowed, halfway(known, self.allowed) / self.saturated)

    def fails(self, level: Level) -> bool:
        """Whether a level misses a part of the service level."""
        beyond = self.max_errors is not None and level.of_errors.share > self.max_errors
        return beyond or level.share > self.allowed

    @property
    def _parts(self) -> list[tuple[list[Level], float]]:
        """The levels as each part of the service level sees them, and the share that it allows."""
        known = [*self.beside, *self.levels]
        parts = [(known, self.allowed)]
        if self.max_errors is not None:
            parts.append(([level.of_errors for level in known], self.max_errors))
        return parts

    def _estimate(self, levels: Sequence[Level], allowed: float) -> Estimate | None:
        long = [level for level in levels if level.seconds >= SHORTEST]
        if not long or not _fail(levels, allowed) or all(level.share > allowed for level in levels):
            return None
        return estimate(long, allowed, self.slope, self.confidence)


def _fail(levels: Sequence[Level], allowed: float) -> bool:
    return any(level.share > allowed for level in levels)
