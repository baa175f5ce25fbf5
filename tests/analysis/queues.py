"""Queues with known service times, as the searches of a capacity meet them; without a clock."""

import heapq
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.analysis.capacity.conclusion import Condition
from bench.analysis.capacity.level import Level, level_of
from bench.analysis.capacity.search import Search
from bench.cli.capacity_search import LEVELS, Hunt, alike, common, searched
from bench.cli.capacity_wanted import Wanted
from bench.experiment.plan import Condition as Cell
from bench.runs.capacity import Ratio

Floats = NDArray[np.float64]
MEAN = 0.002
"""Seconds of service of one server; two servers take twice as long each."""
WITHIN, ALLOWED = 0.025, 0.01
"""The service level: p99 <= 25 ms."""
SETTLING = 1.0
CAPACITY = {
    # M/M/1: the latency is exponential with the rate mu - lambda
    "M/M/1": 1 / MEAN - math.log(1 / ALLOWED) / WITHIN,
    # by simulation of 20,000,000 requests (M/G/2: 40,000,000): python -m tests.benchmarks.capacity --truth
    "M/D/1": 409.1,
    "M/G/2": 372.2,
}


def latencies(kind: str, due: Floats, rng: Any, mean: float = MEAN) -> Floats:
    """First come, first served."""
    if kind == "M/G/2":
        free, found = [-1.0, -1.0], np.empty(len(due))
        takes = 2 * mean * rng.lognormal(-0.125, 0.5, len(due))
        for at, (arrival, service) in enumerate(zip(due.tolist(), takes.tolist(), strict=True)):
            done = max(arrival, free[0]) + service
            heapq.heapreplace(free, done)
            found[at] = done - arrival
        return found
    service = SERVICES[kind](rng, mean, len(due))
    steps = np.concatenate([[0.0], service[:-1] - np.diff(due)])  # Lindley's recursion as a reflected walk
    walk = np.cumsum(steps)
    return np.asarray(walk - np.minimum.accumulate(walk) + service)


SERVICES: dict[str, Callable[[Any, float, int], Floats]] = {
    "M/M/1": lambda rng, mean, count: rng.exponential(mean, count),
    "M/D/1": lambda rng, mean, count: np.full(count, mean),
    # less variable than M/M/1: with a mean of 2.0887 ms (0.8) or 2.209 ms (0.5) of the same capacity as M/M/1 with 2 ms,
    # by bisection over 1,000,000 requests
    "gamma 0.8": lambda rng, mean, count: rng.gamma(1 / 0.8, mean * 0.8, count),
    "gamma 0.5": lambda rng, mean, count: rng.gamma(1 / 0.5, mean * 0.5, count),
}


def levels(
    kind: str, rng: Any, rates: list[float], seconds: float, settling: float = SETTLING
) -> list[Level]:
    """One rate after the other, each for so many seconds that count."""
    return levels_at(kind, rng, rates, seconds, settling, due_of(rng, rates, seconds, settling))


def due_of(rng: Any, rates: list[float], seconds: float, settling: float = SETTLING) -> Floats:
    """When requests arrive."""
    each = settling + seconds
    return np.concatenate(
        [at * each + np.sort(rng.uniform(0, each, rng.poisson(rate * each))) for at, rate in enumerate(rates)]
    )


def levels_at(
    kind: str,
    rng: Any,
    rates: list[float],
    seconds: float,
    settling: float,
    due: Floats,
    *,
    mean: float = MEAN,
    arrivals: int | None = None,
) -> list[Level]:
    """The levels that arrivals make."""
    each = settling + seconds
    took = latencies(kind, due, rng, mean)
    right = np.ones(len(due), dtype=bool)
    return [
        level_of(
            due,
            took,
            right,
            rate=rate,
            begin=at * each + settling,
            end=(at + 1) * each,
            within=WITHIN,
            allowed=ALLOWED,
            parts=max(4, int(2 * seconds)),
            arrivals=arrivals,
        )
        for at, rate in enumerate(rates)
    ]


def search(kind: str, seed: int, *, load: float, precision: float = 0.0) -> Search:
    """A search with so many seconds of load beside the ramp."""
    rng = np.random.default_rng(seed)
    saturated = (1 / MEAN) * (1 + 0.03 * rng.standard_normal())
    found = Search(ALLOWED, precision, load / LEVELS, saturated)
    found.add(levels(kind, rng, found.ramp, 1.5, 0.5))
    spent = 0.0
    while spent + found.each / 2 < load and (coming := found.next()) is not None:
        found.add(levels(kind, rng, [coming.rate], coming.seconds))
        spent += coming.seconds
    return found


PAIR = (4, 17.5)
"""Levels of each of two conditions and their seconds, as `bench capacity --time 3m` measures them."""


def pair(kind: str, seed: int, slower: float, other: str = "") -> Ratio | None:
    """Two conditions as they are measured in turn; the second one takes so many times as long, or is another queue."""
    rng = np.random.default_rng(seed)
    count, each = PAIR
    saturated = (1 / MEAN) * (1 + 0.03 * rng.standard_normal())
    before = Search(ALLOWED, 0.0, each, saturated)
    before.add(levels(kind, rng, before.ramp, 0.75, 0.25))
    cell = Cell("here", "", "mnist", None, 1, "")
    first = Hunt(Condition("first", "here", "mnist", 1, 1), cell, before)
    after = alike(first)
    assert after is not None
    second = Hunt(Condition("second", "here", "mnist", 2, 1), cell, after)
    for turn in range(count):
        coming = common([first, second], turn)
        for hunt, queue, mean in ((first, kind, MEAN), (second, other or kind, slower * MEAN)):
            assert hunt.search is not None
            own = coming or hunt.search.next()
            if hunt is first or coming is None:
                assert own is not None
                due = due_of(rng, [own.rate], own.seconds)
            assert own is not None
            number = turn if coming else None
            hunt.search.add(
                levels_at(queue, rng, [own.rate], own.seconds, SETTLING, due, mean=mean, arrivals=number)
            )
    wanted = Wanted(1 - ALLOWED, WITHIN, "p99 <= 25 ms", 0.0)
    return next(iter(searched([[first, second]], wanted).ratios), None)
