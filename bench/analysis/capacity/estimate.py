"""The rate at which just the allowed share of requests misses the service level, and how sure that is.

Requests miss it in clusters, while the queue is long: their number in a time is a compound Poisson sum, whose variance
is a power of its mean (Tweedie's family with 1 < p < 2; Jorgensen, The Theory of Dispersion Models, 1997). Its logarithm
is taken as linear in the rate near the capacity, as the tails of queues are (P(W > x) = exp(-(mu - lambda) x) of M/M/1), and fitted to all levels near it by quasi-likelihood (McCullagh and Nelder, Generalized Linear Models, 1989,
chapter 9). Where the line crosses the allowed share is the capacity, as an effective dose is found; its interval is
Fieller's (1954).

The slope is known from theory before anything is measured, roughly: a tail that falls exponentially to the share a at the
utilisation u has the slope ln(1/a) u / (1 - u). It counts as one observation with an error of PRIOR_SPREAD.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from bench.analysis.capacity.level import Floats, Level
from bench.analysis.statistics.distributions import stdtrit

POWER: Final = 1.5
"""Of the mean, to which the variance is proportional."""
PRIOR_SPREAD: Final = 0.4
"""Standard error of the slope that theory gives, as a share of it."""
NEAR: Final = 8.0
"""Factor from the allowed share within which the line holds: levels beyond it say nothing of the capacity."""
LEAST_REACH: Final = 0.1
"""Share of the rate within which levels count however steep the line is."""
LEAST_SLOPE: Final = 0.25
"""Share of the expected slope below which none is believed."""
_ROUNDS: Final = 40
_WINDOWS: Final = 6


class Estimate(NamedTuple):
    """A capacity with its interval."""

    rate: float
    """Requests per second."""
    low: float
    high: float
    slope: float
    """Change of the logarithm of the share of misses by that of the rate."""
    error: float
    """Standard error of the rate's logarithm."""
    freedom: float
    """Degrees of freedom of the error."""

    @property
    def half_width(self) -> float:
        """Of the interval, as a share of the rate."""
        return (self.high - self.low) / 2 / self.rate


def slope_of(allowed: float, utilisation: float) -> float:
    """The slope that theory expects at a utilisation."""
    u = min(max(utilisation, 0.3), 0.95)
    return math.log(1 / allowed) * u / (1 - u)


def estimate(
    levels: Sequence[Level], allowed: float, slope: float, confidence: float = 0.95
) -> Estimate | None:
    """The capacity that levels show; None where they do not lie around it. slope: the one expected."""
    lowest, highest = (end([level.rate for level in levels]) for end in (min, max))
    # by the expected slope: were it the fitted one, levels would come and go with it
    reach, rate = max(LEAST_REACH, math.log(NEAR) / slope), halfway(levels, allowed)
    line, within = None, list[Level]()
    for _ in range(_WINDOWS):
        before, within = within, _near(levels, rate, reach)
        if within == before:
            break
        line = _fit(within, allowed, slope, confidence)
        if line is None:
            return None
        rate = min(max(line.rate, lowest), highest)
    return line


def _near(levels: Sequence[Level], rate: float, reach: float) -> list[Level]:
    """Levels within reach of a rate, as a share of it, and the next one on either side in any case."""
    offsets = [level.rate / rate - 1 for level in levels]
    above = min((offset for offset in offsets if offset >= 0), default=0.0)
    below = max((offset for offset in offsets if offset <= 0), default=0.0)
    low, high = min(-reach, below), max(reach, above)
    return [level for level, offset in zip(levels, offsets, strict=True) if low <= offset <= high]


def halfway(levels: Sequence[Level], allowed: float) -> float:
    """Between the levels that pass and those that fail, as few on the wrong side as can be."""
    ordered = sorted(levels, key=lambda level: level.rate)
    wrong = [
        sum(level.seconds for level in ordered[:cut] if level.share > allowed)
        + sum(level.seconds for level in ordered[cut:] if level.share <= allowed)
        for cut in range(1, len(ordered))
    ]
    cut = 1 + min(range(len(wrong)), key=lambda at: wrong[at]) if wrong else 1
    return math.sqrt(ordered[cut - 1].rate * ordered[min(cut, len(ordered) - 1)].rate)


def _fit(levels: Sequence[Level], allowed: float, slope: float, confidence: float) -> Estimate | None:
    if not sum(level.missed for level in levels):
        return None
    whole = sum(level.seconds for level in levels)
    centre = sum(level.seconds * level.rate for level in levels) / whole
    line = _Line(levels, centre, allowed, slope)
    line.solve()
    line.phi, freedom = line.dispersion()
    line.solve()
    a, b = line.a, line.b
    v = np.linalg.inv(line.information())
    t = float(stdtrit(freedom, (1 + confidence) / 2))
    # Fieller: all u with (a + b u)^2 <= t^2 var(a + b u)
    qa, qb, qc = b * b - t * t * v[1, 1], 2 * (a * b - t * t * v[0, 1]), a * a - t * t * v[0, 0]
    u = -a / b
    root = qb * qb - 4 * qa * qc
    if qa > 0 and root >= 0:
        low, high = ((-qb + sign * math.sqrt(root)) / (2 * qa) for sign in (-1, 1))
    else:
        low, high = -math.inf, math.inf
    u = max(u, -0.9)
    error = math.sqrt(max(0.0, v[0, 0] + 2 * u * v[0, 1] + u * u * v[1, 1])) / b / (1 + u)
    return Estimate(
        centre * (1 + u), centre * max(0.0, 1 + low), centre * (1 + high), b * (1 + u), error, freedom
    )


class _Line:
    """ln(share of misses / allowed) = a + b x, fitted by quasi-likelihood."""

    def __init__(self, levels: Sequence[Level], centre: float, allowed: float, slope: float) -> None:
        """slope: the one expected."""
        self.missed = np.array([level.missed for level in levels], dtype=np.float64)
        self.seconds = np.array([level.seconds for level in levels])
        self.rates = np.array([level.rate for level in levels])
        self.x = self.rates / centre - 1
        self.batches = [np.array(level.misses, dtype=np.float64) for level in levels]
        self.allowed, self.prior, self.phi = allowed, (slope, PRIOR_SPREAD * slope), 1.0
        self.a = math.log(max(self.missed.sum(), 0.5) / (self.seconds * self.rates * allowed).sum())
        self.b = slope

    def per_second(self) -> Floats:
        """Misses expected in a second of each level; of those far beyond it no more than arrive."""
        grown = np.minimum(self.a + self.b * self.x, math.log(1 / self.allowed))
        return np.asarray(self.rates * self.allowed * np.exp(grown))

    def information(self) -> Floats:
        weight = self.seconds * self.per_second() ** (2 - POWER) / self.phi
        matrix = np.array(
            [
                [weight.sum(), (weight * self.x).sum()],
                [(weight * self.x).sum(), (weight * self.x**2).sum()],
            ]
        )
        matrix[1, 1] += 1 / self.prior[1] ** 2
        return matrix

    def solve(self) -> None:
        """Newton's method with Fisher's information."""
        for _ in range(_ROUNDS):
            m = self.per_second()
            score = (self.missed - self.seconds * m) * m ** (1 - POWER) / self.phi
            gradient = np.array(
                [score.sum(), (score * self.x).sum() - (self.b - self.prior[0]) / self.prior[1] ** 2]
            )
            step = np.clip(np.linalg.solve(self.information(), gradient), -1.0, 1.0)
            self.a += float(step[0])
            self.b = max(self.b + float(step[1]), LEAST_SLOPE * self.prior[0])
            if np.abs(step).max() < 1e-9:
                break

    def dispersion(self) -> tuple[float, float]:
        """Variance over mean^POWER, with what neighbours share, and its effective degrees of freedom.

        Pearson's estimate over all parts of all levels. Few parts have misses: as many count as carry the sum of squares
        (Satterthwaite 1946). Of few, the estimate is too small, and the count too large, since what is rare is missing
        in both: 1 + 6 / count, and half of the count, hold 95 % in simulated searches (tests/benchmarks/capacity.py).
        """
        m = self.per_second()
        parts = np.array([len(each) for each in self.batches])
        lengths = self.seconds / parts
        deviations = [
            (each - length * mean) / math.sqrt(length * mean**POWER)
            for each, length, mean in zip(self.batches, lengths, m, strict=True)
        ]
        every = np.concatenate(deviations)
        squares = every**2
        free = max(1.0, len(every) - 2.0)
        phi = squares.sum() / free
        shared = sum(float((each[1:] * each[:-1]).sum()) for each in deviations) / squares.sum()
        phi *= 1 + 2 * max(0.0, shared)
        effective = 3 * squares.sum() ** 2 / (squares**2).sum()
        effective = min(free, effective)
        return float(max(phi * (1 + 6 / effective), 1e-12)), float(max(2.0, effective / 2))
