"""Find the stretch of a series whose level differs most from the rest, and how often chance gives such a one.

Model: values = level + shift inside one stretch + AR(1) noise (x[t] = phi * x[t-1] + innovation), so that a slow drift
of the machine, in which neighbours resemble each other, does not count as a change. The statistic is the log
likelihood ratio of the best stretch against no stretch, both with the phi that fits best (Prais-Winsten transform;
Davis, Huang and Yao 1995, "Testing for a change in the parameter values and order of an autoregressive model", Annals of
Statistics 23), less SECOND_CUT and DRIFTING: of all places and all phi that are tried, these give chance most, and a
single sharp step least. Outliers are limited to their neighbourhood first: one wild run is no change. A stretch may reach to
an end; one in the middle is a change that was mended.

CHANCE is simulated (tests/benchmarks/history_errors.py --table) under the worst of phi = 0.3, 0.5, 0.7, 0.8 and 0.9;
of independent values the test is conservative.
"""

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEWEST: Final = 3
"""Values on each side of a change: fewer cannot be distinguished from chance."""
LARGEST: Final = 120
"""Values that are looked at in one go; CHANCE reaches so far."""
LIMIT: Final = 3.0
"""A value is limited to so many robust standard deviations around the median of itself and its four neighbours."""
PHI: Final = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
SECOND_CUT: Final = 8.0
"""By how much clearer a stretch in the middle has to be, which chance finds in more places than one to an end."""
DRIFTING: Final = 8.0
"""By how much clearer a stretch has to be for each 1 of phi beside it: what still drifts there may drift on its own."""

PERMUTATIONS: Final = 199

LEVELS: Final = (0.5, 0.1, 0.05, 0.02, 0.01, 0.001)
CHANCE: Final[dict[int, tuple[float, ...]]] = {
    6: (2.21, 7.27, 9.36, 12.25, 14.18, 21.91),
    7: (3.37, 8.95, 11.02, 13.64, 15.79, 22.84),
    8: (4.23, 9.95, 11.98, 14.55, 16.47, 23.44),
    10: (4.91, 10.65, 12.53, 14.91, 16.88, 22.97),
    12: (5.12, 10.91, 12.77, 15.27, 17.15, 23.12),
    15: (4.90, 11.03, 13.05, 15.64, 17.26, 22.58),
    20: (4.48, 10.88, 13.23, 15.79, 17.72, 22.98),
    25: (3.99, 10.34, 12.53, 15.41, 17.47, 23.85),
    30: (3.80, 9.81, 12.19, 15.00, 17.10, 23.47),
    40: (3.78, 9.13, 11.24, 14.00, 16.11, 23.61),
    60: (3.63, 8.48, 10.41, 12.96, 14.92, 20.86),
    90: (3.59, 8.28, 10.26, 12.76, 14.38, 20.76),
    120: (3.63, 8.31, 9.99, 12.23, 14.09, 20.04),
}
"""Number of values -> statistic that chance exceeds with the probabilities LEVELS."""


class Step(NamedTuple):
    """A stretch [first, last) of a series that differs from the rest."""

    first: int
    last: int
    statistic: float


def strongest_step(values: Floats) -> Step:
    """The stretch that explains most. values: [2 * FEWEST to LARGEST]."""
    statistic, first, last = strongest_steps(limited(values[None, :]))
    return Step(int(first[0]), int(last[0]), float(statistic[0]))


def chance(count: int, statistic: float) -> float:
    """Probability that a series of `count` values without a change has a statistic at least as large."""
    sizes = sorted(CHANCE)
    below = max((size for size in sizes if size <= count), default=sizes[0])
    above = min((size for size in sizes if size >= count), default=sizes[-1])
    return max(_tail(CHANCE[below], statistic), _tail(CHANCE[above], statistic))


def by_permutation(values: Floats, statistic: float) -> float:
    """Probability that the same values in a random order have a statistic at least as large.

    Right for independent noise of any distribution, such as one in which a run in eight is disturbed.
    """
    rng = np.random.default_rng(1)
    orders = rng.permuted(np.tile(values, (PERMUTATIONS, 1)), axis=1)
    as_large = np.count_nonzero(strongest_steps(limited(orders))[0] >= statistic)
    return float((1 + as_large) / (1 + PERMUTATIONS))


def _tail(quantiles: tuple[float, ...], statistic: float) -> float:
    """Log-linear between the simulated quantiles and beyond the last one, with the slope of the last decade."""
    if statistic <= quantiles[0]:
        return 1.0
    logs = np.log(LEVELS)
    if statistic <= quantiles[-1]:
        return float(np.exp(np.interp(statistic, quantiles, logs)))
    slope = (logs[-1] - logs[-2]) / (quantiles[-1] - quantiles[-2])
    return float(np.exp(logs[-1] + slope * (statistic - quantiles[-1])))


def limited(series: Floats) -> Floats:
    """Series [number, values] with outliers moved to LIMIT robust standard deviations from their neighbourhood."""
    padded = np.pad(series, ((0, 0), (2, 2)), constant_values=np.nan)
    local = np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded, 5, axis=1), axis=2)
    steps = np.median(np.abs(np.diff(series, axis=1)), axis=1)[:, None]
    spread = 1.4826 * steps / np.sqrt(2)
    # where half of all neighbours are equal there is no scale: nothing can be called far away
    return np.where(spread > 0, np.clip(series, local - LIMIT * spread, local + LIMIT * spread), series)


def strongest_steps(series: Floats) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Statistic, first and last of the best stretch of each series [number, values]."""
    number, count = series.shape
    first, last = _stretches(count)
    without = np.full(number, np.inf)
    with_step = np.full((number, len(first)), np.inf)
    for phi in PHI:
        constant, constant_square, shift_square = _design(count, phi)
        white = series.copy()
        white[:, 1:] -= phi * series[:, :-1]
        white[:, 0] *= np.sqrt(1 - phi * phi)
        white -= ((white @ constant) / constant_square)[:, None] * constant
        determinant = (1 - phi * phi) ** (-1 / count)
        residual = (white * white).sum(axis=1)
        np.minimum(without, residual * determinant, out=without)
        sums = np.zeros((number, count + 1))
        sums[:, 1:] = white.cumsum(axis=1)
        after = np.concatenate([white, np.zeros((number, 1))], axis=1)[:, last]
        explained = white[:, first] + (1 - phi) * (sums[:, last] - sums[:, first + 1]) - phi * after
        scale = determinant * np.exp((DRIFTING * phi + SECOND_CUT * (last < count)) / count)
        np.minimum(
            with_step, (residual[:, None] - explained * explained / shift_square) * scale, out=with_step
        )
    best = with_step.argmin(axis=1)
    least = np.maximum(with_step[np.arange(number), best], 1e-12 * without)
    ratio = np.divide(without, least, out=np.ones(number), where=without > 0)
    return count * np.log(ratio), first[best], last[best]


@lru_cache(maxsize=LARGEST)
def _stretches(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All stretches that leave each part FEWEST values or none; one from the start is the rest of another."""
    first, last = np.triu_indices(count + 1, FEWEST)
    possible = (first >= FEWEST) & ((last == count) | (count - last >= FEWEST))
    return first[possible], last[possible]


@lru_cache(maxsize=LARGEST * len(PHI))
def _design(count: int, phi: float) -> tuple[Floats, float, Floats]:
    """The transformed constant, its square, and each transformed stretch's square after the constant is taken out."""
    first, last = _stretches(count)
    rest = 1 - phi
    constant = np.full(count, rest)
    constant[0] = np.sqrt(1 - phi * phi)
    inside = (last - first - 1).astype(np.float64)
    ends = (last < count).astype(np.float64)
    square = 1 + inside * rest * rest + ends * phi * phi
    product = rest * (1 + inside * rest - ends * phi)
    constant_square = float(constant @ constant)
    return constant, constant_square, square - product * product / constant_square
