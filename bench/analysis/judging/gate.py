"""The verdict of a gate: pass, FAIL or inconclusive."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from bench import BenchError
from bench.analysis.capacity.recorded import CAPACITY, CAPACITY_RATIO, SEARCHED
from bench.analysis.grouping import conditions
from bench.analysis.grouping.failures import Failures, failures, partners_failed
from bench.analysis.grouping.identity import PARTS, Identity
from bench.analysis.grouping.in_time import RATES
from bench.analysis.grouping.trials import Trials
from bench.analysis.judging import interference, sides
from bench.analysis.judging.compare import Match, match
from bench.analysis.judging.finding import Finding, Limit, Outcome
from bench.analysis.judging.limit import judge_absolute, judge_relative, not_measured, resolved
from bench.analysis.judging.limit_of_capacity import INTEGRITY, judge_capacity
from bench.analysis.reading.run_warning import RunWarning, accepted
from bench.analysis.statistics.intervals import ERROR_RATE, deciding_rates, holm
from bench.config.limits import read_limits
from bench.runs.journal import experiment_of
from bench.wording import counted

PASS, FAIL, INCONCLUSIVE = 0, 1, 3
"""Exit codes."""
_SELECTED = ("scenario", "server", "model", "version", "batch", "load")
"""Parts of a cell by which limits select it."""


@dataclass(frozen=True)
class LimitsFile:
    """A limits file with its metrics found."""

    path: Path
    limits: list[Limit]
    accept: frozenset[str]
    failed_share: float = 0.0
    """Share of a cell's trials that may have failed."""

    @classmethod
    def read(cls, path: Path, answered_within: float | None = None) -> "LimitsFile":
        """Raises BenchError for a file without a limit, or with one that is wrong.

        answered_within: seconds within which goodput wants an answer, where the file does not say it.
        """
        content, bounds = read_limits(path, answered_within)
        if not bounds:
            raise BenchError(f"{path}: no limit in it; such as: [limits] p99_ms = 25")
        names = accepted(content.accept, f"{path}: accept")
        return cls(path, [resolved(bound, path) for bound in bounds], names, content.failed_share)

    @property
    def of_capacity(self) -> bool:
        """Whether its limits are of the capacity. Raises BenchError where some are and others are not."""
        names = {limit.metric.name in SEARCHED for limit in self.limits}
        if len(names) > 1:
            raise BenchError(
                f"{self.path}: {' and '.join(SEARCHED)}: levels of its search break any other limit; put it into a separate limits file"
            )
        for limit in self.limits:
            if limit.relative and limit.metric.name == CAPACITY_RATIO:
                raise BenchError(
                    f"{self.path}: {limit.dotted}: it is a ratio already; write what it is to be at least under [limits]"
                )
        return True in names

    @property
    def relative(self) -> bool:
        """Whether a baseline is needed."""
        return any(limit.relative for limit in self.limits)

    @property
    def rates(self) -> list[Limit]:
        """Those of requests or examples per second."""
        return [limit for limit in self.limits if limit.metric.name in RATES]

    def check_cells(self, planned: Collection[Identity]) -> None:
        """Raise BenchError for a limit that is for none of the candidate's cells; the names of requests are not known yet."""
        for limit in self.limits:
            where = limit.where
            if not any(
                limit.holds_for(
                    each._replace(request=where.request or "", version=each.version or where.version)
                )
                for each in planned
            ):
                cells = "; ".join(dict.fromkeys(each.words(_SELECTED) for each in planned))
                raise BenchError(
                    f"{self.path}: {limit.dotted}: it applies to {limit.words}, but this measures {cells}; "
                    "omit it, or name what is measured"
                )


@dataclass(frozen=True)
class Judgement:
    """The outcome of all limits."""

    findings: list[Finding]
    warnings: list[RunWarning]
    """For which no verdict counts."""
    accepted: list[RunWarning]
    """In spite of which verdicts are given, as the limits file says."""
    trials: int
    rate: float = ERROR_RATE
    """How often a limit falsely fails, or passes."""
    failures: list[Failures] = field(default_factory=list)
    """Failed trials of the candidate, by cell."""
    left_out: list[str] = field(default_factory=list)
    """What was found and is not judged."""
    candidate: Trials = field(default_factory=lambda: Trials([], [], []), repr=False)
    """What was judged."""
    matches: list[Match] = field(default_factory=list, repr=False)
    """Its cells with those of the baseline; none without one."""

    @property
    def code(self) -> int:
        """0 pass, 1 FAIL, 3 inconclusive or measurement invalid."""
        if any(each.too_many for each in self.failures):
            return FAIL
        outcomes = {finding.outcome for finding in self.findings}
        if self.warnings or not outcomes:
            return INCONCLUSIVE
        return FAIL if "FAIL" in outcomes else INCONCLUSIVE if "inconclusive" in outcomes else PASS

    @property
    def verdict(self) -> str:
        """The answer in a few words."""
        parts = [
            f"{number} {outcome}"
            for outcome in get_args(Outcome)
            if (number := sum(f.outcome == outcome for f in self.findings))
        ]
        if self.warnings:
            parts.append(f"{len(self.warnings)} warning{'s' * (len(self.warnings) > 1)}")
        failed, whole = (
            (sum(values) for values in zip(*((len(f.failed), f.trials) for f in self.failures), strict=True))
            if self.failures
            else (0, 0)
        )
        if failed:
            parts.append(f"{failed} of {counted(whole, 'trial')} failed")
        parts += [f"left out: {each}" for each in self.left_out]
        names = {PASS: "pass", FAIL: "FAIL", INCONCLUSIVE: "inconclusive"}
        name = "measurement invalid" if self.warnings and self.code == INCONCLUSIVE else names[self.code]
        return f"{name}: {', '.join(parts) or 'no limit was judged'}"


def gate(
    limits: LimitsFile,
    candidate: Trials,
    baseline: Trials | None = None,
    rate: float = ERROR_RATE,
    *,
    by: Sequence[str] = (),
    planned: int = 0,
) -> Judgement:
    """Judge every limit in every cell that it is for; `rate`: how often a limit falsely fails, or passes.

    by: what may differ between baseline and candidate (see `bench.analysis.judging.compare.match`); planned: trials of each
    cell in all, where some are still to come. Raises BenchError where a relative limit has no baseline at all, and
    where the sides are not alike; a cell that is missing on one of them makes the verdict inconclusive.
    """
    conditions.check_distinct({"candidate": candidate.trials})
    conditions.check_homogeneous(candidate.trials, "candidate", one_commit=True)
    failed = failures(candidate, limits.failed_share, planned)
    if limits.relative and (baseline is None or not (baseline.trials or baseline.failed)):
        raise BenchError(
            f"{limits.path}: worse_than_baseline needs a baseline; record one with: bench baseline set RUN"
        )
    if limits.of_capacity:
        return _of_capacity(limits, candidate, baseline, rate, by)
    matches: list[Match] = []
    alone: list[tuple[str, Identity]] = []
    if baseline is not None and candidate.trials and baseline.trials:
        matches, alone = match(baseline.trials, candidate.trials, by)
    elif baseline is not None:
        alone = [("baseline", identity) for identity in baseline.by_identity()]
    findings = [
        finding for limit in limits.limits for finding in _judge(limit, candidate, matches, alone, rate)
    ]
    warnings = _warnings(limits, candidate, baseline, matches)
    warnings += _missing(limits, candidate, alone)
    return Judgement(
        findings=_together(findings, rate),
        warnings=[warning for warning in warnings if warning.check not in limits.accept],
        accepted=[warning for warning in warnings if warning.check in limits.accept],
        trials=len({trial.path for trial in candidate.trials}),
        rate=rate,
        failures=failed,
        left_out=candidate.left_out + ([] if baseline is None else baseline.left_out) + _unpaired(matches),
        candidate=candidate,
        matches=matches,
    )


def _of_capacity(
    limits: LimitsFile, candidate: Trials, baseline: Trials | None, rate: float, by: Sequence[str]
) -> Judgement:
    """Warnings about levels are none about the capacity, unless their files are not as they were."""
    before = [] if baseline is None else baseline.trials
    findings = [
        finding
        for limit in limits.limits
        for finding in judge_capacity(limit, candidate.trials, before, by, rate)
        or [not_measured(limit, _NOT_SEARCHED[limit.metric.name])]
    ]
    listed = [
        each for trial in (*candidate.trials, *before) for each in trial.warnings if each.check in INTEGRITY
    ]
    listed += _left_out(candidate, "candidate") + (
        [] if baseline is None else _left_out(baseline, "baseline")
    )
    warnings = list({each.check: each for each in listed}.values())
    return Judgement(
        findings=_together(findings, rate),
        warnings=[each for each in warnings if each.check not in limits.accept],
        accepted=[each for each in warnings if each.check in limits.accept],
        trials=len({trial.path for trial in candidate.trials}),
        rate=rate,
    )


def _judge(
    limit: Limit, candidate: Trials, matches: list[Match], alone: list[tuple[str, Identity]], rate: float
) -> list[Finding]:
    if limit.relative:
        findings = [judge_relative(limit, each, rate) for each in matches if limit.holds_for(each.identity)]
        missing = [identity for side, identity in alone if side == "candidate" and limit.holds_for(identity)]
        findings += [_without_baseline(limit, identity) for identity in missing]
    else:
        cells = candidate.by_identity()
        findings = [
            judge_absolute(limit, i, trials, rate) for i, trials in cells.items() if limit.holds_for(i)
        ]
    return findings or [not_measured(limit, "it applies to no cell that was measured")]


def _missing(limits: LimitsFile, candidate: Trials, alone: list[tuple[str, Identity]]) -> list[RunWarning]:
    """A warning about cells that the baseline holds, or the experiment planned, and the candidate has not measured."""
    of_baseline = [
        identity
        for side, identity in alone
        if side == "baseline" and any(limit.holds_for(identity) for limit in limits.limits)
    ]
    warnings = []
    for identities, whose in (
        (of_baseline, "of the baseline"),
        (candidate.not_run, "of the experiment's plan"),
    ):
        named = "; ".join(i.words(part for part in PARTS if part != "build") for i in identities[:4])
        more = f" and {len(identities) - 4} more" if len(identities) > 4 else ""
        if identities:
            warnings.append(
                RunWarning(
                    "missing cells",
                    f"cells {whose} are not measured in the candidate: {named}{more}",
                    "measure them too, or limit the file to what is measured (scenario, version, batch, ...)",
                )
            )
    return warnings


def _unpaired(matches: list[Match]) -> list[str]:
    count = sum(len(each.unpaired) for each in matches)
    return [f"{count} trial{'s' * (count > 1)} without a partner in the block"] if count else []


def _without_baseline(limit: Limit, identity: Identity) -> Finding:
    return replace(not_measured(limit, "the baseline did not measure this cell"), identity=identity)


def _together(findings: list[Finding], rate: float) -> list[Finding]:
    """A limit fails where that is sure even among so many.

    "pass" needs no correction: all must be shown to pass for the gate to open. Each has the interval that decides.
    """
    p_values = [finding.p_fail for finding in findings]
    return [
        _corrected(*each, rate)
        for each in zip(findings, holm(p_values), deciding_rates(p_values, rate), strict=True)
    ]


def _corrected(finding: Finding, p: float, own: float, rate: float) -> Finding:
    if finding.outcome == "FAIL" and p > rate:
        how = f"{finding.how}; fails on its own, not significant among this many limits"
        finding = replace(finding, outcome="inconclusive", how=how)
    return finding if finding.outcome == "pass" else finding.at(1 - 2 * own)


def _warnings(
    limits: LimitsFile, candidate: Trials, baseline: Trials | None, matches: list[Match]
) -> list[RunWarning]:
    measured = {"candidate": candidate.trials} | ({} if baseline is None else {"baseline": baseline.trials})
    warnings = ([] if candidate.trials or candidate.failed else [_NOTHING]) + sides.of_sides(measured)
    warnings += _left_out(candidate, "candidate") + _torn_out(candidate)
    if any(not limit.relative and limit.timed for limit in limits.limits):
        warnings += interference.of_durations(candidate.trials)
    if baseline is None:
        return warnings
    warnings += _left_out(baseline, "baseline")
    warnings += [
        RunWarning(
            "failed trials", f"baseline: {each.text}", "find the reason, and measure the baseline again"
        )
        for each in failures(baseline, limits.failed_share)
        if each.too_many
    ]
    warnings += {warning.reason: warning for each in matches for warning in each.surroundings}.values()
    if any(limit.relative and limit.timed for limit in limits.limits):
        pairs = (interference.of_ratio(each.before, each.after) for each in matches)
        warnings += {warning.reason: warning for own in pairs for warning in own}.values()
    failed = candidate.failed + baseline.failed
    for each in matches:
        warnings += [] if partners_failed(each.unpaired, failed) else each.left_alone
    return warnings


_NOT_SEARCHED = {
    CAPACITY: "no capacity was searched; run bench capacity",
    CAPACITY_RATIO: "no two capacities were compared: bench capacity does, of two versions or with --by",
}
_NOTHING = RunWarning("nothing measured", "no request was measured", "look at the run with bench report")


def _left_out(trials: Trials, side: str) -> list[RunWarning]:
    warnings = [RunWarning("unreadable", f"{side}: {each.reason}", "") for each in trials.unreadable]
    warnings += [RunWarning("interrupted", f"{side}: {text}", "") for text in trials.cut_short]
    return warnings + [
        RunWarning("empty", f"{side}: {path}: no request in its steady part", "run it again")
        for path in trials.empty
    ]


def _torn_out(candidate: Trials) -> list[RunWarning]:
    """A warning about trials that lie beside no plan of their experiment: which of its trials failed is not known."""
    runs = {
        trial.path
        for trial in candidate.trials
        if trial.manifest.experiment and experiment_of(trial.path) is None
    }
    if not runs:
        return []
    text = f"candidate: {len(runs)} trials lie outside of their experiment's folder: whether others failed is not known"
    return [RunWarning("failed trials", text, "name them where they were measured, or the whole experiment")]


def finite(value: float) -> float | None:
    """For JSON: None for what is not known."""
    return value if math.isfinite(value) else None
