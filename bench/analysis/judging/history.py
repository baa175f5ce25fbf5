"""Find the runs with which a metric changed, over runs in the order of time.

A series is divided at the stretch that `bench.analysis.statistics.step` finds, as long as chance rarely gives so clear a one in
noise that is autocorrelated, nor the same values in a random order do. A call looks at many series, every metric of every cell: which changes are reported is
decided for all of them together, so that at most FALSE_SHARE of the reported series are expected to be false alarms
(Benjamini and Hochberg 1995, "Controlling the false discovery rate", JRSS B 57), and changes smaller than the metric's
tolerance are not reported. The trials of one experiment share the state of the machine: they are one point, their median.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.analysis.capacity.recorded import SEARCHED, condition_of
from bench.analysis.grouping.identity import Identity
from bench.analysis.grouping.metrics import METRICS
from bench.analysis.grouping.trials import Trial
from bench.analysis.reading.metric import Metric
from bench.analysis.statistics.step import FEWEST, LARGEST, by_permutation, chance, strongest_step

Floats = NDArray[np.float64]

FALSE_SHARE: Final = 0.05
"""Expected share of false alarms among the series in which a change is reported; with none changed, the probability
of any false alarm."""

NOT_REACHED: Final = 10.0
"""As this multiple of the greatest value counts a percentile that was not reached."""


@dataclass(frozen=True)
class ChangePoint:
    """A metric of a cell changed with a trial."""

    metric: Metric
    identity: Identity
    first: Trial
    """The first one after the change."""
    before: float
    """Median of the points from the change before to this one."""
    after: float
    """Median of the points from this one to the next change."""
    p: float

    @property
    def worse(self) -> bool:
        """Whether it changed to the bad side."""
        return (self.after > self.before) == (self.metric.better == "lower")


@dataclass(frozen=True)
class _Series:
    """The points of a metric of a cell, in the order of time."""

    metric: Metric
    identity: Identity
    firsts: list[Trial]
    values: Floats
    least: float
    """Changes up to this size are not reported: a share of the value, or points of a share."""
    greatest: float
    """Of the values that were reached; those beyond stand for percentiles that were not."""

    @property
    def scaled(self) -> Floats:
        """On logarithms where ratios count: a change of 10 % is as far whether values are large or small."""
        return np.log(self.values) if self._relative else self.values

    def level(self, value: float) -> float:
        """A level as it is told: inf where it was not reached."""
        return value if value <= self.greatest else math.inf

    @property
    def _relative(self) -> bool:
        return self.metric.ratio and bool(self.values.min() > 0)

    def differs(self, before: float, after: float) -> bool:
        """Whether two levels differ by more than the least size."""
        if self._relative:
            return abs(math.log(after / before)) > math.log1p(self.least)
        return abs(after - before) > self.least


def history(
    groups: Mapping[Identity, Sequence[Trial]], metrics: Sequence[str], *, least: float | None = None
) -> list[ChangePoint]:
    """The changes of all cells and metrics, in the order of time; trials without a value are passed over.

    A percentile that was not reached is a value: it is worse than any that was.

    least: size of the smallest change to report, as a share; None: each metric's own tolerance.
    """
    series = [
        each
        for identity, trials in groups.items()
        for name in metrics
        if tells(trials, name) and (each := _series(METRICS[name], identity, trials, least)) is not None
    ]
    certain = accepted([_first_p(each.scaled) for each in series])
    points = [point for each in series for point in _change_points(each, certain)]
    return sorted(points, key=lambda point: (point.first.started, point.metric.name))


def tells(trials: Sequence[Trial], metric: str) -> bool:
    """Whether a metric of a condition says something over time: of levels of searches only what was searched does."""
    return (metric in SEARCHED) == is_level(trials[0])


def is_level(trial: Trial) -> bool:
    """Whether it is a level of a searched capacity: each search has rates of its own."""
    return condition_of(trial.path, trial.manifest) is not None


def accepted(p_values: Sequence[float]) -> float:
    """The largest p that counts as a change when all of these are judged together (Benjamini and Hochberg)."""
    ordered = sorted(p_values)
    bounds = [FALSE_SHARE * rank / len(ordered) for rank in range(1, len(ordered) + 1)]
    # without any discovery, a series alone would still have to reach the first bound
    return max((bound for p, bound in zip(ordered, bounds, strict=True) if p <= bound), default=0.0)


def change_points(
    values: Sequence[float] | Floats, *, certain: float = FALSE_SHARE
) -> list[tuple[int, float]]:
    """Positions of the first values after each change, in order, with the p of each.

    certain: the largest p of a change. The latest LARGEST values are looked at.
    """
    every = np.asarray(values, dtype=np.float64)
    offset = max(0, len(every) - LARGEST)
    series = every[offset:]
    steps: list[tuple[int, float]] = []
    pending = [(0, len(series))]
    while pending:
        start, end = pending.pop()
        if end - start < 2 * FEWEST:
            continue
        step = strongest_step(series[start:end])
        p = chance(end - start, step.statistic)
        if p <= certain and by_permutation(series[start:end], step.statistic) <= FALSE_SHARE:
            cuts = [start + at for at in (step.first, step.last) if at < end - start]
            steps += [(offset + at, p) for at in cuts]
            pending += list(itertools.pairwise([start, *cuts, end]))
    return sorted(steps)


def points_of(trials: Sequence[Trial], metric: str) -> list[list[Trial]]:
    """The trials that have a value (inf: not reached), those of one experiment together; in the order of time."""
    by_experiment: dict[str, list[Trial]] = {}
    for trial in trials:
        if not math.isnan(trial.values[metric]):
            by_experiment.setdefault(trial.block[0] if trial.block else str(trial.path), []).append(trial)
    return list(by_experiment.values())


def _series(
    metric: Metric, identity: Identity, trials: Sequence[Trial], least: float | None
) -> _Series | None:
    """None where there are too few points, or all are equal: nothing can be found there."""
    points = points_of(trials, metric.name)
    values = np.array([np.median([trial.values[metric.name] for trial in point]) for point in points])
    reached = values[np.isfinite(values)]
    if len(values) < 2 * FEWEST or values.min() == values.max() or not len(reached):
        return None
    values = np.minimum(values, NOT_REACHED * reached.max())
    size = metric.tolerance if least is None else least
    return _Series(metric, identity, [point[0] for point in points], values, size, float(reached.max()))


def _first_p(scaled: Floats) -> float:
    latest = scaled[-LARGEST:]
    return chance(len(latest), strongest_step(latest).statistic)


def _change_points(series: _Series, certain: float) -> list[ChangePoint]:
    steps = change_points(series.scaled, certain=certain)
    values = series.values

    def levels() -> list[float]:
        ends = [0, *(at for at, _ in steps), len(values)]
        return [float(np.median(values[start:end])) for start, end in itertools.pairwise(ends)]

    while True:
        medians = levels()
        sizes = [abs(after - before) for before, after in itertools.pairwise(medians)]
        small = [
            number
            for number, (before, after) in enumerate(itertools.pairwise(medians))
            if not series.differs(before, after)
        ]
        if not small:
            break
        del steps[min(small, key=lambda number: sizes[number])]  # its neighbours become one level
    return [
        ChangePoint(
            series.metric, series.identity, series.firsts[at], series.level(before), series.level(after), p
        )
        for (at, p), (before, after) in zip(steps, itertools.pairwise(levels()), strict=True)
    ]
