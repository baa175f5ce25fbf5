"""Lines of what two conditions showed, by the logarithm of the rate: what lies above the other one, and by how much.

See `bench.analysis.capacity.shift`.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from bench.analysis.capacity.estimate import LEAST_SLOPE, POWER, PRIOR_SPREAD
from bench.analysis.capacity.level import RUNGS, STEP, UNDER_WAY, Floats, Level

ROOTS: Final = (2, 4, 8, 16)
"""Of the allowed share: how many requests are to exceed the shorter times."""
SHORTEST_ROOT: Final = 32
"""Of the time that is short enough to tell most of how two conditions differ in shape: of no use for their speed."""
MOST: Final = 0.95
"""Share of requests that may exceed a shorter time."""
NEARLY_ALL: Final = 0.99
"""Share of requests that exceed what each of them takes at least."""
BUSY: Final = (0.2, 0.6, 0.85)
"""Share of the time in which so many requests are under way as are counted: the least, the best and the most."""
_ROUNDS: Final = 40
Arms = Sequence[tuple[Level, int]]
"""Levels, each with 0 of the first condition or 1 of the second."""


class Line:
    """ln(share) = a + b ln(rate / centre) + d [second condition], by quasi-likelihood."""

    def __init__(
        self, levels: Arms, parts: Sequence[Sequence[float]], of_rate: bool, centre: float, slope: float
    ) -> None:
        """parts: what is counted in the parts of each level; of_rate: among the requests, else of the time.

        slope: the one expected.
        """
        self.parts = [np.array(each, dtype=np.float64) for each in parts]
        self.totals = np.array([each.sum() for each in self.parts])
        self.seconds = np.array([level.seconds for level, _ in levels])
        self.lengths = self.seconds / [len(each) for each in self.parts]
        rates = np.array([level.rate for level, _ in levels])
        self.whole = rates if of_rate else np.ones(len(rates))
        self.arms = np.array([arm for _, arm in levels])
        self.z = np.column_stack([np.ones(len(levels)), np.log(rates / centre), self.arms])
        self.prior, self.phi = (slope, PRIOR_SPREAD * slope), 1.0
        self.beta = np.zeros(3)
        self.stretch = 0.0
        """Slope of the logarithm of the share by minus that of the time."""
        self.time: float | None = None
        """That its requests exceed, by that of the service level; None: it counts no requests."""
        self.of_shape = False
        """Whether it only tells shape from speed."""

    @property
    def speed(self) -> float:
        """Logarithm of the second condition's speed by that of the first."""
        return float(-self.beta[2] / (self.beta[1] + self.stretch))

    def where(self, share: float) -> float:
        """The rate at which the share is reached, halfway between the conditions, as the logarithm of its part of the centre."""
        a, b, d = self.beta
        return float((math.log(share) - a - d / 2) / b)

    @property
    def middle(self) -> float:
        """The rate about which the line turns with its slope, as the logarithm of its part of the centre."""
        information = self._information()
        return float(information[0, 1] / information[0, 0])

    def at(self, rate: float) -> float:
        """The logarithm of the share, halfway between the conditions, at a rate (the logarithm of its part of the centre)."""
        return float(self.beta @ [1.0, rate, 0.5])

    def solve(self) -> bool:
        """Newton's method with Fisher's information, once for the dispersion and once with it; False: no line."""
        if any(not self.totals[self.arms == arm].sum() for arm in (0, 1)):
            return False
        self.beta[:2] = math.log(self.totals.sum() / (self.seconds * self.whole).sum()), self.prior[0]
        self._climb()
        squares = [
            ((each - length * m) ** 2 / (length * m**POWER)).sum()
            for each, length, m in zip(self.parts, self.lengths, self._per_second(), strict=True)
        ]
        self.phi = max(sum(squares) / max(1, sum(map(len, self.parts)) - 3), 1e-12)
        self._climb()
        return bool(np.isfinite(self.beta).all())

    def influences(self, speed: float) -> list[Floats]:
        """What each part of each level adds to -d / (b + stretch) - speed, with the denominator as it is."""
        _, b, _ = self.beta
        wanted = -np.array([0.0, speed, 1.0]) / (b + self.stretch)
        direction, mean = wanted @ np.linalg.inv(self._information()), self._per_second()
        return [
            float(direction @ z) * (each - length * m) * m ** (1 - POWER) / self.phi
            for each, length, m, z in zip(self.parts, self.lengths, mean, self.z, strict=True)
        ]

    @property
    def slack(self) -> float:
        """Standard error of the speed, as a share of it, by what theory does not know of the slope."""
        _, b, _ = self.beta
        return float(np.linalg.inv(self._information())[1, 1] / self.prior[1] / (b + self.stretch))

    def _per_second(self) -> Floats:
        return np.asarray(self.whole * np.exp(np.minimum(self.z @ self.beta, 0.0)))

    def _information(self) -> Floats:
        weight = self.seconds * self._per_second() ** (2 - POWER) / self.phi
        matrix = (self.z * weight[:, None]).T @ self.z
        matrix[1, 1] += 1 / self.prior[1] ** 2
        return np.asarray(matrix)

    def _climb(self) -> None:
        for _ in range(_ROUNDS):
            m = self._per_second()
            gradient = self.z.T @ ((self.totals - self.seconds * m) * m ** (1 - POWER) / self.phi)
            gradient[1] -= (self.beta[1] - self.prior[0]) / self.prior[1] ** 2
            step = np.clip(np.linalg.solve(self._information(), gradient), -1.0, 1.0)
            self.beta += step
            self.beta[1] = max(self.beta[1], LEAST_SLOPE * self.prior[0])
            if np.abs(step).max() < 1e-9:
                break


def lines_of(levels: Arms, allowed: float, slope: float, centre: float) -> list[Line]:
    """The misses, the requests slower than shorter times, the time in which so many are under way: all that there are.

    Empty without misses of either condition.
    """
    misses = Line(levels, [level.misses for level, _ in levels], True, centre, slope)
    if not misses.solve():
        return []
    lines = [misses]
    if not all(level.slower and level.busy for level, _ in levels):
        return lines
    misses.time = 1.0

    def slower(rung: int) -> Line | None:
        share = _share(levels, rung)
        if not 0 < share < 1:
            return None
        expected = slope * math.log(share) / math.log(allowed)
        line = Line(levels, [level.slower[rung] for level, _ in levels], True, centre, expected)
        line.time = STEP ** (rung + 1 - RUNGS)
        return line if line.solve() else None

    # between the two capacities
    at = misses.where(allowed)
    rates = [math.log(level.rate / centre) for level, _ in levels]
    at = min(max(at, min(rates)), max(rates))
    below = slower(RUNGS - 3)
    if below is None:
        return lines
    # at their very end, where nothing is beyond: an exponential tail falls the more by the logarithm, the longer the time
    misses.stretch = (below.at(at) - misses.at(at)) / (1 - STEP**-2)
    for root, rung in _shorter(levels, allowed).items():
        below, line, above = (slower(each) for each in (rung - 1, rung, rung + 1))
        if below is not None and line is not None and above is not None:
            line.stretch = _stretch(below, above, at)
            line.of_shape = root == SHORTEST_ROOT
            lines.append(line)
    number = _under_way(levels)
    if number is not None:
        busy = Line(levels, [level.busy[number] for level, _ in levels], False, centre, 2.0**number)
        if busy.solve():
            lines.append(busy)
    return lines


def _stretch(below: Line, above: Line, at: float) -> float:
    """Slope of -ln(share) by the logarithm of the time, at a rate, from lines that are two rungs apart."""
    return (below.at(at) - above.at(at)) / (2 * math.log(STEP))


def _share(levels: Arms, rung: int) -> float:
    slower = sum(sum(level.slower[rung]) for level, _ in levels)
    return slower / max(1, sum(level.requests for level, _ in levels))


def _shorter(levels: Arms, allowed: float) -> dict[int, int]:
    """By the root of the allowed share, the rung that about so many requests exceed; each rung once."""
    shares = {rung: _share(levels, rung) for rung in range(1, RUNGS - 2)}
    between = {rung: share for rung, share in shares.items() if 2 * allowed < share <= MOST}
    rungs: dict[int, int] = {}
    for root in (*ROOTS, SHORTEST_ROOT) if between else ():
        rung = min(between, key=lambda rung: abs(math.log(between[rung]) - math.log(allowed) / root))
        if rung not in rungs.values():
            rungs[root] = rung
    return rungs


def fastest(levels: Arms) -> float:
    """The time that nearly all requests exceed, by that of the service level; 0: it is below all that are counted."""
    above = (rung for rung in range(RUNGS) if _share(levels, rung) >= NEARLY_ALL)
    return max((STEP ** (rung + 1 - RUNGS) for rung in above), default=0.0)


def _under_way(levels: Arms) -> int | None:
    """The number under way, as the logarithm to 2, that is reached in about BUSY of the time; None: there is none."""
    whole = sum(level.seconds for level, _ in levels)
    shares = {at: sum(sum(level.busy[at]) for level, _ in levels) / whole for at in range(UNDER_WAY)}
    least, best, most = BUSY
    between = {at: share for at, share in shares.items() if least <= share <= most}
    return min(between, key=lambda at: abs(between[at] - best), default=None)
