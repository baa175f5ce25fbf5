"""Comparison of searched capacities: their levels have rates of their own, so that no two are of one cell."""

import math
from collections.abc import Mapping, Sequence

from bench.analysis.capacity.recorded import CAPACITY, condition_of, ratio_of
from bench.analysis.grouping import conditions
from bench.analysis.grouping.identity import PARTS, Identity
from bench.analysis.grouping.metrics import METRICS
from bench.analysis.grouping.trials import Trial
from bench.analysis.judging.change import Change, of_estimate
from bench.analysis.judging.searched import Found, change_of, searched
from bench.analysis.reading.run_warning import RunWarning
from bench.analysis.statistics.intervals import Estimate
from bench.runs.journal import experiment_of

Sides = tuple[Identity, Identity]


def of_searches(*sides: Sequence[Trial]) -> bool:
    """Whether all trials are levels of searches."""
    trials = [trial for side in sides for trial in side]
    return bool(trials) and all(condition_of(trial.path, trial.manifest) is not None for trial in trials)


def changes_of(
    before: Sequence[Trial],
    after: Sequence[Trial],
    by: Sequence[str],
    tolerances: Mapping[str, float],
    rate: float,
) -> tuple[list[tuple[Sides, Change]], list[tuple[str, Identity]]]:
    """The change of each condition's capacity, and the conditions that one side searched alone.

    by: what may differ between the sides. Of several searches of a condition the last one counts.
    """
    old, new = _latest(before), _latest(after)
    bases = {conditions.stripped(identity, by): identity for identity in old}
    changes, alone = [], []
    for identity, (trial, estimate) in new.items():
        base = bases.get(conditions.stripped(identity, by))
        if base is None:
            alone.append(("candidate", identity))
            continue
        changes.append(((base, identity), _change(old[base], (trial, estimate), tolerances, rate)))
    used = {base for (base, _), _ in changes}
    return changes, alone + [("baseline", identity) for identity in old if identity not in used]


def varied(sides: Sides) -> tuple[str, ...]:
    """The parts in which two conditions differ."""
    return tuple(part for part in PARTS if getattr(sides[0], part) != getattr(sides[1], part))


def _latest(trials: Sequence[Trial]) -> dict[Identity, tuple[Trial, Found]]:
    """By the condition: a level of its last search, and what that found."""
    latest: dict[Identity, tuple[Trial, Found]] = {}
    for trial in sorted(trials, key=lambda trial: trial.started):
        (each,) = searched([trial]).values()
        if each is not None:
            latest[trial.identity.without("load")] = (trial, each)
    return latest


def _change(
    baseline: tuple[Trial, Found],
    candidate: tuple[Trial, Found],
    tolerances: Mapping[str, float],
    rate: float,
) -> Change:
    (first, before), (second, after) = baseline, candidate
    metric = METRICS[CAPACITY]
    tolerance = tolerances.get(CAPACITY, metric.tolerance)
    values = (_number(before), _number(after))
    together = _together(first, second)
    estimate = together or change_of(before, after)
    if estimate is None:
        why = f"baseline: {before.why_not}" if before.estimate is None else f"candidate: {after.why_not}"
        return Change(
            metric, *values, math.nan, -math.inf, math.inf, "unknown", tolerance, 1.0, False, None, why
        )
    return of_estimate(metric, values, estimate, tolerance=tolerance, rate=rate, paired=together is not None)


def _together(first: Trial, second: Trial) -> Estimate | None:
    """The ratio of two conditions of one search, whose levels were compared one by one; None: they were not."""
    ratio, base = ratio_of(second.path, second.manifest), condition_of(first.path, first.manifest)
    if ratio is None or not ratio.known or base is None or ratio.before != base.title:
        return None
    if experiment_of(first.path) != experiment_of(second.path):
        return None
    method = "levels with the same arrivals"
    return Estimate(math.log(ratio.value), ratio.error, ratio.freedom, math.nan, 1, method)


def _number(estimate: Found) -> float:
    return math.nan if estimate.estimate is None else estimate.value


def warnings_of(integrity: Sequence[str], *sides: Sequence[Trial]) -> list[RunWarning]:
    """Warnings about levels for which no capacity counts."""
    listed = [each for side in sides for trial in side for each in trial.warnings if each.check in integrity]
    return list({each.check: each for each in listed}.values())
