"""The duration of a run's transient at the start, and the trend of the rest.

Warm-up is a monotone transient at the start, nothing else: whole seconds, from the first on, in which the load is still
growing or every request takes longer than in the rest of the run, each less so than the one before. A stall, a drift or a
state that changes later is none of this and stays in the numbers.
"""

import math
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

FEWEST: Final = 8
"""A series shorter than this cannot be tested for a trend."""
TREND_POINTS: Final = 20
"""A series is averaged down to this many points before it is tested for a trend: neighbours resemble each other,
and the test takes its points for independent."""
MOST_SHARE: Final = 0.2
MOST_SECONDS: Final = 10
"""Warm-up lasts the lesser of this share of the run and these seconds at the most."""
SPREADS: Final = 4.0
"""Robust standard deviations of the rest by which a second differs from it, before it counts as different..."""
LEAST_SHARE: Final = 0.05
"""...and this share of its median: of series that hardly vary."""

P99_FACTOR: Final = 10.0
LONGEST_FACTOR: Final = 3.0
FAILED_SHARE: Final = 0.001
FAILED_FACTOR: Final = 3.0

Floats = NDArray[np.float64]


class Seconds(NamedTuple):
    """A run, whole second by whole second from its beginning on; nan where nothing was answered."""

    load: Floats
    """What the run asks of the server: requests due per second, or requests under way in a closed loop."""
    quick: Floats
    """A low percentile of latency: the server was slow all the time if it is high, for a moment if it is not."""
    median: Floats
    """Of latency."""


class Part(NamedTuple):
    """Figures of the warm-up, or of the rest, of a run; durations in seconds."""

    median: float
    p99: float
    """inf: more than 1 % got no answer."""
    longest: float
    """The slowest answer."""
    failed: float
    """Share of the requests that got no answer."""


MOST_CHANGE: Final = 10.0
"""A series that begins at next to nothing has no ratio that says more than this."""


class Settling(NamedTuple):
    """The end of the warm-up."""

    at: int
    """Seconds to leave out."""
    settled: bool
    """False: the run was still on its way where a warm-up has to end."""


class Trend(NamedTuple):
    """The movement of a series from its beginning to its end."""

    change: float
    """The fitted line's last value over its first, minus 1; between -1 and MOST_CHANGE (Theil-Sen)."""
    p: float
    """Probability of so clear a direction by chance (Mann-Kendall test, two-sided)."""


def most_seconds(length: float) -> int:
    """The longest warm-up that a run of so many seconds may have."""
    return math.floor(min(MOST_SHARE * length, MOST_SECONDS) + 1e-9)


def transient(seconds: Seconds) -> Settling:
    """The whole seconds at the beginning that are a transient; none of a run that is too short to have a rest."""
    most = most_seconds(len(seconds.median))
    if not most:
        return Settling(0, settled=True)
    # one second more than may be cut shows whether the transient is over by then
    growing = _leading(-seconds.load, most)
    slow = min(_leading(seconds.median, most), _throughout(seconds, most))
    lasts = max(growing, slow)
    return Settling(min(lasts, most), settled=lasts <= most)


def _throughout(seconds: Seconds, most: int) -> int:
    """In how many of the first seconds the quickest requests were slower too, and not only those that a stall held."""
    quick, median = (_centre(series[most:]) for series in (seconds.quick, seconds.median))
    if not (quick > 0 and median > 0):
        return 0
    for at in range(min(most + 1, len(seconds.median))):
        # of a transient both rise by about the same factor, of a stall within a second the median alone
        if not seconds.quick[at] / quick >= math.sqrt(max(1.0, seconds.median[at] / median)):
            return at
    return most + 1


def _centre(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else math.nan


def excess(warm_up: Part, rest: Part) -> Literal["slow", "failed"] | None:
    """What a transient does not explain in a warm-up: requests that stood still, or failed; None: nothing.

    A transient makes all requests slower by some factor, the slowest as well. So the p99 of ten times the rest's, or a
    slowest request beyond three times that factor of the rest's slowest, is of a stall or of a server that was not ready.
    """
    if warm_up.failed > max(FAILED_SHARE, FAILED_FACTOR * rest.failed):
        return "failed"
    if not math.isfinite(warm_up.longest) or not math.isfinite(rest.longest):
        return None
    slower = max(1.0, warm_up.median / rest.median) if rest.median > 0 else 1.0
    stands = warm_up.longest > LONGEST_FACTOR * slower * rest.longest
    return "slow" if stands or warm_up.p99 > P99_FACTOR * rest.p99 else None


def _leading(values: Floats, most: int) -> int:
    """How many of the first values, up to most + 1, lie above the rest and fall towards it.

    Each is at most as high as the one before, give or take the spread of the rest.
    """
    rest = values[most:]
    rest = rest[np.isfinite(rest)]
    if len(rest) < 3:
        return 0
    centre = float(np.median(rest))
    spread = SPREADS * 1.4826 * float(np.median(np.abs(rest - centre)))
    share = max(LEAST_SHARE, spread / abs(centre)) if centre else LEAST_SHARE
    above = centre + max(spread, LEAST_SHARE * abs(centre))
    before = math.inf
    for at, value in enumerate(values[: most + 1].tolist()):
        if not above < value <= before + share * abs(value):
            return at
        before = min(before, value)
    return most + 1


def trend(series: ArrayLike) -> Trend | None:
    """Direction of a series, from its first known value on, and how sure it is; None: too short to tell."""
    values = np.asarray(series, dtype=np.float64)
    values = values[np.isfinite(values).argmax() :] if len(values) else values
    if len(values) < FEWEST or not np.isfinite(values).all():
        return None
    values = thinned(values)
    later, earlier = np.tril_indices(len(values), -1)
    difference = values[later] - values[earlier]
    slope = float(np.median(difference / (later - earlier)))
    places = np.arange(len(values))
    level = float(np.median(values - slope * places))
    # the line may leave the values' own range where they turn: it says nothing there
    first, last = np.clip([level, level + slope * places[-1]], values.min(), values.max())
    change = min(float(last / first) - 1, MOST_CHANGE) if first > 0 else (MOST_CHANGE if last > 0 else 0.0)
    return Trend(change, _mann_kendall(values, int(np.sign(difference).sum())))


def thinned(values: Floats) -> Floats:
    """The means of neighbours, TREND_POINTS to twice as many: a series as `trend` looks at it."""
    size = max(1, len(values) // TREND_POINTS)
    whole = len(values) // size * size
    means: Floats = values[len(values) - whole :].reshape(-1, size).mean(axis=1)
    return means


def _mann_kendall(values: Floats, s: int) -> float:
    """Two-sided p of the statistic s, by its normal approximation with ties and continuity corrected."""
    n = len(values)
    ties = np.unique(values, return_counts=True)[1]
    variance = (n * (n - 1) * (2 * n + 5) - int((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    if variance <= 0 or s == 0:
        return 1.0
    return math.erfc((abs(s) - 1) / math.sqrt(2 * variance))
