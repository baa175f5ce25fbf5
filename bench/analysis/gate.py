"""May this be released: are all limits kept, and can what was measured be believed?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import BenchError
from bench.analysis.compare import doubts_of, match
from bench.analysis.doubt import Doubt, check_accepted
from bench.analysis.finding import Finding, Limit
from bench.analysis.intervals import ERROR_RATE, deciding_rates, holm
from bench.analysis.limit import judge_absolute, judge_relative, not_measured, resolved
from bench.analysis.trials import Identity, Trial, Trials
from bench.config.limits import read_limits

KEPT, BROKEN, UNDECIDED = 0, 1, 3


@dataclass(frozen=True)
class LimitsFile:
    """A limits file with its metrics found."""

    path: Path
    limits: list[Limit]
    accept: frozenset[str]
    failed_share: float = 0.0
    """Share of a cell's trials that may have failed."""

    @classmethod
    def read(cls, path: Path) -> "LimitsFile":
        """Raises BenchError for a file without a limit, or with one that is wrong."""
        said, bounds = read_limits(path)
        if not bounds:
            raise BenchError(f"{path}: no limit in it; such as: [limits] p99_ms = 25")
        check_accepted(said.accept, f"{path}: accept")
        return cls(
            path, [resolved(bound, path) for bound in bounds], frozenset(said.accept), said.failed_share
        )

    @property
    def relative(self) -> bool:
        """Whether a baseline is needed."""
        return any(limit.relative for limit in self.limits)


@dataclass(frozen=True)
class Judgement:
    """What became of all limits."""

    findings: list[Finding]
    doubts: list[Doubt]
    """For which no verdict counts."""
    accepted: list[Doubt]
    """In spite of which verdicts are given, as the limits file says."""
    trials: int
    rate: float = ERROR_RATE
    """How often a limit is falsely called broken, or kept."""

    @property
    def code(self) -> int:
        """0 kept, 1 broken, 3 not believable or not decidable."""
        outcomes = {finding.outcome for finding in self.findings}
        if self.doubts or not outcomes:
            return UNDECIDED
        return BROKEN if "BROKEN" in outcomes else UNDECIDED if "unknown" in outcomes else KEPT

    @property
    def verdict(self) -> str:
        """The answer in a few words."""
        count = {
            outcome: sum(f.outcome == outcome for f in self.findings)
            for outcome in ("kept", "BROKEN", "unknown")
        }
        told = ", ".join(f"{number} {outcome}" for outcome, number in count.items() if number)
        if self.doubts:
            return f"not believable: {len(self.doubts)} doubt{'s' if len(self.doubts) > 1 else ''} ({told or 'nothing judged'})"
        names = {KEPT: "kept", BROKEN: "BROKEN", UNDECIDED: "not decidable"}
        return f"{names[self.code]}: {told or 'no limit was judged'}"


def gate(
    limits: LimitsFile, candidate: Trials, baseline: Trials | None = None, rate: float = ERROR_RATE
) -> Judgement:
    """Judge every limit in every cell that it is for; `rate`: how often a limit is falsely called broken, or kept.

    Raises BenchError where a relative limit has no baseline at all; a cell that is missing in it is not decidable.
    """
    if limits.relative and (baseline is None or not baseline.trials):
        raise BenchError(
            f"{limits.path}: worse_than_baseline needs a baseline; record one with: bench baseline set RUN"
        )
    findings = [finding for limit in limits.limits for finding in _judge(limit, candidate, baseline, rate)]
    doubts = _doubts(limits, candidate, baseline)
    return Judgement(
        findings=_together(findings, rate),
        doubts=[doubt for doubt in doubts if doubt.check not in limits.accept],
        accepted=[doubt for doubt in doubts if doubt.check in limits.accept],
        trials=len({trial.path for trial in candidate.trials}),
        rate=rate,
    )


def _judge(limit: Limit, candidate: Trials, baseline: Trials | None, rate: float) -> list[Finding]:
    if limit.relative and baseline is not None:
        found = _judge_relative(limit, candidate.trials, baseline.trials, rate)
    else:
        cells = candidate.by_identity()
        found = [judge_absolute(limit, i, trials, rate) for i, trials in cells.items() if limit.holds_for(i)]
    return found or [not_measured(limit, "no cell was measured that it is for")]


def _judge_relative(
    limit: Limit, candidate: Sequence[Trial], baseline: Sequence[Trial], rate: float
) -> list[Finding]:
    matches, alone = match(baseline, candidate)
    found = [judge_relative(limit, each, rate) for each in matches if limit.holds_for(each.identity)]
    missing = [identity for side, identity in alone if side == "candidate" and limit.holds_for(identity)]
    return found + [_without_baseline(limit, identity) for identity in missing]


def _without_baseline(limit: Limit, identity: Identity) -> Finding:
    return replace(not_measured(limit, "the baseline did not measure this cell"), identity=identity)


def _together(findings: list[Finding], rate: float) -> list[Finding]:
    """Limits that are broken are called so where that is sure even among so many.

    "kept" needs no correction: all must be shown to be kept for the gate to open. Each has the interval that decides.
    """
    p_values = [finding.p_broken for finding in findings]
    return [
        _corrected(*each, rate)
        for each in zip(findings, holm(p_values), deciding_rates(p_values, rate), strict=True)
    ]


def _corrected(finding: Finding, p: float, own: float, rate: float) -> Finding:
    if finding.outcome == "BROKEN" and p > rate:
        how = f"{finding.how}; broken by itself, not surely among so many limits"
        finding = replace(finding, outcome="unknown", how=how)
    return finding if finding.outcome == "kept" else finding.at(1 - 2 * own)


def _doubts(limits: LimitsFile, candidate: Trials, baseline: Trials | None) -> list[Doubt]:
    found = doubts_of(candidate.trials, "candidate") if candidate.trials else [_NOTHING]
    found += _left_out(candidate, "candidate")
    if limits.relative and baseline is not None:
        found += doubts_of(baseline.trials, "baseline") + _left_out(baseline, "baseline")
        matches, _ = match(baseline.trials, candidate.trials) if candidate.trials else ([], [])
        found += {doubt.reason: doubt for each in matches for doubt in each.surroundings}.values()
    return found


_NOTHING = Doubt("nothing measured", "no request was measured", "look at the run with bench report")


def _left_out(trials: Trials, side: str) -> list[Doubt]:
    found = [Doubt("unreadable", f"{side}: {each.reason}", "") for each in trials.unreadable]
    return found + [
        Doubt("empty", f"{side}: {path}: no request in its steady part", "run it again")
        for path in trials.empty
    ]


def finite(value: float) -> float | None:
    """For JSON: None for what is not known."""
    return value if math.isfinite(value) else None
