"""Is one limit kept, broken, or can it not be told?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from bench import BenchError
from bench.analysis import intervals
from bench.analysis.change import change
from bench.analysis.compare import Match
from bench.analysis.intervals import ERROR_RATE, Estimate
from bench.analysis.metrics import METRICS, Metric
from bench.analysis.trials import Identity, Trial
from bench.config.limits import Bound, Where
from bench.config.reading import nearest

Outcome = Literal["kept", "BROKEN", "unknown"]

SUFFIXES: Final = {"_ms": 1e-3, "_us": 1e-6, "_s": 1.0}
PROPORTIONS: Final = ("error_share", "mismatch_share")
"""Shares of requests that are judged by their counts: even in a single run."""
BELOW_ZERO: Final = ("accuracy_gap",)
"""What is better the higher it is and can be below 0: of the others, a bound of 0 is no limit."""


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
    needed: int | None = None
    """Trials in all that would probably decide."""


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

    Several trials: by Student's t of their values (of durations and rates on logarithms). A single one: shares of
    requests by their counts, percentiles by the number of requests beyond the bound (see `sample_size`), both of
    which take requests for independent; anything else by its value alone.
    """
    metric = limit.metric
    if metric.name in PROPORTIONS:
        return _by_counts(limit, identity, trials, 1 - 2 * rate)
    values = [trial.values[metric.name] for trial in trials]
    missing = sum(not math.isfinite(value) for value in values)
    if missing:
        return _unknown(
            limit, identity, f"not measured in {missing} of {len(values)} trials, or too few answers for it"
        )
    if len(values) == 1:
        return _single(limit, identity, trials[0], values[0])
    scale = math.log if metric.ratio and min(values) > 0 and limit.bound > 0 else float
    back = math.exp if scale is math.log else float
    estimate = intervals.alone([scale(value) for value in values])
    bound = scale(limit.bound)
    above, below = estimate.p_above(bound), estimate.p_below(bound)
    p_broken, p_kept = (above, below) if metric.better == "lower" else (below, above)
    low, high = estimate.interval(1 - 2 * rate)
    return Finding(
        limit,
        identity,
        _outcome(p_broken, _kept(limit, estimate, bound, p_kept, rate), rate),
        back(estimate.mean),
        _safe(back, low),
        _safe(back, high),
        limit.bound,
        p_broken,
        estimate.method,
        intervals.trials_to_decide(estimate, [bound], 1 - 2 * rate),
    )


def judge_relative(limit: Limit, found: Match, rate: float = ERROR_RATE) -> Finding:
    """Judge how much worse than its baseline a cell is: not kept unless the whole interval is within the bound."""
    sides = [[trial.values[limit.metric.name] for trial in side] for side in (found.before, found.after)]
    seen = change(limit.metric, *sides, paired=found.paired, tolerance=limit.bound)
    estimate = seen.estimate
    if estimate is None or seen.reason:
        return _unknown(limit, found.identity, seen.reason)
    lower = limit.metric.better == "lower"
    margin = math.log1p(limit.bound) if limit.metric.ratio else limit.bound
    bound = margin if lower else -margin
    above, below = estimate.p_above(bound), estimate.p_below(bound)
    p_broken, p_kept = (above, below) if lower else (below, above)
    back = math.exp if limit.metric.ratio else float
    low, high = estimate.interval(1 - 2 * rate)
    return Finding(
        limit,
        found.identity,
        _outcome(p_broken, _kept(limit, estimate, bound, p_kept, rate), rate),
        seen.size,
        _safe(back, low),
        _safe(back, high),
        back(bound),
        p_broken,
        estimate.method,
        intervals.trials_to_decide(estimate, [bound], 1 - 2 * rate),
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


def _safe(back: object, value: float) -> float:
    return math.exp(value) if back is math.exp and value < 700 else value if back is float else math.inf


def _by_counts(limit: Limit, identity: Identity, trials: Sequence[Trial], confidence: float) -> Finding:
    """A share of requests: the interval of Clopper and Pearson over the requests of all trials."""
    whole = sum(_whole(trial, limit.metric.name) for trial in trials)
    if not whole:
        return _unknown(limit, identity, "no request was answered")
    part = round(sum(_counted(trial, limit.metric.name) for trial in trials))
    low, high = intervals.proportion(part, whole, confidence)
    outcome: Outcome = "BROKEN" if low > limit.bound else "kept" if high <= limit.bound else "unknown"
    if limit.bound == 0 and part == 0:
        outcome = "kept"  # no number of requests shows that there never is one; here there was none
    how = f"{part:,} of {whole:,} requests"
    p_broken = 0.0 if outcome == "BROKEN" else 1.0
    return Finding(limit, identity, outcome, part / whole, low, high, limit.bound, p_broken, how)


def _whole(trial: Trial, name: str) -> int:
    return trial.requests - trial.cancelled if name == "error_share" else trial.answered


def _counted(trial: Trial, name: str) -> float:
    share = trial.values[name]
    return share * _whole(trial, name) if math.isfinite(share) else 0.0


def _single(limit: Limit, identity: Identity, trial: Trial, value: float) -> Finding:
    """One run: by the interval that it allows by itself, where it does, else by its value."""
    lower = limit.metric.better == "lower"
    if limit.metric.name not in trial.ends:
        low, high, how = value, value, "one trial: its value, without an interval"
    else:
        low, high = trial.ends[limit.metric.name]
        how = f"one trial of {trial.answered:,} answers: what it shows by itself"
    best, worst = (low, high) if lower else (high, low)
    outcome: Outcome = (
        "BROKEN" if not _within(limit, best) else "kept" if _within(limit, worst) else "unknown"
    )
    p_broken = 0.0 if outcome == "BROKEN" else 1.0
    return Finding(limit, identity, outcome, value, low, high, limit.bound, p_broken, how)


def _within(limit: Limit, value: float) -> bool:
    return value <= limit.bound if limit.metric.better == "lower" else value >= limit.bound
