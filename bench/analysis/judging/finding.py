"""A limit, and what became of it in one cell."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from bench.analysis.grouping.identity import Identity
from bench.analysis.grouping.trials import Trial
from bench.analysis.reading.metric import Metric, goodput
from bench.analysis.reading.population import percent
from bench.analysis.statistics import intervals
from bench.analysis.statistics.needed import Needed
from bench.config.limits import Where

Outcome = Literal["pass", "FAIL", "inconclusive"]
MEANS: Final = ("mean", "std")
"""What no number can be given of where requests got no answer: these took longer than any, nobody knows how long."""


@dataclass(frozen=True)
class Limit:
    """A bound of a metric, in seconds, 1/s or as a share; relative ones are shares of the baseline's."""

    metric: Metric
    bound: float
    relative: bool
    where: Where
    dotted: str
    answered_within: float | None = None
    """Seconds within which goodput wants an answer; None: of other metrics."""

    def of(self, trial: Trial) -> float:
        """What a trial measured; of durations over all requests due, unless the metric's name says otherwise."""
        name = self.metric.name
        if self.answered_within is not None:
            return goodput(trial.due, trial.duration, self.answered_within)[name]
        if name == "max" and trial.due.count:
            return trial.due.percentile(100)
        return math.nan if name in MEANS and trial.due.unanswered else trial.values[name]

    @property
    def timed(self) -> bool:
        """Whether it is of durations, or counts requests by theirs."""
        return self.metric.unit == "s" or self.answered_within is not None

    def why_not(self, trial: Trial) -> str:
        """Why that is no number; empty: not known."""
        name, due = self.metric.name, trial.due
        if name in trial.reasons:
            return trial.reasons[name].text
        if name == "max" and due.count:
            return due.why_not(100).text
        if name in MEANS and due.unanswered:
            return f"{percent(due.unanswered / due.count)} got no answer, and their latency is unknown: set a limit on a percentile or goodput instead"
        return ""

    @property
    def words(self) -> str:
        """Where it holds: `version 2, batch 32`; empty: everywhere."""
        conditions = {
            name: value for name in Where.model_fields if (value := getattr(self.where, name)) is not None
        }
        return ", ".join(f"{name} {value}" for name, value in conditions.items())

    def holds_for(self, identity: Identity) -> bool:
        """Whether a cell is one of those that the limit is for."""
        where = self.where
        return (
            where.scenario in (None, identity.scenario)
            and (where.server is None or where.server in (identity.server, identity.build))
            and where.model in (None, identity.model)
            and where.version in (None, identity.version)
            and where.batch in (None, identity.batch)
            and where.load in (None, identity.load)
            and where.request in (None, identity.request)
        )


@dataclass(frozen=True)
class Finding:
    """The outcome of a limit in one cell."""

    limit: Limit
    identity: Identity | None
    """None: no cell was measured that the limit is for."""
    outcome: Outcome
    measured: float
    """Of a relative limit the change: a ratio, or a difference of shares. nan: unknown."""
    low: float
    high: float
    """Ends of the interval of `measured`; equal to it where it is an exact count, infinite where unknown."""
    allowed: float
    """In the measure of `measured`."""
    p_fail: float
    """Evidence against the limit: the p of a value so bad if it were within it."""
    how: str
    """How it was judged, or why it could not be."""
    needed: Needed | None = None
    """Trials in all that would probably decide."""
    interval: Callable[[float], tuple[float, float]] | None = field(default=None, repr=False, compare=False)
    """The interval of a confidence; None: there is none."""
    confidence: float = intervals.CONFIDENCE
    """Of the interval from `low` to `high`, which is the one that decides."""

    def at(self, confidence: float) -> "Finding":
        """With the interval of another confidence."""
        if self.interval is None:
            return self
        low, high = self.interval(confidence)
        return replace(self, low=low, high=high, confidence=confidence)


def inconclusive(limit: Limit, identity: Identity, reason: str) -> Finding:
    """A limit that cannot be judged, and why."""
    return Finding(limit, identity, "inconclusive", math.nan, -math.inf, math.inf, limit.bound, 1.0, reason)


def outcome_of(p_fail: float, passes: bool, rate: float) -> Outcome:
    """By the evidence that a limit fails, and whether it is shown to pass."""
    return "FAIL" if p_fail <= rate else "pass" if passes else "inconclusive"


def judged(
    limit: Limit,
    identity: Identity | None,
    *,
    outcome: Outcome,
    measured: float,
    interval: Callable[[float], tuple[float, float]],
    p_fail: float,
    how: str,
    rate: float,
    allowed: float | None = None,
    needed: Needed | None = None,
) -> Finding:
    """A limit that was judged, with the interval that decides at this error rate."""
    confidence = 1 - 2 * rate
    low, high = interval(confidence)
    return Finding(
        limit,
        identity,
        outcome,
        measured,
        low,
        high,
        limit.bound if allowed is None else allowed,
        p_fail,
        how,
        needed,
        interval,
        confidence,
    )
