"""Limits of the capacity: judged by the interval that its search gave, once for each condition and not for its levels."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.analysis.capacity.recorded import CAPACITY, condition_of
from bench.analysis.grouping.identity import Identity
from bench.analysis.grouping.trials import Trial
from bench.analysis.judging.finding import Finding, Limit, inconclusive, judged, outcome_of
from bench.analysis.statistics.intervals import Estimate
from bench.runs.capacity import ConditionCapacity
from bench.runs.journal import experiment_of

__all__ = ["CAPACITY", "INTEGRITY", "judge_capacity"]

INTEGRITY: Final = (
    "aborted",
    "damaged",
    "files changed",
    "incomplete",
    "interrupted",
    "unfinished",
    "unreadable",
)
"""Warnings about levels for which no capacity counts; others are what a level beyond the capacity is like."""

Searched = dict[tuple[Path, Identity], ConditionCapacity | None]
"""By the experiment and the condition; None: it was not searched there."""


def judge_capacity(
    limit: Limit, candidate: Sequence[Trial], baseline: Sequence[Trial], by: Sequence[str], rate: float
) -> list[Finding]:
    """Of each condition that the limit is for; by: what may differ between the sides."""
    searched = {key: each for key, each in _searched(candidate).items() if limit.holds_for(key[1])}
    if not any(searched.values()):
        return []
    before: dict[Identity, ConditionCapacity] = {}
    for (_, identity), each in _searched(baseline).items():
        same = identity.without(*by, "build")
        if each is not None and (same not in before or _value(each) > _value(before[same])):
            before[same] = each  # of several searches the one that found most: no other is as hard to keep
    found = []
    for (home, identity), each in searched.items():
        if each is None:
            text = f"no capacity was searched in {home.name}: bench capacity does"
            found.append(inconclusive(limit, identity, text))
        elif limit.relative:
            found.append(_relative(limit, identity, each, before.get(identity.without(*by, "build")), rate))
        else:
            found.append(_absolute(limit, identity, each, rate))
    return found


def _searched(trials: Sequence[Trial]) -> Searched:
    found: Searched = {}
    for trial in trials:
        key = (experiment_of(trial.path) or trial.path, trial.identity.without("load"))
        found[key] = found.get(key) or condition_of(trial.path, trial.manifest)
    return found


def _value(condition: ConditionCapacity) -> float:
    return -math.inf if condition.capacity is None else condition.capacity.value


def _estimate(condition: ConditionCapacity) -> Estimate | None:
    """Of the logarithm; None: no answer."""
    found = condition.capacity
    if found is None:
        return None
    return Estimate(math.log(found.value), found.error, found.freedom, math.nan, len(condition.levels), "")


def _absolute(limit: Limit, identity: Identity, condition: ConditionCapacity, rate: float) -> Finding:
    estimate = _estimate(condition)
    if estimate is None and _in_vain(condition, limit.bound):
        return _failed(limit, identity, condition, limit.bound, allowed=limit.bound)
    if estimate is None:
        return inconclusive(limit, identity, _why_not(condition))
    bound = math.log(limit.bound)
    p_fail, p_pass = estimate.p_below(bound), estimate.p_above(bound)
    return judged(
        limit,
        identity,
        outcome=outcome_of(p_fail, p_pass <= rate, rate),
        measured=math.exp(estimate.mean),
        interval=lambda confidence: _ends(estimate, confidence),
        p_fail=p_fail,
        how=f"searched with {len(condition.levels)} levels",
        rate=rate,
    )


def _relative(
    limit: Limit,
    identity: Identity,
    condition: ConditionCapacity,
    before: ConditionCapacity | None,
    rate: float,
) -> Finding:
    after = _estimate(condition)
    first = None if before is None else _estimate(before)
    if after is None and first is not None:
        least = math.exp(first.interval(1 - 2 * rate)[0]) / (1 + limit.bound)
        if _in_vain(condition, least):
            allowed = 1 / (1 + limit.bound)
            return _failed(limit, identity, condition, least, allowed=allowed, baseline=math.exp(first.mean))
    if after is None:
        return inconclusive(limit, identity, _why_not(condition))
    if before is None or first is None:
        why = "the baseline has no capacity of it" if before is None else f"baseline: {_why_not(before)}"
        return inconclusive(limit, identity, why)
    # two searches, each with an error of its own (Welch 1947)
    parts = [each.error**2 for each in (first, after)]
    freedom = sum(parts) ** 2 / sum(
        part**2 / each.freedom for part, each in zip(parts, (first, after), strict=True)
    )
    change = Estimate(after.mean - first.mean, math.sqrt(sum(parts)), freedom, math.nan, 1, "")
    bound = -math.log1p(limit.bound)
    p_fail, p_pass = change.p_below(bound), change.p_above(bound)
    return judged(
        limit,
        identity,
        outcome=outcome_of(p_fail, p_pass <= rate, rate),
        measured=math.exp(change.mean),
        interval=lambda confidence: _ends(change, confidence),
        p_fail=p_fail,
        how="Welch's t on two searches",
        rate=rate,
        allowed=math.exp(bound),
    )


def _in_vain(condition: ConditionCapacity, rate: float) -> bool:
    """Whether no rate up to one was sustained, and most of the requests missed the service level: no matter of chance."""
    levels = [level for level in condition.levels if level.rate <= rate]
    below = condition.failed is not None and condition.failed <= rate and condition.passed is None
    return (
        condition.outcome == "bracket"
        and below
        and bool(levels)
        and all(2 * level.missed > level.requests for level in levels)
    )


def _failed(
    limit: Limit,
    identity: Identity,
    condition: ConditionCapacity,
    rate: float,
    *,
    allowed: float,
    baseline: float = 1.0,
) -> Finding:
    """baseline: its capacity, of relative limits."""
    how = f"no rate up to {rate:,.4g}/s was sustained: most requests missed the service level at each"
    high = (condition.failed or math.inf) / baseline
    return Finding(limit, identity, "FAIL", math.nan, 0.0, high, allowed, 0.0, how)


def _ends(estimate: Estimate, confidence: float) -> tuple[float, float]:
    low, high = estimate.interval(confidence)
    return math.exp(low), math.exp(high)


def _why_not(condition: ConditionCapacity) -> str:
    if condition.outcome == "load generator":
        return f"the load generator was the limit: {condition.reason}"
    return "the search gave no interval: give it more time"
