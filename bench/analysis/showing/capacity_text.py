"""A searched capacity in sentences."""

from bench.analysis import formatting
from bench.runs.capacity import Capacity, ConditionCapacity, Interval


def sentences(capacity: Capacity) -> list[str]:
    """One for each condition, and one about the ratio of two."""
    several = len(capacity.conditions) > 1
    found = [
        (f"{condition.title}: " if several else "") + _sentence(condition, capacity)
        for condition in capacity.conditions
    ]
    if capacity.ratio is not None:
        before, after = (condition.title for condition in capacity.conditions[:2])
        found.append(_ratio(capacity.ratio, before, after, capacity.confidence))
    return found


def _sentence(condition: ConditionCapacity, capacity: Capacity) -> str:
    wanted = capacity.service_level
    if condition.outcome == "load generator":
        sustained = f"; the server sustains at least {_rate(condition.passed)}" if condition.passed else ""
        return (
            f"no answer: the load generator was the limit ({condition.reason}){sustained}; {condition.remedy}"
        )
    because = f"; {condition.reason}" if condition.reason else ""
    if condition.outcome == "found" and condition.capacity is not None:
        interval = condition.capacity
        ends = f"{formatting.rate(interval.low)} to {formatting.rate(interval.high)}"
        return f"sustains {_rate(interval.value)} ({ends}, {capacity.confidence:.0%}) with {wanted}{because}"
    if condition.passed is not None and condition.failed is not None:
        between = f"{formatting.rate(condition.passed)} and {_rate(condition.failed)}"
        return f"inconclusive: between {between} with {wanted}, without an interval so far{because}; give more --time"
    if condition.passed is not None:
        return f"inconclusive: sustains at least {_rate(condition.passed)} with {wanted}; give more --time"
    if condition.failed is not None:
        return (
            f"inconclusive: less than {_rate(condition.failed)} with {wanted}{because}; "
            "give more --time, or a service level that the idle server keeps"
        )
    return "inconclusive: no level was measured; give more --time"


def _ratio(ratio: Interval, before: str, after: str, confidence: float) -> str:
    ends = f"{ratio.low:.2f} to {ratio.high or 0:.2f}, {confidence:.0%}"
    if ratio.low <= 1 <= (ratio.high or 0):
        return f"no significant difference: {after} sustains {ratio.value:.2f} times the load of {before} ({ends})"
    return f"{after} sustains {ratio.value:.2f} times the load of {before} ({ends})"


def _rate(rate: float | None) -> str:
    return f"{formatting.rate(rate)} req/s"
