"""Queues with known service times, as the searches of a capacity meet them; without a clock."""

import heapq
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.analysis.capacity.level import Level, level_of
from bench.analysis.capacity.search import Search

Floats = NDArray[np.float64]
MEAN = 0.002
"""Seconds of service of one server; two servers take twice as long each."""
WITHIN, ALLOWED = 0.025, 0.01
"""The service level: p99 <= 25 ms."""
SETTLING = 1.0
CAPACITY = {
    # M/M/1: the latency is exponential with the rate mu - lambda
    "M/M/1": 1 / MEAN - math.log(1 / ALLOWED) / WITHIN,
    # by simulation of 20,000,000 requests (M/G/2: 2,000,000): python -m tests.benchmarks.capacity --truth
    "M/D/1": 409.1,
    "M/G/2": 373.3,
}


def latencies(kind: str, due: Floats, rng: Any) -> Floats:
    """First come, first served."""
    if kind == "M/G/2":
        free, found = [-1.0, -1.0], np.empty(len(due))
        takes = 2 * MEAN * rng.lognormal(-0.125, 0.5, len(due))
        for at, (arrival, service) in enumerate(zip(due.tolist(), takes.tolist(), strict=True)):
            done = max(arrival, free[0]) + service
            heapq.heapreplace(free, done)
            found[at] = done - arrival
        return found
    service = rng.exponential(MEAN, len(due)) if kind == "M/M/1" else np.full(len(due), MEAN)
    steps = np.concatenate([[0.0], service[:-1] - np.diff(due)])  # Lindley's recursion as a reflected walk
    walk = np.cumsum(steps)
    return np.asarray(walk - np.minimum.accumulate(walk) + service)


def levels(
    kind: str, rng: Any, rates: list[float], seconds: float, settling: float = SETTLING
) -> list[Level]:
    """One rate after the other, each for so many seconds that count."""
    each = settling + seconds
    due = np.concatenate(
        [at * each + np.sort(rng.uniform(0, each, rng.poisson(rate * each))) for at, rate in enumerate(rates)]
    )
    took = latencies(kind, due, rng)
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
        )
        for at, rate in enumerate(rates)
    ]


def search(kind: str, seed: int, *, load: float, precision: float = 0.0) -> Search:
    """A search with so many seconds of load beside the ramp."""
    rng = np.random.default_rng(seed)
    saturated = (1 / MEAN) * (1 + 0.03 * rng.standard_normal())
    found = Search(ALLOWED, precision, load / 8, saturated)
    found.add(levels(kind, rng, found.ramp, 1.5, 0.5))
    spent = 0.0
    while spent + found.each / 2 < load and (coming := found.next()) is not None:
        found.add(levels(kind, rng, [coming.rate], coming.seconds))
        spent += coming.seconds
    return found
