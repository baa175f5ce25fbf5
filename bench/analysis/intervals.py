"""How sure is an estimate from a few trials?

Ratios are estimated on logarithms: trials differ by factors, and a ratio and its inverse are then judged alike.
Intervals are Student's t, which is exact for normal deviations however few the trials; a bootstrap beside it shows
whether that assumption matters.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

# scipy.stats holds the same behind half a second of import
from scipy.special import bdtr, betaincinv, stdtr, stdtrit

ERROR_RATE: Final = 0.01
"""Probability of a false "worse" or "broken", and of a false "better" or "kept", in all that is judged together."""
CONFIDENCE: Final = 1 - 2 * ERROR_RATE
"""Of the intervals: one side of each is judged with ERROR_RATE."""
RESAMPLES: Final = 4000
MOST_TRIALS: Final = 500
"""More trials than this are never proposed."""


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


def paired(before: Sequence[float], after: Sequence[float]) -> Estimate:
    """The mean of after - before, trial by trial: for trials that were interleaved in blocks."""
    differences = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    count = len(differences)
    mean = float(differences.mean())
    if count < 2:
        return Estimate(mean, math.nan, 0, math.nan, count, "one pair of trials")
    spread = float(differences.std(ddof=1))
    return Estimate(
        mean, spread / math.sqrt(count), count - 1, spread, count, f"Student's t on {count} pairs"
    )


def unpaired(before: Sequence[float], after: Sequence[float]) -> Estimate:
    """The difference of the means of two independent groups (Welch 1947, with Satterthwaite's degrees of freedom)."""
    first, second = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    mean = float(second.mean() - first.mean())
    fewer = min(len(first), len(second))
    if fewer < 2:
        return Estimate(mean, math.nan, 0, math.nan, fewer, "one trial on a side")
    parts = [group.var(ddof=1) / len(group) for group in (first, second)]
    error = math.sqrt(sum(parts))
    below = sum(part**2 / (len(group) - 1) for part, group in zip(parts, (first, second), strict=True))
    freedom = sum(parts) ** 2 / below if below > 0 else float(len(first) + len(second) - 2)
    spread = math.sqrt(first.var(ddof=1) + second.var(ddof=1))
    method = f"Welch's t on {len(first)} and {len(second)} trials"
    return Estimate(mean, error, freedom, spread, fewer, method)


def alone(values: Sequence[float]) -> Estimate:
    """The mean of some values."""
    return paired(np.zeros(len(values)).tolist(), values)._replace(
        method=f"Student's t on {len(values)} trials"
    )


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


def trials_to_decide(estimate: Estimate, bounds: Sequence[float], confidence: float) -> int | None:
    """How many trials (or pairs) in all would probably put the interval on one side of each of the bounds.

    If mean and spread stay as they are; None: more than MOST_TRIALS, or nothing is known of the spread.
    """
    if math.isnan(estimate.spread):
        return None
    distance = min(abs(estimate.mean - bound) for bound in bounds)
    for count in range(max(2, estimate.trials), MOST_TRIALS + 1):
        # two groups of n trials have 2n - 2 degrees of freedom, n pairs have n - 1
        freedom = 2 * count - 2 if "and" in estimate.method else count - 1
        if float(stdtrit(freedom, (1 + confidence) / 2)) * estimate.spread / math.sqrt(count) < distance:
            return count
    return None


@lru_cache(maxsize=4096)
def ranks(q: float, count: int, confidence: float) -> tuple[int | None, int | None]:
    """The ranks, from 1, of the samples between which the q-th percentile of all lies with this confidence.

    Distribution-free (David and Nagaraja, "Order statistics", 7.1), for independent samples; None where so few
    bound it on that side by none.
    """
    tail = (1 - confidence) / 2
    share = q / 100

    def first(target: float) -> int:
        """The least k with P(Binomial(count, share) <= k) >= target."""
        low, high = -1, count
        while high - low > 1:
            middle = (low + high) // 2
            if bdtr(float(middle), count, share) >= target:
                high = middle
            else:
                low = middle
        return high

    # below the percentile lie at least `low` samples, and at most `high` - 1, each with probability 1 - tail
    low, high = first(tail), first(1 - tail) + 1
    return (low or None), (high if high <= count else None)


def batch_means(values: Sequence[float], confidence: float) -> tuple[float, float]:
    """Interval of the mean of a steady series: Student's t on the means of 10 batches; unbounded of less than 10 values.

    Neighbouring values resemble each other; means of batches do so less (Law, "Simulation modeling", 9.5.3).
    """
    size = len(values) // 10
    if not size:
        return -math.inf, math.inf
    batches = np.asarray(values[len(values) - 10 * size :], dtype=np.float64).reshape(10, size).mean(axis=1)
    return alone(batches.tolist()).interval(confidence)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being judged together, so that no false one is found with the error rate (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = highest
    return adjusted


def proportion(successes: int, count: int, confidence: float) -> tuple[float, float]:
    """Interval of a share that was seen `successes` times of `count` (Clopper and Pearson 1934); (0, 1) of nothing."""
    if not count:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = float(betaincinv(successes, count - successes + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, count - successes, 1 - tail)) if successes < count else 1.0
    return low, high
