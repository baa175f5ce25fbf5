"""By how much did a metric change between two sets of trials, and is that sure?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from bench.analysis import intervals
from bench.analysis.intervals import CONFIDENCE, ERROR_RATE, Estimate
from bench.analysis.metrics import Metric

__all__ = ["CONFIDENCE", "ERROR_RATE", "Change", "Verdict", "change", "judged_together"]

Verdict = Literal["better", "worse", "same", "unknown"]


@dataclass(frozen=True)
class Change:
    """A metric of a candidate beside that of its baseline."""

    metric: Metric
    before: float
    """Geometric mean of the trials (of shares: their mean); nan: not measured."""
    after: float
    size: float
    """after / before; of metrics that are told as differences, after - before. nan: unknown."""
    low: float
    """Ends of the interval around `size`."""
    high: float
    verdict: Verdict
    tolerance: float
    p: float
    """Evidence for "worse" or "better", adjusted for all that is judged together."""
    paired: bool
    estimate: Estimate | None
    """On logarithms, of metrics that are told as ratios; None where nothing can be said."""
    reason: str
    """Why nothing can be said; empty where something can."""
    sides: tuple[list[float], list[float]] = field(default=([], []), repr=False)
    """The values of the trials, on logarithms where the metric is told as a ratio."""
    family: int = 1
    """How many changes are judged together."""

    @cached_property
    def needed(self) -> int | None:
        """Trials in all (of each side) that would probably decide; None where decided, or no number would do."""
        if self.verdict != "unknown" or self.estimate is None:
            return None
        return _needed(self.metric, self.estimate, self.tolerance, self.family)

    @cached_property
    def bootstrap(self) -> tuple[float, float] | None:
        """The interval by resampling the trials, beside Student's; None of fewer than three."""
        if self.estimate is None or self.estimate.trials < 3:
            return None
        low, high = intervals.bootstrap(*self.sides, CONFIDENCE, pairs=self.paired)
        return _size(self.metric, low), _size(self.metric, high)

    @property
    def bounds(self) -> tuple[float, float]:
        """The sizes between which the change counts as none."""
        if self.metric.ratio:
            return 1 / (1 + self.tolerance), 1 + self.tolerance
        return -self.tolerance, self.tolerance


def change(
    metric: Metric,
    before: Sequence[float],
    after: Sequence[float],
    *,
    paired: bool,
    tolerance: float | None = None,
) -> Change:
    """Judge one metric by itself; `judged_together` corrects what several of them say.

    before, after: the metric in each trial, nan where it is unknown; of equal length and in the order of the blocks
    where they are paired.
    """
    margin = metric.tolerance if tolerance is None else tolerance
    reason = _no_reason_to_judge(metric, before, after)
    if reason:
        return Change(metric, _centre(metric, before), _centre(metric, after), math.nan, -math.inf, math.inf,
                      "unknown", margin, 1.0, paired, None, reason)  # fmt: skip
    first, second = _scaled(metric, before), _scaled(metric, after)
    estimate = intervals.paired(first, second) if paired else intervals.unpaired(first, second)
    low, high = estimate.interval(CONFIDENCE)
    p_worse, p_better = _evidence(metric, estimate, margin)
    verdict = _verdict(metric, estimate, margin, p_worse, p_better)
    return Change(
        metric=metric,
        before=_centre(metric, before),
        after=_centre(metric, after),
        size=_size(metric, estimate.mean),
        low=_size(metric, low),
        high=_size(metric, high),
        verdict=verdict,
        tolerance=margin,
        p=min(1.0, 2 * min(p_worse, p_better)),
        paired=paired,
        estimate=estimate,
        reason="" if estimate.freedom else f"{estimate.method}: two and more show how trials differ",
        sides=(first, second),
    )


def judged_together(changes: Sequence[Change]) -> list[Change]:
    """The same changes; "worse" and "better" are kept where they are sure even among so many.

    "same" needs no correction: that all of several are the same is claimed only if each is shown to be.
    """
    adjusted = intervals.holm([each.p for each in changes])
    return [_corrected(each, p, len(changes)) for each, p in zip(changes, adjusted, strict=True)]


def _corrected(each: Change, p: float, family: int) -> Change:
    sure = each.verdict not in ("worse", "better") or p <= 2 * ERROR_RATE
    verdict: Verdict = each.verdict if sure else "unknown"
    return replace(each, p=p, verdict=verdict, family=family)


def _no_reason_to_judge(metric: Metric, before: Sequence[float], after: Sequence[float]) -> str:
    for values, side in ((before, "baseline"), (after, "candidate")):
        if not values:
            return f"the {side} has no trial"
        missing = sum(not math.isfinite(value) for value in values)
        if missing:
            return (
                f"not measured in {missing} of {len(values)} trials of the {side}, or too few answers for it"
            )
        if metric.ratio and min(values) <= 0:
            return f"0 in a trial of the {side}"
    return ""


def _scaled(metric: Metric, values: Sequence[float]) -> list[float]:
    return [math.log(value) for value in values] if metric.ratio else list(values)


def _size(metric: Metric, scaled: float) -> float:
    if not metric.ratio:
        return scaled
    return math.exp(scaled) if scaled < 700 else math.inf


def _centre(metric: Metric, values: Sequence[float]) -> float:
    if not values or not all(math.isfinite(value) for value in values):
        return math.nan
    if not metric.ratio:
        return math.fsum(values) / len(values)
    return math.exp(math.fsum(map(math.log, values)) / len(values)) if min(values) > 0 else 0.0


def _margins(metric: Metric, tolerance: float) -> tuple[float, float]:
    """The scaled change that is tolerated to the bad side, and to the good side, as one goes up."""
    up = math.log1p(tolerance) if metric.ratio else tolerance
    return -up, up


def _evidence(metric: Metric, estimate: Estimate, tolerance: float) -> tuple[float, float]:
    low, high = _margins(metric, tolerance)
    above, below = estimate.p_above(high), estimate.p_below(low)
    return (above, below) if metric.better == "lower" else (below, above)


def _verdict(
    metric: Metric, estimate: Estimate, tolerance: float, p_worse: float, p_better: float
) -> Verdict:
    low, high = _margins(metric, tolerance)
    if p_worse <= ERROR_RATE:
        return "worse"
    if p_better <= ERROR_RATE:
        return "better"
    if estimate.freedom > 0 and estimate.error == 0:
        return "same" if low <= estimate.mean <= high else "unknown"
    inside = max(estimate.p_above(low), estimate.p_below(high)) <= ERROR_RATE
    return "same" if inside else "unknown"


def _needed(metric: Metric, estimate: Estimate, tolerance: float, family: int) -> int | None:
    return intervals.trials_to_decide(estimate, _margins(metric, tolerance), 1 - 2 * ERROR_RATE / family)
