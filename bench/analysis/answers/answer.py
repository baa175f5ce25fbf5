"""Answers, and ratios of latencies with intervals that allow for autocorrelation between neighbouring seconds."""

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.analysis.reading.cells import by_second
from bench.analysis.statistics.distributions import stdtrit
from bench.runs.run import Run

CONFIDENCE: Final = 0.95

Floats = NDArray[np.float64]


class Answer(NamedTuple):
    """A sentence, and the numbers in it for programs: durations in seconds, None where unknown."""

    text: str
    values: dict[str, float | None]
    subject: str = ""
    """What answers of several runs are shown together by; empty: their text."""


def untold(subject: str, reason: str) -> Answer:
    """An answer that there is none, and why. subject: such as `the effect of the spike`."""
    return Answer(f"{subject} is unknown: {reason}", {})


class Interval(NamedTuple):
    """An estimate and the interval that holds the truth with CONFIDENCE, within the run that it was measured in."""

    value: float
    low: float
    high: float
    seconds: int = 0
    """How many seconds it rests on; 0: on something else."""


def medians(run: Run, *names: str) -> dict[int, float]:
    """Median latency of all requests that were due of some names (none: of all), in seconds, by second of the run.

    inf of a second in which half of them got no answer, nan where it is not determined.
    """
    keys = {key for key, _ in run.tallies if not names or key.name in names}
    return {second: requests.percentile(50.0) for second, requests in by_second(run, keys).items()}


WIDEST: Final = 20.0
"""Half width of an interval of a logarithm at most: a ratio that is known to a factor of 5e8 is as good as unknown."""


def ratio(
    before: dict[int, float], after: dict[int, float], confidence: float = CONFIDENCE
) -> Interval | None:
    """after / before, compared second by second: what disturbs a second disturbs both.

    Student's t on the logarithms of the ratios, of which as many count as are independent; None of fewer than three
    seconds that both have, or where one of these has no number.
    """
    shared = sorted(before.keys() & after.keys())
    if len(shared) < 3 or not _numbers(each[second] for each in (before, after) for second in shared):
        return None
    logs = np.log([after[second] / before[second] for second in shared])
    middle, count = float(logs.mean()), independent(logs)
    margin = float(stdtrit(count - 1, (1 + confidence) / 2)) * float(logs.std(ddof=1)) / math.sqrt(count)
    return _interval(middle, margin, len(logs))


def _interval(middle: float, margin: float, seconds: int) -> Interval:
    """Of logarithms."""
    margin = min(margin, WIDEST)
    return Interval(math.exp(middle), math.exp(middle - margin), math.exp(middle + margin), seconds)


def _numbers(values: Iterable[float]) -> bool:
    return all(math.isfinite(value) for value in values)


def independent(values: Floats) -> float:
    """How many independent values say as much about the mean as these do, if they are AR(1): n (1 - r) / (1 + r).

    r: autocorrelation at lag 1, corrected for its bias (Kendall 1954, "Note on bias in the estimation of
    autocorrelation", Biometrika 41), not below 0; from r = 0.9 on it cannot be estimated. At least 1.5 of two.
    """
    count = len(values)
    rest = values - values.mean()
    square = float(rest @ rest)
    if square <= 0 or count < 3:
        return float(count)
    r = float(rest[1:] @ rest[:-1]) / square
    r = min(max(0.0, r + (1 + 3 * r) / count), 0.9)
    return max(1.5, count * (1 - r) / (1 + r))


def times(interval: Interval | None) -> str:
    """Such as `×1.02 (0.99 to 1.05)`."""
    if interval is None:
        return "not compared, too few seconds in which half of the requests were answered"
    basis = f" in {interval.seconds} s" if interval.seconds else ""
    return f"×{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f}{basis})"


def unpaired(
    before: Sequence[float], after: Sequence[float], confidence: float = CONFIDENCE
) -> Interval | None:
    """after / before, as geometric means of values at different times; None of fewer than three of either, or where one is no number.

    Welch's t on the logarithms, with the degrees of freedom of Satterthwaite; of each side as many values count as are
    independent. before, after: in the order of time.
    """
    if min(len(before), len(after)) < 3 or not _numbers((*before, *after)):
        return None
    logs = [np.log(values) for values in (before, after)]
    counts = [independent(each) for each in logs]
    errors = [float(each.var(ddof=1)) / count for each, count in zip(logs, counts, strict=True)]
    middle = float(logs[1].mean() - logs[0].mean())
    total = sum(errors)
    seconds = len(before) + len(after)
    if total == 0:
        return Interval(math.exp(middle), math.exp(middle), math.exp(middle), seconds)
    freedom = total**2 / sum(error**2 / (count - 1) for error, count in zip(errors, counts, strict=True))
    margin = float(stdtrit(freedom, (1 + confidence) / 2)) * math.sqrt(total)
    return _interval(middle, margin, seconds)
