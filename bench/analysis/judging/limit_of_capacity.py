"""Limits of the capacity: judged by the interval that its search gave, once for each condition and not for its levels."""

import math
from collections.abc import Sequence
from typing import Final

from bench.analysis import formatting
from bench.analysis.capacity.recorded import CAPACITY_RATIO
from bench.analysis.grouping.identity import Identity
from bench.analysis.grouping.trials import Trial
from bench.analysis.judging.finding import Finding, Limit, inconclusive, judged, outcome_of
from bench.analysis.judging.searched import Found, change_of, searched
from bench.analysis.statistics.intervals import Estimate
from bench.runs.capacity import ConditionCapacity

INTEGRITY: Final = (
    "aborted",
    "damaged",
    "files changed",
    "incomplete",
    "interrupted",
    "not a number",
    "other version",
    "unfinished",
    "unreadable",
    "version change",
)
"""Warnings about levels for which no capacity counts; others are what a level beyond the capacity is like."""


def judge_capacity(
    limit: Limit, candidate: Sequence[Trial], baseline: Sequence[Trial], by: Sequence[str], rate: float
) -> list[Finding]:
    """Of each condition that the limit is for; by: what may differ between the sides."""
    of_ratios = limit.metric.name == CAPACITY_RATIO
    every = searched(candidate, ratios=of_ratios)
    if of_ratios:
        # the condition that the others are compared with has none
        every = {key: each for key, each in every.items() if each is None or each.how}
    chosen = {key: each for key, each in every.items() if limit.holds_for(key[1])}
    if not any(chosen.values()):
        return []
    before: dict[Identity, Found] = {}
    for (_, identity), each in searched(baseline).items():
        same = identity.without(*by, "build")
        if each is not None and (same not in before or each.value > before[same].value):
            before[same] = each  # of several searches the one that found most: no other is as hard to keep
    findings = []
    for (home, identity), each in chosen.items():
        if each is None:
            text = f"no capacity was searched in {home.name}; run bench capacity"
            findings.append(inconclusive(limit, identity, text))
        elif limit.relative:
            other = before.get(identity.without(*by, "build"))
            findings.append(_relative(limit, identity, each, other, rate))
        else:
            findings.append(_absolute(limit, identity, each, rate))
    return findings


def _absolute(limit: Limit, identity: Identity, searched: Found, rate: float) -> Finding:
    estimate = searched.estimate
    if estimate is None and searched.condition is not None and _in_vain(searched.condition, limit.bound):
        return _failed(limit, identity, searched.condition, limit.bound, allowed=limit.bound)
    if estimate is None:
        return inconclusive(limit, identity, searched.why_not)
    bound = math.log(limit.bound)
    p_fail, p_pass = estimate.p_below(bound), estimate.p_above(bound)
    return judged(
        limit,
        identity,
        outcome=outcome_of(p_fail, p_pass <= rate, rate),
        measured=math.exp(estimate.mean),
        interval=lambda confidence: _ends(estimate, confidence),
        p_fail=p_fail,
        how=searched.how,
        rate=rate,
    )


def _relative(limit: Limit, identity: Identity, after: Found, before: Found | None, rate: float) -> Finding:
    first = None if before is None else before.estimate
    if after.estimate is None and after.condition is not None and first is not None:
        least = math.exp(first.interval(1 - 2 * rate)[0]) / (1 + limit.bound)
        if _in_vain(after.condition, least):
            allowed = 1 / (1 + limit.bound)
            return _failed(
                limit, identity, after.condition, least, allowed=allowed, baseline=math.exp(first.mean)
            )
    change = None if before is None else change_of(before, after)
    if before is None or change is None:
        why = "the baseline has no capacity for it"
        if after.estimate is None:
            why = after.why_not
        elif before is not None:
            why = f"baseline: {before.why_not}"
        return inconclusive(limit, identity, why)
    bound = -math.log1p(limit.bound)
    p_fail, p_pass = change.p_below(bound), change.p_above(bound)
    return judged(
        limit,
        identity,
        outcome=outcome_of(p_fail, p_pass <= rate, rate),
        measured=math.exp(change.mean),
        interval=lambda confidence: _ends(change, confidence),
        p_fail=p_fail,
        how=change.method,
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
    how = f"no rate up to {formatting.rate(rate)}/s was sustained: most requests missed the service level at each"
    high = (condition.failed or math.inf) / baseline
    return Finding(limit, identity, "FAIL", math.nan, 0.0, high, allowed, 0.0, how)


def _ends(estimate: Estimate, confidence: float) -> tuple[float, float]:
    low, high = estimate.interval(confidence)
    return math.exp(low), math.exp(high)
