"""The result of a search: the capacity, what limits it, and the ratio of two."""

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from bench.analysis.capacity.estimate import Estimate
from bench.analysis.capacity.level import Level
from bench.analysis.capacity.search import Search
from bench.analysis.capacity.shift import factor_of, shift
from bench.analysis.statistics.distributions import stdtrit
from bench.runs.capacity import WIDEST, ConditionCapacity, Interval, Limiting, MeasuredLevel, Outcome, Ratio

NEARBY: Final = 0.25
"""Of the logarithm of a ratio: of farther conditions each has rates of its own, and both capacities are known well enough."""
LONGER: Final = 1.5
"""Factor of the mean latency from which on requests wait for each other."""
MOST: Final = 0.5
"""Share of the misses from which on their cause is what limits."""


class Measured(NamedTuple):
    """A level with the run that it was read from."""

    level: Level
    run: str
    users: int | None = None
    """That waited for their answers; None: arrivals at random."""


class Refusal(NamedTuple):
    """The reason why there is no answer."""

    reason: str
    remedy: str


class Condition(NamedTuple):
    """A condition that was searched."""

    title: str
    server: str
    model: str
    version: int | None
    batch: int


def concluded(
    condition: Condition,
    search: Search | None,
    measured: Sequence[Measured],
    discarded: Sequence[str],
    refusal: Refusal | None,
) -> ConditionCapacity:
    """A condition's capacity. refusal: that of the load generator; search: None where not even the ramp was measured."""
    estimate = None if search is None or refusal is not None else search.estimate
    passed, failed = (None, None) if search is None else search.bracket
    usable = estimate is not None and search is not None and search.two_sided and _finite(estimate)
    outcome: Outcome = "nothing"
    if refusal is not None:
        outcome = "load generator"
    elif usable:
        outcome = "found"
    elif passed is not None or failed is not None:
        outcome = "bracket"
    reason, remedy, limit = "", "", None
    if refusal is not None:
        reason, remedy = refusal
    elif search is not None and (estimate is not None or failed is not None):
        # without an interval "beyond" is where none passed: a level below may have met a pause
        known = estimate is not None and (usable or failed is None)
        limit, reason = _limit(
            search, estimate.rate if estimate is not None and known else failed or math.inf
        )
    return ConditionCapacity(
        **condition._asdict(),
        outcome=outcome,
        capacity=_interval(estimate) if usable and estimate is not None else None,
        passed=passed,
        failed=failed,
        limited_by=limit,
        reason=reason,
        remedy=remedy,
        saturated=None if search is None else search.saturated,
        levels=[_plain(each) for each in measured],
        discarded=list(discarded),
    )


def ratio(
    before: ConditionCapacity,
    after: ConditionCapacity,
    searches: tuple[Search | None, Search | None],
    confidence: float,
) -> Ratio | None:
    """after / before; None where too little is known of one of them. searches: of the two."""
    if "load generator" in (before.outcome, after.outcome):
        return None
    apart = _apart(before, after, confidence)
    first, second = searches
    together = None
    if first is not None and second is not None and "errors" not in (before.limited_by, after.limited_by):
        together = shift(first.long, second.long, first.allowed, first.slope, confidence)
    far = apart is not None and abs(math.log(apart.value)) > NEARBY
    # curves of another shape have slopes of their own
    unlike = together is None or together.basis != "speed"
    if apart is not None and (far or unlike):
        misses = None if together is None else together.misses
        return Ratio(**_of(before, after, confidence), **apart.facts(), basis="separate", misses=misses)
    if together is None:
        return None
    interval = Interval(
        value=together.value,
        low=together.low,
        high=_closed(together.high),
        error=together.error,
        freedom=together.freedom,
    )
    return Ratio(
        **_of(before, after, confidence), **interval.facts(), basis=together.basis, misses=together.misses
    )


def _of(before: ConditionCapacity, after: ConditionCapacity, confidence: float) -> dict[str, Any]:
    return {"before": before.title, "after": after.title, "confidence": confidence}


def _apart(before: ConditionCapacity, after: ConditionCapacity, confidence: float) -> Interval | None:
    """after / before, each with an error of its own (Welch 1947); None where one is not known."""
    first, second = before.capacity, after.capacity
    if first is None or second is None:
        return None
    parts = [each.error**2 for each in (first, second)]
    error = math.sqrt(sum(parts))
    below = sum(part**2 / each.freedom for part, each in zip(parts, (first, second), strict=True))
    freedom = sum(parts) ** 2 / below if below > 0 else first.freedom + second.freedom
    half = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    value = second.value / first.value
    return Interval(
        value=value,
        low=value * factor_of(-half),
        high=_closed(value * factor_of(half)),
        error=error,
        freedom=freedom,
    )


def _closed(high: float) -> float | None:
    return high if math.isfinite(high) else None


def _finite(estimate: Estimate) -> bool:
    return math.isfinite(estimate.high) and estimate.low > 0 and estimate.high / estimate.low <= WIDEST


def _interval(estimate: Estimate) -> Interval:
    return Interval(
        value=estimate.rate,
        low=estimate.low,
        high=estimate.high,
        error=estimate.error,
        freedom=estimate.freedom,
    )


def _limit(search: Search, capacity: float) -> tuple[Limiting, str]:
    """What the levels beyond a capacity miss the service level by."""
    beyond = [each for each in search.levels if each.rate >= capacity and search.fails(each)]
    within = [each for each in search.levels if each.rate < capacity and each.latency > 0]
    missed = sum(each.missed for each in beyond)
    failed, unsent = (sum(getattr(each, name) for each in beyond) for name in ("failed", "unsent"))
    if missed and failed > MOST * missed:
        return "errors", f"beyond it {failed:,} of {missed:,} misses are errors"
    if beyond and all(each.share <= search.allowed for each in beyond):
        errors, requests = sum(sum(each.errors) for each in beyond), sum(each.requests for each in beyond)
        return "errors", f"beyond it {errors:,} of {requests:,} requests fail"
    if missed and unsent > MOST * missed:
        return (
            "requests in flight",
            f"beyond it {unsent:,} of {missed:,} misses were not sent: --max-in-flight",
        )
    slow = max((each.latency for each in beyond), default=0.0)
    usual = min((each.latency for each in within), default=0.0)
    if any(not each.steady for each in beyond) or (usual and slow > LONGER * usual):
        most = max(beyond, key=lambda each: each.in_system)
        return "queue", f"beyond it requests queue: {most.in_system:,.0f} under way at {most.rate:,.0f} req/s"
    return "service level", "beyond it latency is above the limit, and no queue grows"


def _plain(measured: Measured) -> MeasuredLevel:
    level = measured.level
    return MeasuredLevel(
        rate=level.rate,
        seconds=level.seconds,
        requests=level.requests,
        missed=level.missed,
        failed=level.failed,
        percentile=level.p,
        in_system=level.in_system,
        steady=level.steady,
        users=measured.users,
        arrivals=level.arrivals,
        run=measured.run,
    )
