"""When did a metric change, over runs in the order of time?

E-divisive (Matteson and James 2014, "A nonparametric approach for multiple change point analysis of multivariate
data", JASA 109), with stretches beside cuts: the series is divided where a stretch, which may reach to an end, differs
most from the rest in its distribution, measured by distances between values, as long as a permutation of the values
rarely gives so clear a difference. A cut alone would overlook what became worse and was mended soon after. It asks
nothing of the distribution, and one wild run alone is no change.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.analysis.metrics import METRICS, Metric
from bench.analysis.trials import Identity, Trial

Floats = NDArray[np.float64]

FEWEST: Final = 3
"""Trials on each side of a change: fewer cannot be told from chance."""
PERMUTATIONS: Final = 499
SIGNIFICANCE: Final = 0.01
MOST: Final = 300
"""The latest trials that are looked at; time and memory grow with the square."""


@dataclass(frozen=True)
class ChangePoint:
    """A metric of a cell changed with a trial."""

    metric: Metric
    identity: Identity
    first: Trial
    """The first one after the change."""
    before: float
    """Median of the trials from the change before to this one."""
    after: float
    """Median of the trials from this one to the next change."""
    p: float

    @property
    def worse(self) -> bool:
        """Whether it changed to the bad side."""
        return (self.after > self.before) == (self.metric.better == "lower")


def history(groups: dict[Identity, list[Trial]], metrics: Sequence[str]) -> list[ChangePoint]:
    """The changes of all cells and metrics, in the order of time; trials without a value are passed over."""
    found = []
    for identity, trials in groups.items():
        for name in metrics:
            metric = METRICS[name]
            known = [trial for trial in trials if math.isfinite(trial.values[name])][-MOST:]
            values = np.array([trial.values[name] for trial in known])
            found += _change_points(metric, identity, known, values)
    return sorted(found, key=lambda point: (point.first.started, point.metric.name))


def change_points(values: Sequence[float] | Floats, *, seed: int = 1) -> list[tuple[int, float]]:
    """Positions of the first values after each change, in order, with the p of each."""
    series = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    found: list[tuple[int, float]] = []
    pending = [(0, len(series))]
    while pending:
        start, end = pending.pop()
        if end - start < 2 * FEWEST:
            continue
        distance = np.abs(series[start:end, None] - series[None, start:end])
        first, last, strength = _strongest(distance)
        if strength <= 0:
            continue
        orders = (rng.permutation(end - start) for _ in range(PERMUTATIONS))
        stronger = sum(_strongest(distance[np.ix_(order, order)])[2] >= strength for order in orders)
        p = (1 + stronger) / (1 + PERMUTATIONS)
        if p <= SIGNIFICANCE:
            cuts = [start + at for at in (first, last) if 0 < at < end - start]
            found += [(at, p) for at in cuts]
            pending += list(itertools.pairwise([start, *cuts, end]))
    return sorted(found)


def _change_points(
    metric: Metric, identity: Identity, trials: list[Trial], values: Floats
) -> list[ChangePoint]:
    # on logarithms, a change of 10 % is as far whether values are large or small
    scaled = np.log(values) if metric.ratio and len(values) and values.min() > 0 else values
    found = change_points(scaled)
    ends = [0, *(at for at, _ in found), len(values)]
    return [
        ChangePoint(
            metric,
            identity,
            trials[at],
            float(np.median(values[ends[number] : at])),
            float(np.median(values[at : ends[number + 2]])),
            p,
        )
        for number, (at, p) in enumerate(found)
    ]


def _strongest(distance: Floats) -> tuple[int, int, float]:
    """The stretch that diverges most from the rest, as its first position and the one after its last, and how much.

    For stretch X of n and rest Y of m values, the paper's Q with alpha = 1:
    nm / (n + m) * (2 E|X - Y| - E|X - X'| - E|Y - Y'|). All stretches at once, from sums over blocks of distances.
    """
    count = len(distance)
    blocks = np.zeros((count + 1, count + 1))
    blocks[1:, 1:] = distance.cumsum(axis=0).cumsum(axis=1)
    rows = blocks[:, count]
    first, last = np.triu_indices(count + 1, FEWEST)
    n = (last - first).astype(np.float64)
    m = count - n
    # each part that a division leaves is long enough
    possible = (
        (m >= FEWEST) & ((first == 0) | (first >= FEWEST)) & ((last == count) | (count - last >= FEWEST))
    )
    first, last, n, m = first[possible], last[possible], n[possible], m[possible]
    inside = (blocks[last, last] - 2 * blocks[first, last] + blocks[first, first]) / 2  # each pair once
    across = rows[last] - rows[first] - 2 * inside
    outside = rows[count] / 2 - inside - across
    divergence = 2 * across / (n * m) - inside / (n * (n - 1) / 2) - outside / (m * (m - 1) / 2)
    strength = divergence * n * m / count
    best = int(np.argmax(strength))
    return int(first[best]), int(last[best]), float(strength[best])
