"""Which rate to send next, until the capacity is known well enough or the time is up.

A ramp finds the region; levels on both sides of the estimate, at half and at twice the allowed share of misses, then tell
the most (of a line, where two points carry what is known). No level depends on the one before: the queue is drained
between them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

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
    levels: list[Level] = field(default_factory=list)

    @property
    def ramp(self) -> list[float]:
        """Rates of the first, short levels."""
        return [share * self.saturated for share in RAMP]

    def add(self, levels: Sequence[Level]) -> None:
        """What was measured."""
        self.levels += levels

    @property
    def found(self) -> Estimate | None:
        """The capacity as far as it is known."""
        if self._all_pass or self._all_fail:
            return None
        long = [level for level in self.levels if level.seconds >= SHORTEST]
        return estimate(long, self.allowed, self._slope, self.confidence) if long else None

    @property
    def decided(self) -> bool:
        """Whether the capacity is known as precisely as is wanted."""
        found = self.found
        return found is not None and found.half_width <= self.precision and self.two_sided

    @property
    def bracket(self) -> tuple[float | None, float | None]:
        """The highest rate that passed below all that failed, and the lowest that failed; None: there is none."""
        failed = [level.rate for level in self.levels if self._fails(level)]
        least = min(failed, default=None)
        passed = [
            level.rate
            for level in self.levels
            if not self._fails(level) and (least is None or level.rate < least)
        ]
        return max(passed, default=None), least

    def next(self) -> Wanted | None:
        """The level to measure now; None: the search is over."""
        if self._all_pass:
            return Wanted(max(level.rate for level in self.levels) * UP, SHORTEST)
        if self._all_fail:
            return Wanted(min(level.rate for level in self.levels) * DOWN, SHORTEST)
        found = self.found
        if found is None:
            return Wanted(halfway(self.levels, self.allowed), self.each)
        if self.decided:
            return None
        return Wanted(found.rate * math.exp(self._side(found)), self.each)

    def _side(self, found: Estimate) -> float:
        """Of the logarithm of the rate, from the estimate: to the side that has fewer seconds."""
        distance = min(FARTHEST, math.log(SIDE) / found.slope)
        near = [
            (math.log(level.rate / found.rate), level.seconds)
            for level in self.levels
            if abs(math.log(level.rate / found.rate)) < 3 * distance
        ]
        balance = sum(math.copysign(seconds, offset) for offset, seconds in near)
        return -distance if balance > 0 else distance

    @property
    def two_sided(self) -> bool:
        """Whether levels below and above the estimate were long enough to be no ramp."""
        found = self.found
        sides = (
            {level.rate > found.rate for level in self.levels if level.seconds >= SHORTEST} if found else ()
        )
        return len(sides) == 2

    @property
    def _slope(self) -> float:
        return slope_of(self.allowed, halfway(self.levels, self.allowed) / self.saturated)

    def _fails(self, level: Level) -> bool:
        return level.share > self.allowed

    @property
    def _all_pass(self) -> bool:
        return not any(map(self._fails, self.levels))

    @property
    def _all_fail(self) -> bool:
        return all(map(self._fails, self.levels))
