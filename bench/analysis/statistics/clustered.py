"""Intervals of a single run's own percentiles, shares and rates.

Requests of one run are no independent witnesses: a stall hits all that are due while it lasts, and a queue that is long
stays long for a while. What n requests tell is what n / inflation independent ones would. The inflation is the variance
of the number of requests beyond the percentile, estimated by overlapping batch means over contiguous seconds (Meketon
and Schmeiser 1984), relative to that of independent requests. Batches of several lengths are tried, up to a fifth of the
run, and the one that says least is believed: short batches do not see what lasts long. Student's t pays for the few
batches. Counts of each second suffice, so it works for runs without samples.

Whatever is different in the next run does not show in this one: an interval speaks of this run only.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np

from bench.analysis.statistics.distributions import bdtrik, betainc, betaincinv, ndtri, stdtrit
from bench.analysis.statistics.intervals import Floats
from bench.runs.histogram import nearest_rank

FEWEST_SECONDS: Final = 5
"""Of shorter runs nothing is known of what lasts for seconds."""
FEWEST_BATCHES: Final = 5
UNSEEN_SECONDS: Final = 20
"""Of requests that count as independent, those of a run of n seconds count as n / (n + this): a short run has rarely met
the worst of its server. In 2,000 simulated queues (M/M/1 at 80 %) limits of p99 falsely failed in 2.9 % of 6 s and
2.1 % of 12 s, of p90 falsely passed in 3.2 and 1.6 %; with it in 0.9, 0.5, 0.2 and 0.1 %."""
SLOW_PARTS: Final = 20
RESEMBLANCE: Final = 0.4
"""Lag-1 autocorrelation of the parts from which on a run counts as drifting: of 20 independent ones 1 in 30 has it."""
MOST_LIKENESS: Final = 0.9
JUST_BELOW: Final = 0.998
"""Of a duration: in a bucket of the histograms below its own."""


def effective(part: Floats, whole: Floats, confidence: float) -> float:
    """As how many independent requests those of a run count, for the share of `part` in `whole` by second.

    0 where the run is too short to tell. The price of few batches is in it, for an interval of this confidence. Seconds
    in which none was due tell nothing: a version that answered in one second only shows no more than that second.
    """
    held = whole > 0
    part, whole = part[held], whole[held]
    seconds, total = len(whole), float(whole.sum())
    if seconds < FEWEST_SECONDS or not total:
        return 0.0
    share = float(part.sum()) / total
    independent = total * share * (1 - share)
    if not independent:
        return total
    return total / max(1.0, _variance(part - share * whole, confidence) / independent)


def of_so_short(independent: float, seconds: int) -> float:
    """As how many independent requests a percentile may count those of a run of so many seconds."""
    return independent * seconds / (seconds + UNSEEN_SECONDS)


def _variance(residuals: Floats, confidence: float) -> float:
    """Of the sum of a series around 0, as a normal interval of this confidence would have to know it."""
    seconds = len(residuals)
    sums = np.concatenate([[0.0], np.cumsum(residuals)])
    tail = (1 + confidence) / 2
    largest, length = 0.0, 1
    while length * FEWEST_BATCHES <= seconds:
        batches = sums[length:] - sums[:-length]
        # its expectation for independent values is the variance of the whole sum (Meketon and Schmeiser, 2)
        scale = seconds / length * seconds / (seconds - length) / len(batches)
        freedom = 1.5 * (seconds / length - 1)
        price = (float(stdtrit(freedom, tail)) / float(ndtri(tail))) ** 2
        largest = max(largest, price * scale * float((batches**2).sum()))
        length = max(length + 1, round(1.4 * length))
    return max(largest, _slow(residuals, tail))


def _slow(residuals: Floats, tail: float) -> float:
    """The same where neighbouring parts of the run resemble each other: as of a first-order autoregression; else 0.

    What changes as slowly as the run is long has shown less of its range than it has.
    """
    count = min(SLOW_PARTS, len(residuals))
    parts = np.array([part.sum() for part in np.array_split(residuals, count)])
    power = float((parts**2).sum())
    if not power:
        return 0.0
    seen = float((parts[1:] * parts[:-1]).sum()) / power
    if seen < RESEMBLANCE:
        return 0.0
    likeness = min(MOST_LIKENESS, seen + (1 + 3 * seen) / count)  # its bias (Marriott and Pope 1954)
    stretch = (1 + likeness) / (1 - likeness)
    price = (float(stdtrit(max(1.0, (count - 1) / stretch), tail)) / float(ndtri(tail))) ** 2
    return price * stretch * power * count / (count - 1)


def shares(share: float, count: float, confidence: float) -> tuple[float, float]:
    """Interval of a share seen in so many independent requests (Clopper and Pearson, for any number above 0)."""
    if count <= 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    hit, missed = share * count, (1 - share) * count
    low = float(betaincinv(hit, missed + 1, tail)) if hit > 0 else 0.0
    high = float(betaincinv(hit + 1, missed, 1 - tail)) if missed > 0 else 1.0
    return low, high


def ranks(q: float, count: int, independent: float, confidence: float) -> tuple[int | None, int | None]:
    """The ranks, from 1, between which the q-th percentile lies; None where so few bound it on that side by none."""
    tail, share = (1 - confidence) / 2, q / 100
    if independent <= 0:
        return None, None
    # below the percentile lie so many of the independent requests, continued between whole numbers
    low, high = (float(bdtrik(end, independent, share)) / independent * count for end in (tail, 1 - tail))
    bounded_below = independent * math.log1p(-share) <= math.log(tail)
    bounded_above = independent * math.log(share) <= math.log(tail)
    return (
        max(1, math.floor(low)) if bounded_below and low >= 0 else None,
        min(count, math.ceil(high) + 1) if bounded_above and high >= 0 else None,
    )


def ranks_of_run(
    q: float,
    length: tuple[int, int],
    value: float,
    beyond: Callable[[float], "Seconds"],
    beyond_rank: Callable[[int], "Seconds"],
    *,
    confidence: float,
) -> tuple[int | None, int | None]:
    """The ranks, from 1, between which the q-th percentile of a run lies; None where it is not bounded on that side.

    length: requests and whole seconds of the run; value: the percentile in it, in seconds; beyond: by second, the
    requests that took longer than so many seconds, beyond_rank: than that of a rank.
    """
    count, seconds = length
    # where many took as long as the percentile, those beyond it are too few to show how they cluster
    independent = min(effective(*beyond(each), confidence) for each in (value, value * JUST_BELOW))
    low, high = ranks(q, count, of_so_short(independent, seconds), confidence)
    exceeded = surely_exceeded(
        q, (1 if low is None else low + 1, nearest_rank(q, count)), beyond_rank, confidence
    )
    return low if exceeded is None else exceeded, high


def surely_exceeded(
    q: float, ranks: tuple[int, int], beyond: Callable[[int], "Seconds"], confidence: float
) -> int | None:
    """The greatest rank between two whose duration more requests exceed, for certain, than the q-th percentile allows.

    beyond: the requests that took longer than that of a rank. A percentile may be far out in the one bad second of a run,
    where it is hardly known, and yet every second may hold more requests beyond a low bound than it allows. None: no rank.
    """
    exceeded, end = ranks[0] - 1, ranks[1]
    while end - exceeded > 1:
        middle = (exceeded + end) // 2
        part, whole = beyond(middle)
        share = float(part.sum()) / max(1.0, float(whole.sum()))
        sure = evidence(share, effective(part, whole, confidence), 1 - q / 100)[0] <= (1 - confidence) / 2
        exceeded, end = (middle, end) if sure else (exceeded, middle)
    return exceeded if exceeded >= ranks[0] else None


def evidence(share: float, count: float, bound: float) -> tuple[float, float]:
    """Evidence that the truth is above a bound, and that it is below: the p of what `shares` gives; (1, 1) of nothing."""
    if count <= 0 or not math.isfinite(share):
        return 1.0, 1.0
    hit, missed = share * count, (1 - share) * count
    above = float(betainc(hit, missed + 1, bound)) if hit > 0 else 1.0
    below = 1 - float(betainc(hit + 1, missed, bound)) if missed > 0 else 1.0
    return above, below


def independent_of(counts: Sequence[tuple[float, int]], each: Sequence[float]) -> float:
    """As how many independent requests those of several trials count: also trials that differ tell less.

    counts: the part and the whole of each trial. each: as how many its own requests count.
    """
    part, whole = (sum(column) for column in zip(*counts, strict=True))
    share = part / whole
    if len(counts) < 2 or not 0 < share < 1:
        return float(sum(each))
    apart = sum((of - share * total) ** 2 for of, total in counts) * len(counts) / (len(counts) - 1)
    return float(min(sum(each), whole / max(1.0, apart / (whole * share * (1 - share)))))


def normal(confidence: float) -> float:
    """Half the width of a two-sided interval in standard deviations."""
    return float(ndtri((1 + confidence) / 2))


def least_rate(excluded: Callable[[float], bool]) -> float:
    """The least error rate of each side at which an interval, given its confidence, excludes something; 1: none does."""
    low, high = 1e-6, 0.25
    if not excluded(1 - 2 * high):
        return 1.0
    if excluded(1 - 2 * low):
        return low
    for _ in range(14):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if excluded(1 - 2 * middle) else (middle, high)
    return high


class Seconds(NamedTuple):
    """Of each second of a run's steady part."""

    part: Floats
    """Requests of the kind that is looked for."""
    whole: Floats


def mean(sums: Floats, counts: Floats, confidence: float) -> tuple[float, float]:
    """Interval of the mean of what adds up to these sums; unbounded of a run that is too short."""
    held = counts > 0
    sums, counts = sums[held], counts[held]
    total = float(counts.sum())
    if len(counts) < FEWEST_SECONDS or not total:
        return -math.inf, math.inf
    middle = float(sums.sum()) / total
    half = normal(confidence) * math.sqrt(_variance(sums - middle * counts, confidence)) / total
    return middle - half, middle + half
