"""Is one limit kept, broken, or can it not be told?"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from bench import BenchError
from bench.analysis import intervals, within_run
from bench.analysis.change import change
from bench.analysis.compare import Match
from bench.analysis.intervals import ERROR_RATE, Estimate
from bench.analysis.metrics import METRICS, Metric
from bench.analysis.needed import Needed, trials_needed
from bench.analysis.trials import Identity, Trial
from bench.config.limits import Bound, Where
from bench.config.reading import nearest

Outcome = Literal["kept", "BROKEN", "unknown"]

SUFFIXES: Final = {"_ms": 1e-3, "_us": 1e-6, "_s": 1.0}
PROPORTIONS: Final = ("error_share", "mismatch_share")
"""Shares of requests that are judged by their counts: even in a single run."""
BELOW_ZERO: Final = ("accuracy_gap",)
"""What is better the higher it is and can be below 0: of the others, a bound of 0 is no limit."""
BETWEEN_RUNS: Final = 0.05
"""Standard deviation by which runs of one thing are taken to differ where there is one run: nothing in it shows that.

On an idle machine runs differed by 0.4 % in p50 and 1.3 % in p99, with busy neighbours by 20 % and more.
"""


@dataclass(frozen=True)
class Limit:
    """A bound of a metric, in seconds, 1/s or as a share; relative ones are shares of the baseline's."""

    metric: Metric
    bound: float
    relative: bool
    where: Where
    dotted: str

    @property
    def words(self) -> str:
        """Where it holds: `version 2, batch 32`; empty: everywhere."""
        said = {
            name: value for name in Where.model_fields if (value := getattr(self.where, name)) is not None
        }
        return ", ".join(f"{name} {value}" for name, value in said.items())

    def holds_for(self, identity: Identity) -> bool:
        """Whether a cell is one of those that the limit is for."""
        where = self.where
        return (
            (where.server is None or where.server in (identity.server, identity.build))
            and where.version in (None, identity.version)
            and where.batch in (None, identity.batch)
            and where.load in (None, identity.load)
            and where.request in (None, identity.request)
        )


@dataclass(frozen=True)
class Finding:
    """What became of a limit in one cell."""

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
    p_broken: float
    """Evidence that the limit is broken."""
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


def resolved(bound: Bound, path: Path) -> Limit:
    """A limit by its metric. Raises BenchError for a metric that there is none, or a bound that cannot be."""
    name, factor = bound.name, 1.0
    if name not in METRICS and not bound.relative:
        for suffix, seconds in SUFFIXES.items():
            metric = METRICS.get(name.removesuffix(suffix))
            if name.endswith(suffix) and metric is not None and metric.unit == "s":
                name, factor = metric.name, seconds
                break
    if name not in METRICS:
        known = [f"{m.name}_ms" if m.unit == "s" and not bound.relative else m.name for m in METRICS.values()]
        raise BenchError(
            f"{path}: {bound.dotted}: unknown metric{nearest(bound.name, known)}; known are {', '.join(known)}"
        )
    metric = METRICS[name]
    if metric.unit == "s" and not bound.relative and factor == 1.0 and not bound.name.endswith("_s"):
        raise BenchError(
            f"{path}: {bound.dotted} = {bound.value:g}: without a unit; write {name}_ms, {name}_us or {name}_s"
        )
    _check_share(bound, metric, path)
    if not bound.relative and metric.better == "higher" and bound.value == 0 and name not in BELOW_ZERO:
        raise BenchError(
            f"{path}: {bound.dotted} = 0: every run keeps that; leave it out, or write what is needed"
        )
    return Limit(metric, bound.value * factor, bound.relative, bound.where, bound.dotted)


def _check_share(bound: Bound, metric: Metric, path: Path) -> None:
    """Raises BenchError for a share that may be meant as another one, and a unit that the metric has not."""
    if bound.relative:
        return
    if metric.unit != "share":
        if bound.percent:
            raise BenchError(f'{path}: {bound.dotted} = "{100 * bound.value:g} %": {metric.name} is no share')
    elif bound.value > 1:
        raise BenchError(f"{path}: {bound.dotted} = {bound.value:g}: a share from 0 to 1 is expected")
    elif bound.value == 1 and not bound.percent:
        raise BenchError(f'{path}: {bound.dotted} = 1: write "1 %" or "100 %", as it is meant')


def judge_absolute(
    limit: Limit, identity: Identity, trials: Sequence[Trial], rate: float = ERROR_RATE
) -> Finding:
    """Judge the trials of a cell against a bound, "kept" and "broken" each false with probability `rate`.

    Several trials: by Student's t of their values (of durations and rates on logarithms). A single one: by what it
    shows of itself (see `within_run`) and the assumption that runs differ by BETWEEN_RUNS. Shares of requests and the
    accuracy: by counts, of requests as far as they are independent and of different examples.
    """
    metric = limit.metric
    if metric.name in PROPORTIONS:
        return _by_counts(limit, identity, trials, rate)
    if metric.name == "accuracy" and all(trial.examples for trial in trials):
        return _by_examples(limit, identity, trials, rate)
    values = [trial.values[metric.name] for trial in trials]
    missing = sum(not math.isfinite(value) for value in values)
    if missing:
        return _unknown(
            limit, identity, f"not measured in {missing} of {len(values)} trials, or too few answers for it"
        )
    if len(values) == 1:
        return _single(limit, identity, trials[0], rate)
    scale = math.log if metric.ratio and min(values) > 0 and limit.bound > 0 else float
    back = math.exp if scale is math.log else float
    estimate = intervals.alone([scale(value) for value in values])
    bound = scale(limit.bound)
    above, below = estimate.p_above(bound), estimate.p_below(bound)
    p_broken, p_kept = (above, below) if metric.better == "lower" else (below, above)
    return _found(
        limit,
        identity,
        outcome=_outcome(p_broken, _kept(limit, estimate, bound, p_kept, rate), rate),
        measured=back(estimate.mean),
        interval=lambda confidence: _ends(back, estimate.interval(confidence)),
        p_broken=p_broken,
        how=estimate.method,
        rate=rate,
        needed=trials_needed(estimate, [bound], 1 - 2 * rate),
    )


def judge_relative(limit: Limit, found: Match, rate: float = ERROR_RATE) -> Finding:
    """Judge how much worse than its baseline a cell is: not kept unless the whole interval is within the bound."""
    sides = [[trial.values[limit.metric.name] for trial in side] for side in (found.before, found.after)]
    seen = change(
        limit.metric,
        *sides,
        paired=found.paired,
        later=found.later,
        sessions=found.sessions,
        tolerance=limit.bound,
    )
    estimate = seen.estimate
    if estimate is None or seen.reason:
        return _unknown(limit, found.identity, seen.reason)
    lower = limit.metric.better == "lower"
    margin = math.log1p(limit.bound) if limit.metric.ratio else limit.bound
    bound = margin if lower else -margin
    above, below = estimate.p_above(bound), estimate.p_below(bound)
    p_broken, p_kept = (above, below) if lower else (below, above)
    back = math.exp if limit.metric.ratio else float
    return _found(
        limit,
        found.identity,
        outcome=_outcome(p_broken, _kept(limit, estimate, bound, p_kept, rate), rate),
        measured=seen.size,
        interval=lambda confidence: _ends(back, estimate.interval(confidence)),
        p_broken=p_broken,
        how=estimate.method,
        rate=rate,
        allowed=back(bound),
        needed=trials_needed(estimate, [bound], 1 - 2 * rate),
    )


def not_measured(limit: Limit, reason: str) -> Finding:
    """A limit without a cell."""
    return Finding(limit, None, "unknown", math.nan, -math.inf, math.inf, limit.bound, 1.0, reason)


def _unknown(limit: Limit, identity: Identity, reason: str) -> Finding:
    return Finding(limit, identity, "unknown", math.nan, -math.inf, math.inf, limit.bound, 1.0, reason)


def _outcome(p_broken: float, kept: bool, rate: float) -> Outcome:
    return "BROKEN" if p_broken <= rate else "kept" if kept else "unknown"


def _kept(limit: Limit, estimate: Estimate, bound: float, p_kept: float, rate: float) -> bool:
    """Whether the bound is kept: what is equal to it in all trials keeps it too."""
    if estimate.freedom > 0 and estimate.error == 0:
        return estimate.mean <= bound if limit.metric.better == "lower" else estimate.mean >= bound
    return p_kept <= rate


def _found(
    limit: Limit,
    identity: Identity,
    *,
    outcome: Outcome,
    measured: float,
    interval: Callable[[float], tuple[float, float]],
    p_broken: float,
    how: str,
    rate: float,
    allowed: float | None = None,
    needed: Needed | None = None,
) -> Finding:
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
        p_broken,
        how,
        needed,
        interval,
        confidence,
    )


def _ends(back: object, interval: tuple[float, float]) -> tuple[float, float]:
    low, high = (
        math.exp(end) if back is math.exp and end < 700 else end if back is float else math.inf
        for end in interval
    )
    return low, high


def _by_counts(limit: Limit, identity: Identity, trials: Sequence[Trial], rate: float) -> Finding:
    """A share of requests, of as many as are independent (see `within_run`)."""
    name = limit.metric.name
    counts = [(_counted(trial, name), _whole(trial, name)) for trial in trials]
    part, whole = round(sum(part for part, _ in counts)), sum(whole for _, whole in counts)
    if not whole:
        return _unknown(limit, identity, "no request was answered")
    independent = within_run.independent_of(
        counts, [whole if t.within is None else t.within.independent(name, 1 - 2 * rate) for t, (_, whole) in
                 zip(trials, counts, strict=True)]
    )  # fmt: skip
    how = f"{part:,} of {whole:,} requests"
    if independent < 0.9 * whole:
        how += f", which tell as much as {independent:,.0f} independent ones would"
    return _by_share(limit, identity, part / whole, independent, how=how, rate=rate)


def _by_examples(limit: Limit, identity: Identity, trials: Sequence[Trial], rate: float) -> Finding:
    """The accuracy, of as many different examples as were sent: the same one again tells nothing new."""
    weights = [trial.answered for trial in trials]
    share = sum(w * trial.values["accuracy"] for w, trial in zip(weights, trials, strict=True)) / max(
        1, sum(weights)
    )
    examples = max(trial.examples for trial in trials)
    if not math.isfinite(share):
        return _unknown(limit, identity, "not measured in every trial")
    return _by_share(limit, identity, share, examples, how=f"on {examples:,} different examples", rate=rate)


def _by_share(
    limit: Limit, identity: Identity, share: float, independent: float, *, how: str, rate: float
) -> Finding:
    above, below = within_run.evidence(share, independent, limit.bound)
    lower = limit.metric.better == "lower"
    p_broken, p_kept = (above, below) if lower else (below, above)
    # no number of requests shows that there never is one; here there was none
    kept = p_kept <= rate or (share == limit.bound and limit.bound == (0.0 if lower else 1.0))
    return _found(
        limit,
        identity,
        outcome=_outcome(p_broken, kept, rate),
        measured=share,
        interval=lambda confidence: within_run.shares(share, independent, confidence),
        p_broken=p_broken,
        how=how,
        rate=rate,
    )


def _whole(trial: Trial, name: str) -> int:
    return trial.requests - trial.cancelled if name == "error_share" else trial.answered


def _counted(trial: Trial, name: str) -> float:
    share = trial.values[name]
    return share * _whole(trial, name) if math.isfinite(share) else 0.0


def _single(limit: Limit, identity: Identity, trial: Trial, rate: float) -> Finding:
    """One run: by the interval that it allows by itself, widened by what runs are assumed to differ; else unknown."""
    name, value = limit.metric.name, trial.values[limit.metric.name]
    within = trial.within
    if within is None or within.interval(name, 0.5) is None:
        return _alone(limit, identity, value)

    def interval(confidence: float) -> tuple[float, float]:
        low, high = within.interval(name, confidence) or (-math.inf, math.inf)
        if not limit.metric.ratio or value <= 0:
            return low, high
        luck = BETWEEN_RUNS * within_run.normal(confidence)
        return _widened(value, low, -luck), _widened(value, high, luck)

    def beyond(confidence: float, end: int) -> bool:
        return not _within(limit, interval(confidence)[end])

    lower = limit.metric.better == "lower"
    best, worst = (0, 1) if lower else (1, 0)
    p_broken = within_run.least_rate(lambda confidence: beyond(confidence, best))
    return _found(
        limit,
        identity,
        outcome=_outcome(p_broken, not beyond(1 - 2 * rate, worst), rate),
        measured=value,
        interval=interval,
        p_broken=p_broken,
        how=f"one run: no statement beyond this run; that runs differ by {BETWEEN_RUNS:.0%} is assumed, more runs show it",
        rate=rate,
    )


def _alone(limit: Limit, identity: Identity, value: float) -> Finding:
    """A value of one run without an interval: a bound counts as broken or kept by it alone."""
    outcome: Outcome = "kept" if _within(limit, value) else "BROKEN"
    p_broken = 0.0 if outcome == "BROKEN" else 1.0
    how = "one run: its value, without an interval; no statement beyond this run"
    return Finding(limit, identity, outcome, value, value, value, limit.bound, p_broken, how)


def _widened(value: float, end: float, luck: float) -> float:
    """An end of an interval, further away from its value by an independent deviation of the logarithm."""
    if not math.isfinite(end) or end <= 0:
        return end
    return value * math.exp(math.copysign(math.hypot(math.log(end / value), luck), luck))


def _within(limit: Limit, value: float) -> bool:
    return value <= limit.bound if limit.metric.better == "lower" else value >= limit.bound
