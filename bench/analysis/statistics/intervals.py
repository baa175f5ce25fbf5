"""Estimates from a few trials, and how sure they are.

Ratios are estimated on logarithms: trials differ by factors, and a ratio and its inverse are then judged alike.
Intervals are Student's t, which is exact for normal deviations however few the trials. From 8 trials on the mean of
durations and rates is trimmed, so that one disturbed trial in eight neither makes nor hides a change. A bootstrap of the
plain means stands beside it.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.analysis.statistics.distributions import betaincinv, stdtr, stdtrit

Floats = NDArray[np.float64]

ERROR_RATE: Final = 0.01
"""Probability of a false "worse" or "FAIL", and of a false "better" or "pass", in all that is judged together."""
CONFIDENCE: Final = 1 - 2 * ERROR_RATE
"""Of the intervals: one side of each is judged with ERROR_RATE."""
RESAMPLES: Final = 4000
TRIMMED_FROM: Final = 8
"""Trials from which on a fifth is trimmed at each end: of fewer, trimming leaves too few to tell the spread."""
LENDERS: Final = 3
"""Trials from which on a side lends its spread to one of a single trial."""
ORDER_RATE: Final = 0.02
"""Significance of an order effect from which on pairs of either order are estimated apart."""


class Estimate(NamedTuple):
    """A mean of independent deviations, and what is known of its error."""

    mean: float
    error: float
    """Standard error; nan where one value alone tells nothing of it."""
    freedom: float
    """Degrees of freedom of the standard error; 0 where there is none."""
    spread: float
    """Standard deviation that one more trial (or pair of trials) would have."""
    trials: int
    """Pairs, or trials on the side with fewer."""
    method: str
    groups: int = 1
    """Independent groups whose spread was estimated: 2 of two sides, or of pairs of either order."""

    def interval(self, confidence: float) -> tuple[float, float]:
        """Two-sided interval of Student's t; (-inf, inf) where nothing is known of the error."""
        if self.freedom <= 0 or math.isnan(self.error):
            return -math.inf, math.inf
        half = float(stdtrit(self.freedom, (1 + confidence) / 2)) * self.error
        return self.mean - half, self.mean + half

    def p_above(self, bound: float) -> float:
        """Evidence against "the truth is at most `bound`": the one-sided p of Student's t; 1 where nothing is known."""
        if self.freedom <= 0 or math.isnan(self.error):
            return 1.0
        if self.error == 0:
            return 0.0 if self.mean > bound else 1.0
        return float(stdtr(self.freedom, (bound - self.mean) / self.error))

    def p_below(self, bound: float) -> float:
        """Evidence against "the truth is at least `bound`"."""
        return self._replace(mean=-self.mean).p_above(-bound)


def paired(
    before: Sequence[float],
    after: Sequence[float],
    *,
    later: Sequence[bool] | None = None,
    robust: bool = False,
) -> Estimate:
    """The mean of after - before, trial by trial: for trials that were interleaved in blocks.

    later: whether `after` ran behind `before` in each block. Where that matters, pairs of either order are estimated
    apart and count equally, so that "the first one is slower" cancels out instead of widening the interval.
    robust: trim the mean (see `mean_of`).
    """
    differences = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    whole = mean_of(differences, robust=robust)._replace(method=_method(differences, "pairs", robust))
    if later is None:
        return whole
    behind = np.asarray(later, dtype=bool)
    orders = (differences[behind], differences[~behind])
    if min(map(len, orders)) < TRIMMED_FROM // 2:
        return whole
    effect = difference(*(mean_of(order, robust=robust) for order in orders))
    if 2 * min(effect.p_above(0), effect.p_below(0)) > ORDER_RATE:
        return whole
    first, second = (mean_of(order, robust=robust) for order in orders)
    apart = difference(first._replace(mean=-first.mean), second)
    return Estimate(
        apart.mean / 2,
        apart.error / 2,
        apart.freedom,
        # of pairs of both orders in equal numbers: the error of the half sum falls as that of one mean
        apart.error / 2 * math.sqrt(len(differences)),
        len(differences),
        f"{whole.method}, each order by itself",
        groups=2,
    )


def unpaired(
    before: Sequence[float], after: Sequence[float], *, robust: bool = False, lend: bool = False
) -> Estimate:
    """The difference of the means of two independent groups (Welch 1947, with Satterthwaite's degrees of freedom).

    robust: trim the means (see `mean_of`; Yuen 1974 of trimmed ones). lend: one value on a side borrows the spread of
    the other, if that has three: a new session differs from those of a baseline as these differ from each other.
    """
    first, second = (mean_of(np.asarray(side, dtype=np.float64), robust=robust) for side in (before, after))
    lengths = f"{len(before)} and {len(after)} trials"
    few, many = sorted((first, second), key=lambda side: side.trials)
    if lend and few.trials == 1 and many.trials >= LENDERS:
        mean, spread = second.mean - first.mean, many.spread
        error = spread * math.sqrt(1 + 1 / many.trials)
        return Estimate(
            mean,
            error,
            many.freedom,
            math.sqrt(2) * spread,
            1,
            f"t on {lengths}, with the spread of the more",
        )
    if few.trials < 2:
        return Estimate(second.mean - first.mean, math.nan, 0, math.nan, few.trials, "one trial on a side")
    return difference(first, second)._replace(
        method=f"{'Yuen' if robust and few.trials >= TRIMMED_FROM else 'Welch'}'s t on {lengths}"
    )


def mean_of(values: Sequence[float] | Floats, *, robust: bool = False) -> Estimate:
    """The mean of some values by Student's t; robust: of 8 and more without the fifth at each end.

    The error of a trimmed mean is that of Tukey and McLaughlin (1963), from the winsorised variance. Its t has heavier
    tails than their h - 1 degrees of freedom (h values are left): 0.87 of these and an error larger by 0.3 / h agree
    with the 95th to 99.99th percentile of normal values within 4 %, or are larger (8 to 60 values, 600,000 draws).
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    count = len(ordered)
    if count < 2:
        mean = float(ordered.mean()) if count else math.nan
        return Estimate(mean, math.nan, 0, math.nan, count, "one trial")
    cut = count // 5 if robust and count >= TRIMMED_FROM else 0
    winsorised = np.clip(ordered, ordered[cut], ordered[count - cut - 1])
    spread = float(winsorised.std(ddof=1)) / (1 - 2 * cut / count)
    left = count - 2 * cut
    freedom = float(count - 1)
    if cut and spread > 0:
        freedom, spread = 0.87 * (left - 1), spread * (1 + 0.3 / left)
    elif cut:  # most are equal: what is trimmed is all that differs
        return mean_of(values)
    mean = float(ordered[cut : count - cut].mean())
    return Estimate(mean, spread / math.sqrt(count), freedom, spread, count, f"Student's t on {count} trials")


def difference(first: Estimate, second: Estimate) -> Estimate:
    """second - first, of independent ones that each have an error (Welch 1947, with Satterthwaite's degrees of freedom)."""
    parts = [side.error**2 for side in (first, second)]
    below = sum(part**2 / side.freedom for part, side in zip(parts, (first, second), strict=True))
    freedom = sum(parts) ** 2 / below if below > 0 else first.freedom + second.freedom
    return Estimate(
        second.mean - first.mean,
        math.sqrt(sum(parts)),
        freedom,
        math.hypot(first.spread, second.spread),
        min(first.trials, second.trials),
        "",
        groups=2,
    )


def _method(values: Sequence[float] | Floats, unit: str, robust: bool) -> str:
    if len(values) < 2:
        return f"one {unit.rstrip('s')} of trials"
    trimmed = ", trimmed mean" if robust and len(values) >= TRIMMED_FROM else ""
    return f"Student's t on {len(values)} {unit}{trimmed}"


def alone(values: Sequence[float]) -> Estimate:
    """The mean of some values."""
    return mean_of(values)


def bootstrap(
    before: Sequence[float], after: Sequence[float], confidence: float, *, pairs: bool, seed: int = 1
) -> tuple[float, float]:
    """Percentile bootstrap of the same difference of means: pairs, or each side for itself, drawn with replacement."""
    first, second = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    rng = np.random.default_rng(seed)
    at = rng.integers(0, len(second), (RESAMPLES, len(second)))
    means = second[at].mean(axis=1)
    others = at if pairs else rng.integers(0, len(first), (RESAMPLES, len(first)))
    low, high = np.quantile(means - first[others].mean(axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being judged together, so that no false one is found with the error rate (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = highest
    return adjusted


def deciding_rates(p_values: Sequence[float], rate: float) -> list[float]:
    """The error rate at which Holm's method tests each: an interval of 1 - 2 * its rate (or 1 - rate) decides it.

    All behind the first that is not rejected are tested as that one is.
    """
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    rates = [rate] * len(p_values)
    each, rejecting = rate, True
    for rank, at in enumerate(order):
        if rejecting:
            each = rate / (len(p_values) - rank)
            rejecting = p_values[at] <= each
        rates[at] = each
    return rates


def proportion(successes: int, count: int, confidence: float) -> tuple[float, float]:
    """Interval of a share that was seen `successes` times of `count` (Clopper and Pearson 1934); (0, 1) of nothing."""
    if not count:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = float(betaincinv(successes, count - successes + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, count - successes, 1 - tail)) if successes < count else 1.0
    return low, high
