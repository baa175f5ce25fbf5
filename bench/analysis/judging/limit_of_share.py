"""Limits of shares of requests and of the accuracy: judged by counts, which even a single run has."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from bench.analysis.agreement.recorded import answers_of
from bench.analysis.grouping.identity import Identity
from bench.analysis.grouping.trials import Trial
from bench.analysis.judging.finding import Finding, Limit, Outcome, inconclusive, judged, outcome_of
from bench.analysis.reading.metric import GOODPUT
from bench.analysis.statistics import clustered
from bench.runs.answers import Answers
from bench.runs.journal import experiment_of
from bench.wording import counted

UNATTRIBUTED: Final = "unattributed_share"
PROPORTIONS: Final = ("error_share", "mismatch_share", UNATTRIBUTED, GOODPUT)
"""Shares of requests that are judged by their counts: even in a single run."""


def by_counts(limit: Limit, identity: Identity, trials: Sequence[Trial], rate: float) -> Finding:
    """A share of requests, of as many as are independent (see `statistics.clustered`)."""
    name = limit.metric.name
    if name == UNATTRIBUTED and not all(math.isfinite(trial.values[name]) for trial in trials):
        return inconclusive(limit, identity, "not measured: no change of version was looked for")
    whole = [_whole(limit, trial) for trial in trials]
    total = sum(whole)
    if not total:
        return inconclusive(limit, identity, "no request was answered")
    parts = [part for part in (_counted(limit, trial) for trial in trials) if part is not None]
    if len(parts) < len(trials):
        return inconclusive(limit, identity, "a run folder from before wrong answers were counted by cause")
    least, most = (
        _by_part(limit, identity, trials, [part[end] for part in parts], whole, rate=rate) for end in (0, 1)
    )
    if least.measured == most.measured:
        return least
    cancelled = sum(part[1] - part[0] for part in parts)
    how = f"{least.how}; {cancelled:,.0f} more were cancelled by the load generator before they were answered"
    same = least.outcome == most.outcome
    both = replace(
        least,
        outcome=least.outcome if same else "inconclusive",
        measured=math.nan,
        p_fail=max(least.p_fail, most.p_fail),
        how=how if same else f"not determined: {how}",
        interval=lambda confidence: _outer(least, most, confidence),
    )
    return both.at(both.confidence)


def _outer(least: Finding, most: Finding, confidence: float) -> tuple[float, float]:
    """The interval that holds the share whatever would have become of the cancelled requests."""
    return least.at(confidence).low, most.at(confidence).high


def _by_part(
    limit: Limit,
    identity: Identity,
    trials: Sequence[Trial],
    parts: Sequence[float],
    whole: Sequence[int],
    *,
    rate: float,
) -> Finding:
    counts = list(zip(parts, whole, strict=True))
    part, total = sum(parts), sum(whole)
    independent = clustered.independent_of(counts, _independent(limit, trials, whole, 1 - 2 * rate))
    how = f"{round(part):,} of {counted(total, 'request')}"
    if independent < 0.9 * total:
        how += f", which carry as much information as {independent:,.0f} independent ones would"
    return _by_share(limit, identity, part / total, independent, how=how, rate=rate)


def _independent(
    limit: Limit, trials: Sequence[Trial], whole: Sequence[int], confidence: float
) -> list[float]:
    """As how many independent requests those of each trial count; trials too short to tell alone tell it together."""
    each: list[float] = []
    short: list[clustered.Seconds] = []
    for trial, total in zip(trials, whole, strict=True):
        if trial.within is None:
            each.append(total)
            continue
        by_second = trial.within.requests_of(limit.metric.name, limit.answered_within)
        if np.count_nonzero(by_second.whole) < clustered.FEWEST_SECONDS:
            short.append(by_second)
        else:
            each.append(clustered.effective(*by_second, confidence))
    if short:
        part, of = (np.concatenate(series) for series in zip(*short, strict=True))
        each.append(clustered.effective(part, of, confidence))
    return each


def by_examples(limit: Limit, identity: Identity, trials: Sequence[Trial], rate: float) -> Finding:
    """The accuracy, of as many different examples as were sent: the same one again tells nothing new."""
    weights = [trial.answered for trial in trials]
    share = sum(w * trial.values["accuracy"] for w, trial in zip(weights, trials, strict=True)) / max(
        1, sum(weights)
    )
    examples = max(trial.examples for trial in trials)
    if not math.isfinite(share):
        return inconclusive(limit, identity, "not measured in every trial")
    return _by_share(limit, identity, share, examples, how=f"on {examples:,} different examples", rate=rate)


def by_agreement(limit: Limit, identity: Identity, trials: Sequence[Trial], rate: float) -> Finding:
    """The share of examples that two conditions answer alike, of those that were compared: the least of all experiments."""
    homes = {experiment_of(trial.path) or trial.path: trial.path for trial in trials}  # one comparison each
    findings: dict[Path, Finding] = {}
    for home, run in homes.items():
        answers = answers_of(run)
        if answers is None or not answers.compared:
            text = f"no answers were compared in {home.name}; run bench ab"
            findings[home] = inconclusive(limit, identity, text)
        else:
            findings[home] = of_answers(limit, identity, answers, rate)
    worst = min(
        findings, key=lambda home: (_WORST_FIRST.index(findings[home].outcome), findings[home].measured)
    )
    return findings[worst] if len(findings) == 1 else _least_of(findings[worst], worst, len(findings), rate)


_WORST_FIRST: Final[tuple[Outcome, ...]] = ("FAIL", "inconclusive", "pass")


def _least_of(finding: Finding, home: Path, number: int, rate: float) -> Finding:
    """The worst of several findings; chance fails one of many more often than one alone (Bonferroni)."""
    p_fail = min(1.0, number * finding.p_fail)
    unsure = finding.outcome == "FAIL" and p_fail > rate
    how = f"{finding.how}; the lowest of {counted(number, 'experiment')}: {home.name}"
    return replace(finding, p_fail=p_fail, outcome="inconclusive" if unsure else finding.outcome, how=how).at(
        1 - 2 * rate / (number if unsure else 1)
    )


def of_answers(limit: Limit, identity: Identity | None, answers: Answers, rate: float) -> Finding:
    """The same, of one comparison. A bound of 1 is of the examples that were sent: no sample shows that all others agree."""
    how = f"on {counted(answers.compared, 'different example')}"
    return _by_share(limit, identity, answers.agreement, answers.compared, how=how, rate=rate)


def _by_share(
    limit: Limit, identity: Identity | None, share: float, independent: float, *, how: str, rate: float
) -> Finding:
    above, below = clustered.evidence(share, independent, limit.bound)
    lower = limit.metric.better == "lower"
    p_fail, p_pass = (above, below) if lower else (below, above)
    # no number of requests shows that there never is one; here there was none
    passes = p_pass <= rate or (share == limit.bound and limit.bound == (0.0 if lower else 1.0))
    return judged(
        limit,
        identity,
        outcome=outcome_of(p_fail, passes, rate),
        measured=share,
        interval=lambda confidence: clustered.shares(share, independent, confidence),
        p_fail=p_fail,
        how=how,
        rate=rate,
    )


def _whole(limit: Limit, trial: Trial) -> int:
    if limit.answered_within is not None:
        return trial.due.count
    return trial.requests if limit.metric.name in ("error_share", UNATTRIBUTED) else trial.answered


def _counted(limit: Limit, trial: Trial) -> tuple[float, float] | None:
    """The least and the most requests that the share counts; None: not known."""
    if limit.answered_within is not None:
        return trial.due.right_within(limit.answered_within)
    share = trial.values[limit.metric.name]
    if limit.metric.name == "error_share":  # what was cancelled would have been answered, or have failed
        failed = share * (trial.requests - trial.cancelled) if math.isfinite(share) else 0.0
        return failed, failed + trial.cancelled
    part = share * _whole(limit, trial) if math.isfinite(share) else 0.0
    return part, part
