"""The ratio of the loads that two conditions sustain, from all that both showed near the limit.

Near the capacity the logarithm of the share of requests that miss the service level is about linear in the logarithm of
the rate, as in `bench.analysis.capacity.estimate`. Two conditions share the slope b, and differ in where the line lies:
ln share = a + b ln rate + d, with d of the second condition alone. Its capacity is exp(-d / b) times that of the first.

Misses are rare and come in few clusters. What else is measured tells more, as long as the second condition is the first one at
another speed: if everything takes it s times as long, then P(W > u) at a rate is that of the first one for u / s at a
rate s times as high. A line of the requests slower than any u then has d = (b + k) ln s, where k is the slope of
-ln P(W > u) by ln u; and the capacity changes by s^-(1 + k / b) with k and b of the misses. So does the time in which at least n
requests are under way, with k = 0: of a single server it is the mean service time, to which no queue adds chance. Such lines
are fitted beside that of the misses. Where the speeds that they tell differ by more than chance, the second condition is not
the first one at another speed, and the misses alone count (the overidentification test of Hansen 1982, "Large sample
properties of generalized method of moments estimators"); such curves have slopes of their own, too, so that the two capacities
are the better answer where both are known. Where they agree, one line is the answer: the time, or a line that tells it much better.
Their best combination (generalised least squares) told no more of queues: its weights were chosen by the same parts, which made
the speed 3 % too small and its error a quarter (M/G/2).

Levels of equal rate have the same arrivals and requests in both conditions (common random numbers), and their parts are
compared one by one: what a burst of arrivals does to both is no difference. The covariance is that of the parts' influence
on the speed (a sandwich; Liang and Zeger 1986), with what neighbours share. The interval is Fieller's (1954): whether it
holds 1 does not depend on how well the slopes are known.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from bench.analysis.capacity.level import Floats, Level
from bench.analysis.capacity.line import Arms, Line, fastest, lines_of
from bench.analysis.statistics.distributions import fdtrc, stdtrit
from bench.runs.capacity import Basis

ALIKE: Final = 0.01
"""Probability below which a difference between the speeds of several lines is no chance."""
OFFSET: Final = 0.003
"""The same of an offset between two conditions, which is told from chance more easily."""
EXACT: Final = 1e-4
"""Standard error of a speed at least: of two queues without any chance, parts are alike to the last digit."""
SLIGHT: Final = 0.01
"""Logarithm of a ratio, for which an error is counted: of two queues without any chance that of their slopes."""
FEWEST_TIMES: Final = 3
"""Lines of slow requests from which on it can be told whether an offset is between the conditions."""
BETTER: Final = 0.5
"""Share of the variance from which on a line is better than the time, whose error is known best."""
UNLIKE: Final = 0.5
"""Share by which the slopes of two curves may differ that are not of one shape."""
ROUGH: Final = 0.1
"""Share of a speed by which a line may be wrong, for being taken as straight."""
FARTHEST: Final = 0.35
"""Of the logarithm of a rate from the middle of all: farther levels are on another part of the curve."""
WIDEST_RATIO: Final = 20.0
"""Of a logarithm: a ratio that is known to a factor of 5e8 is as good as unknown."""


class Shift(NamedTuple):
    """A ratio of capacities with its interval."""

    value: float
    low: float
    """0: open."""
    high: float
    """inf: open."""
    error: float
    """Standard error of its logarithm."""
    freedom: float
    basis: Basis
    misses: float
    """The ratio by the misses alone."""


def shift(
    before: Sequence[Level], after: Sequence[Level], allowed: float, slope: float, confidence: float
) -> Shift | None:
    """Capacity of the second condition by that of the first; None where there are too few levels or misses.

    slope: of the misses, as theory expects it (`bench.analysis.capacity.estimate.slope_of`).
    """
    if not before or not after:
        return None
    levels: Arms = [*((level, 0) for level in before), *((level, 1) for level in after)]
    centre = _centre(levels)
    levels = [(each, arm) for each, arm in levels if abs(math.log(each.rate / centre)) <= FARTHEST]
    lines = lines_of(levels, allowed, slope, centre)
    if not lines:
        return None
    misses = lines[0]
    by_misses = -misses.beta[2] / misses.beta[1]
    factor = 1 + misses.stretch / misses.beta[1]
    agree = _agree(levels, lines)
    line = _best(levels, lines) if agree else misses
    if not agree:
        misses.stretch, factor = 0.0, 1.0
    # of what the line's ratio would be off by, were r the true one: middle - r, with an error that depends on r
    at_0, at_1, slope_0, slope_1 = (
        _together(levels, [each.influences(speed)]) for each in (line, misses) for speed in (0.0, 1.0)
    )
    off = [
        # the factor has the slope of the misses, too, where another line tells the speed
        np.column_stack([factor * zero, ones - zero + (factor - 1) * (of_misses - at_rest)])
        for zero, ones, at_rest, of_misses in zip(at_0, at_1, slope_0, slope_1, strict=True)
    ]
    known = _covariance(off)
    freedom, inflation = _freedom([each @ [1.0, SLIGHT] for each in off])
    known = known * inflation
    known[1, 1] += line.slack**2
    if agree:
        known[1, 1] += ((1 - 1 / factor) * ROUGH) ** 2
    else:
        # the curves may have slopes of their own, which tell elsewhere than in the middle of the levels
        known[0, 0] += (UNLIKE * (misses.where(allowed) - misses.middle)) ** 2
    middle = factor * line.speed
    low, high = fieller(middle, known, float(stdtrit(freedom, (1 + confidence) / 2)))
    error = math.sqrt(max(0.0, known[0, 0] + 2 * middle * known[0, 1] + middle**2 * known[1, 1]))
    return Shift(
        math.exp(min(max(middle, -WIDEST_RATIO), WIDEST_RATIO)),
        factor_of(low),
        factor_of(high),
        error,
        freedom,
        "speed" if agree else "misses",
        math.exp(by_misses),
    )


def factor_of(logarithm: float) -> float:
    """An end of an interval; 0 or inf where it is as good as open."""
    if abs(logarithm) >= WIDEST_RATIO:
        return 0.0 if logarithm < 0 else math.inf
    return math.exp(logarithm)


def fieller(middle: float, known: Floats, t: float) -> tuple[float, float]:
    """All r with (middle - r)^2 <= t^2 (known[0, 0] + 2 r known[0, 1] + r^2 known[1, 1])."""
    a = 1 - t * t * known[1, 1] or -1e-12
    b = -2 * (middle + t * t * known[0, 1])
    c = middle * middle - t * t * known[0, 0]
    root = b * b - 4 * a * c
    if root < 0 or (a < 0 and c <= 0):
        return -math.inf, math.inf
    low, high = sorted((-b + sign * math.sqrt(root)) / (2 * a) for sign in (-1, 1))
    if a < 0:
        # the slope may be 0: nothing bounds the ratio to one side, but on which side of 1 it is is known
        return (high, math.inf) if middle > 0 else (-math.inf, low)
    return low, high


def _agree(levels: Arms, lines: Sequence[Line]) -> bool:
    """Whether the speeds of several lines differ by no more than chance: by any pattern, and by that of an offset."""
    of_speed = [at for at, line in enumerate(lines) if not line.of_shape]
    if len(of_speed) < 2:
        return False
    parts = _together(levels, [line.influences(0.0) for line in lines])
    speeds = np.array([line.speed for line in lines])
    freedom = float(np.median([_freedom([each[:, at] for each in parts])[0] for at in range(len(lines))]))
    apart = np.eye(len(of_speed))[:-1] - np.eye(len(of_speed))[1:]
    speed = abs(float(np.median(speeds[of_speed])))
    known = (
        _covariance([each[:, of_speed] @ apart.T for each in parts]) + (ROUGH * speed) ** 2 * apart @ apart.T
    )
    differences = apart @ speeds[of_speed]
    beyond = float(differences @ np.linalg.pinv(known) @ differences) / len(apart)
    if float(fdtrc(len(apart), freedom, beyond)) < ALIKE:
        return False
    timed = [at for at, line in enumerate(lines) if line.time is not None]
    if len(timed) < FEWEST_TIMES:
        return True
    offset, error = _offset(lines, speeds, parts, timed)
    # what each request takes at least may be no part of what is slower
    unexplained = max(0.0, abs(offset) - speed * fastest(levels))
    return float(fdtrc(1, freedom, (unexplained / error) ** 2)) >= OFFSET


def _best(levels: Arms, lines: Sequence[Line]) -> Line:
    """The line that tells the speed best: by slopes that are expected, for a slope that is by chance too steep makes it look so."""

    def variance(line: Line) -> float:
        of_slope = (line.beta[1] + line.stretch) / (line.prior[0] + line.stretch)
        error = _covariance(_together(levels, [line.influences(0.0)]))[0, 0] * of_slope**2
        # without any chance all are exact, but not all slopes are known
        return max(float(error), (10 * EXACT) ** 2) * (BETTER if line.time is None else 1.0)

    return min((line for line in lines if not line.of_shape), key=variance)


def _offset(
    lines: Sequence[Line], speeds: Floats, parts: Sequence[Floats], timed: Sequence[int]
) -> tuple[float, float]:
    """The part of the speeds that falls with 1 / time, by generalised least squares, and its standard error.

    A second condition that takes s times as long and some time more, or less, exceeds a time u as if its speed were another
    one by a part that falls with 1 / u. Service times of another law do nearly that to a queue.
    """
    inverse = np.linalg.pinv(_covariance([each[:, timed] for each in parts]))
    design = np.column_stack([np.ones(len(timed)), [1 / (lines[at].time or 1.0) for at in timed]])
    precision = np.linalg.pinv(design.T @ inverse @ design)
    fitted = precision @ design.T @ inverse @ speeds[timed]
    return float(fitted[1]), math.sqrt(max(float(precision[1, 1]), 1e-300))


def _centre(levels: Arms) -> float:
    weights = [level.seconds for level, _ in levels]
    return math.exp(float(np.average([math.log(level.rate) for level, _ in levels], weights=weights)))


def _together(levels: Arms, influences: Sequence[Sequence[Floats]]) -> list[Floats]:
    """Influences of the parts on each line's speed, shape (parts, lines), those of equal arrivals added."""
    grouped: dict[object, Floats] = {}
    for number, (level, _) in enumerate(levels):
        own = np.column_stack([each[number] for each in influences])
        key = ("own", number) if level.arrivals is None else level.arrivals
        if key in grouped:
            # one may be a part longer than the other, for when its last answer came
            longer, other = sorted((grouped[key], own), key=len, reverse=True)
            own = longer.copy()
            own[: len(other)] += other
        grouped[key] = own
    return list(grouped.values())


def _covariance(series: Sequence[Floats]) -> Floats:
    """Of the sums; series: shape (parts, lines) each, in the order of time."""
    squares = np.asarray(sum(each.T @ each for each in series))
    shared = np.asarray(sum((each[1:] * each[:-1]).sum(axis=0) for each in series))
    factor = np.sqrt(1 + 2 * np.maximum(0.0, shared / np.maximum(np.diag(squares), 1e-300)))
    return np.asarray(squares * np.outer(factor, factor) + EXACT**2 * np.eye(len(squares)))


def _freedom(series: Sequence[Floats]) -> tuple[float, float]:
    """Degrees of freedom of a sum's variance, and the factor of it that makes up for few of them.

    As `bench.analysis.capacity.estimate` counts them: by how many parts carry the sum of squares (Satterthwaite 1946).
    """
    squares = np.concatenate(series) ** 2
    effective = 3 * float(squares.sum()) ** 2 / max(float((squares**2).sum()), 1e-300)
    effective = max(1.0, min(len(squares) - 3.0, effective))
    return max(2.0, effective / 2), 1 + 6 / effective
