"""A searched capacity in sentences."""

from bench.analysis import formatting
from bench.runs.capacity import Capacity, ConditionCapacity, Ratio
from bench.wording import counted


def sentences(capacity: Capacity) -> list[str]:
    """One for each condition, and one about each ratio."""
    several = len(capacity.conditions) > 1
    sentence = _of_users if capacity.counted == "users" else _sentence
    texts = [
        (f"{condition.title}: " if several else "") + sentence(condition, capacity)
        for condition in capacity.conditions
    ]
    return texts + [_ratio(each) for each in capacity.ratios]


def _of_users(condition: ConditionCapacity, capacity: Capacity) -> str:
    knee, wanted = condition.knee, capacity.service_level
    if condition.outcome == "load generator":
        return f"no answer: the load generator was the limit ({condition.reason}); {condition.remedy}"
    if knee is None:
        if condition.failed is None:
            return "inconclusive: no number of users was measured; give more --time"
        return (
            f"inconclusive: with {counted(int(condition.failed), 'user')} {wanted} is missed; give more --time, or a "
            "service level that the idle server keeps"
        )
    ends = f"{knee.low} to {knee.high}" if knee.high is not None else f"{knee.low} or more"
    most = f"at least {knee.share:.0%} of the most with {wanted}, {_rate(knee.plateau)}"
    beyond = f"; with {condition.failed:,.0f} it is missed" if condition.failed is not None else ""
    users = f"{knee.users:,} ({ends}, {capacity.confidence:.0%})"
    if knee.high is None:
        return f"inconclusive: {counted(knee.users, 'user')} reach {_rate(knee.throughput)}, {most}{beyond}; give more --time"
    return f"enough users: {users}, who reach {_rate(knee.throughput)}, {most}{beyond}"


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
    if condition.title in capacity.compared:
        open_, more = "", ""
    else:
        open_, more = "inconclusive: ", "; give more --time"
    if condition.passed is not None and condition.failed is not None:
        between = f"{formatting.rate(condition.passed)} and {_rate(condition.failed)}"
        return f"{open_}sustains between {between} with {wanted}, without an interval so far{because}{more}"
    if condition.passed is not None:
        return f"{open_}sustains at least {_rate(condition.passed)} with {wanted}{more}"
    if condition.failed is not None:
        if any(level.rate < condition.failed for level in condition.levels):
            mixed = "some lower rates missed it and some kept it"
            return (
                f"{open_}sustains less than {_rate(condition.failed)} with {wanted}; {mixed}{because}{more}"
            )
        idle = f"{more}, or a service level that the idle server keeps" if more else ""
        return f"{open_}sustains less than {_rate(condition.failed)} with {wanted}{because}{idle}"
    if condition.levels:
        return f"inconclusive: a lower rate missed {wanted} and a higher one kept it; give more --time"
    return "inconclusive: no level was measured; give more --time"


def _ratio(ratio: Ratio) -> str:
    text = f"{ratio.after} sustains {ratio.value:.2f} times the load of {ratio.before}"
    if not ratio.known:
        return f"inconclusive: {text} so far, without an interval; give more --time"
    ends = f"{ratio.low:.2f} to {ratio.high:.2f}" if ratio.high is not None else f"at least {ratio.low:.2f}"
    if not ratio.low and ratio.high is not None:
        ends = f"at most {ratio.high:.2f}"
    text = f"{text} ({ends}, {100 * ratio.confidence:.4g}%)"
    if not ratio.different:
        text = f"no significant difference: {text}"
    return f"{text}, {_BASES[ratio.basis]}"


def _rate(rate: float | None) -> str:
    return f"{formatting.rate(rate)} req/s"


_BASES = {
    "speed": "by all latencies, which differ by the speed alone",
    "misses": "by the requests that missed the service level alone",
    "separate": "by the two capacities alone",
}
"""What a ratio rests on, in words."""
