"""Verdict on one limit: pass, FAIL or inconclusive."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench import BenchError
from bench.analysis.agreement.recorded import AGREEMENT
from bench.analysis.answers.numbers import EVENT_SPREAD, EVENTS, NAMES, OLD_NAMES
from bench.analysis.grouping.identity import Identity
from bench.analysis.grouping.in_time import of_only_pair
from bench.analysis.grouping.metrics import METRICS
from bench.analysis.grouping.trials import OneRun, Trial
from bench.analysis.judging.change import change
from bench.analysis.judging.compare import Match
from bench.analysis.judging.finding import Finding, Limit, Outcome, inconclusive, judged, outcome_of
from bench.analysis.judging.limit_of_share import PROPORTIONS, by_agreement, by_counts, by_examples
from bench.analysis.reading.metric import GOODPUT, GOODPUT_RATE, Metric
from bench.analysis.reading.population import NOT_DETERMINED
from bench.analysis.statistics import clustered, intervals
from bench.analysis.statistics.clustered import FEWEST_SECONDS
from bench.analysis.statistics.intervals import ERROR_RATE, Estimate
from bench.analysis.statistics.needed import trials_needed
from bench.config.limits import BELOW_ZERO, Bound
from bench.config.reading import nearest
from bench.wording import counted

SUFFIXES: Final = {"_ms": 1e-3, "_us": 1e-6, "_s": 1.0}
BETWEEN_RUNS: Final = 0.05
"""Standard deviation by which runs of one thing are taken to differ where there is one run: nothing in it shows that.

On an idle machine runs differed by 0.4 % in p50 and 1.3 % in p99, with busy neighbours by 20 % and more.
"""

CERTAIN: Final = 1e-4
"""Error rate at which a trial is beyond a limit for certain, though its metric is no number."""
_EXTREMES: Final = {"max": 0, "min": 1}
"""The end of the interval that a run shows itself: of a longer one the maximum is no smaller, and the minimum no greater."""
_ONCE: Final = ", all of one start of the server: how starts differ does not show"


def resolved(bound: Bound, path: Path) -> Limit:
    """A limit by its metric. Raises BenchError for a metric that there is none, or a bound that cannot be."""
    name, factor = OLD_NAMES.get(bound.name, bound.name), 1.0
    if name not in METRICS and not bound.relative:
        for suffix, seconds in SUFFIXES.items():
            metric = METRICS.get(name.removesuffix(suffix))
            if name.endswith(suffix) and metric is not None and metric.unit == "s":
                name, factor = metric.name, seconds
                break
    if name not in METRICS:
        known = [f"{m.name}_ms" if m.unit == "s" and not bound.relative else m.name for m in METRICS.values()]
        raise BenchError(
            f"{path}: {bound.dotted}: unknown metric{nearest(bound.name, known)}; valid names: {', '.join(known)}"
        )
    metric = METRICS[name]
    if metric.unit == "s" and not bound.relative and factor == 1.0 and not bound.name.endswith("_s"):
        raise BenchError(
            f"{path}: {bound.dotted} = {bound.value:g}: without a unit; write {name}_ms, {name}_us or {name}_s"
        )
    _check_share(bound, metric, path)
    if not bound.relative and metric.better == "higher" and bound.value == 0 and name not in BELOW_ZERO:
        raise BenchError(
            f"{path}: {bound.dotted} = 0: every run satisfies that; omit it, or write the minimum"
        )
    within = bound.within if name in (GOODPUT, GOODPUT_RATE) else None
    if name in (GOODPUT, GOODPUT_RATE) and within is None:
        raise BenchError(
            f"{path}: {bound.dotted}: goodput needs a time limit; write goodput_ms = 20 above [limits] (milliseconds)"
        )
    return Limit(metric, bound.value * factor, bound.relative, bound.where, bound.dotted, within)


def _check_share(bound: Bound, metric: Metric, path: Path) -> None:
    """Raises BenchError for a share that may be meant as another one, and a unit that the metric has not."""
    if bound.relative:
        return
    if metric.unit != "share":
        if bound.percent:
            raise BenchError(
                f'{path}: {bound.dotted} = "{100 * bound.value:g} %": {metric.name} is not a share'
            )
    elif bound.value > 1:
        raise BenchError(f"{path}: {bound.dotted} = {bound.value:g}: expected a share from 0 to 1")
    elif bound.value == 1 and not bound.percent:
        raise BenchError(f'{path}: {bound.dotted} = 1: ambiguous; write "1 %" or "100 %"')


def judge_absolute(
    limit: Limit, identity: Identity, trials: Sequence[Trial], rate: float = ERROR_RATE
) -> Finding:
    """Judge the trials of a cell against a bound, "pass" and "FAIL" each false with probability `rate`.

    Several trials: by Student's t of their values (of durations and rates on logarithms). A single one: by what it
    shows of itself (see `statistics.clustered`) and the assumption that runs differ by BETWEEN_RUNS. Shares of requests
    and the accuracy: by counts, of requests as far as they are independent and of different examples.
    """
    metric = limit.metric
    if metric.name in PROPORTIONS:
        return by_counts(limit, identity, trials, rate)
    if metric.name == "accuracy" and all(trial.examples for trial in trials):
        return by_examples(limit, identity, trials, rate)
    if metric.name == AGREEMENT:
        return by_agreement(limit, identity, trials, rate)
    values = [limit.of(trial) for trial in trials]
    longest = _longest_at_least(limit, trials)
    if longest is not None:
        return _alone(limit, identity, longest)
    if len(values) == 1 and (math.isfinite(values[0]) or _bounded(limit, trials[0])):
        return _single(limit, identity, trials[0], rate)
    if not all(math.isfinite(value) for value in values):
        return _without_numbers(limit, identity, trials)
    scale = math.log if metric.ratio and min(values) > 0 and limit.bound > 0 else float
    back = math.exp if scale is math.log else float
    estimate = intervals.alone([scale(value) for value in values])
    once = len({trial.session or str(trial.path) for trial in trials}) == 1
    bound = scale(limit.bound)
    above, below = estimate.p_above(bound), estimate.p_below(bound)
    p_fail, p_pass = (above, below) if metric.better == "lower" else (below, above)
    return judged(
        limit,
        identity,
        outcome=outcome_of(p_fail, _passes(limit, estimate, bound, p_pass, rate), rate),
        measured=back(estimate.mean),
        interval=lambda confidence: _ends(back, estimate.interval(confidence)),
        p_fail=p_fail,
        how=f"{estimate.method}{_ONCE if once else ''}",
        rate=rate,
        needed=trials_needed(estimate, [bound], 1 - 2 * rate),
    )


def judge_relative(limit: Limit, match: Match, rate: float = ERROR_RATE) -> Finding:
    """Judge how much worse than its baseline a cell is: no pass unless the whole interval is within the bound."""
    if match.equal_by_design(limit.metric.name):
        return inconclusive(limit, match.identity, "the same users sent to both in turn: equal by design")
    stretches = of_only_pair(match.before, match.after, limit.metric.name)
    sides = stretches or [[limit.of(trial) for trial in side] for side in (match.before, match.after)]
    seen = change(
        limit.metric,
        *sides,
        paired=match.paired or stretches is not None,
        later=match.later,
        sessions=match.sessions,
        tolerance=limit.bound,
    )
    estimate = seen.estimate
    if estimate is None and seen.verdict == "worse":
        size, allowed = (
            seen.size,
            1 + limit.bound if limit.metric.better == "lower" else 1 / (1 + limit.bound),
        )
        return Finding(limit, match.identity, "FAIL", size, size, size, allowed, 0.0, seen.reason)
    if estimate is None or seen.reason:
        return inconclusive(limit, match.identity, seen.reason)
    lower = limit.metric.better == "lower"
    margin = math.log1p(limit.bound) if limit.metric.ratio else limit.bound
    bound = margin if lower else -margin
    above, below = estimate.p_above(bound), estimate.p_below(bound)
    p_fail, p_pass = (above, below) if lower else (below, above)
    back = math.exp if limit.metric.ratio else float
    return judged(
        limit,
        match.identity,
        outcome=outcome_of(p_fail, _passes(limit, estimate, bound, p_pass, rate), rate),
        measured=seen.size,
        interval=lambda confidence: _ends(back, estimate.interval(confidence)),
        p_fail=p_fail,
        how=estimate.method,
        rate=rate,
        allowed=back(bound),
        needed=trials_needed(estimate, [bound], 1 - 2 * rate),
    )


def _without_numbers(limit: Limit, identity: Identity, trials: Sequence[Trial]) -> Finding:
    """A finding on trials in some of which a metric is no number.

    FAIL where most are beyond the limit whatever it would be, as percentiles that fall among requests without an answer
    are; else inconclusive.
    """
    values = [limit.of(trial) for trial in trials]
    reason = _missing_text(limit, trials, values)
    best = 0 if limit.metric.better == "lower" else 1
    ends = [_ends_without_number(limit, trial) for trial in trials]
    beyond = [each for each in ends if each is not None and not _within(limit, each[best])]
    if 2 * len(beyond) <= len(trials):
        return inconclusive(limit, identity, reason)
    low, high = (end(each[at] for each in beyond) for at, end in enumerate((min, max)))
    measured = math.inf if low == math.inf else math.nan
    p_fail = 0.0 if low == math.inf else CERTAIN
    return Finding(limit, identity, "FAIL", measured, low, high, limit.bound, p_fail, reason)


def _ends_without_number(limit: Limit, trial: Trial) -> tuple[float, float] | None:
    """Between what a metric lies that is no number, for certain; None: not known, or it is one."""
    value = limit.of(trial)
    if value == math.inf:
        return value, value
    if trial.within is None or math.isfinite(value) or not _bounded(limit, trial):
        return None
    return trial.within.interval(limit.metric.name, 1 - 2 * CERTAIN, limit.answered_within)


def _missing_text(limit: Limit, trials: Sequence[Trial], values: Sequence[float]) -> str:
    """In how many trials a metric is no number, and why in the first of them."""
    missing = [trial for trial, value in zip(trials, values, strict=True) if not math.isfinite(value)]
    known = next((text for trial in missing if (text := limit.why_not(trial))), "")
    where = "" if len(trials) == 1 else f" in {len(missing)} of {len(trials)} trials"
    return f"{known}{where}" if known else f"not measured{where}, or too few answers for it"


def _longest_at_least(limit: Limit, trials: Sequence[Trial]) -> float | None:
    """What the longest request of a single run took at the least, where that is beyond the limit of a maximum.

    One that this client cancelled took longer than it had waited.
    """
    if limit.metric.name != "max" or len(trials) != 1 or not trials[0].due.count:
        return None
    least, most = trials[0].due.bounds(100)
    return least if least != most and math.isfinite(least) and not _within(limit, least) else None


def _bounded(limit: Limit, trial: Trial) -> bool:
    """Whether what is no number has bounds all the same: a percentile that is not determined, or an answer to a scenario."""
    name = limit.metric.name
    if name in NAMES:
        return trial.within is not None and trial.within.interval(name, 0.5) is not None
    why = trial.reasons.get(name)
    return why is not None and why.reason == NOT_DETERMINED


def not_measured(limit: Limit, reason: str) -> Finding:
    """A limit without a cell."""
    return Finding(limit, None, "inconclusive", math.nan, -math.inf, math.inf, limit.bound, 1.0, reason)


def _passes(limit: Limit, estimate: Estimate, bound: float, p_pass: float, rate: float) -> bool:
    """Whether it passes: what is equal to the bound in all trials does too."""
    if estimate.freedom > 0 and estimate.error == 0:
        return estimate.mean <= bound if limit.metric.better == "lower" else estimate.mean >= bound
    return p_pass <= rate


def _ends(back: object, interval: tuple[float, float]) -> tuple[float, float]:
    low, high = (
        math.exp(end) if back is math.exp and end < 700 else end if back is float else math.inf
        for end in interval
    )
    return low, high


def _single(limit: Limit, identity: Identity, trial: Trial, rate: float) -> Finding:
    """One run: by the interval that it allows by itself, widened by what runs are assumed to differ; else inconclusive."""
    name, value = limit.metric.name, limit.of(trial)
    within = trial.within
    if within is None:
        return _alone(limit, identity, value)
    known = within.interval(name, 0.5, limit.answered_within) is not None
    # what a longer run would show as well
    certain = (name == "max" and value > limit.bound) or (name == "min" and value <= limit.bound)
    if not known and not certain and within.seconds < FEWEST_SECONDS:
        return inconclusive(limit, identity, _too_short(within))
    if not known and limit.metric.unit == "share":
        return inconclusive(limit, identity, "one run, which does not show how sure this is; measure several")

    def interval(confidence: float) -> tuple[float, float]:
        unknown = (-math.inf, math.inf) if known else (value, value)
        low, high = within.interval(name, confidence, limit.answered_within) or unknown
        if not limit.metric.ratio or not value > 0:
            return low, high
        luck = BETWEEN_RUNS * clustered.normal(confidence)
        ends = widened(value, low, -luck), widened(value, high, luck)
        exact = _EXTREMES.get(name)
        return ends if exact is None else (value, ends[1]) if exact == 0 else (ends[0], value)

    def beyond(confidence: float, end: int) -> bool:
        return not _within(limit, interval(confidence)[end])

    lower = limit.metric.better == "lower"
    best, worst = (0, 1) if lower else (1, 0)
    p_fail = clustered.least_rate(lambda confidence: beyond(confidence, best))
    return judged(
        limit,
        identity,
        outcome=outcome_of(p_fail, not beyond(1 - 2 * rate, worst), rate),
        measured=value,
        interval=interval,
        p_fail=p_fail,
        how=_how_single(within, name, spread=limit.metric.ratio, known=known),
        rate=rate,
    )


def _how_single(within: OneRun, name: str, *, spread: bool, known: bool) -> str:
    """spread: whether what runs differ by is allowed for; known: whether what shows in the run itself is, too."""
    if within.seconds < FEWEST_SECONDS:
        return _too_short(within)
    if not spread:
        return "one run: no statement beyond this run"
    if name in EVENTS:
        return f"one run: assumes that such events differ by {EVENT_SPREAD:.0%}, more runs would show by how much"
    alone = "" if known else "its value, without an interval; "
    return f"one run: {alone}no statement beyond this run; assumes that runs differ by {BETWEEN_RUNS:.0%}, more runs would show by how much"


def _too_short(within: OneRun) -> str:
    return (
        f"one run with {counted(within.seconds, 'whole second')}: at least {FEWEST_SECONDS} are needed to see how much it "
        "varies; measure for longer"
    )


def _alone(limit: Limit, identity: Identity, value: float) -> Finding:
    """A value of one run without an interval: it alone decides."""
    outcome: Outcome = "pass" if _within(limit, value) else "FAIL"
    p_fail = 0.0 if outcome == "FAIL" else 1.0
    how = "one run: its value, without an interval; no statement beyond this run"
    return Finding(limit, identity, outcome, value, value, value, limit.bound, p_fail, how)


def widened(value: float, end: float, luck: float) -> float:
    """An end of an interval, further away from its value by an independent deviation of the logarithm."""
    if not math.isfinite(end) or end <= 0:
        return end
    return value * math.exp(math.copysign(math.hypot(math.log(end / value), luck), luck))


def _within(limit: Limit, value: float) -> bool:
    return value <= limit.bound if limit.metric.better == "lower" else value >= limit.bound
