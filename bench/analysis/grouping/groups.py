"""Groups of trials of one cell of an experiment, with their estimates.

The geometric mean over the trials with the 95 % interval of Student's t on logarithms: the unit of replication is the
trial.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.analysis.grouping.identity import Identity
from bench.analysis.grouping.metrics import METRICS
from bench.analysis.reading.cells import natural
from bench.analysis.statistics.intervals import alone

CONFIDENCE: Final = 0.95
FEWEST: Final = 4
"""Trials from which on their mean has an interval; of fewer, their least and greatest value are shown."""


class Member(NamedTuple):
    """One measurement, which may be a trial of an experiment."""

    identity: Identity
    block: tuple[str, int] | None
    """The experiment and the block in it; None: of no experiment."""
    values: Mapping[str, float]
    has_warnings: bool


@dataclass(frozen=True)
class Group:
    """The trials of one thing."""

    identity: Identity
    trials: list[Member]
    experiment: str = ""
    """Name of the experiment's folder: trials of several are not averaged."""

    @property
    def has_warnings(self) -> bool:
        """Whether any of them is."""
        return any(trial.has_warnings for trial in self.trials)

    def known(self, metric: str) -> list[float]:
        """The values of a metric in those trials that have one; inf where a percentile was not reached."""
        values = (trial.values.get(metric, math.nan) for trial in self.trials)
        return [value for value in values if not math.isnan(value)]

    def estimate(self, metric: str) -> tuple[float, float, float]:
        """See `mean_and_interval`; the arithmetic mean of shares that are best when they are 0."""
        return mean_and_interval(self.known(metric), logarithms=self.logarithms(metric))

    def logarithms(self, metric: str) -> bool:
        """Whether the mean of a metric is the geometric one: there is none of what is 0 in a trial."""
        return METRICS[metric].ratio and min(self.known(metric), default=0.0) > 0


def groups(members: Iterable[Member]) -> list[Group]:
    """What trials of experiments measured, in the order of its parts; nothing where nothing was measured twice."""
    by_cell: dict[tuple[str, Identity], list[Member]] = {}
    for member in members:
        if member.block is not None:
            by_cell.setdefault((member.block[0], member.identity), []).append(member)
    if all(len(own) < 2 for own in by_cell.values()):
        return []
    return [
        Group(key[1], by_cell[key], Path(key[0]).name)
        for key in sorted(by_cell, key=lambda key: (key[0], _order(key[1])))
    ]


def mean_and_interval(values: Sequence[float], *, logarithms: bool = True) -> tuple[float, float, float]:
    """The mean of values that are not negative, and the ends of its interval; nan and infinite ends where unknown.

    logarithms: the geometric mean, of values above 0; else the arithmetic one, with an interval that ends at 0.

    Of 2 and 3 values the ends are the least and the greatest: an interval of so few is as wide as it is meaningless.
    inf where it is so in any trial: a percentile that was not reached there is slower than any that was.
    """
    if values and max(values) == math.inf:
        return math.inf, -math.inf, math.inf
    if values and not logarithms:
        estimate = alone(values)
        if 1 < len(values) < FEWEST:
            return estimate.mean, min(values), max(values)
        low, high = estimate.interval(CONFIDENCE)
        return estimate.mean, max(0.0, low) if math.isfinite(low) else low, high
    if not values or min(values) <= 0:
        return math.nan, -math.inf, math.inf
    estimate = alone([math.log(value) for value in values])
    if 1 < len(values) < FEWEST:
        return math.exp(estimate.mean), min(values), max(values)
    low, high = estimate.interval(CONFIDENCE)
    return math.exp(estimate.mean), math.exp(low), math.exp(high) if high < 700 else math.inf


def plain(group: Group) -> dict[str, Any]:
    """Ready for JSON: durations in seconds, None for what is not known; metrics that no trial has are left out."""
    metrics: dict[str, dict[str, Any]] = {}
    for name in METRICS:
        known = group.known(name)
        if known:
            mean, low, high = group.estimate(name)
            metrics[name] = {
                "trials": len(known),
                "mean": _finite(mean),
                "low": _finite(low) if len(known) > 1 else None,
                "high": _finite(high),
                "mean_of": "logarithms" if group.logarithms(name) else "values",
                "not_reached": sum(value == math.inf for value in known),
                "ends": "interval" if len(known) >= FEWEST else "range",
            }
    return {
        **group.identity._asdict(),
        "experiment": group.experiment,
        "trials": len(group.trials),
        "doubted": sum(trial.has_warnings for trial in group.trials),
        "confidence": CONFIDENCE,
        "metrics": metrics,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _order(identity: Identity) -> tuple[tuple[bool, object], ...]:
    return tuple(
        (value is not None, value if isinstance(value, int) else natural(str(value or "")))
        for value in identity
    )
