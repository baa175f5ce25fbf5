"""What does an answer consist of, and how are ratios of latencies told with their uncertainty?"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy.special import stdtrit  # scipy.stats holds the same behind an import of half a second

from bench.run import Run

CONFIDENCE: Final = 0.95


class Answer(NamedTuple):
    """A sentence, and the numbers in it for programs: durations in seconds, None where unknown."""

    text: str
    values: dict[str, float | None]


class Interval(NamedTuple):
    """An estimate and the interval that holds the truth with CONFIDENCE."""

    value: float
    low: float
    high: float


def medians(run: Run, name: str) -> dict[int, float]:
    """Median latency of the requests of a name answered OK, in seconds, by second of the run."""
    series = run.series("latency", lambda key: key.name == name and key.outcome == "OK")
    return {second: histogram.percentile(50.0) for second, histogram in series}


def ratio(before: dict[int, float], after: dict[int, float]) -> Interval | None:
    """after / before, compared second by second: what disturbs a second disturbs both.

    Student's t on the logarithms of the ratios; None of fewer than three seconds that both have.
    """
    shared = sorted(before.keys() & after.keys())
    if len(shared) < 3:
        return None
    logs = np.log([after[second] / before[second] for second in shared])
    return geometric_mean(logs)


def geometric_mean(logs: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> Interval:
    """exp of the mean of two logarithms or more, with its interval."""
    middle = float(logs.mean())
    quantile = float(stdtrit(len(logs) - 1, (1 + CONFIDENCE) / 2))
    margin = quantile * float(logs.std(ddof=1)) / math.sqrt(len(logs))
    return Interval(math.exp(middle), math.exp(middle - margin), math.exp(middle + margin))


def times(interval: Interval | None) -> str:
    """Such as `×1.02 (0.99 to 1.05)`."""
    if interval is None:
        return "not compared, too few seconds"
    return f"×{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def unpaired(before: Sequence[float], after: Sequence[float]) -> Interval | None:
    """after / before, as geometric means of values at different times; None of fewer than three of either.

    Welch's t on the logarithms, with the degrees of freedom of Satterthwaite.
    """
    if min(len(before), len(after)) < 3:
        return None
    logs = [np.log(values) for values in (before, after)]
    errors = [float(each.var(ddof=1)) / len(each) for each in logs]
    middle = float(logs[1].mean() - logs[0].mean())
    total = sum(errors)
    if total == 0:
        return Interval(math.exp(middle), math.exp(middle), math.exp(middle))
    freedom = total**2 / sum(error**2 / (len(each) - 1) for error, each in zip(errors, logs, strict=True))
    margin = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * math.sqrt(total)
    return Interval(math.exp(middle), math.exp(middle - margin), math.exp(middle + margin))
