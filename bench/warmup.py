"""When did a run settle, and did it stay settled?

Both questions are put to a series of numbers in equal intervals, such as the mean latency of each second.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

BATCH: Final = 5
"""Observations averaged before the rule is applied: the 5 in MSER-5."""
FEWEST: Final = 8
"""A series shorter than this cannot be judged."""
TREND_POINTS: Final = 20
"""A series is averaged down to this many points before it is tested for a trend: neighbours resemble each other,
and the test takes its points for independent."""


MOST_CHANGE: Final = 10.0
"""A series that begins at next to nothing has no ratio that says more than this."""


class Settling(NamedTuple):
    """Where the warm-up ends."""

    at: int
    """Observations to leave out."""
    settled: bool
    """False: the best cut is the latest one that was allowed, so the series was still changing there."""


class Trend(NamedTuple):
    """How a series moves from its beginning to its end."""

    change: float
    """The fitted line's last value over its first, minus 1; between -1 and MOST_CHANGE (Theil-Sen)."""
    p: float
    """Probability of so clear a direction by chance (Mann-Kendall test, two-sided)."""


def batch_size(length: int) -> int:
    """5 as in MSER-5, less where a series is so short that fewer than 10 batches would be left."""
    return max(1, min(BATCH, length // 10))


def mser(series: ArrayLike) -> Settling | None:
    """The observations to leave out by the marginal standard error rule, at most half; None: too short to tell.

    Of batch means x[0..n), the cut d <= n/2 with the least sum((x[d:] - mean)**2) / (n - d)**2: beyond it, what
    is left out would cost more precision than the bias that it removes. (White 1997, "An effective truncation
    heuristic for bias reduction in simulation output", Simulation 69; batches of 5: Spratt 1998.)
    """
    values = np.asarray(series, dtype=np.float64)
    if len(values) < FEWEST or not np.isfinite(values).all():
        return None
    size = batch_size(len(values))
    batches = len(values) // size
    # what does not fill a batch is left over at the beginning, where it is cut first
    over = len(values) - batches * size
    means = values[over:].reshape(batches, size).mean(axis=1)
    # centred, so that the difference of squares below loses no digits
    means = means - means.mean()
    left = batches - np.arange(batches // 2 + 1)
    sums = np.cumsum(means[::-1])[::-1][: len(left)]
    squares = np.cumsum(means[::-1] ** 2)[::-1][: len(left)]
    spread = np.maximum(squares - sums**2 / left, 0.0) / left**2
    cut = int(np.argmin(spread))
    return Settling(over + cut * size if cut else 0, settled=cut < len(left) - 1)


def trend(series: ArrayLike) -> Trend | None:
    """Direction of a series and how sure it is; None: too short to tell."""
    values = np.asarray(series, dtype=np.float64)
    if len(values) < FEWEST or not np.isfinite(values).all():
        return None
    values = _thinned(values)
    later, earlier = np.tril_indices(len(values), -1)
    difference = values[later] - values[earlier]
    slope = float(np.median(difference / (later - earlier)))
    places = np.arange(len(values))
    level = float(np.median(values - slope * places))
    # the line may leave the values' own range where they turn: it says nothing there
    first, last = np.clip([level, level + slope * places[-1]], values.min(), values.max())
    change = min(float(last / first) - 1, MOST_CHANGE) if first > 0 else (MOST_CHANGE if last > 0 else 0.0)
    return Trend(change, _mann_kendall(values, int(np.sign(difference).sum())))


def _thinned(values: NDArray[np.float64]) -> NDArray[np.float64]:
    size = max(1, len(values) // TREND_POINTS)
    whole = len(values) // size * size
    means: NDArray[np.float64] = values[len(values) - whole :].reshape(-1, size).mean(axis=1)
    return means


def _mann_kendall(values: NDArray[np.float64], s: int) -> float:
    """Two-sided p of the statistic s, by its normal approximation with ties and continuity corrected."""
    n = len(values)
    ties = np.unique(values, return_counts=True)[1]
    variance = (n * (n - 1) * (2 * n + 5) - int((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    if variance <= 0 or s == 0:
        return 1.0
    return math.erfc((abs(s) - 1) / math.sqrt(2 * variance))
