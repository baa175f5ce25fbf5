"""Comparison of a baseline with a candidate, cell by cell."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from bench import BenchError
from bench.analysis.grouping import conditions
from bench.analysis.grouping.identity import PARTS, Identity
from bench.analysis.grouping.in_time import Values, equal_by_design, of_only_pair, together
from bench.analysis.grouping.metrics import JUDGED, METRICS
from bench.analysis.grouping.trials import Trial
from bench.analysis.judging import interference, sides
from bench.analysis.judging.change import Change, change, judged_together
from bench.analysis.judging.compare_capacities import changes_of, of_searches, varied, warnings_of
from bench.analysis.judging.limit_of_capacity import INTEGRITY
from bench.analysis.reading.metric import COST
from bench.analysis.reading.run_warning import RunWarning
from bench.analysis.statistics.intervals import ERROR_RATE, LENDERS

COMPARABLE: Final = ("version", "batch", "build", "server", "model", "load", "commit")
"""What one set of trials can be compared by."""


@dataclass(frozen=True)
class Comparison:
    """A candidate beside its baseline: equal but for what is compared."""

    before: Identity
    after: Identity
    varied: tuple[str, ...]
    """Parts of the identity in which they differ; none: two measurements of the same."""
    changes: list[Change]
    trials: tuple[int, int]
    paired: bool
    warnings: list[RunWarning]
    """Of the trials, and of differences between their environments."""
    match: "Match | None" = field(default=None, repr=False, compare=False)
    """The trials themselves."""
    among: tuple[str, ...] = ()
    """Further parts of the identity in which comparisons that stand beside this one differ."""

    @property
    def title(self) -> str:
        """Such as `version 1 -> version 2 (batch 8, 16 users)`."""
        same = self.after.words(
            part for part in (*self.among, "version", "batch", "server", "load") if part not in self.varied
        )
        if not self.varied:
            return same
        return f"{self.before.words(self.varied)} → {self.after.words(self.varied)} ({same})"


@dataclass(frozen=True)
class Comparisons:
    """Everything that two sets of trials allow to compare."""

    found: list[Comparison]
    unmatched: list[tuple[str, Identity]]
    """What only one side measured, and which: `baseline` or `candidate`."""

    @property
    def changes(self) -> list[Change]:
        """All changes of all comparisons."""
        return [each for comparison in self.found for each in comparison.changes]


def compare(
    before: Sequence[Trial],
    after: Sequence[Trial],
    *,
    metrics: Iterable[str] = JUDGED,
    tolerances: Mapping[str, float] | None = None,
    by: Iterable[str] = (),
) -> Comparisons:
    """Match what both sides measured and judge the changes together.

    by: what may differ between the sides; see `match`, which raises BenchError.
    """
    if of_searches(before, after):
        return _capacities(
            before, after, conditions.declared(before, after, by), tolerances or {}, ERROR_RATE
        )
    matches, unmatched = match(before, after, by)
    comparisons = [_comparison(each, tuple(metrics), tolerances or {}, ERROR_RATE) for each in matches]
    return Comparisons(_together(comparisons, ERROR_RATE), unmatched)


@dataclass(frozen=True)
class Match:
    """Trials of a baseline and of a candidate that measured the same, but for what is compared."""

    base: Identity
    identity: Identity
    varied: tuple[str, ...]
    before: list[Trial]
    after: list[Trial]
    paired: bool
    """Whether before[i] and after[i] are of one block."""
    by: tuple[str, ...] = ()
    """What may differ."""
    unpaired: list[Trial] = field(default_factory=list)
    """Trials without a partner in their block, where others have one: they are in neither side."""

    def equal_by_design(self, name: str) -> bool:
        """Whether a metric says nothing about the two, since the same users sent to both in turn."""
        one_of_each = len(self.before) == len(self.after) == 1
        return (self.paired or one_of_each) and equal_by_design(self.before, self.after, name)

    def sides(self, name: str) -> tuple[Values, bool]:
        """A metric of baseline and candidate, and whether the values are pairs: trials, or stretches of one duet."""
        stretches = of_only_pair(self.before, self.after, name)
        trials = [t.values[name] for t in self.before], [t.values[name] for t in self.after]
        return (stretches, True) if stretches else (trials, self.paired)

    @property
    def surroundings(self) -> list[RunWarning]:
        """Warnings about what differs between the trials beside what is compared, and about what they rest on."""
        warnings = sides.between(self.before, self.after, self.by, paired=self.paired)
        return warnings if self.paired else warnings + sides.one_session(self.before, self.after)

    @property
    def left_alone(self) -> list[RunWarning]:
        """A warning about trials that are in no pair."""
        return sides.unpaired(len(self.unpaired), len(self.before))

    @property
    def later(self) -> list[bool] | None:
        """Of pairs, whether the candidate's trial ran behind the baseline's."""
        if not self.paired:
            return None
        return [b.started > a.started for a, b in zip(self.before, self.after, strict=True)]

    @property
    def sessions(self) -> tuple[list[str], list[str]] | None:
        """Of trials that were not interleaved, the session of each; None where they are the unit themselves."""
        sides = [[trial.session or str(trial.path) for trial in side] for side in (self.before, self.after)]
        fewer, more = sorted(sides, key=lambda side: len(set(side)))
        lent = len(set(more)) >= LENDERS and len(fewer) > 1
        if self.paired or (len(set(fewer)) == 1 and not lent):
            return None
        return sides[0], sides[1]


def match(
    before: Sequence[Trial], after: Sequence[Trial], by: Iterable[str] = ()
) -> tuple[list[Match], list[tuple[str, Identity]]]:
    """The cells that both sides measured, and those that one measured alone.

    by: what may differ between the sides; without it the one of version, build, server and commit that does. Raises
    BenchError where anything else differs, within a side too, and where a run is there twice.
    """
    conditions.check_distinct({"baseline": before, "candidate": after})
    for side, trials in (("baseline", before), ("candidate", after)):
        conditions.check_homogeneous(trials, side, one_commit=False)
    may_differ = conditions.declared(before, after, by)
    old, new = _grouped(before), _grouped(after)
    bases: dict[Identity, Identity] = {}
    for identity in old:
        if bases.setdefault(conditions.stripped(identity, may_differ), identity) != identity:
            parts = ", ".join(may_differ)
            raise BenchError(
                f"the baseline differs in {parts} itself: give one of them, or compare with --by"
            )
    matches, unmatched = [], []
    for identity, trials in sorted(new.items(), key=lambda item: (item[0].model, item[0].batch)):
        base = bases.get(conditions.stripped(identity, may_differ))
        if base is None:
            unmatched.append(("candidate", identity))
        else:
            matches.append(_match(base, identity, old[base], trials, may_differ))
    if not matches and old and new:
        raise conditions.refused(_different_cells(old, new, may_differ), may_differ)
    for each in matches:
        conditions.check_alike(each.before, each.after, may_differ, paired=each.paired)
    used = {each.base for each in matches}
    return matches, unmatched + [("baseline", identity) for identity in old if identity not in used]


def _match(
    base: Identity, identity: Identity, before: list[Trial], after: list[Trial], by: tuple[str, ...]
) -> Match:
    varied = tuple(part for part in PARTS if getattr(base, part) != getattr(identity, part))
    pairs = _pairs(before, after)
    if not pairs:
        return Match(base, identity, varied, before, after, False, by)
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    used = {id(trial) for trial in (*first, *second)}
    left = [trial for trial in (*before, *after) if id(trial) not in used]
    return Match(base, identity, varied, first, second, True, by, left)


def _different_cells(old: Iterable[Identity], new: Iterable[Identity], by: tuple[str, ...]) -> dict[str, str]:
    """In which parts no cell of one side is like one of the other, beside what may differ; in words."""
    sides = [[conditions.stripped(identity, by) for identity in side] for side in (old, new)]
    values = {part: [{str(getattr(i, part) or "unknown") for i in side} for side in sides] for part in PARTS}
    disjoint = {part: both for part, both in values.items() if not both[0] & both[1]}
    return {
        part: f"{part}: {', '.join(sorted(first)[:3])} and {', '.join(sorted(second)[:3])}"
        for part, (first, second) in (disjoint or values).items()
        if first != second
    } or {"cells": "the two sides have no cell in common"}


def compare_by(
    trials: Sequence[Trial],
    part: str,
    *,
    baseline: str | None = None,
    metrics: Iterable[str] = JUDGED,
    tolerances: Mapping[str, float] | None = None,
    rate: float = ERROR_RATE,
    also: Iterable[str] = (),
) -> Comparisons:
    """Compare what one set of trials holds by one part of its identity: each value with the baseline, or the least.

    rate: of false verdicts, of all comparisons together; also: what else may differ. Raises BenchError where all trials
    have the same value, or none the baseline's; see also `match`.
    """
    values = sorted(
        {compared_value(trial, part) for trial in trials}, key=lambda value: (value is None, value)
    )
    named = {str(value): value for value in values}
    if baseline is not None and baseline not in named:
        raise BenchError(f"--baseline {baseline}: {part} is one of {', '.join(named)}")
    if len(values) < 2:
        raise BenchError(
            f"--by {part}: all trials have the same ({', '.join(named) or 'none'}); nothing to compare"
        )
    chosen = named[baseline] if baseline is not None else values[0]
    base = [trial for trial in trials if compared_value(trial, part) == chosen]
    comparisons: list[Comparison] = []
    unmatched: list[tuple[str, Identity]] = []
    for value in values:
        if value == chosen:
            continue
        others = [trial for trial in trials if compared_value(trial, part) == value]
        if of_searches(base, others):
            step = _capacities(base, others, (part, *also), tolerances or {}, rate)
            comparisons, unmatched = comparisons + step.found, unmatched + step.unmatched
            continue
        matches, alone = match(base, others, (part, *also))
        # judged once, with all others: to correct each step and then all of them would be to correct twice
        comparisons += [_comparison(each, tuple(metrics), tolerances or {}, rate) for each in matches]
        unmatched += alone
    return Comparisons(_together(comparisons, rate), unmatched)


def _capacities(
    before: Sequence[Trial],
    after: Sequence[Trial],
    by: Sequence[str],
    tolerances: Mapping[str, float],
    rate: float,
) -> Comparisons:
    """Searched capacities, instead of what their levels measured."""
    changes, alone = changes_of(before, after, by, tolerances, rate)
    warnings = warnings_of(INTEGRITY, before, after)
    compared = [
        Comparison(*sides, varied(sides), [each], (len(before), len(after)), each.paired, warnings)
        for sides, each in changes
    ]
    return Comparisons(_together(compared, rate), alone)


def compared_value(trial: Trial, part: str) -> Any:
    """What a trial is compared by."""
    return conditions.commit(trial) if part == "commit" else getattr(trial.identity, part)


def _grouped(trials: Sequence[Trial]) -> dict[Identity, list[Trial]]:
    groups: dict[Identity, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.identity, []).append(trial)
    return groups


def _comparison(
    pair: Match, metrics: tuple[str, ...], tolerances: Mapping[str, float], rate: float
) -> Comparison:
    first, second = pair.before, pair.after
    changes = [
        change(
            METRICS[name],
            *sides,
            paired=paired,
            later=pair.later,
            sessions=pair.sessions,
            tolerance=tolerances.get(name),
            rate=rate,
        )
        for name in metrics
        if not _tells_nothing_new(name, metrics, [*first, *second], batch_varied="batch" in pair.varied)
        and not pair.equal_by_design(name)
        for sides, paired in [pair.sides(name)]
    ]
    return Comparison(
        before=pair.base,
        after=pair.identity,
        varied=pair.varied,
        changes=changes,
        trials=(len(first), len(second)),
        paired=pair.paired,
        warnings=sides.of_sides({"baseline": first, "candidate": second})
        + pair.surroundings
        + pair.left_alone
        + (interference.of_ratio(first, second) if _timed(metrics) else []),
        match=pair,
    )


def _timed(metrics: Iterable[str]) -> bool:
    return any(METRICS[name].unit == "s" for name in metrics)


def _pairs(before: list[Trial], after: list[Trial]) -> list[tuple[Trial, Trial]]:
    """Trials of the same run, or block of the same experiment; nothing unless there are two pairs at least."""
    known = {together(trial): trial for trial in before}
    pairs = [(known[together(trial)], trial) for trial in after if together(trial) in known]
    return pairs if len(pairs) > 1 else []


def _tells_nothing_new(
    name: str, metrics: tuple[str, ...], trials: list[Trial], *, batch_varied: bool
) -> bool:
    """Whether a metric was measured nowhere, or is another one's in other words.

    In a closed loop service time is latency unless requests wait in the client, at one batch size examples are
    requests, and at one price costs are throughputs: judging the same twice would only cost certainty.
    """
    values = [trial.values[name] for trial in trials]
    if not any(math.isfinite(value) for value in values):
        return True
    if name.startswith("service_"):
        return values == [trial.values[name.removeprefix("service_")] for trial in trials]
    if name == COST and "requests_per_second" in metrics:
        prices = {each.server.price_per_hour for t in trials if (each := t.manifest.experiment) is not None}
        return len(prices) == 1 or None in prices
    return name == "inferences_per_second" and not batch_varied


def _together(comparisons: list[Comparison], rate: float) -> list[Comparison]:
    """All changes of all comparisons, judged as one family."""
    changes = judged_together([each for comparison in comparisons for each in comparison.changes], rate)
    among = tuple(
        part for part in ("request", "model") if len({getattr(each.after, part) for each in comparisons}) > 1
    )
    judged, start = [], 0
    for comparison in comparisons:
        end = start + len(comparison.changes)
        judged.append(replace(comparison, changes=changes[start:end], among=among))
        start = end
    return judged
