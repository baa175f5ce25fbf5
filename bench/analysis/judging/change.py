"""The change of a metric between two sets of trials, with its interval and verdict."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, NamedTuple

from bench.analysis.reading.metric import Metric
from bench.analysis.statistics import intervals
from bench.analysis.statistics.intervals import CONFIDENCE, ERROR_RATE, Estimate
from bench.analysis.statistics.needed import Needed, trials_needed
from bench.config.limits import BELOW_ZERO

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
    confidence: float = CONFIDENCE
    """Of the interval, which is the one that decides: wider where several changes are judged together."""

    @cached_property
    def needed(self) -> Needed | None:
        """Trials in all (of each side) that would probably decide; None where decided, or unknown."""
        if self.verdict != "unknown" or self.estimate is None:
            return None
        return trials_needed(self.estimate, _margins(self.metric, self.tolerance), self.confidence)

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
    later: Sequence[bool] | None = None,
    sessions: tuple[Sequence[str], Sequence[str]] | None = None,
    tolerance: float | None = None,
    rate: float = ERROR_RATE,
) -> Change:
    """Judge one metric by itself; `judged_together` corrects what several of them say.

    before, after: the metric in each trial, nan where it is unknown; of equal length and in the order of the blocks
    where they are paired. later: of pairs, whether the candidate ran behind the baseline. sessions: of others, the
    session of each; the mean of a session is then one value, since its trials share its luck (Kalibera and Jones 2013,
    "Rigorous benchmarking in reasonable time"). rate: of false verdicts.
    """
    margin = metric.tolerance if tolerance is None else tolerance
    without = _endless(metric, before, after)
    if not without.text:
        without = _nothing(metric, before, after)
    reason = without.text or _no_reason_to_judge(metric, before, after)
    if without.verdict != "unknown":
        return Change(metric, _centre(metric, before), _centre(metric, after), without.size, without.size,
                      without.size, without.verdict, margin, 0.0, paired, None, reason)  # fmt: skip
    if reason:
        return Change(metric, _centre(metric, before), _centre(metric, after), math.nan, -math.inf, math.inf,
                      "unknown", margin, 1.0, paired, None, reason)  # fmt: skip
    first, second = _scaled(metric, before), _scaled(metric, after)
    if sessions is not None:
        first, second = _means(first, sessions[0]), _means(second, sessions[1])
    estimate = estimated(metric, first, second, paired=paired, later=later, lend=sessions is not None)
    return of_estimate(
        metric,
        (_centre(metric, before), _centre(metric, after)),
        estimate,
        tolerance=margin,
        rate=rate,
        paired=paired,
        sides=(first, second),
    )


def of_estimate(
    metric: Metric,
    values: tuple[float, float],
    estimate: Estimate,
    *,
    tolerance: float,
    rate: float,
    paired: bool,
    sides: tuple[list[float], list[float]] = ([], []),
) -> Change:
    """Judge an estimate of the scaled difference. values, sides: of baseline and candidate, and of their trials."""
    low, high = estimate.interval(1 - 2 * rate)
    p_worse, p_better = _evidence(metric, estimate, tolerance)
    return Change(
        metric=metric,
        before=values[0],
        after=values[1],
        size=_size(metric, estimate.mean),
        low=_size(metric, low),
        high=_size(metric, high),
        verdict=_verdict(metric, estimate, tolerance, (p_worse, p_better), rate),
        tolerance=tolerance,
        p=min(1.0, 2 * min(p_worse, p_better)),
        paired=paired,
        estimate=estimate,
        reason=""
        if estimate.freedom
        else f"{estimate.method}: two or more are needed to see how trials differ",
        sides=sides,
        confidence=1 - 2 * rate,
    )


def estimated(
    metric: Metric,
    before: Sequence[float],
    after: Sequence[float],
    *,
    paired: bool,
    later: Sequence[bool] | None = None,
    lend: bool = False,
) -> Estimate:
    """after - before; robust but for shares, of which the odd trial that is not 0 is what is looked for."""
    robust = metric.unit != "share"
    if paired:
        return intervals.paired(before, after, later=later, robust=robust)
    return intervals.unpaired(before, after, robust=robust, lend=lend)


def judged_together(changes: Sequence[Change], rate: float = ERROR_RATE) -> list[Change]:
    """The same changes; "worse" and "better" are kept where they are sure even among so many.

    "same" needs no correction: that all of several are the same is claimed only if each is shown to be. The interval
    of each is the one that decides: corrected but for "same".
    """
    p_values = [each.p for each in changes]
    rates = intervals.deciding_rates(p_values, 2 * rate)
    adjusted = intervals.holm(p_values)
    return [_corrected(*each, rate) for each in zip(changes, adjusted, rates, strict=True)]


def _corrected(each: Change, p: float, own: float, rate: float) -> Change:
    sure = each.verdict not in ("worse", "better") or p <= 2 * rate
    verdict: Verdict = each.verdict if sure else "unknown"
    if each.estimate is None or verdict == "same":
        return replace(each, p=p, verdict=verdict)
    low, high = (_size(each.metric, end) for end in each.estimate.interval(1 - own))
    return replace(each, p=p, verdict=verdict, low=low, high=high, confidence=1 - own)


class _WithoutRatio(NamedTuple):
    """The verdict on values of which no ratio can be formed."""

    text: str = ""
    verdict: Verdict = "unknown"
    size: float = math.nan


def _nothing(metric: Metric, before: Sequence[float], after: Sequence[float]) -> _WithoutRatio:
    """Judge rates and shares that should be high where a side has none.

    Worse where only the candidate has nothing in most of its trials, better the other way round.
    """
    first, second = (sum(value == 0 for value in side) for side in (before, after))
    if metric.better == "lower" or metric.name in BELOW_ZERO or not (before and after and first + second):
        return _WithoutRatio()
    if not all(map(math.isfinite, (*before, *after))):
        return _WithoutRatio()
    text = (
        f"0 in {first} of {len(before)} trials of the baseline and {second} of {len(after)} of the candidate"
    )
    if not first and 2 * second > len(after):
        return _WithoutRatio(text, "worse", 0.0)
    if not second and 2 * first > len(before):
        return _WithoutRatio(text, "better", math.inf)
    return _WithoutRatio(text)


def _endless(metric: Metric, before: Sequence[float], after: Sequence[float]) -> _WithoutRatio:
    """Judge percentiles that fall among requests without an answer.

    Worse where only the candidate has most of its trials without a number for this reason, better the other way round.
    """
    first, second = (sum(value == math.inf for value in side) for side in (before, after))
    if not first + second or metric.better == "higher":
        return _WithoutRatio()
    text = (
        f"not reached in {first} of {len(before)} trials of the baseline and {second} of {len(after)} of the "
        "candidate: too many requests got no answer there"
    )
    if any(math.isnan(value) for value in (*before, *after)):
        return _WithoutRatio(text)
    if not first and 2 * second > len(after):
        return _WithoutRatio(text, "worse", math.inf)
    if not second and 2 * first > len(before):
        return _WithoutRatio(text, "better", 0.0)
    return _WithoutRatio(text)


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


def _means(values: Sequence[float], sessions: Sequence[str]) -> list[float]:
    """The mean of each session, in the order of their first trials."""
    by_session: dict[str, list[float]] = {}
    for value, session in zip(values, sessions, strict=True):
        by_session.setdefault(session, []).append(value)
    return [math.fsum(own) / len(own) for own in by_session.values()]


def _size(metric: Metric, scaled: float) -> float:
    if not metric.ratio:
        return scaled
    return math.exp(scaled) if scaled < 700 else math.inf


def _centre(metric: Metric, values: Sequence[float]) -> float:
    if values and all(value == math.inf for value in values):
        return math.inf
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
    metric: Metric, estimate: Estimate, tolerance: float, evidence: tuple[float, float], rate: float
) -> Verdict:
    p_worse, p_better = evidence
    low, high = _margins(metric, tolerance)
    if p_worse <= rate:
        return "worse"
    if p_better <= rate:
        return "better"
    if estimate.freedom > 0 and estimate.error == 0:
        return "same" if low <= estimate.mean <= high else "unknown"
    inside = max(estimate.p_above(low), estimate.p_below(high)) <= rate
    return "same" if inside else "unknown"
