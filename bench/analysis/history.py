"""When did a metric change, over runs in the order of time?

E-divisive (Matteson and James 2014, "A nonparametric approach for multiple change point analysis of multivariate
data", JASA 109): the series is cut where the two sides differ most in their distributions, measured by distances
between their values, as long as a permutation of the values rarely gives so clear a cut. It asks nothing of the
distribution, finds several changes, and one wild run alone is none.
"""

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
PERMUTATIONS: Final = 999
SIGNIFICANCE: Final = 0.02


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
            known = [trial for trial in trials if math.isfinite(trial.values[name])]
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
        segment = series[start:end]
        at, strength = _strongest(segment)
        shuffled = [_strongest(rng.permutation(segment))[1] for _ in range(PERMUTATIONS)]
        p = (1 + sum(other >= strength for other in shuffled)) / (1 + PERMUTATIONS)
        if strength > 0 and p <= SIGNIFICANCE:
            found.append((start + at, p))
            pending += [(start, start + at), (start + at, end)]
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


def _strongest(values: Floats) -> tuple[int, float]:
    """The cut with the greatest divergence between its sides, and that: the paper's Q with alpha = 1.

    For sides X of n and Y of m values: nm / (n + m) * (2 E|X - Y| - E|X - X'| - E|Y - Y'|). Computed for all cuts from
    the sums of distances within the first and within the last values, each in one pass.
    """
    count = len(values)
    distance = np.abs(values[:, None] - values[None, :])
    total = float(distance.sum()) / 2
    # sums over pairs within values[:k] and within values[k:], for k = 0 .. count
    lower = np.tril(distance)
    left = np.concatenate(([0.0], np.cumsum(lower.sum(axis=1))))
    right = np.concatenate((np.cumsum(np.triu(distance).sum(axis=1)[::-1])[::-1], [0.0]))
    cuts = np.arange(FEWEST, count - FEWEST + 1)
    n, m = cuts.astype(np.float64), (count - cuts).astype(np.float64)
    within_left, within_right = left[cuts], right[cuts]
    across = total - within_left - within_right
    divergence = 2 * across / (n * m) - within_left / (n * (n - 1) / 2) - within_right / (m * (m - 1) / 2)
    strength = divergence * n * m / count
    best = int(np.argmax(strength))
    return int(cuts[best]), float(strength[best])
