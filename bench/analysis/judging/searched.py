"""Capacities that were searched, for limits and comparisons: one for each condition, and not for its levels."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.analysis.capacity.recorded import condition_of, ratio_of
from bench.analysis.grouping.identity import Identity
from bench.analysis.grouping.trials import Trial
from bench.analysis.statistics.intervals import Estimate
from bench.runs.capacity import ConditionCapacity, Interval
from bench.runs.journal import experiment_of


class Found(NamedTuple):
    """A capacity, or a ratio of two, as a limit sees it."""

    estimate: Estimate | None
    """Of the logarithm; None: no answer."""
    why_not: str
    how: str
    condition: ConditionCapacity | None = None
    """That was searched; None: of a ratio."""

    @property
    def value(self) -> float:
        """-inf without an answer."""
        return -math.inf if self.estimate is None else math.exp(self.estimate.mean)


def searched(trials: Sequence[Trial], *, ratios: bool = False) -> dict[tuple[Path, Identity], Found | None]:
    """By the experiment and the condition; None: it was not searched there."""
    results: dict[tuple[Path, Identity], Found | None] = {}
    for trial in trials:
        key = (experiment_of(trial.path) or trial.path, trial.identity.without("load"))
        if results.get(key) is None:
            condition = condition_of(trial.path, trial.manifest)
            results[key] = None if condition is None else _ratio(trial) if ratios else _capacity(condition)
    return results


def _capacity(condition: ConditionCapacity) -> Found:
    how = f"searched with {len(condition.levels)} levels"
    interval = condition.capacity
    if interval is not None:
        return Found(_estimate(interval, len(condition.levels)), "", how, condition)
    if condition.outcome == "load generator":
        return Found(None, f"the load generator was the limit: {condition.reason}", how, condition)
    return Found(None, "the search gave no interval: give it more time", how, condition)


def _ratio(trial: Trial) -> Found:
    ratio = ratio_of(trial.path, trial.manifest)
    if ratio is None:
        return Found(None, "", "")
    how = f"compared with {ratio.before} in one search"
    if not ratio.known:
        return Found(None, "the comparison gave no interval: give the search more time", how)
    return Found(_estimate(ratio, 1), "", how)


def _estimate(interval: Interval, trials: int) -> Estimate:
    return Estimate(math.log(interval.value), interval.error, interval.freedom, math.nan, trials, "")


def change_of(before: Found, after: Found) -> Estimate | None:
    """Of the logarithm, of two searches with an error of its own each (Welch 1947); None where one has no answer."""
    if before.estimate is None or after.estimate is None:
        return None
    sides = (before.estimate, after.estimate)
    parts = [each.error**2 for each in sides]
    below = sum(part**2 / each.freedom for part, each in zip(parts, sides, strict=True))
    freedom = sum(parts) ** 2 / below if below > 0 else sides[0].freedom + sides[1].freedom
    mean = after.estimate.mean - before.estimate.mean
    return Estimate(mean, math.sqrt(sum(parts)), freedom, math.nan, 1, "Welch's t on two searches")
