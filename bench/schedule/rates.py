"""Arithmetic of rates: requests due until an instant, and the instant of the n-th."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class RateFunction(Protocol):
    """A rate over time with its integral and the integral's inverse.

    The inverse carries a process of rate 1 over to the varying rate: if u are the instants of a Poisson process of
    rate 1, `instant(u)` are those of a Poisson process with this rate (Cinlar, Introduction to Stochastic
    Processes, 4.7: time change). Each element of a result depends on its own argument only, so that it does not
    matter how a sequence is cut into pieces. `expected_at` and `instant_at` are the same, to the bit, for a single
    number: arrays of one element cost ten times as much.
    """

    def rate(self, t: Floats) -> Floats:
        """Requests per second at t seconds."""
        ...

    def expected(self, t: Floats) -> Floats:
        """Requests from 0 until t seconds."""
        ...

    def instant(self, count: Floats) -> Floats:
        """The first instant until which more than `count` requests are expected; inf where that never happens."""
        ...

    def expected_at(self, t: float) -> float:
        """Requests from 0 until t seconds."""
        ...

    def instant_at(self, count: float) -> float:
        """The first instant until which more than `count` requests are expected; inf where that never happens."""
        ...


class PiecewiseLinear:
    """A rate that is linear in pieces: constants, steps, ramps. The last piece goes on for ever."""

    def __init__(self, starts: Sequence[float], rates: Sequence[float], slopes: Sequence[float]) -> None:
        """starts: seconds, ascending from 0; rates: per second at each start; slopes: per second squared."""
        self._starts, self._rates, self._slopes = (
            np.asarray(a, dtype=np.float64) for a in (starts, rates, slopes)
        )
        lengths = np.diff(self._starts)
        counts = lengths * (self._rates[:-1] + self._slopes[:-1] * lengths / 2)
        self._expected = np.concatenate([[0.0], np.cumsum(counts)])
        self._pieces = [
            array.tolist() for array in (self._starts, self._expected, self._rates, self._slopes)
        ]  # single numbers are quicker from lists
        self._constant = float(self._rates[0]) if len(self._rates) == 1 and not self._slopes[0] else 0.0

    def rate(self, t: Floats) -> Floats:
        """Requests per second at t seconds."""
        i, into = self._piece(self._starts, t)
        result: Floats = self._rates[i] + self._slopes[i] * into
        return result

    def expected(self, t: Floats) -> Floats:
        """Requests from 0 until t seconds."""
        i, into = self._piece(self._starts, t)
        result: Floats = self._expected[i] + into * (self._rates[i] + self._slopes[i] * into / 2)
        return result

    def instant(self, count: Floats) -> Floats:
        """The inverse of `expected`; inf where that many requests never come."""
        if self._constant:  # the usual case: equal to what follows, to the bit
            return count / self._constant
        i, left = self._piece(self._expected, count)
        rate, slope = self._rates[i], self._slopes[i]
        # the root of slope/2 x^2 + rate x = left in the form that does not cancel for slopes near 0
        reached = np.sqrt(np.maximum(rate * rate + 2 * slope * left, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            into = np.where(left > 0, 2 * left / (rate + reached), 0.0)
        result: Floats = self._starts[i] + into
        return result

    def expected_at(self, t: float) -> float:
        """Requests from 0 until t seconds."""
        starts, expected, rates, slopes = self._pieces
        i = bisect_right(starts, t) - 1
        into = t - starts[i]
        reached: float = expected[i] + into * (rates[i] + slopes[i] * into / 2)
        return reached

    def instant_at(self, count: float) -> float:
        """The inverse of `expected_at`; inf where that many requests never come."""
        starts, expected, rates, slopes = self._pieces
        i = bisect_right(expected, count) - 1
        left = count - expected[i]
        if left <= 0:
            return float(starts[i])
        reached = math.sqrt(max(rates[i] * rates[i] + 2 * slopes[i] * left, 0.0))
        total = rates[i] + reached
        return float(starts[i] + 2 * left / total) if total else math.inf

    @staticmethod
    def _piece(borders: Floats, value: Floats) -> tuple[NDArray[np.intp], Floats]:
        """The piece in which each value lies, and how far in."""
        i = np.searchsorted(borders, value, side="right") - 1
        return i, value - borders[i]


class Impulses:
    """So many requests at once, at 0 and then every `each` seconds: a rate of 0 but for instants."""

    def __init__(self, size: float, each: float) -> None:
        """each: seconds."""
        self._size, self._each = size, each

    def rate(self, t: Floats) -> Floats:
        """Requests per second between the impulses."""
        return np.zeros_like(t)

    def expected(self, t: Floats) -> Floats:
        """Requests from 0 until t seconds, those that are due at t not among them."""
        impulses = np.ceil(t / self._each)
        # a product may lie on the other side of t than the quotient of an integer
        impulses -= (impulses > 0) & ((impulses - 1) * self._each >= t)
        impulses += impulses * self._each < t
        result: Floats = self._size * impulses
        return result

    def instant(self, count: Floats) -> Floats:
        """The instant of request number `count`, from 0."""
        result: Floats = np.floor(count / self._size) * self._each
        return result

    def expected_at(self, t: float) -> float:
        """Requests from 0 until t seconds, those that are due at t not among them."""
        return float(self.expected(np.array([t]))[0])

    def instant_at(self, count: float) -> float:
        """The instant of request number `count`, from 0."""
        return math.floor(count / self._size) * self._each


class Sinusoidal:
    """A rate that swings between two values, beginning at the lower: mid - amplitude cos(2 pi t / period)."""

    KNOTS: Final = 1024
    """Pieces of a period in which the inverse starts its search."""
    ROUNDS: Final = 60
    """Bisections that shrink a piece below a double's precision; Newton's steps need 2 to 4."""

    def __init__(self, low: float, high: float, period: float) -> None:
        """low, high: per second; period: seconds."""
        self._middle, self._amplitude, self._period = (low + high) / 2, (high - low) / 2, period
        self._omega = 2 * np.pi / period
        self._knots = np.linspace(0.0, period, self.KNOTS + 1)
        self._at_knots = self._within(self._knots)

    def rate(self, t: Floats) -> Floats:
        """Requests per second at t seconds."""
        result: Floats = self._middle - self._amplitude * np.cos(self._omega * t)
        return result

    def expected(self, t: Floats) -> Floats:
        """Requests from 0 until t seconds."""
        periods = np.floor(t / self._period)
        result: Floats = periods * self._period * self._middle + self._within(t - periods * self._period)
        return result

    def instant(self, count: Floats) -> Floats:
        """The inverse of `expected`, to 1e-9 of a request or a double's precision."""
        each = self._period * self._middle
        periods = np.floor(count / each)
        left = np.ascontiguousarray(np.minimum(count - periods * each, self._at_knots[-1]))
        result: Floats = periods * self._period + self._solve(left)
        return result

    def expected_at(self, t: float) -> float:
        """Requests from 0 until t seconds."""
        return float(self.expected(np.array([t]))[0])

    def instant_at(self, count: float) -> float:
        """The inverse of `expected_at`."""
        return float(self.instant(np.array([count]))[0])

    def _within(self, t: Floats) -> Floats:
        """Requests from 0 until t, within the first period."""
        result: Floats = self._middle * t - self._amplitude / self._omega * np.sin(self._omega * t)
        return result

    def _solve(self, count: Floats) -> Floats:
        """Newton's method, kept inside a shrinking bracket since the rate may be 0 at a period's ends."""
        piece = np.clip(np.searchsorted(self._at_knots, count, side="right") - 1, 0, self.KNOTS - 1)
        low, high = self._knots[piece], self._knots[piece + 1]
        solution = np.empty_like(low)
        open_, x = np.arange(len(count)), (low + high) / 2
        for _ in range(self.ROUNDS):
            error = self._within(x) - count
            low, high = np.where(error > 0, low, x), np.where(error > 0, x, high)
            with np.errstate(divide="ignore", invalid="ignore"):
                step = x - error / self.rate(x)
            better = np.where((step > low) & (step < high), step, (low + high) / 2)
            going = (np.abs(error) > 1e-9) & (better != x)
            solution[open_[~going]] = x[~going]
            open_, x, low, high, count = open_[going], better[going], low[going], high[going], count[going]
            if not len(open_):
                break
        solution[open_] = x
        return solution
