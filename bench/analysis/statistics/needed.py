"""The number of trials that would probably decide, as a range: a few trials do not tell their spread well.

From mean and spread of the trials so far follow many pairs of a true mean and a true spread that could have given them
(their posterior with a flat prior: mean + t * error, spread**2 * freedom / chi**2). Each pair needs a number of trials;
the middle nine tenths of these numbers are the range. A single number is named where the range is narrow.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from bench.analysis.statistics.distributions import stdtrit
from bench.analysis.statistics.intervals import Estimate, Floats

MOST: Final = 500
"""More trials than this are never proposed."""
NARROW: Final = 1.5
"""A number is named where nine in ten possible truths are within this factor of it."""
TAIL: Final = 0.05
_DRAWS: Final = 500
_STEPS: Final = 4096


class Needed(NamedTuple):
    """Trials in all, of each side."""

    least: int
    most: int | None
    """None: perhaps more than MOST."""

    @property
    def about(self) -> int | None:
        """One number for the range; None where it is too wide for one."""
        if self.most is None or self.most > NARROW**2 * self.least:
            return None
        return round(math.sqrt(self.least * self.most))


def trials_needed(estimate: Estimate, bounds: Sequence[float], confidence: float) -> Needed | None:
    """How many trials (or pairs) in all would probably put the interval on one side of each of the bounds.

    None: nothing is known of the spread, or more than MOST would be needed in any case.
    """
    if estimate.freedom <= 0 or not estimate.spread > 0:
        return None
    normal, chi2 = _draws(round(estimate.freedom, 1))
    scale = np.sqrt(estimate.freedom / chi2)
    means = estimate.mean + normal * scale * estimate.error
    distance = np.min([np.abs(means - bound) for bound in bounds], axis=0)
    counts = count_needed(estimate.spread * scale, distance, confidence, estimate.groups)
    low, high = np.quantile(counts, [TAIL, 1 - TAIL])
    least = max(estimate.trials + 1, round(float(min(low, MOST + 1))))
    if least > MOST:
        return None
    return Needed(least, None if high > MOST else max(least, round(float(high))))


def count_needed(spread: Floats, distance: Floats, confidence: float, groups: int = 1) -> Floats:
    """The least numbers of trials whose interval is shorter, on each side, than the distance; not below 2."""
    numbers, ratios = _enough(confidence, groups)
    ratio = (spread / np.maximum(distance, 1e-12)) ** 2
    first = np.minimum(np.searchsorted(ratios, ratio), len(numbers) - 1)
    return np.ceil(numbers[first] - 0.5)


@lru_cache(maxsize=64)
def _enough(confidence: float, groups: int) -> tuple[Floats, Floats]:
    """Numbers of trials, 0.17 % apart, and for each the largest (spread / distance)**2 for which it is enough.

    Both rise: thousands of numbers are looked up in a table that costs what finding a single one would.
    """
    numbers = np.geomspace(2.0, 4.0 * MOST, _STEPS + 1)[1:]
    return numbers, numbers / stdtrit(np.maximum(1.0, groups * (numbers - 1)), (1 + confidence) / 2) ** 2


@lru_cache(maxsize=64)
def _draws(freedom: float) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(1)
    return rng.standard_normal(_DRAWS), rng.chisquare(freedom, _DRAWS)
